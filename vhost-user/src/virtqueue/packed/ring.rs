//! What both kinds of queue know of their ring.
//!
//! | offset | bytes | field of a descriptor |
//! |---|---|---|
//! | 0 | 8 | guest address |
//! | 8 | 4 | length in bytes |
//! | 12 | 2 | buffer id |
//! | 14 | 2 | flags: NEXT, WRITE and INDIRECT as in split rings; bit 7 AVAIL, bit 15 USED |
//!
//! The driver area (written by it: when to call) and the device area (by us: when to kick) have the
//! same layout: 2 bytes of position, with the wrap counter as bit 15, and 2 bytes of flags: 0 always,
//! 1 never, 2 at that position (with EVENT_IDX).
//!
//! Spec: VIRTIO 1.3 §2.8.1, §2.8.10, §2.8.14.

use super::chain::{self, Chain};
use super::position::{OWNER, Position, State};
use super::steps::Steps;
use crate::backend::PackedIndex;
use crate::memory::GuestMemory;
use crate::virtqueue::area::Area;
use crate::virtqueue::descriptor::{Access, KNOWN};
use crate::virtqueue::layout::{self, Ground, Layout, Walked};
use crate::virtqueue::seat::Seat;
use crate::virtqueue::{Called, KickMode, RingAddresses, RingError, RingStart};
use ringport::burst::{Piece, Shape};
use ringport::error::QueueError;
use ringport::ring_view::RingView;
use ringport::shm::{PackedTable, SharedU16};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

/// Most descriptors of a ring.
const SIZE_MAX: u16 = 32768;
const NEVER: u16 = 1;
const AT_POSITION: u16 = 2;

/// A ring in the driver's memory.
#[derive(Debug, Clone)]
pub(in crate::virtqueue) struct Ring {
    ground: Ground,
    /// Ours: chains are used in the order in which they come.
    next: Position,
    table: PackedTable,
    call_position: SharedU16,
    call_flags: SharedU16,
    kick_flags: SharedU16,
    event_idx: bool,
    /// Guest address of the first descriptor, for the dirty log.
    guest: u64,
}

/// Where a chain may begin, and how many descriptors there are from there on to the end of a turn
/// from our position: no further, however the driver moves its flags meanwhile.
#[derive(Debug, Clone, Copy)]
pub(in crate::virtqueue) struct Place {
    at: Position,
    left: u16,
}

/// The descriptors of a ring.
///
/// # Errors
/// [`RingError`]: there is no ring at these addresses.
pub(crate) fn table(memory: &GuestMemory, at: &RingAddresses) -> Result<PackedTable, RingError> {
    let size = at.size;
    let area = Area::find(memory, "descriptor ring", at.descriptor, 16 * u64::from(size))?;
    area.view(|mapping, offset| PackedTable::new(mapping, offset, size))
}

/// Whether the driver can see that the descriptor at a position was used.
pub(crate) fn is_used(table: &PackedTable, at: PackedIndex) -> bool {
    let state = State(table.view().load_state(at.index));
    Position::of(at, table.slots()).is_some_and(|at| at.is_used(state))
}

impl Ring {
    /// The ring that `start` describes, from `base` on. Writes nothing to it.
    pub(in crate::virtqueue) fn new(
        memory: Arc<GuestMemory>,
        start: &RingStart,
        base: PackedIndex,
        access: Access,
        seat: Arc<Seat>,
    ) -> Result<Self, RingError> {
        let RingStart { addresses: at, features, .. } = start;
        let size = at.size;
        if size == 0 || size > SIZE_MAX {
            return Err(RingError::Size { size });
        }
        let next = Position::of(base, size);
        let next = next.ok_or(RingError::Base { index: base.index, size })?;
        let table = Area::find(&memory, "descriptor ring", at.descriptor, 16 * u64::from(size))?;
        let driver = Area::find(&memory, "driver event area", at.driver, 4)?;
        let device = Area::find(&memory, "device event area", at.device, 4)?;
        Ok(Self {
            next,
            table: table.view(|mapping, offset| PackedTable::new(mapping, offset, size))?,
            call_position: driver.word(0)?,
            call_flags: driver.word(2)?,
            kick_flags: device.word(2)?,
            event_idx: features.event_idx,
            guest: table.guest(&memory),
            ground: Ground::new(Arc::clone(&memory), start, access, seat),
        })
    }

