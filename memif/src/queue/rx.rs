//! Receive queues.

use super::RxMode;
use super::descriptor::Descriptor;
use super::ring::{Ring, SlotTable};
use ringport::burst::{PacketRx, ReleaseRx, Released, RxBatch, RxBurst};
use ringport::error::QueueError;
use ringport::ring::{RingIdx, arm, disarm};
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
    stats: RxStats,
}

impl RxQueue {
    pub(super) fn new(ring: Ring, batch: RxBatch, mode: RxMode, chain_max: u16) -> Self {
        let armed = mode == RxMode::Interrupt;
        Self { batch, side: RxSide { ring, mode, chain_max, armed, stats: RxStats::default() } }
    }

    /// Leases up to `max` received packets, oldest first. Never blocks, allocates, or makes a
    /// system call. An empty ring is an empty burst.
    ///
    /// # Errors
    /// [`QueueError`]: the link went down or the peer broke the ring contract. Repeated for ever.
    ///
    /// Spec: memif.h `memif_ring_t`, head and tail.
    #[inline]
    pub fn rx_burst(&mut self, max: usize) -> Result<RxBurst<'_>, QueueError> {
        self.batch.clear();
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
}

impl RxSide {
    /// Fills `batch` with the packets that are there, at most `max`.
    #[inline]
    fn fill(&mut self, batch: &mut RxBatch, max: usize) -> Result<(), QueueError> {
        let wanted = u16::try_from(max.min(batch.capacity())).unwrap_or(u16::MAX);
        let mut available = self.ring.available(wanted)?;
        if available == 0 || wanted == 0 {
            self.stats.empty_bursts += 1;
            return Ok(());
        }
        loop {
            self.take(batch, available, wanted)?;
            if batch.packets() > 0 {
                break;
            }
            // One packet whose end has not been published: look once more, else wait for it.
            let now = self.ring.available_now()?;
            if now == available {
                return Ok(());
            }
            available = now;
            batch.clear();
        }
        if self.armed && self.mode == RxMode::Adaptive {
            self.armed = false;
            disarm(self.ring.flags.atomic());
        }
        Ok(())
    }

    /// Takes descriptors until `wanted` packets are complete. Packets in front of a bad descriptor
    /// are still delivered; the next burst reports it.
    #[inline]
    fn take(&self, batch: &mut RxBatch, available: u16, wanted: u16) -> Result<(), QueueError> {
        let taken = match &self.ring.buffers {
            None => self.take_as_server(batch, available, wanted),
            Some(slots) => self.take_as_client(slots, batch, available, wanted),
        };
        match taken {
            Err(_) if batch.packets() > 0 => Ok(()),
            other => other,
        }
    }

    /// The client's descriptors: all of them is checked, by the batch.
    #[inline]
    fn take_as_server(
        &self,
        batch: &mut RxBatch,
        available: u16,
        wanted: u16,
    ) -> Result<(), QueueError> {
        self.take_each(batch, available, wanted, |batch, slot| {
            let d = Descriptor::from_words(self.ring.descriptors.load(slot));
            batch.push(d.region, u64::from(d.offset), d.len, d.more)?;
            Ok(d.more)
        })
    }

    /// Our own buffers: of the server's descriptor only length and flags count.
    #[inline]
    fn take_as_client(
        &self,
        slots: &SlotTable,
        batch: &mut RxBatch,
        available: u16,
        wanted: u16,
    ) -> Result<(), QueueError> {
        // They are written when the packets are released.
        let first = self.ring.cursor.next();
        self.ring.descriptors.prefetch_write(first.0, available.min(wanted));
        self.take_each(batch, available, wanted, |batch, slot| {
            let d = Descriptor::from_words(self.ring.descriptors.load(slot));
            if d.len > slots.capacity {
                return Err(too_long(d.len, slots.capacity));
            }
            let offset = slots.offsets.get(usize::from(slot)).copied().unwrap_or(0);
            batch.push(0, u64::from(offset), d.len, d.more)?;
            Ok(d.more)
        })
    }

    #[inline(always)]
    fn take_each(
        &self,
        batch: &mut RxBatch,
        available: u16,
        wanted: u16,
        mut take_one: impl FnMut(&mut RxBatch, u16) -> Result<bool, QueueError>,
    ) -> Result<(), QueueError> {
        let (first, mask) = (self.ring.cursor.next(), self.ring.cursor.mask());
        let mut complete = 0;
        let mut outcome = Ok(());
        for at in 0..available {
            match take_one(batch, first.ahead(at).slot(mask)) {
                Ok(true) if at + 1 - complete >= self.chain_max => {
                    outcome = Err(QueueError::ChainTooLong { limit: self.chain_max });
                    break;
                }
                Ok(true) => {}
                Ok(false) => {
                    complete = at + 1;
                    if batch.packets() >= usize::from(wanted) {
                        break;
                    }
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        batch.truncate(usize::from(complete));
        outcome
    }

    fn arm(&mut self) -> Result<bool, QueueError> {
        match self.ring.doorbell.drain() {
            Ok(rung) => self.stats.wake_ups += u64::from(rung),
            Err(_) => return Err(QueueError::LinkDown),
        }
        if self.ring.available(1)? > 0 {
            return Ok(true);
        }
        self.armed = true;
        let Ring { cursor, flags, peer, .. } = &mut self.ring;
        Ok(arm(cursor, flags.atomic(), peer.atomic())? > 0)
    }

    #[cold]
    fn fail(&mut self, error: QueueError) -> QueueError {
        if !self.ring.has_failed() {
            self.stats.count_fault(error);
        }
        self.ring.fail(error)
    }
}

#[cold]
fn too_long(len: u32, capacity: u32) -> QueueError {
    QueueError::LengthExceedsBuffer { len, capacity }
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
                let (first, mask) = (cursor.next(), cursor.mask());
                let entry = |slot: u16| {
                    usize::from(RingIdx(slot).ahead(0u16.wrapping_sub(first.0)).0 & mask)
                };
                slots.follow_exchange(cursor, entries, |slot| released.batch.offset(entry(slot)));
            }
            for at in 0..entries {
                let slot = cursor.next().ahead(at).slot(cursor.mask());
                descriptors.store(slot, slots.empty(slot).to_words());
            }
        }
        cursor.publish(own.atomic(), entries);
    }
}
