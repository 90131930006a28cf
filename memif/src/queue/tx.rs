//! Transmit queues.

use super::descriptor::Descriptor;
use super::ring::Ring;
use ringport::burst::{CommitTx, Committed, PacketTx, TxBatch, TxBurst};
use ringport::error::QueueError;
use ringport::ring::must_ring;
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
    /// As server: the client's descriptor of each slot, as it was last checked and entered in the
    /// batch. A client that always offers the same buffers is checked once.
    checked: Box<[[u64; 2]]>,
    stats: TxStats,
}

/// The metadata of a descriptor's second word, which is ignored.
const METADATA: u64 = 0xffff_ffff_0000_0000;
/// What no descriptor without metadata is like.
const UNKNOWN: [u64; 2] = [0, METADATA];

impl TxQueue {
    pub(super) fn new(ring: Ring, mut batch: TxBatch) -> Self {
        let mut checked = Box::default();
        match &ring.buffers {
            Some(own) => own.enter(&mut batch),
            None => checked = vec![UNKNOWN; usize::from(ring.cursor.ring_size())].into(),
        }
        Self { batch, side: TxSide { ring, checked, stats: TxStats::default() } }
    }

    /// Reserves up to `max` free slots. Never blocks, allocates, or makes a system call. A full
    /// ring is an empty burst.
    ///
    /// # Errors
    /// [`QueueError`]: the link went down or the peer broke the ring contract. Repeated for ever.
    ///
    /// Spec: memif.h `memif_ring_t`, head and tail.
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
}

impl TxSide {
    #[inline]
    fn reserve(&mut self, batch: &mut TxBatch, max: usize) -> Result<(), QueueError> {
        batch.offer(0, 0);
        if !self.ring.link.is_up() {
            return Err(self.ring.link.reason());
        }
        let wanted = u16::try_from(max.min(batch.burst_max())).unwrap_or(u16::MAX);
        let free = self.ring.available(wanted)?;
        self.stats.ring_full += u64::from(free < wanted);
        let (count, first) = (free.min(wanted), self.ring.cursor.next());
        if self.ring.buffers.is_none() {
            for slot in self.ring.window(count) {
                self.check(batch, slot)?;
            }
        }
        batch.offer(first.0, count);
        Ok(())
    }

    /// Reads the client's descriptor of `slot`, and checks it when it is not the one known.
    #[inline]
    fn check(&mut self, batch: &mut TxBatch, slot: u16) -> Result<(), QueueError> {
        let [low, high] = self.ring.descriptors.load(slot);
        let words = [low, high & !METADATA];
        if self.checked[usize::from(slot)] != words {
            let d = Descriptor::from_words(words);
            batch.set_slot(slot, d.region, u64::from(d.offset), d.len)?;
            self.checked[usize::from(slot)] = words;
        }
        Ok(())
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
        let Ring { cursor, own, descriptors, buffers, .. } = &mut self.ring;
        if let Some(buffers) = buffers.as_mut().filter(|_| committed.exchanged) {
            buffers.follow_exchange(cursor, slots, |slot| committed.batch.offset(slot));
            committed.for_each_written(|slot, _| {
                descriptors.store(slot, buffers.empty(slot).to_words());
            });
        }
        let mut bytes = 0;
        committed.for_each_written(|slot, shape| {
            descriptors.store_low(slot, shape.word());
            bytes += u64::from(shape.len());
        });
        self.stats.packets += committed.packets as u64;
        self.stats.bytes += bytes;
        cursor.publish(own.atomic(), slots);
        let ahead = cursor.cached().min(slots);
        descriptors.prefetch_write(cursor.next().0, ahead);
        committed.batch.fetch_ahead(committed.slots, ahead.into());
        self.notify();
    }
}
