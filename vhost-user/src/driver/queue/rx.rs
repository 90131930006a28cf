//! Receive queues: what the device sends.

use super::memory::Parts;
use super::receiver::receiver;
use super::{LayoutError, QueueOptions, RingLayout, packed, split};
use ringport::burst::{PacketRx, ReleaseRx, RxBatch, RxBurst};
use ringport::doorbell::Doorbell;
use ringport::error::QueueError;
use ringport::ring_view::RingView;
use ringport::stats::RxStats;
use std::fmt::Debug;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// A receive queue: delivers what the device sends on one ring, into buffers of ours. It lives as
/// long as its link.
#[derive(Debug)]
pub struct RxQueue {
    batch: RxBatch,
    side: Box<dyn RxSide>,
    /// Rung by the device, and at the end of the link.
    bell: Arc<Doorbell>,
}

/// What receives, whatever the ring's layout.
pub(super) trait RxSide: ReleaseRx + Debug + Send {
    /// Fills `batch` with the packets that are there, at most `max`.
    ///
    /// # Errors
    /// The link is down. Repeated for ever.
    fn fill(&mut self, batch: &mut RxBatch, max: usize) -> Result<(), QueueError>;

    /// Asks for a call, and returns whether packets are waiting already.
    ///
    /// # Errors
    /// As [`fill`](Self::fill).
    fn arm(&mut self) -> Result<bool, QueueError>;

    fn stats(&self) -> RxStats;

    fn view(&self) -> RingView;
}

impl RxQueue {
    pub(super) fn new(parts: &Parts, options: &QueueOptions) -> Result<Self, LayoutError> {
        let bell = match &options.call {
            Some(call) => Arc::clone(call),
            None => Arc::new(Doorbell::create()?),
        };
        parts.link.wake_at_end(Arc::clone(&bell));
        let features = &options.features;
        let (batch, side) = match parts.layout {
            RingLayout::Split => receiver(split::Ring::new(parts, options)?, parts, features),
            RingLayout::Packed => receiver(packed::Ring::new(parts, options)?, parts, features),
        };
        Ok(Self { batch, side, bell })
    }

    /// Leases up to `max` received packets, oldest first. Never blocks, allocates, or makes a
    /// system call. An empty ring is an empty burst. Buffers that are released go back to the device
    /// at once, with a kick if it wants one.
    ///
    /// # Errors
    /// [`QueueError`]: the link went down, or the device broke the ring. Repeated for ever.
    #[inline]
    pub fn rx_burst(&mut self, max: usize) -> Result<RxBurst<'_>, QueueError> {
        self.side.fill(&mut self.batch, max)?;
        Ok(RxBurst::new(&mut self.batch, &mut *self.side))
    }

    /// Asks the device for a call with the next packet, and returns whether packets are waiting
    /// already: when `true`, do not sleep. Takes earlier calls, one system call.
    ///
    /// # Errors
    /// As [`rx_burst`](Self::rx_burst).
    pub fn arm(&mut self) -> Result<bool, QueueError> {
        self.side.arm()
    }

    /// The counters now.
    #[must_use]
    pub fn stats(&self) -> RxStats {
        self.side.stats()
    }
}

impl AsFd for RxQueue {
    /// The doorbell, for the caller's epoll, mio or tokio: readable once the device called, and when
    /// the link ends.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl PacketRx for RxQueue {
    fn rx_burst(&mut self, max: usize) -> Result<RxBurst<'_>, QueueError> {
        Self::rx_burst(self, max)
    }

    fn arm(&mut self) -> Result<bool, QueueError> {
        Self::arm(self)
    }

    fn doorbell(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn stats(&self) -> RxStats {
        self.stats()
    }

    fn ring_view(&self) -> Option<RingView> {
        Some(self.side.view())
    }
}