    fn is_available(&self, at: Position) -> bool {
        at.has(State(self.table.view().load_state(at.slot())))
    }

    /// Publishes the descriptors up to `next`, of which the first becomes `state`, and notes that.
    #[cold]
    fn publish_noted(&self, next: Position, state: u64) {
        let (notes, old) = (&self.ground.notes, self.next);
        if let Some(inflight) = notes.inflight() {
            inflight.positions(next.index(), old.index());
        }
        self.table.view().store_state(old.slot(), state);
        if let Some(inflight) = notes.inflight() {
            inflight.positions(next.index(), next.index());
        }
        let (slot, size) = (old.slot(), self.size());
        let count = u16::try_from(next.since(old)).unwrap_or(size);
        let until_end = count.min(size - slot);
        let range = |slot: u16, count: u16| (16 * u64::from(slot), 16 * u64::from(count));
        notes.descriptors(self.guest, [range(slot, until_end), range(0, count - until_end)]);
        notes.tell();
    }

    /// Asks for kicks, or for none.
    fn ask(&self, flags: u16) {
        self.kick_flags.set(flags);
        if self.ground.notes.log() {
            self.ground.notes.device_area([(0, 4)]);
        }
    }

    /// Whether the driver wants a call, after we went on from `before`.
    fn wants_call(&self, before: Position) -> bool {
        // Pairs with the driver's fence between asking and looking at the ring once more.
        fence(Ordering::SeqCst);
        match self.call_flags.atomic().load(Ordering::Relaxed) {
            0 => true,
            AT_POSITION if self.event_idx => {
                let event = self.call_position.atomic().load(Ordering::Relaxed);
                before.is_passed(event, self.next)
            }
            _ => false,
        }
    }
}

impl layout::Ring for Ring {
    fn view(&self) -> RingView {
        let load = |word: &SharedU16| word.atomic().load(Ordering::Relaxed);
        let words = vec![
            ("driver.off_wrap", load(&self.call_position)),
            ("driver.flags", load(&self.call_flags)),
            ("device.flags", load(&self.kick_flags)),
            ("next", self.next.slot()),
        ];
        RingView { layout: "packed", size: self.next.size(), words }
    }

    #[inline(always)]
    fn ground(&self) -> &Ground {
        &self.ground
    }

    fn ground_mut(&mut self) -> &mut Ground {
        &mut self.ground
    }

    #[inline(always)]
    fn position(&self) -> u32 {
        self.next.word()
    }

    fn set_position(&mut self, position: u32) {
        // The ring is as long as the one before, so the position is one of its own.
        let index = Position::index_of(position);
        self.next = Position::of(index, self.next.size()).unwrap_or(self.next);
    }

    fn tell(&self) {
        self.ask(if self.ground.armed { 0 } else { NEVER });
    }

    fn arm(&mut self) -> Result<bool, QueueError> {
        if self.ground.kicks == KickMode::Polling || self.is_available(self.next) {
            return Ok(true);
        }
        self.ground.armed = true;
        self.ask(0);
        // Pairs with the driver's fence between publishing and looking at the flags.
        fence(Ordering::SeqCst);
        Ok(self.is_available(self.next))
    }
}

impl Layout for Ring {
    type Chain = Chain;
    type Place = Place;

    #[inline(always)]
    fn size(&self) -> u16 {
        self.table.slots()
    }

