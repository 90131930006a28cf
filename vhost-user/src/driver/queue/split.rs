//! Split virtqueues, from the driver's side.
//!
//! | area | offset | bytes | field |
//! |---|---|---|---|
//! | driver | 0 | 2 | flags: bit 0, call us not |
//! | | 2 | 2 | index |
//! | | 4 | 2 each | heads of chains |
//! | | 4 + 2 × size | 2 | with EVENT_IDX: the used element to call for |
//! | device | 0 | 2 | flags: bit 0, kick not |
//! | | 2 | 2 | index |
//! | | 4 | 8 each | head, length written |
//! | | 4 + 8 × size | 2 | with EVENT_IDX: the available entry to kick for |
//!
//! The descriptor of buffer `n` is number `n` of the table.
//!
//! Spec: VIRTIO 1.3 §2.7.

use super::layout::{Buffer, Ground, Layout, Passed, Taken, Used};
use super::memory::Parts;
use super::{CallMode, QueueOptions};
use crate::virtqueue::Called;
use crate::virtqueue::descriptor::Descriptor;
use ringport::error::QueueError;
use ringport::ring::{self, Cursor, RingIdx};
use ringport::ring_view::RingView;
use ringport::shm::{DescTable, IndexTable, OutOfRange, SharedU16, UsedTable};
use std::sync::atomic::Ordering;

/// How many used elements more than a burst's are asked for, so that lines can be fetched ahead.
const LOOK_AHEAD: u16 = 64;

#[derive(Debug)]
pub(super) struct Ring {
    ground: Ground,
    /// In the used ring.
    cursor: Cursor,
    /// Our index: how many chains were made available.
    offered: RingIdx,
    descriptors: DescTable,
    available: IndexTable,
    used: UsedTable,
    available_flags: SharedU16,
    available_index: SharedU16,
    used_flags: SharedU16,
    used_index: SharedU16,
    /// With EVENT_IDX.
    events: Option<Events>,
}

/// The indices that the sides want to hear of.
#[derive(Debug)]
struct Events {
    /// Written by us: when to call us.
    used: SharedU16,
    /// Written by the device: when to kick it.
    available: SharedU16,
}

impl Ring {
    pub(super) fn new(parts: &Parts, options: &QueueOptions) -> Result<Self, OutOfRange> {
        let (mapping, at) = (&parts.mapping, parts.place);
        let (size, entries) = (at.size, u64::from(at.size));
        let word = |offset| SharedU16::new(mapping, offset);
        let events = match options.features.event_idx {
            true => Some(Events {
                used: word(at.driver + 4 + 2 * entries)?,
                available: word(at.device + 4 + 8 * entries)?,
            }),
            false => None,
        };
        let ring = Self {
            ground: Ground::new(parts, options),
            cursor: Cursor::new(size, 0, 0),
            offered: RingIdx(0),
            descriptors: DescTable::new(mapping, at.descriptor, size)?,
            available: IndexTable::new(mapping, at.driver + 4, size)?,
            used: UsedTable::new(mapping, at.device + 4, size)?,
            available_flags: word(at.driver)?,
            available_index: word(at.driver + 2)?,
            used_flags: word(at.device)?,
            used_index: word(at.device + 2)?,
            events,
        };
        ring.tell();
        Ok(ring)
    }

    /// Tells the device whether it is to call.
    fn tell(&self) {
        let armed = self.ground.armed;
        match &self.events {
            // An index just passed is far away: one call in 2^16 elements.
            Some(events) => {
                let next = self.cursor.next().0;
                events.used.set(if armed { next } else { next.wrapping_sub(1) });
            }
            None => self.available_flags.set(u16::from(!armed)),
        }
    }

    /// How many used elements are there, when `wanted` would do.
    #[inline(always)]
    fn look(&mut self, wanted: u16) -> Result<u16, QueueError> {
        self.cursor.available(self.used_index.atomic(), wanted)?;
        self.checked()
    }

    /// What is known, if the device has had as much.
    #[inline(always)]
    fn checked(&self) -> Result<u16, QueueError> {
        let (queued, ring_size) = (self.cursor.cached(), self.cursor.ring_size());
        if queued > self.offered.since(self.cursor.next()) {
            return Err(QueueError::IndexRunaway { queued, ring_size });
        }
        Ok(queued)
    }

    /// Makes the next `count` heads available with one store, and kicks the device if it wants that.
    #[inline(always)]
    fn publish(&mut self, count: u16) -> Called {
        let before = self.offered;
        self.offered = before.ahead(count);
        self.available_index.atomic().store(self.offered.0, Ordering::Release);
        self.ground.kick(|| match &self.events {
            Some(events) => ring::must_ring_at(events.available.atomic(), before, self.offered),
            None => ring::must_ring(self.used_flags.atomic()),
        })
    }
}

