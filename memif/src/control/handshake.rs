//! The time that a handshake may take.

use crate::error::ControlError;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Handshake {
    timeout: Duration,
    /// `None` when the clock ends before.
    pub(super) deadline: Option<Instant>,
}

impl Handshake {
    pub(super) fn new(now: Instant, timeout: Duration) -> Self {
        Self { timeout, deadline: now.checked_add(timeout) }
    }

    pub(super) fn timed_out(&self) -> ControlError {
        ControlError::Timeout { waited: self.timeout }
    }
}
