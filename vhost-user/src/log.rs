//! The dirty log: which pages of the guest we wrote to, while the front-end migrates it.
//!
//! One bit for each page of 4 KiB, by guest address. The front-end takes bits back and then copies
//! the pages, so a bit is set after its page was written, and that of a packet before the driver can
//! know of the packet.
//!
//! Spec: vhost-user "Migration".

use ringport::doorbell::Doorbell;
use ringport::shm::{Mapping, OutOfRange, SharedBitmap};
use std::sync::Arc;

/// Bytes of guest memory for which a bit stands.
pub const PAGE: u64 = 4096;

/// A dirty log in the front-end's memory. Pages that it has no bits for are left out.
#[derive(Debug, Clone)]
pub struct DirtyLog {
    pages: SharedBitmap,
    /// Rung after pages were marked.
    bell: Option<Arc<Doorbell>>,
}

/// The log of one ring.
#[derive(Debug, Clone)]
pub struct RingLog {
    /// What is written to.
    pub log: DirtyLog,
    /// Guest address under which writes to the device area are logged; `None` when those to the ring
    /// are not.
    pub device_area: Option<u64>,
}

impl DirtyLog {
    /// The log of `size` bytes at `offset` bytes of the mapping.
    ///
    /// # Errors
    /// [`OutOfRange`] when it leaves the mapping.
    ///
    /// Spec: vhost-user VHOST_USER_SET_LOG_BASE.
    pub fn new(mapping: &Arc<Mapping>, offset: u64, size: u64) -> Result<Self, OutOfRange> {
        Ok(Self { pages: SharedBitmap::new(mapping, offset, size)?, bell: None })
    }

    /// The same, with a doorbell that is rung after each burst that marked something.
    ///
    /// Spec: vhost-user VHOST_USER_SET_LOG_FD.
    #[must_use]
    pub fn with_bell(self, bell: Option<Arc<Doorbell>>) -> Self {
        Self { bell, ..self }
    }

    /// Marks the pages of these ranges (guest address and length in bytes), which were written to.
    pub(crate) fn mark(&self, ranges: impl Iterator<Item = (u64, u64)>) {
        self.pages.order();
        for (address, len) in ranges {
            let Some(last) = len.checked_sub(1).and_then(|last| address.checked_add(last)) else {
                continue;
            };
            (address / PAGE..=last / PAGE).for_each(|page| self.pages.set(page));
        }
    }

    /// Tells whoever waits for it that pages were marked.
    pub(crate) fn tell(&self) {
        if let Some(bell) = &self.bell {
            // It is a courtesy; the front-end looks whenever it likes.
            let _ = bell.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringport::shm::{Backing, OwnedMemory};

    fn log() -> (OwnedMemory, DirtyLog) {
        let memory = OwnedMemory::create("log", 4096, Backing::Pages).unwrap();
        let log = DirtyLog::new(memory.mapping(), 0, 4096).unwrap();
        (memory, log)
    }

    fn marked(log: &DirtyLog) -> Vec<u64> {
        (0..4096 * 8).filter(|page| log.pages.get(*page) == Some(true)).collect()
    }

    #[test]
    fn every_page_of_a_range_is_marked_and_no_other() {
        let (_memory, log) = log();
        let ranges = [(0x1fff, 1), (0x3fff, 2), (0x8000, 0x1000), (0xa001, 0x2000)];
        log.mark(ranges.into_iter());
        assert_eq!(marked(&log), [1, 3, 4, 8, 10, 11, 12]);
    }

    #[test]
    fn ranges_that_wrap_around_or_are_empty_or_beyond_the_log_mark_nothing() {
        let (_memory, log) = log();
        let ranges = [(0x5000, 0), (u64::MAX, 2), (u64::MAX, 1), (4096 * 8 * PAGE, 4096)];
        log.mark(ranges.into_iter());
        assert_eq!(marked(&log), [0u64; 0]);
    }
}
