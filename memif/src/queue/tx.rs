//! Transmit queues.

use super::ring::Ring;
use ringport::burst::{CommitTx, Committed, PacketTx, Shape, TxBatch, TxBurst};
use ringport::error::QueueError;
use ringport::ring::must_ring;
use ringport::ring_view::RingView;
use ringport::stats::TxStats;

/// A transmit queue: takes packets for the peer on one ring.
#[derive(Debug)]
pub struct TxQueue {
    batch: TxBatch,
    side: TxSide,
}

#[derive(Debug)]
struct TxSide {
    ring: Ring,
    stats: TxStats,
}

impl TxQueue {
    pub(super) fn new(ring: Ring, batch: TxBatch) -> Self {
        Self { batch, side: TxSide { ring, stats: TxStats::default() } }
    }

    /// Reserves up to `max` free slots. Never blocks, allocates, or makes a system call. A full
    /// ring is an empty burst.
    ///
    /// # Errors
    /// [`QueueError`]: the link went down or the peer broke the ring contract. Repeated for ever.
    ///
    /// Spec: [indices](crate::protocol#indices).
    #[inline]
    pub fn tx_burst(&mut self, max: usize) -> Result<TxBurst<'_>, QueueError> {
        if let Err(error) = self.side.reserve(&mut self.batch, max) {
            return Err(self.side.fail(error));
        }
        Ok(TxBurst::new(&mut self.batch, &mut self.side))
    }

    /// The counters now.
    #[must_use]
    pub fn stats(&self) -> TxStats {
        self.side.stats
    }

    /// Slots in the ring.
    #[must_use]
    pub fn ring_size(&self) -> u16 {
        self.side.ring.cursor.ring_size()
    }
}

impl PacketTx for TxQueue {
    fn tx_burst(&mut self, max: usize) -> Result<TxBurst<'_>, QueueError> {
        Self::tx_burst(self, max)
    }

    fn stats(&self) -> TxStats {
        self.stats()
    }

    fn ring_view(&self) -> Option<RingView> {
        Some(self.side.ring.view())
    }
}

impl TxSide {
    #[inline]
    fn reserve(&mut self, batch: &mut TxBatch, max: usize) -> Result<(), QueueError> {
        batch.clear();
        if !self.ring.link.is_up() {
            return Err(self.ring.link.reason());
        }
        let wanted = u16::try_from(max.min(batch.burst_max())).unwrap_or(u16::MAX);
        let window = self.ring.window(wanted)?;
        self.stats.ring_full += u64::from(window.known < wanted);
        let count = window.known.min(wanted);
        let Ring { descriptors, buffers, seen, .. } = &mut self.ring;
        match buffers {
            Some(own) => {
                let shape = Shape::new(own.region, own.capacity, false);
                batch.reserve(own.pieces(window, count, move |_| shape))
            }
            // All of each descriptor is checked, by the batch.
            None => batch.reserve(seen.pieces(window, count, descriptors.view())),
        }
    }

    /// Lets the peer know, if it asked for that.
    #[inline]
    fn notify(&mut self) {
        if must_ring(self.ring.flags.atomic()) {
            self.stats.doorbells += 1;
            if self.ring.doorbell.ring().is_err() {
                self.ring.fail(QueueError::LinkDown);
            }
        } else {
            self.stats.doorbells_suppressed += 1;
        }
    }

    #[cold]
    fn fail(&mut self, error: QueueError) -> QueueError {
        if !self.ring.has_failed() {
            self.stats.count_fault(error);
        }
        self.ring.fail(error)
    }
}

impl CommitTx for TxSide {
    #[inline]
    fn commit(&mut self, committed: Committed<'_>) {
        // No loss: a burst never holds more slots than its ring.
        let slots = u16::try_from(committed.slots).unwrap_or(u16::MAX);
        let Ring { cursor, own, descriptors, buffers, seen, .. } = &mut self.ring;
        let first = cursor.next();
        if let Some(buffers) = buffers.as_mut().filter(|_| committed.exchanged) {
            buffers.follow_exchange(cursor, slots, |at| committed.batch.offset(at.into()));
            for slot in (0..slots).map(|at| first.ahead(at)) {
                descriptors.store(slot.0, buffers.empty(slot).to_words());
            }
        }
        let mut bytes = 0;
        for (at, shape) in (0..).zip(committed.shapes()) {
            descriptors.store_low(first.ahead(at).0, shape.word());
            bytes += u64::from(shape.len());
        }
        self.stats.packets += committed.packets as u64;
        self.stats.bytes += bytes;
        cursor.publish(own.atomic(), slots);
        let (next, ahead) = (cursor.next(), cursor.cached().min(slots));
        descriptors.prefetch_write(next.0, ahead);
        let (region, offsets) = match buffers {
            Some(own) => (own.region, own.offsets.view()),
            None => seen.offsets(),
        };
        committed
            .batch
            .fetch_ahead(region, (0..ahead).map(|at| offsets.get(next.ahead(at)).into()));
        self.notify();
    }
}
