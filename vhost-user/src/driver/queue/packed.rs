//! Packed virtqueues, from the driver's side.
//!
//! | offset | bytes | field of a descriptor |
//! |---|---|---|
//! | 0 | 8 | guest address |
//! | 8 | 4 | length in bytes |
//! | 12 | 2 | id of the chain's first buffer |
//! | 14 | 2 | flags: NEXT and WRITE as in split rings; bit 7 AVAIL, bit 15 USED |
//!
//! The driver area (written by us: when to call) and the device area (when to kick) have the same
//! layout: 2 bytes of position, with the wrap counter as bit 15, and 2 bytes of flags: 0 always,
//! 1 never, 2 at that position (with EVENT_IDX).
//!
//! Spec: VIRTIO 1.3 §2.8.

use super::layout::{Buffer, Ground, Layout, Passed, Taken, Used};
use super::memory::Parts;
use super::{CallMode, QueueOptions};
use crate::virtqueue::Called;
use crate::virtqueue::packed::{Position, State, Steps};
use ringport::error::QueueError;
use ringport::ring_view::RingView;
use ringport::shm::{OutOfRange, PackedTable, SharedU16};
use std::sync::atomic::{Ordering, fence};

const NEVER: u16 = 1;
const AT_POSITION: u16 = 2;

#[derive(Debug)]
pub(super) struct Ring {
    ground: Ground,
    table: PackedTable,
    /// Of the next descriptor that the device uses.
    used: Position,
    /// Of the next that we make available. Behind the other by as many as the device has.
    offered: Position,
    call_flags: SharedU16,
    kick_position: SharedU16,
    kick_flags: SharedU16,
    event_idx: bool,
}

impl Ring {
    pub(super) fn new(parts: &Parts, options: &QueueOptions) -> Result<Self, OutOfRange> {
        let (mapping, at) = (&parts.mapping, parts.place);
        let ring = Self {
            ground: Ground::new(parts, options),
            table: PackedTable::new(mapping, at.descriptor, at.size)?,
            used: Position::start(at.size),
            offered: Position::start(at.size),
            call_flags: SharedU16::new(mapping, at.driver + 2)?,
            kick_position: SharedU16::new(mapping, at.device)?,
            kick_flags: SharedU16::new(mapping, at.device + 2)?,
            event_idx: options.features.event_idx,
        };
        ring.call_flags.set(if ring.ground.armed { 0 } else { NEVER });
        Ok(ring)
    }

    fn is_used(&self) -> bool {
        self.used.is_used(State(self.table.view().load_state(self.used.slot())))
    }

    /// Whether the device wants a kick, after we went on from `before`.
    fn wants_kick(&self, before: Position) -> bool {
        // Pairs with the device's fence between asking and looking at the ring once more.
        fence(Ordering::SeqCst);
        match self.kick_flags.atomic().load(Ordering::Relaxed) {
            0 => true,
            AT_POSITION if self.event_idx => {
                let event = self.kick_position.atomic().load(Ordering::Relaxed);
                before.is_passed(event, self.offered)
            }
            _ => false,
        }
    }
}

impl Layout for Ring {
    fn view(&self) -> RingView {
        let load = |word: &SharedU16| word.atomic().load(Ordering::Relaxed);
        let words = vec![
            ("driver.flags", load(&self.call_flags)),
            ("device.off_wrap", load(&self.kick_position)),
            ("device.flags", load(&self.kick_flags)),
            ("next", self.used.slot()),
            ("offered", self.offered.slot()),
        ];
        RingView { layout: "packed", size: self.used.size(), words }
    }

    #[inline(always)]
    fn ground(&self) -> &Ground {
        &self.ground
    }

    #[inline(always)]
    fn take_used(
        &mut self,
        wanted: u16,
        mut take: impl FnMut(Used) -> Result<Taken, QueueError>,
    ) -> Result<(), QueueError> {
        let (mut chains, mut outcome) = (0, Ok(()));
        let mut at = Steps::from(self.table.view(), self.used);
        while chains < wanted {
            let state = State(at.here.load_state());
            if !at.turn().is_used(state) {
                break;
            }
            match take(Used { id: state.id().into(), len: state.len(), chains_max: u16::MAX }) {
                Ok(taken) => {
                    at.go_on(taken.entries);
                    chains = chains.saturating_add(taken.chains);
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        self.used = at.position();
        outcome
    }

    #[inline(always)]
    fn take_in_order(
        &mut self,
        wanted: u16,
        mut take: impl FnMut(Passed) -> Result<Taken, QueueError>,
    ) -> Result<(), QueueError> {
        // Where the next element is follows from what this one stands for.
        self.take_used(wanted, |used| take(Passed::Through(used)))
    }

    /// The first descriptor is written last.
    #[inline(always)]
    fn offer(&mut self, buffers: impl Iterator<Item = Buffer>) -> Called {
        let (table, before) = (self.table.view(), self.offered);
        let (mut at, mut first_state) = (Steps::from(table, before), None);
        for Buffer { head, address, len, flags, .. } in buffers {
            let state = at.turn().available(head, len, flags);
            at.here.store_address(address);
            match first_state {
                None => first_state = Some(state),
                Some(_) => at.here.store_state(state),
            }
            at.go_on(1);
        }
        let Some(state) = first_state else { return Called::Never };
        table.store_state(before.slot(), state);
        self.offered = at.position();
        self.ground.kick(|| self.wants_kick(before))
    }

    #[inline(always)]
    fn offer_again(&mut self, buffers: impl Iterator<Item = Buffer>) -> Called {
        // The device writes over what is offered.
        self.offer(buffers)
    }

    /// The device writes over what is offered: some, all of it (VIRTIO 1.3 §2.8.7).
    #[inline(always)]
    fn offer_in_turn(&mut self, _: u16, buffers: impl Iterator<Item = Buffer>) -> Called {
        self.offer(buffers)
    }

    #[inline(always)]
    fn fetch_ahead(&self, count: u16) {
        self.table.view().prefetch_write(self.offered.slot(), count);
    }

    fn arm(&mut self) -> Result<bool, QueueError> {
        if self.is_used() {
            return Ok(true);
        }
        self.ground.armed = true;
        self.call_flags.set(0);
        // Pairs with the device's fence between using and looking at the flags.
        fence(Ordering::SeqCst);
        Ok(self.is_used())
    }

    #[inline(always)]
    fn disarm(&mut self) {
        let Ground { armed, calls, .. } = &mut self.ground;
        if *armed && *calls == CallMode::Adaptive {
            *armed = false;
            self.call_flags.set(NEVER);
        }
    }
}
