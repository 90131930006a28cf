//! Questions to the data side that wait for their answer.

use super::memory::MemoryTable;
use crate::wire::{ConfigSpan, Inflight, Request};
use std::time::Instant;

/// Who asked, and how an answer reaches it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// Number of the request, known or not.
    pub(super) number: u32,
    /// Whether the front-end set need_reply.
    pub(super) need_reply: bool,
}

/// A question, and what its answer changes.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) asked: Asked,
    pub(super) request: Request,
    pub(super) question: Question,
    /// `None` when the clock ends before.
    pub(super) deadline: Option<Instant>,
}

/// What the data side is asked.
#[derive(Debug)]
pub(super) enum Question {
    /// Whether it is done; if so, this changes.
    Done(Change),
    /// Where a ring stopped.
    VringBase(u16),
    /// What the configuration space says.
    Config(ConfigSpan),
    /// Memory for chains in flight.
    Inflight(Inflight),
    /// Through which pipe the state moves.
    DeviceState,
}

/// What changes here once the data side is done.
#[derive(Debug)]
pub(super) enum Change {
    Nothing,
    Features(u64),
    Memory(MemoryTable),
    Status(u8),
    /// Rings may have no more descriptors than this.
    Inflight(u16),
    Ring(u16, RingChange),
}

/// What changes about one ring.
#[derive(Debug)]
pub(super) enum RingChange {
    Started,
    Enabled(bool),
    Log(Option<u64>),
}

impl Asked {
    /// Whether a link works without this, so that a refusal nobody hears of does no harm.
    pub(super) fn is_optional(self) -> bool {
        use Request as R;
        match Request::from_wire(self.number) {
            None => true,
            Some(request) => matches!(
                request,
                R::SendRarp
                    | R::NetSetMtu
                    | R::SetStatus
                    | R::SetConfig
                    | R::SetLogFd
                    | R::SetBackendReqFd
                    | R::SetVringErr
            ),
        }
    }
}
