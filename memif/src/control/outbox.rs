//! Messages that wait to be sent.

use crate::wire::{MESSAGE_LEN, Message};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

/// One message to send, in one call.
#[derive(Debug)]
pub struct Outgoing {
    /// The message.
    pub bytes: [u8; MESSAGE_LEN],
    /// The file descriptor that travels with it; close it after sending.
    pub fd: Option<OwnedFd>,
}

impl Outgoing {
    pub(super) fn new(message: &Message, fd: Option<OwnedFd>) -> Self {
        Self { bytes: message.encode(), fd }
    }
}

#[derive(Debug, Default)]
pub(super) struct Outbox(VecDeque<Outgoing>);

impl Outbox {
    pub(super) fn push(&mut self, message: &Message) {
        self.0.push_back(Outgoing::new(message, None));
    }

    pub(super) fn push_outgoing(&mut self, outgoing: Outgoing) {
        self.0.push_back(outgoing);
    }

    pub(super) fn take(&mut self) -> Option<Outgoing> {
        self.0.pop_front()
    }

    /// Drops what waits, so that `last` is all that a failed connection still says.
    pub(super) fn replace_with(&mut self, last: &Message) {
        self.0.clear();
        self.push(last);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
