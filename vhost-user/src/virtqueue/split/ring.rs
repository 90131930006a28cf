//! What both kinds of queue know of their ring.
//!
//! | area | offset | bytes | field |
//! |---|---|---|---|
//! | driver | 0 | 2 | flags: bit 0, call us not |
//! | | 2 | 2 | index |
//! | | 4 | 2 each | heads of chains |
//! | | 4 + 2 × size | 2 | with EVENT_IDX: the used entry to call for |
//! | device | 0 | 2 | flags: bit 0, kick us not |
//! | | 2 | 2 | index |
//! | | 4 | 8 each | head, length written |
//! | | 4 + 8 × size | 2 | with EVENT_IDX: the available entry to kick for |
//!
//! Spec: VIRTIO 1.3 §2.7.6 to §2.7.10.

use super::chain;
use crate::memory::GuestMemory;
use crate::virtqueue::area::Area;
use crate::virtqueue::descriptor::{Access, Descriptor};
use crate::virtqueue::layout::{self, Ground, Layout, Walked};
use crate::virtqueue::seat::Seat;
use crate::virtqueue::{Called, KickMode, RingAddresses, RingError, RingStart};
use ringport::burst::{Piece, Shape};
use ringport::error::QueueError;
use ringport::ring::{self, Cursor, RingIdx};
use ringport::ring_view::RingView;
use ringport::shm::{DescTable, IndexTable, SharedU16, UsedTable};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A ring in the driver's memory.
#[derive(Debug, Clone)]
pub(in crate::virtqueue) struct Ring {
    ground: Ground,
    /// Our position in both rings: chains are used in the order in which they come.
    cursor: Cursor,
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
#[derive(Debug, Clone)]
struct Events {
    /// Written by the driver: when to call it.
    used: SharedU16,
    /// Written by us: when to kick us.
    available: SharedU16,
}

/// The index that a device published in the used ring of a ring at `at`: where a ring goes on whose
/// device ended without saying how far it was.
///
/// # Errors
/// [`RingError`]: there is no ring at these addresses.
pub(crate) fn published(memory: &GuestMemory, at: &RingAddresses) -> Result<u16, RingError> {
    let area = Area::find(memory, "used ring", at.device, 4)?;
    Ok(area.word(2)?.atomic().load(Ordering::Acquire))
}

/// The heads of the chains that the driver has made available from `from` on, at most one turn.
///
/// # Errors
/// As [`published`].
pub(crate) fn heads(
    memory: &GuestMemory,
    at: &RingAddresses,
    from: u16,
) -> Result<impl Iterator<Item = u16>, RingError> {
    let size = at.size;
    if !size.is_power_of_two() {
        return Err(RingError::Size { size });
    }
    let area = Area::find(memory, "available ring", at.driver, 4 + 2 * u64::from(size))?;
    let table = area.view(|mapping, offset| IndexTable::new(mapping, offset + 4, size))?;
    let available = area.word(2)?.atomic().load(Ordering::Acquire);
    let count = available.wrapping_sub(from).min(size);
    Ok((0..count).map(move |ahead| table.load(from.wrapping_add(ahead))))
}

impl Ring {
    /// The ring that `start` describes, from position `base` on. Writes nothing to it.
    pub(in crate::virtqueue) fn new(
        memory: Arc<GuestMemory>,
        start: &RingStart,
        base: u16,
        access: Access,
        seat: Arc<Seat>,
    ) -> Result<Self, RingError> {
        let RingStart { addresses: at, features, .. } = start;
        let size = at.size;
        if !size.is_power_of_two() {
            return Err(RingError::Size { size });
        }
        let (entries, event) = (u64::from(size), if features.event_idx { 2 } else { 0 });
        let table = Area::find(&memory, "descriptor table", at.descriptor, 16 * entries)?;
        let driver = Area::find(&memory, "available ring", at.driver, 4 + 2 * entries + event)?;
        let device = Area::find(&memory, "used ring", at.device, 4 + 8 * entries + event)?;
        let events = match features.event_idx {
            true => Some(Events {
                used: driver.word(4 + 2 * entries)?,
                available: device.word(4 + 8 * entries)?,
            }),
            false => None,
        };
        let mut cursor = Cursor::new(size, 0, 0);
        cursor.restart_at(RingIdx(base));
        Ok(Self {
            cursor,
            descriptors: table.view(|mapping, offset| DescTable::new(mapping, offset, size))?,
            available: driver.view(|mapping, at| IndexTable::new(mapping, at + 4, size))?,
            used: device.view(|mapping, at| UsedTable::new(mapping, at + 4, size))?,
            available_flags: driver.word(0)?,
            available_index: driver.word(2)?,
            used_flags: device.word(0)?,
            used_index: device.word(2)?,
            events,
            ground: Ground::new(Arc::clone(&memory), start, access, seat),
        })
    }

