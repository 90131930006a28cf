//! What is noted elsewhere of what a ring does: the dirty log, and how far it is.

use crate::inflight::InflightRing;
use crate::log::RingLog;
use crate::memory::{GuestMemory, Place};
use ringport::burst::Committed;

/// Where a ring notes what it does. Mostly nowhere: then a burst pays one branch.
#[derive(Debug, Clone, Default)]
pub(super) struct Notes {
    log: Option<RingLog>,
    inflight: Option<InflightRing>,
}

impl Notes {
    pub(super) fn new(log: Option<RingLog>, inflight: Option<InflightRing>) -> Self {
        Self { log, inflight }
    }

    /// Whether there is anything to note.
    #[inline(always)]
    pub(super) fn any(&self) -> bool {
        self.log.is_some() || self.inflight.is_some()
    }

    /// Whether writes are logged.
    #[inline(always)]
    pub(super) fn log(&self) -> bool {
        self.log.is_some()
    }

    pub(super) fn exchange_log(&mut self, log: Option<RingLog>) -> Option<RingLog> {
        std::mem::replace(&mut self.log, log)
    }

    pub(super) fn inflight(&self) -> Option<&InflightRing> {
        self.inflight.as_ref()
    }

    /// Marks the pages that packets were written to, before the driver may know of them.
    pub(super) fn packets(&self, memory: &GuestMemory, committed: &Committed<'_>) {
        let Some(RingLog { log, .. }) = &self.log else { return };
        log.mark(committed.written().filter_map(|range| {
            let place = Place { region: range.region, offset: range.offset };
            Some((memory.guest_address(place)?, range.len as u64))
        }));
    }

    /// Marks what was written to the device area: offsets and lengths, in bytes.
    pub(super) fn device_area(&self, ranges: impl IntoIterator<Item = (u64, u64)>) {
        let Some(RingLog { log, device_area: Some(start) }) = &self.log else { return };
        log.mark(behind(*start, ranges));
    }

    /// Marks what was written to a packed ring's descriptors, of which the first is at this guest
    /// address.
    pub(super) fn descriptors(&self, start: u64, ranges: impl IntoIterator<Item = (u64, u64)>) {
        let Some(RingLog { log, device_area: Some(_) }) = &self.log else { return };
        log.mark(behind(start, ranges));
    }

    /// Ends a burst: whoever waits for the log is told.
    pub(super) fn tell(&self) {
        if let Some(RingLog { log, .. }) = &self.log {
            log.tell();
        }
    }
}

/// Ranges behind an address; those that no address can be are left out.
fn behind(
    start: u64,
    ranges: impl IntoIterator<Item = (u64, u64)>,
) -> impl Iterator<Item = (u64, u64)> {
    ranges.into_iter().filter_map(move |(offset, len)| Some((start.checked_add(offset)?, len)))
}
