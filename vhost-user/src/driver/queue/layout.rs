//! What queues need to know of a ring, whatever its layout.

use super::memory::Parts;
use super::{CallMode, QueueOptions};
use crate::virtqueue::Called;
use ringport::doorbell::Doorbell;
use ringport::error::QueueError;
use ringport::link::LinkState;
use ringport::ring_view::RingView;
use ringport::shm::guard::Watch;
use std::fmt::Debug;
use std::sync::Arc;

/// A ring in memory of ours.
pub(super) trait Layout: Debug + Send + 'static {
    fn ground(&self) -> &Ground;

    /// For people who look.
    fn view(&self) -> RingView;

    /// Takes up to `wanted` of the elements that the device has used, oldest first, each read once.
    /// `take` says what it stands for.
    ///
    /// # Errors
    /// What `take` said, after the elements before, or what is wrong with the ring.
    fn take_used(
        &mut self,
        wanted: u16,
        take: impl FnMut(Used) -> Result<Taken, QueueError>,
    ) -> Result<(), QueueError>;

    /// As [`take_used`](Self::take_used), on a ring that is kept in order and whose elements' lengths do
    /// not matter.
    ///
    /// # Errors
    /// As [`take_used`](Self::take_used).
    fn take_in_order(
        &mut self,
        wanted: u16,
        take: impl FnMut(Passed) -> Result<Taken, QueueError>,
    ) -> Result<(), QueueError>;

    /// Makes buffers available, all at once, and kicks the device if it wants that.
    fn offer(&mut self, buffers: impl Iterator<Item = Buffer>) -> Called;

    /// As [`offer`](Self::offer), for buffers that are each a chain of its own and were offered
    /// before, just the same.
    fn offer_again(&mut self, buffers: impl Iterator<Item = Buffer>) -> Called;

    /// As [`offer_again`](Self::offer_again), for all `count` of `buffers`, on a ring that is kept in order
    /// and of whose chains none ever had several buffers: each is in the place where it was a turn before.
    fn offer_in_turn(&mut self, count: u16, buffers: impl Iterator<Item = Buffer>) -> Called;

    /// Hints that `count` buffers more will be offered soon.
    fn fetch_ahead(&self, count: u16);

    /// Asks for a call, and returns whether there are used elements already.
    ///
    /// # Errors
    /// The device broke the ring.
    fn arm(&mut self) -> Result<bool, QueueError>;

    /// There was work: no calls are needed for a while.
    fn disarm(&mut self);
}

/// What the device says of a chain that it gives back: not checked yet, but for the last field.
#[derive(Debug, Clone, Copy)]
pub(super) struct Used {
    pub(super) id: u32,
    /// Bytes written.
    pub(super) len: u32,
    /// Most chains that it can stand for: as many as the device has published.
    pub(super) chains_max: u16,
}

/// What has come back of a ring that is kept in order.
#[derive(Debug, Clone, Copy)]
pub(super) enum Passed {
    /// So many chains, the oldest. The device has had as many.
    Chains(u16),
    /// All up to the one that this names.
    Through(Used),
}

/// What a used element stands for: one chain, or a batch of them that end with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) chains: u16,
    /// Their descriptors; at most all of the ring.
    pub(super) entries: u16,
}

/// A buffer to be made available.
#[derive(Debug, Clone, Copy)]
pub(super) struct Buffer {
    pub(super) id: u16,
    /// Id of the first buffer of its chain.
    pub(super) head: u16,
    /// Guest address.
    pub(super) address: u64,
    pub(super) len: u32,
    /// NEXT and WRITE.
    pub(super) flags: u16,
    /// Id of the next buffer of its chain, with NEXT.
    pub(super) next: u16,
}

/// What rings of either layout have.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) calls: CallMode,
    /// We asked for a call and have taken nothing since.
    pub(super) armed: bool,
    kick: Option<Arc<Doorbell>>,
    call: Option<Arc<Doorbell>>,
    link: Arc<LinkState>,
    /// Bring the link down when the device takes memory back.
    _watches: Arc<[Watch]>,
}

impl Taken {
    pub(super) const ONE: Self = Self { chains: 1, entries: 1 };
}

impl Ground {
    pub(super) fn new(parts: &Parts, options: &QueueOptions) -> Self {
        Self {
            calls: options.calls,
            armed: options.calls == CallMode::Interrupt,
            kick: options.kick.clone(),
            call: options.call.clone(),
            link: Arc::clone(&parts.link),
            _watches: Arc::clone(&parts.watches),
        }
    }

    /// Begins a burst.
    ///
    /// # Errors
    /// The link is down.
    #[inline(always)]
    pub(super) fn enter(&self) -> Result<(), QueueError> {
        if self.link.is_up() { Ok(()) } else { Err(self.link.reason()) }
    }

    /// Ends the link, whose device broke the ring. `count` is told of that.
    #[cold]
    pub(super) fn fail(&self, error: QueueError, count: impl FnOnce(QueueError)) -> QueueError {
        // Lost memory reads as zeros, which break any ring.
        if !self.link.is_up() {
            return self.link.reason();
        }
        count(error);
        self.link.fail(error)
    }

    /// Kicks the device if `wanted`, which is asked only if there is a way to.
    #[inline(always)]
    pub(super) fn kick(&self, wanted: impl FnOnce() -> bool) -> Called {
        let Some(kick) = &self.kick else { return Called::Never };
        if !wanted() {
            return Called::Suppressed;
        }
        if kick.ring().is_err() {
            // The device would sleep for ever.
            self.link.fail(QueueError::LinkDown);
            return Called::Never;
        }
        Called::Yes
    }

    /// Takes the device's calls before a ring is armed. Returns whether there were any; `None` when
    /// there is nothing to be woken by.
    ///
    /// # Errors
    /// The doorbell cannot be read.
    pub(super) fn drain(&self) -> Result<Option<bool>, QueueError> {
        match &self.call {
            Some(call) if self.calls != CallMode::Polling => {
                call.drain().map(Some).map_err(|_| QueueError::LinkDown)
            }
            _ => Ok(None),
        }
    }
}
