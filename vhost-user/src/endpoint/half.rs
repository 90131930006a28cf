//! Messages that begin, and do not come whole.

use super::DownReason;
use crate::backend::BackendMachine;
use crate::error::DeviceError;
use std::time::{Duration, Instant};

/// Gives a front-end time to finish the message that it has begun. Between messages it may take as
/// long as it likes: its guest may be one that has not started its driver.
#[derive(Debug)]
pub struct HalfMessage {
    patience: Duration,
    /// The message that is half here, by its number, and when its end is due.
    due: Option<(u64, Instant)>,
}

impl HalfMessage {
    /// None has begun; each has this long.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        Self { patience, due: None }
    }

    /// Takes note of what was heard.
    pub fn note(&mut self, machine: &BackendMachine) {
        let (number, begun) = (machine.heard(), machine.unfinished().is_some());
        if !begun {
            self.due = None;
        } else if self.due.is_none_or(|(of, _)| of != number) {
            let due = Instant::now().checked_add(self.patience);
            self.due = due.map(|due| (number, due));
        }
    }

    /// When the rest of the message is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.due.map(|(_, due)| due)
    }

    /// Looks whether it is late.
    ///
    /// # Errors
    /// It is, and the connection ends.
    pub fn check(&self, machine: &BackendMachine, now: Instant) -> Result<(), DownReason> {
        match machine.unfinished() {
            Some(part) if self.deadline().is_some_and(|due| now >= due) => {
                let waited = self.patience;
                Err(DownReason::Protocol(DeviceError::Unfinished { part, waited }))
            }
            _ => Ok(()),
        }
    }
}
