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

use super::chain::Walker;
use crate::memory::GuestMemory;
use crate::virtqueue::area::Area;
use crate::virtqueue::descriptor::Access;
use crate::virtqueue::line::Standing;
use crate::virtqueue::seat::Seat;
use crate::virtqueue::{CHAIN_MAX, Called, KickMode, RingAddresses, RingError, RingStart};
use ringport::doorbell::Doorbell;
use ringport::error::QueueError;
use ringport::ring::{self, Cursor, RingIdx};
use ringport::shm::{DescTable, IndexTable, SharedU16, UsedTable};
use std::sync::Arc;

/// A ring in the driver's memory.
#[derive(Debug)]
pub(super) struct Ring {
    /// Our position in both rings: chains are used in the order in which they come.
    pub(super) cursor: Cursor,
    pub(super) memory: Arc<GuestMemory>,
    pub(super) descriptors: DescTable,
    pub(super) available: IndexTable,
    pub(super) used: UsedTable,
    pub(super) walker: Walker,
    available_flags: SharedU16,
    available_index: SharedU16,
    used_flags: SharedU16,
    used_index: SharedU16,
    /// With EVENT_IDX.
    events: Option<Events>,
    call: Option<Arc<Doorbell>>,
    kicks: KickMode,
    /// We asked for a kick and have taken nothing since.
    armed: bool,
    seat: Arc<Seat>,
}

/// The indices that the sides want to hear of.
#[derive(Debug)]
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
pub fn published(memory: &GuestMemory, at: &RingAddresses) -> Result<u16, RingError> {
    let area = Area::find(memory, "used ring", at.device, 4)?;
    Ok(area.word(2)?.atomic().load(std::sync::atomic::Ordering::Acquire))
}

impl Ring {
    /// The ring that `start` describes, from position `base` on. Writes nothing to it.
    pub(super) fn new(
        memory: Arc<GuestMemory>,
        start: &RingStart,
        base: u16,
        access: Access,
        seat: Arc<Seat>,
    ) -> Result<Self, RingError> {
        let RingStart { addresses: at, features, kicks, .. } = start;
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
        let limit = size.min(CHAIN_MAX);
        Ok(Self {
            cursor,
            descriptors: table.view(|mapping, offset| DescTable::new(mapping, offset, size))?,
            available: driver.view(|mapping, at| IndexTable::new(mapping, at + 4, size))?,
            used: device.view(|mapping, at| UsedTable::new(mapping, at + 4, size))?,
            walker: Walker { limit, indirect: features.indirect, access },
            available_flags: driver.word(0)?,
            available_index: driver.word(2)?,
            used_flags: device.word(0)?,
            used_index: device.word(2)?,
            memory,
            events,
            call: start.call.clone(),
            kicks: *kicks,
            armed: *kicks == KickMode::Interrupt,
            seat,
        })
    }

    /// Asks for kicks, or for none, from the next chain on.
    pub(super) fn begin(&self) {
        match &self.events {
            // An index just passed is far away: one kick in 2^16 entries.
            Some(events) if !self.armed => {
                events.available.set(self.cursor.next().0.wrapping_sub(1));
            }
            Some(events) => events.available.set(self.cursor.next().0),
            None => self.used_flags.set(u16::from(!self.armed)),
        }
    }

    pub(super) fn standing(&self) -> Standing {
        let position = self.position();
        Standing { position, armed: self.armed, call: self.call.clone() }
    }

    pub(super) fn resume(&mut self, from: Standing) {
        // A position of a split ring has 16 bits.
        self.cursor.restart_at(RingIdx(u16::try_from(from.position).unwrap_or(0)));
        (self.armed, self.call) = (from.armed, from.call);
        self.begin();
    }

    pub(super) fn set_call(&mut self, call: Option<Arc<Doorbell>>) {
        self.call = call;
    }

    #[inline(always)]
    fn position(&self) -> u32 {
        u32::from(self.cursor.next().0)
    }

    /// Ends the burst.
    #[inline(always)]
    pub(super) fn leave(&self) {
        self.seat.leave(self.position());
    }

    /// How many chains may be taken, when `wanted` would do.
    #[inline]
    pub(super) fn available(&mut self, wanted: u16) -> Result<u16, QueueError> {
        Ok(self.cursor.available(self.available_index.atomic(), wanted)?)
    }

    /// The chain at position `at` from ours on.
    pub(super) fn head(&self, at: u16) -> Result<u16, QueueError> {
        let index = self.available.load(self.cursor.next().ahead(at).0);
        let entries = self.cursor.ring_size();
        if index >= entries {
            return Err(QueueError::NoSuchDescriptor { index, entries });
        }
        Ok(index)
    }

    /// Publishes the next `count` used elements with one store, and calls the driver if it wants
    /// that.
    #[inline]
    pub(super) fn publish(&mut self, count: u16) -> Called {
        let before = self.cursor.next();
        self.cursor.publish(self.used_index.atomic(), count);
        let Some(call) = &self.call else { return Called::Never };
        let wanted = match &self.events {
            Some(events) => ring::must_ring_at(events.used.atomic(), before, self.cursor.next()),
            None => ring::must_ring(self.available_flags.atomic()),
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
        if !self.armed {
            return;
        }
        match (&self.events, self.kicks) {
            // Behind the driver's back as soon as it goes on: stays silent by itself.
            (Some(_), KickMode::Adaptive) => self.armed = false,
            (None, KickMode::Adaptive) => {
                self.armed = false;
                ring::disarm(self.used_flags.atomic());
            }
            (Some(events), _) => {
                events.available.set(self.cursor.next().ahead(self.cursor.cached()).0);
            }
            (None, _) => {}
        }
    }

    /// Asks for a kick, and returns whether there is work already.
    pub(super) fn arm(&mut self) -> Result<bool, QueueError> {
        if self.kicks == KickMode::Polling || self.available(1)? > 0 {
            return Ok(true);
        }
        self.armed = true;
        let Self { cursor, used_flags, available_index, .. } = self;
        let peer = available_index.atomic();
        let known = match &self.events {
            Some(events) => ring::arm_at(cursor, events.available.atomic(), peer)?,
            None => ring::arm(cursor, used_flags.atomic(), peer)?,
        };
        Ok(known > 0)
    }
}
