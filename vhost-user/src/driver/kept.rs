//! Features that later links have to have as well.

use crate::wire::feature;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Those of the first link, once there was one, if they are to be kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept(Arc<AtomicU64>);

impl Kept {
    pub(super) fn features(&self) -> u64 {
        // Driver and connection are one object of one thread at a time; nothing else goes by it.
        self.0.load(Ordering::Relaxed)
    }

    /// From the first link on. The bit that only lives on the socket is no feature of the link.
    pub(super) fn keep(&self, features: u64) {
        if self.features() == 0 {
            self.0.store(features & !feature::PROTOCOL_FEATURES, Ordering::Relaxed);
        }
    }
}