impl Layout for Ring {
    fn view(&self) -> RingView {
        let load = |word: &SharedU16| word.atomic().load(Ordering::Relaxed);
        let mut words = vec![
            ("avail.idx", load(&self.available_index)),
            ("avail.flags", load(&self.available_flags)),
            ("used.idx", load(&self.used_index)),
            ("used.flags", load(&self.used_flags)),
        ];
        if let Some(events) = &self.events {
            words.push(("used_event", load(&events.used)));
            words.push(("avail_event", load(&events.available)));
        }
        words.push(("next", self.cursor.next().0));
        RingView { layout: "split", size: self.cursor.ring_size(), words }
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
        let known = self.look(wanted.saturating_add(LOOK_AHEAD).min(self.cursor.ring_size()))?;
        let (view, first) = (self.used.view(), self.cursor.next());
        let (mut chains, mut outcome) = (0, Ok(()));
        // Those of the next burst, as far as they are there.
        let now = known.min(wanted);
        view.prefetch_read(first.ahead(now).0, (known - now).min(wanted));
        while chains < now {
            let (id, len) = view.load(first.ahead(chains).0);
            match take(Used { id, len, chains_max: known - chains }) {
                Ok(taken) => chains += taken.chains,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        self.cursor.pass(chains);
        outcome
    }

    /// The index says all: the lines of the elements stay the device's.
    ///
    /// Spec: VIRTIO 1.3 §2.7.9.
    #[inline(always)]
    fn take_in_order(
        &mut self,
        wanted: u16,
        mut take: impl FnMut(Passed) -> Result<Taken, QueueError>,
    ) -> Result<(), QueueError> {
        let known = self.look(wanted)?;
        self.cursor.pass(take(Passed::Chains(known))?.chains);
        Ok(())
    }

    #[inline(always)]
    fn offer(&mut self, buffers: impl Iterator<Item = Buffer>) -> Called {
        let (descriptors, available) = (self.descriptors.view(), self.available.view());
        let (first, mut chains) = (self.offered, 0u16);
        for Buffer { id, head, address, len, flags, next } in buffers {
            let words = Descriptor { address, len, flags, next }.to_words();
            // As below.
            if descriptors.load(id) != words {
                descriptors.store(id, words);
            }
            if id == head {
                let slot = first.ahead(chains).0;
                // Mostly the same as a turn before: then the device's copy of the line stays good.
                if available.load(slot) != head {
                    available.store(slot, head);
                }
                chains += 1;
            }
        }
        self.publish(chains)
    }

    #[inline(always)]
    fn offer_again(&mut self, buffers: impl Iterator<Item = Buffer>) -> Called {
        let (available, first) = (self.available.view(), self.offered);
        let mut chains = 0u16;
        for Buffer { head, .. } in buffers {
            let slot = first.ahead(chains).0;
            if available.load(slot) != head {
                available.store(slot, head);
            }
            chains += 1;
        }
        self.publish(chains)
    }

    /// The available ring names them already.
    #[inline(always)]
    fn offer_in_turn(&mut self, count: u16, _: impl Iterator<Item = Buffer>) -> Called {
        self.publish(count)
    }

    /// Descriptors mostly stay as they are.
    #[inline(always)]
    fn fetch_ahead(&self, _count: u16) {}

    fn arm(&mut self) -> Result<bool, QueueError> {
        if self.look(1)? > 0 {
            return Ok(true);
        }
        self.ground.armed = true;
        let Self { cursor, events, available_flags, used_index, .. } = self;
        match events {
            Some(events) => ring::arm_at(cursor, events.used.atomic(), used_index.atomic())?,
            None => ring::arm(cursor, available_flags.atomic(), used_index.atomic())?,
        };
        Ok(self.checked()? > 0)
    }

    #[inline(always)]
    fn disarm(&mut self) {
        let ground = &mut self.ground;
        if !ground.armed {
            return;
        }
        match (&self.events, ground.calls) {
            // Behind the device's back as soon as it goes on: stays silent by itself.
            (Some(_), CallMode::Adaptive) => ground.armed = false,
            (None, CallMode::Adaptive) => {
                ground.armed = false;
                ring::disarm(self.available_flags.atomic());
            }
            (Some(events), _) => {
                events.used.set(self.cursor.next().ahead(self.cursor.cached()).0);
            }
            (None, _) => {}
        }
    }
}
