//! What receives, on a ring of either layout.

use super::backlog::{AnyOrder, Backlog, Filled, InOrder};
use super::buffers::Buffers;
use super::layout::Layout;
use super::memory::Parts;
use super::rx::RxSide;
use crate::net::{self, HEADER, HEADER_LEN};
use crate::virtqueue::header::decode;
use crate::virtqueue::{CHAIN_MAX, RingFeatures};
use ringport::burst::{BURST_MAX, Piece, ReleaseRx, Released, RxBatch, Shape};
use ringport::error::QueueError;
use ringport::offload::Offload;
use ringport::ring_view::RingView;
use ringport::shm::Regions;
use ringport::stats::RxStats;
use std::ops::Range;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Receiver<L, B> {
    ring: L,
    buffers: Buffers,
    backlog: B,
    /// Most buffers of a packet.
    chain_max: u16,
    features: RingFeatures,
    /// The pieces of one packet.
    pieces: Vec<Piece>,
    regions: Arc<Regions>,
    /// What was found behind the backlog.
    broken: Option<QueueError>,
    stats: RxStats,
}

/// What receives from `ring`, and the storage of its bursts. All buffers go to the device.
pub(super) fn receiver<L: Layout>(
    ring: L,
    parts: &Parts,
    features: &RingFeatures,
) -> (RxBatch, Box<dyn RxSide>) {
    match features.in_order {
        true => receiver_of::<L, InOrder>(ring, parts, features),
        false => receiver_of::<L, AnyOrder>(ring, parts, features),
    }
}

fn receiver_of<L: Layout, B: Backlog>(
    ring: L,
    parts: &Parts,
    features: &RingFeatures,
) -> (RxBatch, Box<dyn RxSide>) {
    let size = parts.place.size;
    let chain_max = if features.mergeable { size.min(CHAIN_MAX) } else { 1 };
    let (regions, buffers) = (Arc::clone(&parts.regions), Buffers::new(parts));
    let room = usize::from(size).min(BURST_MAX.max(chain_max.into()));
    let batch = RxBatch::new(Arc::clone(&regions), room);
    let batch = if buffers.are_lent() { batch.exchangeable() } else { batch };
    let mut side = Receiver {
        ring,
        buffers,
        backlog: B::new(size, parts.buffers.capacity),
        chain_max,
        features: *features,
        pieces: Vec::with_capacity(chain_max.into()),
        regions,
        broken: None,
        stats: RxStats::default(),
    };
    let Receiver { ring, buffers, .. } = &mut side;
    ring.offer((0..size).map(|id| buffers.empty(id)));
    (if features.rx_offloads { batch.with_offloads() } else { batch }, Box::new(side))
}

impl<L: Layout, B: Backlog> RxSide for Receiver<L, B> {
    fn fill(&mut self, batch: &mut RxBatch, max: usize) -> Result<(), QueueError> {
        self.ring.ground().enter()?;
        let Err(error) = self.take(batch, max.min(BURST_MAX)) else { return Ok(()) };
        Err(self.fail(error))
    }

    fn arm(&mut self) -> Result<bool, QueueError> {
        self.ring.ground().enter()?;
        match self.arm_ring() {
            Ok(waiting) => Ok(waiting),
            Err(error) => Err(self.fail(error)),
        }
    }

    fn stats(&self) -> RxStats {
        self.stats
    }

    fn view(&self) -> RingView {
        self.ring.view()
    }
}

impl<L: Layout, B: Backlog> Receiver<L, B> {
    /// Fills `batch` with the packets that are there, at most `max`.
    #[inline(always)]
    fn take(&mut self, batch: &mut RxBatch, max: usize) -> Result<(), QueueError> {
        batch.clear();
        self.read(max);
        let count = self.backlog.len().min(max);
        if count == 0 {
            self.stats.empty_bursts += 1;
            return self.broken.map_or(Ok(()), Err);
        }
        let mut plain = batch.fill_behind(HEADER, self.backlog.run(&self.buffers, 0..count));
        if plain < count {
            plain = self.fill_rest(batch, plain..count);
        }
        let RingFeatures { mergeable, rx_offloads, .. } = self.features;
        if rx_offloads {
            let stats = &mut self.stats;
            plain = batch.sift_headers(|header, len| {
                let whole = !mergeable || net::buffers(header) == 1;
                whole.then(|| decode(header, len, stats))
            });
        } else if mergeable {
            plain = batch.keep_while(|count| u16::from_le_bytes(count) == 1);
        }
        if plain < count {
            self.take_odd(batch, max)?;
        }
        self.ring.disarm();
        Ok(())
    }

