//! Transmit queues: packets for the device.

use super::memory::Parts;
use super::sender::sender;
use super::{LayoutError, QueueOptions, RingLayout, packed, split};
use ringport::burst::{CommitTx, PacketTx, TxBatch, TxBurst};
use ringport::doorbell::Doorbell;
use ringport::error::QueueError;
use ringport::ring_view::RingView;
use ringport::stats::TxStats;
use std::fmt::Debug;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// A transmit queue: takes packets for the device on one ring, in buffers of ours. It lives as long
/// as its link.
#[derive(Debug)]
pub struct TxQueue {
    batch: TxBatch,
    side: Box<dyn TxSide>,
    /// Rung by the device, and at the end of the link.
    bell: Option<Arc<Doorbell>>,
}

/// What sends, whatever the ring's layout.
pub(super) trait TxSide: CommitTx + Debug + Send {
    /// Reserves free buffers, at most `max`.
    ///
    /// # Errors
    /// The link is down. Repeated for ever.
    fn reserve(&mut self, batch: &mut TxBatch, max: usize) -> Result<(), QueueError>;

    /// Asks for a call, and returns whether buffers are free already.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve).
    fn arm(&mut self) -> Result<bool, QueueError>;

    fn stats(&self) -> TxStats;

    fn view(&self) -> RingView;
}

impl TxQueue {
    pub(super) fn new(parts: &Parts, options: &QueueOptions) -> Result<Self, LayoutError> {
        let bell = options.call.clone();
        if let Some(bell) = &bell {
            parts.link.wake_at_end(Arc::clone(bell));
        }
        let features = &options.features;
        let (batch, side) = match parts.layout {
            RingLayout::Split => sender(split::Ring::new(parts, options)?, parts, features),
            RingLayout::Packed => sender(packed::Ring::new(parts, options)?, parts, features),
        };
        Ok(Self { batch, side, bell })
    }

    /// Reserves up to `max` free buffers, with those that the device has given back meanwhile. Never
    /// blocks, allocates, or makes a system call. A full ring is an empty burst; a packet that is
    /// longer than a buffer takes several.
    ///
    /// # Errors
    /// [`QueueError`]: the link went down, or the device broke the ring. Repeated for ever.
    #[inline]
    pub fn tx_burst(&mut self, max: usize) -> Result<TxBurst<'_>, QueueError> {
        self.side.reserve(&mut self.batch, max)?;
        Ok(TxBurst::new(&mut self.batch, &mut *self.side))
    }

    /// Asks the device for a call when it gives buffers back, and returns whether some are free
    /// already: when `true`, do not sleep. Takes earlier calls, one system call.
    ///
    /// # Errors
    /// As [`tx_burst`](Self::tx_burst).
    pub fn arm(&mut self) -> Result<bool, QueueError> {
        self.side.arm()
    }

    /// The counters now.
    #[must_use]
    pub fn stats(&self) -> TxStats {
        self.side.stats()
    }
}

impl PacketTx for TxQueue {
    fn tx_burst(&mut self, max: usize) -> Result<TxBurst<'_>, QueueError> {
        Self::tx_burst(self, max)
    }

    fn arm(&mut self) -> Result<bool, QueueError> {
        Self::arm(self)
    }

    fn doorbell(&self) -> Option<BorrowedFd<'_>> {
        self.bell.as_ref().map(|bell| bell.as_fd())
    }

    fn stats(&self) -> TxStats {
        self.stats()
    }

    fn ring_view(&self) -> Option<RingView> {
        Some(self.side.view())
    }
}
