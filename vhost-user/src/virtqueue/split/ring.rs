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
use crate::virtqueue::{
    CHAIN_MAX, Called, KickMode, RingAddresses, RingEnds, RingError, RingFeatures,
};
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
    ends: RingEnds,
    kicks: KickMode,
    /// We asked for a kick and have taken nothing since.
    armed: bool,
    /// The first error, repeated for ever.
    failed: Option<QueueError>,
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
    /// The ring at `at`, from position `base` on.
    pub(super) fn new(
        memory: Arc<GuestMemory>,
        at: &RingAddresses,
        base: u16,
        features: &RingFeatures,
        kicks: KickMode,
        ends: RingEnds,
        access: Access,
    ) -> Result<Self, RingError> {
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
        let ring = Self {
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
            ends,
            kicks,
            armed: kicks == KickMode::Interrupt,
            failed: None,
        };
        ring.ask_first();
        Ok(ring)
    }

    /// Asks for kicks, or for none, from the first chain on.
    fn ask_first(&self) {
        match &self.events {
            // An index just passed is far away: one kick in 2^16 entries.
            Some(events) if self.kicks != KickMode::Interrupt => {
                events.available.set(self.cursor.next().0.wrapping_sub(1));
            }
            Some(events) => events.available.set(self.cursor.next().0),
            None => self.used_flags.set(u16::from(self.kicks != KickMode::Interrupt)),
        }
    }

    /// How many chains may be taken, when `wanted` would do.
    #[inline]
    pub(super) fn available(&mut self, wanted: u16) -> Result<u16, QueueError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if !self.ends.link.is_up() {
            return Err(self.ends.link.reason());
        }
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
        let Some(call) = &self.ends.call else { return Called::Never };
        let wanted = match &self.events {
            Some(events) => ring::must_ring_at(events.used.atomic(), before, self.cursor.next()),
            None => ring::must_ring(self.available_flags.atomic()),
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

    /// Asks for a kick, and returns whether there is work already, and whether there was a kick.
    pub(super) fn arm(&mut self) -> Result<(bool, bool), QueueError> {
        if self.kicks == KickMode::Polling {
            return self.available(1).map(|_| (true, false));
        }
        let kicked = self.ends.kick.drain().map_err(|_| QueueError::LinkDown)?;
        if self.available(1)? > 0 {
            return Ok((true, kicked));
        }
        self.armed = true;
        let Self { cursor, used_flags, available_index, .. } = self;
        let peer = available_index.atomic();
        let known = match &self.events {
            Some(events) => ring::arm_at(cursor, events.available.atomic(), peer)?,
            None => ring::arm(cursor, used_flags.atomic(), peer)?,
        };
        Ok((known > 0, kicked))
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