    /// How many chains may be taken, when `wanted` would do.
    #[inline]
    fn available(&mut self, wanted: u16) -> Result<u16, QueueError> {
        Ok(self.cursor.available(self.available_index.atomic(), wanted)?)
    }

    /// Publishes the next `count` used elements with one store, and calls the driver if it wants
    /// that.
    #[inline]
    fn publish(&mut self, count: u16) -> Called {
        let before = self.cursor.next();
        if self.ground.notes.any() {
            self.publish_noted(count);
        } else {
            self.cursor.publish(self.used_index.atomic(), count);
        }
        self.ground.call(|| match &self.events {
            Some(events) => ring::must_ring_at(events.used.atomic(), before, self.cursor.next()),
            None => ring::must_ring(self.available_flags.atomic()),
        })
    }
}

impl Ring {
    /// Publishes, and notes what was written: the elements before the driver may know of them.
    #[cold]
    fn publish_noted(&mut self, count: u16) {
        let Self { ground: Ground { notes, .. }, cursor, used_index, .. } = self;
        let (slot, size) = (cursor.next().0 % cursor.ring_size(), cursor.ring_size());
        let until_end = count.min(size - slot);
        let elements = |slot: u16, count: u16| (4 + 8 * u64::from(slot), 8 * u64::from(count));
        notes.device_area([elements(slot, until_end), elements(0, count - until_end)]);
        cursor.publish(used_index.atomic(), count);
        notes.device_area([INDEX]);
        if let Some(inflight) = notes.inflight() {
            inflight.used(cursor.next().0);
        }
        notes.tell();
    }

    /// Notes that what asks the driver for kicks was written.
    #[inline(always)]
    fn note_asked(&self) {
        if self.ground.notes.log() {
            let event = 4 + 8 * u64::from(self.cursor.ring_size());
            let event = self.events.is_some().then_some((event, 2));
            self.ground.notes.device_area([INDEX].into_iter().chain(event));
        }
    }
}

/// Flags and index of the device area: offset and length, in bytes.
const INDEX: (u64, u64) = (0, 4);

impl layout::Ring for Ring {
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

    fn ground_mut(&mut self) -> &mut Ground {
        &mut self.ground
    }

    #[inline(always)]
    fn position(&self) -> u32 {
        u32::from(self.cursor.next().0)
    }

    fn set_position(&mut self, position: u32) {
        // One of a split ring has 16 bits.
        self.cursor.restart_at(RingIdx(u16::try_from(position).unwrap_or(0)));
    }

    fn tell(&self) {
        match &self.events {
            // An index just passed is far away: one kick in 2^16 entries.
            Some(events) if !self.ground.armed => {
                events.available.set(self.cursor.next().0.wrapping_sub(1));
            }
            Some(events) => events.available.set(self.cursor.next().0),
            None => self.used_flags.set(u16::from(!self.ground.armed)),
        }
        self.note_asked();
    }

