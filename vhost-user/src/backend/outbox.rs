//! Messages that wait to be sent.

use crate::stream::Outgoing;
use crate::wire::Reply;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

/// Most replies that wait to be sent.
const REPLIES_MAX: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Outbox(VecDeque<Outgoing>);

impl Outbox {
    pub(super) fn push(&mut self, request: u32, reply: &Reply, fd: Option<OwnedFd>) {
        self.0.push_back(Outgoing { bytes: reply.encode(request), fds: fd.into_iter().collect() });
    }

    /// Whether a front-end that asks without reading the answers has to wait.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= REPLIES_MAX
    }

    pub(super) fn take(&mut self) -> Option<Outgoing> {
        self.0.pop_front()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
