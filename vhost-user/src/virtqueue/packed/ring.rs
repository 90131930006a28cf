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

use super::chain::{Chain, Walker};
use crate::backend::{PackedIndex, RingBase};
use crate::memory::GuestMemory;
use crate::virtqueue::area::Area;
use crate::virtqueue::descriptor::{Access, WRITE};
use crate::virtqueue::line::Standing;
use crate::virtqueue::seat::Seat;
use crate::virtqueue::{CHAIN_MAX, Called, KickMode, RingError, RingStart};
use ringport::doorbell::Doorbell;
use ringport::error::QueueError;
use ringport::shm::{PackedTable, SharedU16};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;
/// Most descriptors of a ring.
const SIZE_MAX: u16 = 32768;
const NEVER: u16 = 1;
const AT_POSITION: u16 = 2;

/// A position in a ring, with its wrap counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::virtqueue) struct Position {
    slot: u16,
    wrap: bool,
    size: u16,
}

impl Position {
    /// The position in a ring of `size` that `index` names. Chains that were taken and not used are
    /// taken again, so what was used counts.
    ///
    /// Spec: vhost-user VHOST_USER_SET_VRING_BASE.
    fn of(PackedIndex { index: slot, wrap }: PackedIndex, size: u16) -> Option<Self> {
        (slot < size).then_some(Self { slot, wrap, size })
    }

    /// The position, with the wrap counter as bit 15.
    #[inline(always)]
    fn word(self) -> u32 {
        u32::from(self.slot) | u32::from(self.wrap) << 15
    }

    fn index_of(word: u32) -> PackedIndex {
        PackedIndex { index: u16::try_from(word & 0x7fff).unwrap_or(0), wrap: word & 0x8000 != 0 }
    }

    /// The base that a position's word stands for.
    pub(in crate::virtqueue) fn base_of(word: u32) -> RingBase {
        let index = Self::index_of(word);
        RingBase::Packed { avail: index, used: index }
    }

    #[inline(always)]
    pub(super) fn slot(self) -> u16 {
        self.slot
    }

    /// The position `entries`, at most the ring's size, further on.
    #[inline(always)]
    pub(super) fn ahead(self, entries: u16) -> Self {
        let left = self.size - self.slot;
        if entries < left {
            return Self { slot: self.slot + entries, ..self };
        }
        Self { slot: entries - left, wrap: !self.wrap, ..self }
    }

    /// Whether the driver made the descriptor here available.
    #[inline(always)]
    pub(super) fn has(self, state: State) -> bool {
        let (available, used) = (state.flags() & AVAIL != 0, state.flags() & USED != 0);
        available == self.wrap && used != self.wrap
    }

    /// The state of the used descriptor here.
    #[inline(always)]
    fn used(self, id: u16, len: u32) -> u64 {
        let owner = if self.wrap { AVAIL | USED } else { 0 };
        let flags = owner | if len > 0 { WRITE } else { 0 };
        u64::from(len) | u64::from(id) << 32 | u64::from(flags) << 48
    }

    /// How far this is behind `earlier`, in two turns of the ring.
    fn since(self, earlier: Self) -> u32 {
        let (turn, line) = (u32::from(self.size), |at: Self| {
            u32::from(at.slot) + if at.wrap { 0 } else { u32::from(at.size) }
        });
        (line(self) + 2 * turn - line(earlier)) % (2 * turn)
    }
}

/// The second word of a descriptor.
#[derive(Debug, Clone, Copy)]
pub(super) struct State(pub(super) u64);