    fn arm(&mut self) -> Result<bool, QueueError> {
        if self.ground.kicks == KickMode::Polling || self.available(1)? > 0 {
            return Ok(true);
        }
        self.ground.armed = true;
        let Self { cursor, used_flags, available_index, .. } = self;
        let peer = available_index.atomic();
        let known = match &self.events {
            Some(events) => ring::arm_at(cursor, events.available.atomic(), peer)?,
            None => ring::arm(cursor, used_flags.atomic(), peer)?,
        };
        self.note_asked();
        Ok(known > 0)
    }
}

impl Layout for Ring {
    /// The chain's head.
    type Chain = u16;
    type Place = RingIdx;

    #[inline(always)]
    fn size(&self) -> u16 {
        self.cursor.ring_size()
    }

    #[inline(always)]
    fn look(&mut self, wanted: usize) -> Result<usize, QueueError> {
        let wanted = u16::try_from(wanted).unwrap_or(u16::MAX);
        Ok(self.available(wanted)?.min(wanted).into())
    }

    #[inline(always)]
    fn plain(&self, access: Access, _: &mut bool) -> impl Iterator<Item = (u16, Piece)> {
        let (available, descriptors) = (self.available.view(), self.descriptors.view());
        let (first, size) = (self.cursor.next(), self.cursor.ring_size());
        let mut memory = self.ground.memory.translator();
        (0..u16::MAX).map_while(move |at| {
            let head = available.load(first.ahead(at).0);
            let descriptor = Descriptor::from_words(descriptors.load(head));
            if head >= size || !descriptor.is_plain(access) {
                return None;
            }
            let (region, offset) = memory.locate(descriptor.address, descriptor.len)?;
            Some((head, Piece::alone(offset, Shape::new(region, descriptor.len, false))))
        })
    }

    #[inline(always)]
    fn place(&self, plain: usize) -> RingIdx {
        // No loss: a ring has fewer entries.
        self.cursor.next().ahead(u16::try_from(plain).unwrap_or(u16::MAX))
    }

    #[inline(always)]
    fn has(&self, at: RingIdx) -> bool {
        at.since(self.cursor.next()) < self.cursor.cached()
    }

    fn behind(&self, at: RingIdx, _: u16) -> Option<RingIdx> {
        Some(at.ahead(1))
    }

    fn walk(
        &self,
        at: RingIdx,
        walked: &mut Walked,
    ) -> Result<(u16, Result<u32, QueueError>), QueueError> {
        let (index, entries) = (self.available.load(at.0), self.cursor.ring_size());
        if index >= entries {
            return Err(QueueError::NoSuchDescriptor { index, entries });
        }
        let Ground { walker, memory, .. } = &self.ground;
        Ok((index, chain::walk(walker, (&self.descriptors, entries), index, memory, walked)))
    }

    #[inline(always)]
    fn give_back(&mut self, used: impl Iterator<Item = (u16, u32)>) -> Called {
        let (view, first) = (self.used.view(), self.cursor.next());
        let mut count = 0u16;
        for (head, len) in used {
            view.store(first.ahead(count).0, head, len);
            count += 1;
        }
        self.publish(count)
    }

    #[inline(always)]
    fn give_back_run(&mut self, heads: &[u16]) -> Called {
        // The last one's element is where the first one's would be.
        if let Some(last) = heads.last() {
            self.used.store(self.cursor.next().0, *last, 0);
        }
        // No loss: a ring has fewer entries.
        self.publish(u16::try_from(heads.len()).unwrap_or(u16::MAX))
    }

    fn pass(&mut self, heads: &[u16]) {
        // No loss: as above.
        self.cursor.pass(u16::try_from(heads.len()).unwrap_or(u16::MAX));
    }

    #[inline]
    fn disarm(&mut self) {
        let ground = &mut self.ground;
        if !ground.armed {
            return;
        }
        match (&self.events, ground.kicks) {
            // Behind the driver's back as soon as it goes on: stays silent by itself.
            (Some(_), KickMode::Adaptive) => ground.armed = false,
            (None, KickMode::Adaptive) => {
                ground.armed = false;
                ring::disarm(self.used_flags.atomic());
            }
            (Some(events), _) => {
                events.available.set(self.cursor.next().ahead(self.cursor.cached()).0);
            }
            (None, _) => {}
        }
        self.note_asked();
    }
}