    /// Takes what the device gave back, until the backlog has `wanted` buffers or there are no more.
    #[inline(always)]
    fn read(&mut self, wanted: usize) {
        let Some(missing) = wanted.checked_sub(self.backlog.len()).filter(|missing| *missing > 0)
        else {
            return;
        };
        if self.broken.is_some() {
            return;
        }
        let missing = u16::try_from(missing).unwrap_or(u16::MAX);
        self.broken = self.backlog.read(&mut self.ring, missing).err();
    }

    /// As [`read`](Self::read), where that is rare.
    #[inline(never)]
    fn read_more(&mut self, wanted: usize) {
        self.read(wanted);
    }

    /// Goes on with another run, if there is one, and returns how many plain packets there are then.
    #[inline(never)]
    fn fill_rest(&self, batch: &mut RxBatch, rest: Range<usize>) -> usize {
        batch.append_behind(HEADER, self.backlog.run(&self.buffers, rest))
    }

    /// Goes on behind the plain packets with those in several buffers, and with what is wrong.
    #[inline(never)]
    fn take_odd(&mut self, batch: &mut RxBatch, max: usize) -> Result<(), QueueError> {
        while batch.packets() < max {
            // Packets in several buffers: so far there were as many buffers as packets are wanted.
            let wanted = batch.entries() + max - batch.packets();
            self.read_more(wanted.min(batch.capacity()));
            if batch.entries() >= self.backlog.len() {
                break;
            }
            match self.take_packet(batch) {
                Ok(true) => {}
                Err(error) if batch.packets() == 0 => return Err(error),
                // No room, or the next burst meets the error.
                Ok(false) | Err(_) => break,
            }
        }
        Ok(())
    }

    /// Appends the packet that begins behind those of `batch`, if it fits. Each entry of a batch is
    /// a buffer of the backlog.
    fn take_packet(&mut self, batch: &mut RxBatch) -> Result<bool, QueueError> {
        let first = batch.entries();
        let Some(Filled { id, len }) = self.backlog.get(first) else { return Ok(false) };
        if len <= HEADER {
            return Err(QueueError::TooShort { len, header: HEADER });
        }
        let mut header = [0; HEADER_LEN];
        let read = self.regions.read(self.buffers.region, self.buffers.offset(id), &mut header);
        read.ok_or(QueueError::EmptyDescriptor)?;
        let count = if self.features.mergeable { net::buffers(&header) } else { 1 };
        if count > self.chain_max {
            return Err(QueueError::ChainTooLong { limit: self.chain_max });
        }
        self.read_more(first + usize::from(count));
        let there = self.backlog.len() - first;
        if count == 0 || there < usize::from(count) {
            // A device gives all of a packet's buffers back at once.
            let found = u16::try_from(there).unwrap_or(u16::MAX);
            return Err(QueueError::MissingBuffers { wanted: count, found });
        }
        self.pieces.clear();
        let mut skipped = HEADER;
        let buffers = (first..).map_while(|at| self.backlog.get(at));
        for filled in buffers.take(count.into()) {
            let shape = Shape::new(self.buffers.region, filled.len - skipped, false);
            let offset = self.buffers.offset(filled.id) + u64::from(skipped);
            self.pieces.push(Piece::alone(offset, shape));
            skipped = 0;
        }
        let len = self.pieces.iter().map(|piece| piece.shape.len()).sum();
        let offload = match self.features.rx_offloads {
            true => decode(&header, len, &mut self.stats),
            false => Offload::default(),
        };
        batch.append(&self.pieces, offload)
    }

    fn arm_ring(&mut self) -> Result<bool, QueueError> {
        let called = self.ring.ground().drain()?;
        self.stats.wake_ups += u64::from(called == Some(true));
        if called.is_none() || self.backlog.len() > 0 || self.broken.is_some() {
            return Ok(true);
        }
        self.ring.arm()
    }

    #[cold]
    fn fail(&mut self, error: QueueError) -> QueueError {
        let stats = &mut self.stats;
        self.ring.ground().fail(error, |error| stats.count_fault(error))
    }
}

impl<L: Layout, B: Backlog> ReleaseRx for Receiver<L, B> {
    #[inline]
    fn release(&mut self, released: Released<'_>) {
        self.stats.packets += released.packets as u64;
        self.stats.bytes += released.bytes;
        if released.exchanged {
            return self.release_exchanged(&released);
        }
        let Self { ring, buffers, backlog, .. } = self;
        backlog.give_back(ring, buffers, released.entries);
    }
}

impl<L: Layout, B: Backlog> Receiver<L, B> {
    /// Gives the device the buffers that took the places of those that it had filled.
    #[inline(never)]
    fn release_exchanged(&mut self, released: &Released<'_>) {
        let Self { ring, buffers, backlog, .. } = self;
        let filled = || backlog.filled().take(released.entries);
        for (at, filled) in filled().enumerate() {
            buffers.exchange(filled.id, released.batch.offset(at));
        }
        ring.offer(filled().map(|filled| buffers.empty(filled.id)));
        backlog.release(released.entries);
    }
}
