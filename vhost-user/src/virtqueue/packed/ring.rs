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
use crate::memory::GuestMemory;
use crate::virtqueue::area::Area;
use crate::virtqueue::descriptor::{Access, WRITE};
use crate::virtqueue::{
    CHAIN_MAX, Called, KickMode, RingAddresses, RingEnds, RingError, RingFeatures,
};
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
pub struct Position {
    slot: u16,
    wrap: bool,
    size: u16,
}

impl Position {
    /// The position at which a ring of `size` goes on, from the word that stands for it in messages:
    /// bits 0 to 15 what was taken last, bits 16 to 31 what was used last, of each the highest bit
    /// the wrap counter. Chains that were taken and not used are taken again. Front-ends that say
    /// nothing of the upper half mean the same as in the lower.
    ///
    /// Spec: vhost-user VHOST_USER_SET_VRING_BASE.
    #[must_use]
    pub fn from_base(base: u32, size: u16) -> Option<Self> {
        let [low, high] = [base & 0xffff, base >> 16].map(|half| u16::try_from(half).unwrap_or(0));
        let half = if high == 0 { low } else { high };
        let slot = half & 0x7fff;
        (slot < size).then_some(Self { slot, wrap: half & 0x8000 != 0, size })
    }

    /// The word that stands for this position in messages.
    #[must_use]
    pub fn to_base(self) -> u32 {
        let half = u32::from(self.slot) | u32::from(self.wrap) << 15;
        half << 16 | half
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
    ends: RingEnds,
    kicks: KickMode,
    armed: bool,
    failed: Option<QueueError>,
}

impl Ring {
    pub(super) fn new(
        memory: Arc<GuestMemory>,
        at: &RingAddresses,
        base: u32,
        features: &RingFeatures,
        kicks: KickMode,
        ends: RingEnds,
        access: Access,
    ) -> Result<Self, RingError> {
        let size = at.size;
        let next = Position::from_base(base, size).filter(|_| size <= SIZE_MAX);
        let next = next.ok_or(RingError::Size { size })?;
        let table = Area::find(&memory, "descriptor ring", at.descriptor, 16 * u64::from(size))?;
        let driver = Area::find(&memory, "driver event area", at.driver, 4)?;
        let device = Area::find(&memory, "device event area", at.device, 4)?;
        let ring = Self {
            next,
            table: table.view(|mapping, offset| PackedTable::new(mapping, offset, size))?,
            walker: Walker { limit: size.min(CHAIN_MAX), indirect: features.indirect, access },
            call_position: driver.word(0)?,
            call_flags: driver.word(2)?,
            kick_flags: device.word(2)?,
            memory,
            event_idx: features.event_idx,
            ends,
            kicks,
            armed: kicks == KickMode::Interrupt,
            failed: None,
        };
        ring.kick_flags.set(if ring.armed { 0 } else { NEVER });
        Ok(ring)
    }

    /// Whether packets may flow.
    #[inline]
    pub(super) fn check(&self) -> Result<(), QueueError> {
        match self.failed {
            Some(error) => Err(error),
            None if !self.ends.link.is_up() => Err(self.ends.link.reason()),
            None => Ok(()),
        }
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
        let Some(call) = &self.ends.call else { return Called::Never };
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
            self.fail(QueueError::LinkDown);
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

    /// Asks for a kick, and returns whether there is work already, and whether there was a kick.
    pub(super) fn arm(&mut self) -> Result<(bool, bool), QueueError> {
        self.check()?;
        if self.kicks == KickMode::Polling {
            return Ok((true, false));
        }
        let kicked = self.ends.kick.drain().map_err(|_| QueueError::LinkDown)?;
        if self.has(self.next) {
            return Ok((true, kicked));
        }
        self.armed = true;
        self.kick_flags.set(0);
        // Pairs with the driver's fence between publishing and looking at the flags.
        fence(Ordering::SeqCst);
        Ok((self.has(self.next), kicked))
    }

    /// Latches an error and brings the link down with it. Returns the first, and whether this was
    /// it.
    #[cold]
    pub(super) fn fail(&mut self, error: QueueError) -> (QueueError, bool) {
        let first = self.failed.is_none();
        let standing = *self.failed.get_or_insert(error);
        if !matches!(standing, QueueError::LinkDown | QueueError::MemoryLost) {
            self.ends.link.fail(standing);
        }
        (standing, first)
    }

    pub(super) fn ends(&self) -> &RingEnds {
        &self.ends
    }
}
