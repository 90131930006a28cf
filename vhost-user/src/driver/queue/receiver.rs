//! What receives, on a ring of either layout.

use super::backlog::{Backlog, Filled};
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
use std::sync::Arc;

/// How many buffers ahead of its turn payload is fetched.
const FETCH_AHEAD: usize = 64;

#[derive(Debug)]
pub(super) struct Receiver<L> {
    ring: L,
    buffers: Buffers,
    backlog: Backlog,
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
    let size = parts.place.size;
    let chain_max = if features.mergeable { size.min(CHAIN_MAX) } else { 1 };
    let (regions, buffers) = (Arc::clone(&parts.regions), Buffers::new(parts));
    let room = usize::from(size).min(BURST_MAX.max(chain_max.into()));
    let batch = RxBatch::new(Arc::clone(&regions), room);
    let batch = if buffers.are_lent() { batch.exchangeable() } else { batch };
    let mut side = Receiver {
        ring,
        buffers,
        backlog: Backlog::new(size, parts.buffers.capacity, features.in_order),
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

impl<L: Layout> RxSide for Receiver<L> {
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

impl<L: Layout> Receiver<L> {
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
        let mut plain = batch.fill_behind(HEADER, self.plain().take(count));
        let RingFeatures { mergeable, rx_offloads, .. } = self.features;
        if mergeable || rx_offloads {
            let stats = &mut self.stats;
            plain = batch.sift_headers(|header, len| {
                let whole = !mergeable || net::buffers(header) == 1;
                let offload =
                    || if rx_offloads { decode(header, len, stats) } else { Offload::default() };
                whole.then(offload)
            });
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
        let Self { ring, backlog, .. } = self;
        let missing = u16::try_from(missing).unwrap_or(u16::MAX);
        let read = match self.features.in_order {
            true => ring.take_used(missing, |used| backlog.take_through(used)),
            false => ring.take_used(missing, |used| backlog.take(used)),
        };
        self.broken = read.err();
    }

    /// As [`read`](Self::read), where that is rare.
    #[inline(never)]
    fn read_more(&mut self, wanted: usize) {
        self.read(wanted);
    }

    /// The buffers of the backlog, as if each were a packet.
    #[inline(always)]
    fn plain(&self) -> impl Iterator<Item = Piece> {
        let (buffers, filled) = (&self.buffers, self.backlog.filled());
        let (size, known) = (self.backlog.size(), filled.len() + usize::from(self.ring.known()));
        filled.iter().enumerate().map(move |(at, &Filled { id, len })| {
            let offset = buffers.offset(id);
            // Where it is if the device keeps the order. Never one that the device may have.
            let later = usize::from(id) + FETCH_AHEAD;
            let later = if later < size { later } else { later - size };
            let ahead = match at + FETCH_AHEAD < known && FETCH_AHEAD < size {
                true => buffers.offset(u16::try_from(later).unwrap_or(id)),
                false => offset,
            };
            Piece { offset, shape: Shape::new(buffers.region, len, false), ahead }
        })
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
        let Some(&Filled { id, len }) = self.backlog.filled().get(first) else { return Ok(false) };
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
        let there = self.backlog.filled().get(first..).unwrap_or_default();
        let Some(filled) = there.get(..count.into()).filter(|filled| !filled.is_empty()) else {
            // A device gives all of a packet's buffers back at once.
            let found = u16::try_from(there.len()).unwrap_or(u16::MAX);
            return Err(QueueError::MissingBuffers { wanted: count, found });
        };
        self.pieces.clear();
        let mut skipped = HEADER;
        for filled in filled {
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

impl<L: Layout> ReleaseRx for Receiver<L> {
    #[inline]
    fn release(&mut self, released: Released<'_>) {
        self.stats.packets += released.packets as u64;
        self.stats.bytes += released.bytes;
        if released.exchanged {
            return self.release_exchanged(&released);
        }
        let Self { ring, buffers, backlog, .. } = self;
        let filled = backlog.filled().iter().take(released.entries);
        ring.offer_again(filled.map(|filled| buffers.empty(filled.id)));
        backlog.release(released.entries);
    }
}

impl<L: Layout> Receiver<L> {
    /// Gives the device the buffers that took the places of those that it had filled.
    #[inline(never)]
    fn release_exchanged(&mut self, released: &Released<'_>) {
        let Self { ring, buffers, backlog, .. } = self;
        let filled = || backlog.filled().iter().take(released.entries);
        for (at, filled) in filled().enumerate() {
            buffers.exchange(filled.id, released.batch.offset(at));
        }
        ring.offer(filled().map(|filled| buffers.empty(filled.id)));
        backlog.release(released.entries);
    }
}