    #[inline(always)]
    fn look(&mut self, wanted: usize) -> Result<usize, QueueError> {
        let state = State(self.table.view().load_state(self.next.slot()));
        self.next = self.next.known_by(state);
        if !self.next.has(state) {
            return Ok(0);
        }
        // Not beyond the ring, however the driver moves its flags meanwhile.
        let wanted = wanted.min(self.table.slots().into());
        if self.ground.walker.access == Access::Write {
            // What is filled is written to soon after it is read: each line is taken over once.
            let count = u16::try_from(wanted).unwrap_or(u16::MAX);
            self.table.view().prefetch_write(self.next.slot(), count);
        }
        Ok(wanted)
    }

    #[inline(always)]
    fn plain(&self, access: Access, ended: &mut bool) -> impl Iterator<Item = (Chain, Piece)> {
        let mut at = self.table.view().walk(self.next.slot());
        let mut wanted = self.next.offered() | access.flag();
        let mut memory = self.ground.memory.translator();
        std::iter::from_fn(move || {
            let state = State(at.load_state());
            if state.flags() & (OWNER | KNOWN) != wanted {
                *ended = (state.flags() ^ wanted) & OWNER != 0;
                return None;
            }
            let (region, offset) = memory.locate(at.load_address(), state.len())?;
            if at.step() {
                wanted ^= OWNER;
            }
            let chain = Chain { id: state.id(), entries: 1 };
            Some((chain, Piece::alone(offset, Shape::new(region, state.len(), false))))
        })
    }

    #[inline(always)]
    fn place(&self, plain: usize) -> Place {
        // No loss: a burst is no longer than the ring.
        let plain = u16::try_from(plain).unwrap_or(u16::MAX).min(self.size());
        Place { at: self.next.ahead(plain), left: self.size() - plain }
    }

    #[inline(always)]
    fn has(&self, Place { at, left }: Place) -> bool {
        left > 0 && self.is_available(at)
    }

    fn behind(&self, Place { at, left }: Place, chain: Chain) -> Option<Place> {
        let left = left.checked_sub(chain.entries)?;
        Some(Place { at: at.ahead(chain.entries), left })
    }

    fn walk(
        &self,
        Place { at, .. }: Place,
        walked: &mut Walked,
    ) -> Result<(Chain, Result<u32, QueueError>), QueueError> {
        let Ground { walker, memory, .. } = &self.ground;
        chain::walk(walker, self.table.view(), at, memory, walked)
    }

    /// The first descriptor is written last.
    #[inline(always)]
    fn give_back(&mut self, used: impl Iterator<Item = (Chain, u32)>) -> Called {
        let (table, first) = (self.table.view(), self.next);
        let (mut at, mut first_state) = (Steps::from(table, first), None);
        for (chain, len) in used {
            let state = at.turn().used(chain.id, len);
            match first_state {
                None => first_state = Some(state),
                Some(_) => at.here.store_state(state),
            }
            at.go_on(chain.entries);
        }
        let Some(state) = first_state else { return Called::Never };
        let at = at.position();
        if self.ground.notes.any() {
            self.publish_noted(at, state);
        } else {
            table.store_state(first.slot(), state);
        }
        self.next = at;
        self.ground.call(|| self.wants_call(first))
    }

    #[inline(always)]
    fn give_back_run(&mut self, chains: &[Chain]) -> Called {
        // The last one's id is where the first one was.
        let entries = chains.iter().map(|chain| chain.entries).sum();
        self.give_back(chains.last().map(|last| (Chain { entries, ..*last }, 0)).into_iter())
    }

    fn pass(&mut self, chains: &[Chain]) {
        self.next = chains.iter().fold(self.next, |next, chain| next.ahead(chain.entries));
    }

    #[inline]
    fn disarm(&mut self) {
        let Ground { armed, kicks, .. } = &mut self.ground;
        if *armed && *kicks == KickMode::Adaptive {
            *armed = false;
            self.ask(NEVER);
        }
    }
}
