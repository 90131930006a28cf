//! Receive queues.

use super::RxMode;
use super::descriptor::own_shape;
use super::ring::{Ring, Window};
use ringport::burst::{FillLimits, PacketRx, ReleaseRx, Released, RxBatch, RxBurst, Shape};
use ringport::error::QueueError;
use ringport::ring::{arm, disarm};
use ringport::ring_view::RingView;
use ringport::stats::RxStats;
use std::os::fd::{AsFd, BorrowedFd};

/// A receive queue: delivers what the peer sent on one ring.
#[derive(Debug)]
pub struct RxQueue {
    batch: RxBatch,
    side: RxSide,
}

#[derive(Debug)]
struct RxSide {
    ring: Ring,
    mode: RxMode,
    chain_max: u16,
    /// We asked for a doorbell and have not received since.
    armed: bool,
    /// Slots that hold nothing but the beginning of a packet, as last seen.
    partial: u16,
    stats: RxStats,
}

impl RxQueue {
    pub(super) fn new(ring: Ring, batch: RxBatch, mode: RxMode, chain_max: u16) -> Self {
        let armed = mode == RxMode::Interrupt;
        let (partial, stats) = (0, RxStats::default());
        Self { batch, side: RxSide { ring, mode, chain_max, armed, partial, stats } }
    }

    /// Leases up to `max` received packets, oldest first. Never blocks, allocates, or makes a
    /// system call. An empty ring is an empty burst.
    ///
    /// # Errors
    /// [`QueueError`]: the link went down or the peer broke the ring contract. Repeated for ever.
    ///
    /// Spec: [indices](crate::protocol#indices).
    #[inline]
    pub fn rx_burst(&mut self, max: usize) -> Result<RxBurst<'_>, QueueError> {
        if let Err(error) = self.side.fill(&mut self.batch, max) {
            return Err(self.side.fail(error));
        }
        Ok(RxBurst::new(&mut self.batch, &mut self.side))
    }

    /// Asks the peer to ring the doorbell for the next packet, and returns whether packets are
    /// waiting already: when `true`, do not sleep. Drains the doorbell, one system call.
    ///
    /// # Errors
    /// As [`rx_burst`](Self::rx_burst).
    pub fn arm(&mut self) -> Result<bool, QueueError> {
        if self.side.mode == RxMode::Polling {
            return Ok(true);
        }
        self.side.arm().map_err(|error| self.side.fail(error))
    }

    /// The counters now.
    #[must_use]
    pub fn stats(&self) -> RxStats {
        self.side.stats
    }

    /// Slots in the ring.
    #[must_use]
    pub fn ring_size(&self) -> u16 {
        self.side.ring.cursor.ring_size()
    }
}

impl AsFd for RxQueue {
    /// The doorbell, for the caller's epoll, mio or tokio: readable once the peer rang.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.side.ring.doorbell.as_fd()
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
        Some(self.side.ring.view())
    }
}

impl RxSide {
    /// Fills `batch` with the packets that are there, at most `max`.
    #[inline]
    fn fill(&mut self, batch: &mut RxBatch, max: usize) -> Result<(), QueueError> {
        batch.clear();
        let wanted = u16::try_from(max.min(batch.capacity())).unwrap_or(u16::MAX);
        let mut window = self.ring.window(wanted)?;
        if window.known == 0 || wanted == 0 {
            self.stats.empty_bursts += 1;
            return Ok(());
        }
        self.take(batch, window, wanted)?;
        while batch.packets() == 0 {
            // One packet whose end has not been published: look once more, else wait for it.
            let now = self.ring.available_now()?;
            if now == window.known {
                self.partial = now;
                return if self.ring.is_draining() { Err(QueueError::LinkDown) } else { Ok(()) };
            }
            window.known = now;
            self.take(batch, window, wanted)?;
        }
        self.partial = 0;
        if self.armed && self.mode == RxMode::Adaptive {
            self.armed = false;
            disarm(self.ring.flags.atomic());
        }
        Ok(())
    }

    /// Takes descriptors until `wanted` packets are complete.
    #[inline]
    fn take(&mut self, batch: &mut RxBatch, window: Window, wanted: u16) -> Result<(), QueueError> {
        let (packets_max, chain_max) = (wanted.into(), self.chain_max.into());
        let limits = |piece_len_max| FillLimits { packets_max, chain_max, piece_len_max };
        let Ring { descriptors, buffers, seen, .. } = &mut self.ring;
        let (from, lines) = window.descriptors_ahead(wanted);
        let count = window.known;
        match buffers {
            // The client's descriptors: all of each is checked, by the batch.
            None => {
                descriptors.prefetch_read(from, lines);
                let pieces = seen.pieces(window, count, descriptors.view());
                batch.fill(pieces, limits(u32::MAX))
            }
            // Our own buffers: of the server's descriptor only length and flags count. It is written
            // when the packets are released.
            Some(own) => {
                descriptors.prefetch_write(from, lines);
                let (view, region) = (descriptors.view(), own.region);
                let pieces = own.pieces(window, count, move |slot| {
                    let [low, _] = view.load(slot.0);
                    own_shape(low, region)
                });
                batch.fill(pieces, limits(own.capacity))
            }
        }
    }

    fn arm(&mut self) -> Result<bool, QueueError> {
        match self.ring.doorbell.drain() {
            Ok(rung) => self.stats.wake_ups += u64::from(rung),
            Err(_) => return Err(QueueError::LinkDown),
        }
        if self.ring.available(self.partial.saturating_add(1))? > self.partial {
            return Ok(true);
        }
        if self.ring.is_draining() {
            return Err(QueueError::LinkDown);
        }
        self.armed = true;
        let Ring { cursor, flags, peer, .. } = &mut self.ring;
        Ok(arm(cursor, flags.atomic(), peer.atomic())? > self.partial)
    }

    #[cold]
    fn fail(&mut self, error: QueueError) -> QueueError {
        if !self.ring.has_failed() {
            self.stats.count_fault(error);
        }
        self.ring.fail(error)
    }
}

impl ReleaseRx for RxSide {
    #[inline]
    fn release(&mut self, released: Released<'_>) {
        // No loss: a burst never holds more entries than its ring has slots.
        let entries = u16::try_from(released.entries).unwrap_or(u16::MAX);
        self.stats.packets += released.packets as u64;
        self.stats.bytes += released.bytes;
        let Ring { cursor, own, descriptors, buffers, .. } = &mut self.ring;
        if let Some(slots) = buffers {
            if released.exchanged {
                slots.follow_exchange(cursor, entries, |at| released.batch.offset(at.into()));
                for slot in (0..entries).map(|at| cursor.next().ahead(at)) {
                    descriptors.store(slot.0, slots.empty(slot).to_words());
                }
            }
            // The server overwrote the length. Region and offset are as we left them, unless it
            // broke the contract: then it misleads itself.
            let empty = Shape::new(slots.region, slots.capacity, false).word();
            for at in 0..entries {
                descriptors.store_low(cursor.next().ahead(at).0, empty);
            }
        }
        cursor.publish(own.atomic(), entries);
    }
}
