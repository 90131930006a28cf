//! What both kinds of queue know of their ring.

use super::descriptor::{Descriptor, offset_and_shape};
use ringport::burst::{Piece, Shape};
use ringport::doorbell::Doorbell;
use ringport::error::QueueError;
use ringport::link::{LinkState, LinkStatus};
use ringport::pool::Pool;
use ringport::ring::{Cursor, RingIdx};
use ringport::ring_view::RingView;
use ringport::shm::guard::Watch;
use ringport::shm::{DescTable, DescView, PerSlot, PerSlotView, SharedU16};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How many slots ahead of their turn lines are fetched, at most. A burst's own lines arrive too late
/// when they are asked for with the burst; further ahead than this nothing more is gained.
const FETCH_AHEAD: u16 = 64;

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
    /// As server: where the buffers of the slots were when they were last seen.
    pub(super) seen: Seen,
    /// Bring the link down when the server takes back memory of ours.
    _watches: Arc<[Watch]>,
    /// The link is down; only what was published before that is handed out.
    draining: bool,
    /// The first error, repeated for ever.
    failed: Option<QueueError>,
}

/// Published or free slots that a burst may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) first: RingIdx,
    /// All that may be used, from `first` on.
    pub(super) known: u16,
    /// How far ahead of their turn lines are fetched.
    ahead: u16,
}

impl Window {
    /// The slot whose lines are fetched with slot number `at`; without one in the window, that slot
    /// itself.
    #[inline(always)]
    pub(super) fn ahead_of(&self, at: u16) -> RingIdx {
        let ahead = at + self.ahead;
        self.first.ahead(if ahead < self.known { ahead } else { at })
    }

    /// The slots whose descriptors are fetched when `count` are used: the first, and how many.
    #[inline(always)]
    pub(super) fn descriptors_ahead(&self, count: u16) -> (u16, u16) {
        (self.first.ahead(self.ahead).0, count.min(self.known.saturating_sub(self.ahead)))
    }
}

/// The client's private table of its slots' buffers: never read back from shared memory.
#[derive(Debug)]
pub(super) struct SlotTable {
    /// Offset in the buffers' region, by slot.
    pub(super) offsets: PerSlot<u32>,
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
    pub(super) fn empty(&self, slot: RingIdx) -> Descriptor {
        let offset = self.offsets.get(slot);
        Descriptor { more: false, region: self.region, len: self.capacity, offset }
    }

    /// The buffers of a window's slots: `shape` tells what is in each.
    #[inline(always)]
    pub(super) fn pieces(
        &self,
        window: Window,
        count: u16,
        shape: impl Fn(RingIdx) -> Shape,
    ) -> impl Iterator<Item = Piece> {
        let offsets = self.offsets.view();
        (0..count).map(move |at| {
            let (slot, ahead) = (window.first.ahead(at), window.ahead_of(at));
            let (offset, ahead) = (offsets.get(slot).into(), offsets.get(ahead).into());
            Piece { offset, shape: shape(slot), ahead }
        })
    }

    /// Notes where the buffers of the next `slots` slots are, after they were exchanged: `offset`
    /// tells it, counted from the first of them.
    #[cold]
    pub(super) fn follow_exchange(
        &mut self,
        cursor: &Cursor,
        slots: u16,
        offset: impl Fn(u16) -> Option<u64>,
    ) {
        for at in 0..slots {
            if let Some(now) = offset(at).and_then(|offset| u32::try_from(offset).ok()) {
                self.offsets.set(cursor.next().ahead(at), now);
            }
        }
    }
}

/// Offsets of a client's buffers, by slot, as they were last seen. A client mostly offers the same
/// buffer again, so this tells which lines to fetch ahead of their turn. Nothing but a hint.
///
/// It begins with zeros. To read all descriptors when a link comes up would let a client with 255
/// large rings keep the thread for as long as it takes to bring 64 MB of its memory in.
#[derive(Debug)]
pub(super) struct Seen(PerSlot<u32>, u16);

impl Seen {
    /// Of as many slots as are looked up.
    fn nothing(descriptors: &DescTable, slots: u16) -> Self {
        let region = Descriptor::from_words(descriptors.load(0)).region;
        Self(PerSlot::new(vec![0; slots.into()].into()), region)
    }

    /// Region and offsets.
    pub(super) fn offsets(&self) -> (u16, PerSlotView<'_, u32>) {
        (self.1, self.0.view())
    }

    /// What the descriptors of a window's slots name.
    #[inline(always)]
    pub(super) fn pieces(
        &mut self,
        window: Window,
        count: u16,
        descriptors: DescView<'_>,
    ) -> impl Iterator<Item = Piece> {
        let mut seen = self.0.view_mut();
        (0..count).map(move |at| {
            let (slot, ahead) = (window.first.ahead(at), window.ahead_of(at));
            let (offset, shape) = offset_and_shape(descriptors.load(slot.0));
            if seen.get(slot) != offset {
                seen.set(slot, offset);
            }
            Piece { offset: offset.into(), shape, ahead: seen.get(ahead).into() }
        })
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
    /// For people who look.
    pub(super) fn view(&self) -> RingView {
        let load = |word: &SharedU16| word.atomic().load(Ordering::Relaxed);
        let (own, peer) = (load(&self.own), load(&self.peer));
        // The client publishes the head.
        let (head, tail) = if self.buffers.is_some() { (own, peer) } else { (peer, own) };
        RingView {
            layout: "memif",
            size: self.cursor.ring_size(),
            words: vec![("head", head), ("tail", tail), ("flags", load(&self.flags))],
        }
    }

    pub(super) fn new(parts: RingParts) -> Self {
        // A ring with buffers of our own has no use for it.
        let slots = if parts.buffers.is_none() { parts.cursor.ring_size() } else { 1 };
        let seen = Seen::nothing(&parts.descriptors, slots);
        Self {
            seen,
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

    /// The next slots, of which `wanted` will do: `known` may be more.
    #[inline]
    pub(super) fn window(&mut self, wanted: u16) -> Result<Window, QueueError> {
        // Not so far that in a short ring the peer still works on them.
        let ahead = FETCH_AHEAD.min(self.cursor.ring_size() / 4);
        let known = self.available(wanted.saturating_add(ahead))?;
        Ok(Window { first: self.cursor.next(), known, ahead })
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
