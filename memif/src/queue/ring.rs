//! What both kinds of queue know of their ring.

use super::descriptor::Descriptor;
use ringport::burst::TxBatch;
use ringport::doorbell::Doorbell;
use ringport::error::QueueError;
use ringport::link::{LinkState, LinkStatus};
use ringport::pool::Pool;
use ringport::ring::Cursor;
use ringport::shm::guard::Watch;
use ringport::shm::{DescTable, SharedU16};
use std::sync::Arc;

/// A ring in shared memory, from one side.
#[derive(Debug)]
pub(super) struct Ring {
    pub(super) cursor: Cursor,
    /// The index that we publish: `head` as client, `tail` as server.
    pub(super) own: SharedU16,
    /// The index that the peer publishes.
    pub(super) peer: SharedU16,
    /// Written by the ring's consumer: whether it wants doorbells.
    pub(super) flags: SharedU16,
    pub(super) descriptors: DescTable,
    pub(super) doorbell: Arc<Doorbell>,
    pub(super) link: Arc<LinkState>,
    /// As client: where our slots' buffers are. As server: nothing.
    pub(super) buffers: Option<SlotTable>,
    /// Bring the link down when the server takes back memory of ours.
    _watches: Arc<[Watch]>,
    /// The link is down; only what was published before that is handed out.
    draining: bool,
    /// The first error, repeated for ever.
    failed: Option<QueueError>,
}

/// The client's private table of its slots' buffers: never read back from shared memory.
#[derive(Debug)]
pub(super) struct SlotTable {
    /// Offset in the buffers' region, by slot.
    pub(super) offsets: Box<[u32]>,
    /// What a buffer holds, in bytes.
    pub(super) capacity: u32,
    /// The region that they lie in.
    pub(super) region: u16,
    /// The bytes kept free in front of each packet.
    pub(super) headroom: u16,
    /// Where the buffers go back to.
    pub(super) pool: Option<Arc<Pool>>,
}

impl SlotTable {
    /// The descriptor of an empty buffer.
    #[inline]
    pub(super) fn empty(&self, slot: u16) -> Descriptor {
        let offset = self.offsets.get(usize::from(slot)).copied().unwrap_or(0);
        Descriptor { more: false, region: self.region, len: self.capacity, offset }
    }

    /// Tells a transmit batch where the buffers are. They lie in its region by construction.
    pub(super) fn enter(&self, batch: &mut TxBatch) {
        for (slot, &offset) in (0..).zip(&self.offsets) {
            let entered = batch.set_slot(slot, self.region, u64::from(offset), self.capacity);
            debug_assert!(entered.is_ok(), "own buffer {slot}: {entered:?}");
        }
    }

    /// Notes where the buffers of the next `slots` slots are, after they were exchanged.
    #[cold]
    pub(super) fn follow_exchange(
        &mut self,
        cursor: &Cursor,
        slots: u16,
        offset: impl Fn(u16) -> Option<u64>,
    ) {
        for slot in (0..slots).map(|at| cursor.next().ahead(at).slot(cursor.mask())) {
            let now = offset(slot).and_then(|offset| u32::try_from(offset).ok());
            if let (Some(known), Some(now)) = (self.offsets.get_mut(usize::from(slot)), now) {
                *known = now;
            }
        }
    }
}

impl Drop for SlotTable {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            let headroom = u32::from(self.headroom);
            pool.give_back(self.offsets.iter().map(|offset| u64::from(offset - headroom)));
        }
    }
}

/// The parts that [`Ring::new`] puts together.
pub(super) struct RingParts {
    pub(super) cursor: Cursor,
    pub(super) own: SharedU16,
    pub(super) peer: SharedU16,
    pub(super) flags: SharedU16,
    pub(super) descriptors: DescTable,
    pub(super) doorbell: Arc<Doorbell>,
    pub(super) link: Arc<LinkState>,
    pub(super) buffers: Option<SlotTable>,
    pub(super) watches: Arc<[Watch]>,
}

impl Ring {
    pub(super) fn new(parts: RingParts) -> Self {
        Self {
            cursor: parts.cursor,
            own: parts.own,
            peer: parts.peer,
            flags: parts.flags,
            descriptors: parts.descriptors,
            doorbell: parts.doorbell,
            link: parts.link,
            buffers: parts.buffers,
            _watches: parts.watches,
            draining: false,
            failed: None,
        }
    }

    /// How many slots we may work on, when `wanted` would do.
    #[inline]
    pub(super) fn available(&mut self, wanted: u16) -> Result<u16, QueueError> {
        if self.failed.is_some() || self.draining || !self.link.is_up() {
            return self.available_at_the_end();
        }
        Ok(self.cursor.available(self.peer.atomic(), wanted)?)
    }

    /// The next `count` slots.
    #[inline(always)]
    pub(super) fn window(&self, count: u16) -> impl Iterator<Item = u16> + use<> {
        let (first, mask) = (self.cursor.next(), self.cursor.mask());
        (0..count).map(move |at| first.ahead(at).slot(mask))
    }

    /// Like [`available`](Self::available), but looks at the peer's index in any case.
    pub(super) fn available_now(&mut self) -> Result<u16, QueueError> {
        if self.failed.is_some() || self.draining || !self.link.is_up() {
            return self.available_at_the_end();
        }
        Ok(self.cursor.load_peer(self.peer.atomic())?)
    }

    /// The link is not up. What the peer published before it closed is still handed out: its index
    /// is read one last time, so that a peer which keeps writing cannot hold the queue open.
    #[cold]
    fn available_at_the_end(&mut self) -> Result<u16, QueueError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.link.status() != LinkStatus::Down {
            return Err(self.link.reason());
        }
        if !self.draining {
            self.draining = true;
            self.cursor.load_peer(self.peer.atomic())?;
        }
        match self.cursor.cached() {
            0 => Err(QueueError::LinkDown),
            left => Ok(left),
        }
    }

    /// Latches an error and brings the link down with it.
    #[cold]
    pub(super) fn fail(&mut self, error: QueueError) -> QueueError {
        let standing = *self.failed.get_or_insert(error);
        if !matches!(standing, QueueError::LinkDown | QueueError::MemoryLost) {
            self.link.fail(standing);
        }
        standing
    }

    /// Whether the link is down and nothing more will be published.
    pub(super) fn is_draining(&self) -> bool {
        self.draining
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }
}
