//! The time that a handshake may take.

use crate::error::ControlError;
use crate::wire::MessageType;
use std::fmt;
use std::time::{Duration, Instant};

/// What a peer owes that takes too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Awaited {
    /// This message.
    Message(MessageType),
    /// The next of its rings, or CONNECT.
    RingOrConnect,
    /// The ACK of this message.
    AckOf(MessageType),
    /// Nothing: the answer of our own side is late.
    OwnAnswer,
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(message) => write!(f, "{message}"),
            Self::RingOrConnect => f.write_str("ADD_RING or CONNECT"),
            Self::AckOf(message) => write!(f, "ACK of {message}"),
            Self::OwnAnswer => f.write_str("answer of our own"),
        }
    }
}

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

    pub(super) fn timed_out(&self, awaited: Awaited) -> ControlError {
        ControlError::Stalled { awaited, waited: self.timeout }
    }
}
