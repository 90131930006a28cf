//! What the device says of its link, over all connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

/// The status field of the configuration space. It is the device's, not a connection's: the one that
/// comes next says the same.
///
/// Spec: VIRTIO 1.3 §5.1.4.
#[derive(Debug, Clone)]
pub(super) struct Status(Arc<AtomicU16>);

const LINK_UP: u16 = 1;
const ANNOUNCE: u16 = 2;

impl Default for Status {
    fn default() -> Self {
        Self(Arc::new(AtomicU16::new(LINK_UP)))
    }
}

impl Status {
    /// One that is nobody else's.
    pub(super) fn of(word: u16) -> Self {
        Self(Arc::new(AtomicU16::new(word)))
    }

    /// As the driver reads it.
    pub(super) fn word(&self) -> u16 {
        // Device and connection are one object of one thread at a time; nothing else goes by it.
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn is_up(&self) -> bool {
        self.word() & LINK_UP != 0
    }

    pub(super) fn set_up(&self, up: bool) {
        self.set(LINK_UP, up);
    }

    pub(super) fn wants_announcement(&self) -> bool {
        self.word() & ANNOUNCE != 0
    }

    pub(super) fn want_announcement(&self, wanted: bool) {
        self.set(ANNOUNCE, wanted);
    }

    fn set(&self, bit: u16, on: bool) {
        let word = self.word();
        self.0.store(if on { word | bit } else { word & !bit }, Ordering::Relaxed);
    }
}