#[expect(clippy::cast_possible_truncation, reason = "takes the word apart")]
impl State {
    #[inline(always)]
    pub(super) fn len(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    pub(super) fn id(self) -> u16 {
        (self.0 >> 32) as u16
    }

    #[inline(always)]
    pub(super) fn flags(self) -> u16 {
        (self.0 >> 48) as u16
    }
}

/// A ring in the driver's memory.
#[derive(Debug)]
pub(super) struct Ring {
    /// Ours: chains are used in the order in which they come.
    pub(super) next: Position,
    pub(super) memory: Arc<GuestMemory>,
    pub(super) table: PackedTable,
    pub(super) walker: Walker,
    call_position: SharedU16,
    call_flags: SharedU16,
    kick_flags: SharedU16,
    event_idx: bool,
    call: Option<Arc<Doorbell>>,
    kicks: KickMode,
    armed: bool,
    seat: Arc<Seat>,
}

impl Ring {
    /// The ring that `start` describes, from `base` on. Writes nothing to it.
    pub(super) fn new(
        memory: Arc<GuestMemory>,
        start: &RingStart,
        base: PackedIndex,
        access: Access,
        seat: Arc<Seat>,
    ) -> Result<Self, RingError> {
        let RingStart { addresses: at, features, kicks, .. } = start;
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
            walker: Walker { limit: size.min(CHAIN_MAX), indirect: features.indirect, access },
            call_position: driver.word(0)?,
            call_flags: driver.word(2)?,
            kick_flags: device.word(2)?,
            memory,
            event_idx: features.event_idx,
            call: start.call.clone(),
            kicks: *kicks,
            armed: *kicks == KickMode::Interrupt,
            seat,
        })
    }

    /// Asks for kicks, or for none.
    pub(super) fn begin(&self) {
        self.kick_flags.set(if self.armed { 0 } else { NEVER });
    }

    pub(super) fn standing(&self) -> Standing {
        Standing { position: self.next.word(), armed: self.armed, call: self.call.clone() }
    }

    pub(super) fn resume(&mut self, from: Standing) {
        // The ring is as long as it was, so the position is one of its own.
        self.next =
            Position::of(Position::index_of(from.position), self.next.size).unwrap_or(self.next);
        (self.armed, self.call) = (from.armed, from.call);
        self.begin();
    }

    pub(super) fn set_call(&mut self, call: Option<Arc<Doorbell>>) {
        self.call = call;
    }

    /// Ends the burst.
    #[inline(always)]
    pub(super) fn leave(&self) {
        self.seat.leave(self.next.word());
    }

    /// Whether the chain at `at` was made available.
    pub(super) fn has(&self, at: Position) -> bool {
        at.has(State(self.table.view().load_state(at.slot())))
    }

    /// Gives back the next chains, of which each has as many bytes written as `used` says, and calls
    /// the driver if it wants that. The first descriptor is written last.
    #[inline]
    pub(super) fn give_back(&mut self, used: impl Iterator<Item = (Chain, u32)>) -> Called {
        let (table, first) = (self.table.view(), self.next);
        let (mut at, mut first_state) = (first, None);
        for (chain, len) in used {
            let state = at.used(chain.id, len);
            match first_state {
                None => first_state = Some(state),
                Some(_) => table.store_state(at.slot(), state),
            }
            at = at.ahead(chain.entries);
        }
        let Some(state) = first_state else { return Called::Never };
        table.store_state(first.slot(), state);
        self.next = at;
        self.call(first)
    }

    /// Calls the driver if it wants that, after we went on from `before`.
    fn call(&mut self, before: Position) -> Called {
        let Some(call) = &self.call else { return Called::Never };
        // Pairs with the driver's fence between asking and looking at the ring once more.
        fence(Ordering::SeqCst);
        let wanted = match self.call_flags.atomic().load(Ordering::Relaxed) {
            0 => true,
            AT_POSITION if self.event_idx => {
                let event = self.call_position.atomic().load(Ordering::Relaxed);
                let (slot, wrap) = (event & 0x7fff, event & 0x8000 != 0);
                let event = Position { slot, wrap, size: before.size };
                // A position that does not exist is nobody's.
                slot < before.size && event.since(before) < self.next.since(before)
            }
            _ => false,
        };
        if !wanted {
            return Called::Suppressed;
        }
        if call.ring().is_err() {
            self.seat.link.fail(QueueError::LinkDown);
            return Called::Never;
        }
        Called::Yes
    }

    /// There was work: no kicks are needed for a while.
    #[inline]
    pub(super) fn disarm(&mut self) {
        if self.armed && self.kicks == KickMode::Adaptive {
            self.armed = false;
            self.kick_flags.set(NEVER);
        }
    }

    /// Asks for a kick, and returns whether there is work already.
    pub(super) fn arm(&mut self) -> bool {
        if self.kicks == KickMode::Polling || self.has(self.next) {
            return true;
        }
        self.armed = true;
        self.kick_flags.set(0);
        // Pairs with the driver's fence between publishing and looking at the flags.
        fence(Ordering::SeqCst);
        self.has(self.next)
    }
}
