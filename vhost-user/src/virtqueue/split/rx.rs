//! Receive queues: what the driver sends.

use super::ring::Ring;
use crate::memory::GuestMemory;
use crate::net::{HEADER, HEADER_LEN};
use crate::virtqueue::descriptor::{Access, Descriptor};
use crate::virtqueue::header::{decode, split_header};
use crate::virtqueue::line::{Engine, Side, Standing};
use crate::virtqueue::rx::{Rx, RxSide};
use crate::virtqueue::seat::Seat;
use crate::virtqueue::{RingError, RingStart};
use ringport::burst::{BURST_MAX, Piece, ReleaseRx, Released, RxBatch, Shape};
use ringport::doorbell::Doorbell;
use ringport::error::QueueError;
use ringport::offload::Offload;
use ringport::stats::RxStats;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Receiver {
    ring: Ring,
    in_order: bool,
    /// Whether headers are looked at.
    offloads: bool,
    /// Heads of the batch's packets.
    heads: Box<[u16]>,
    /// The pieces of one chain.
    pieces: Vec<Piece>,
    stats: RxStats,
}

/// What receives from the ring that `start` describes.
pub(in crate::virtqueue) fn rx(
    memory: Arc<GuestMemory>,
    start: &RingStart,
    base: u16,
    seat: Arc<Seat>,
) -> Result<Box<Engine<Rx>>, RingError> {
    let (features, ring) = (&start.features, Ring::new(memory, start, base, Access::Read, seat)?);
    let limit = usize::from(ring.walker.limit);
    let batch = RxBatch::new(Arc::clone(ring.memory.regions()), BURST_MAX.max(limit));
    let offloads = features.rx_offloads;
    let batch = if offloads { batch.with_offloads() } else { batch };
    let (heads, pieces) =
        (vec![0; BURST_MAX].into(), Vec::with_capacity(limit + GuestMemory::REGIONS_MAX));
    let (in_order, stats) = (features.in_order, RxStats::default());
    let side = Receiver { ring, in_order, offloads, heads, pieces, stats };
    Ok(Box::new(Engine { batch, side }))
}

impl RxSide for Receiver {
    #[inline]
    fn fill(&mut self, batch: &mut RxBatch, max: usize) -> Result<(), QueueError> {
        batch.clear();
        let wanted = u16::try_from(max.min(self.heads.len())).unwrap_or(u16::MAX);
        let count = self.ring.available(wanted)?.min(wanted);
        if count == 0 {
            self.stats.empty_bursts += 1;
            return Ok(());
        }
        let plain = self.take_plain(batch, count);
        if self.offloads {
            let stats = &mut self.stats;
            batch.decode_headers(|header, len| decode(header, len, stats));
        }
        if plain < usize::from(count) {
            self.take_odd(batch, count)?;
        }
        self.ring.disarm();
        Ok(())
    }
}

impl Receiver {
    /// Takes packets that are in one descriptor of the ring and one region, header and all.
    #[inline]
    fn take_plain(&mut self, batch: &mut RxBatch, count: u16) -> usize {
        let Ring { cursor, memory, descriptors, available, .. } = &self.ring;
        let (available, descriptors) = (available.view(), descriptors.view());
        let (first, size) = (cursor.next(), cursor.ring_size());
        let mut memory = memory.translator();
        let slots = self.heads.iter_mut().zip(0..count);
        let pieces = slots.map_while(move |(slot, at)| {
            let head = available.load(first.ahead(at).0);
            let descriptor = Descriptor::from_words(descriptors.load(head));
            if head >= size || !descriptor.is_plain(Access::Read) {
                return None;
            }
            let (region, offset) = memory.locate(descriptor.address, descriptor.len)?;
            *slot = head;
            Some(Piece::alone(offset, Shape::new(region, descriptor.len, false)))
        });
        batch.fill_behind(HEADER, pieces)
    }

    /// Goes on with packets of any other kind. Bad ones at the front are dropped; behind good ones
    /// they wait for the next burst.
    #[inline(never)]
    fn take_odd(&mut self, batch: &mut RxBatch, count: u16) -> Result<(), QueueError> {
        let (mut at, mut dropped) = (u16::try_from(batch.packets()).unwrap_or(count), 0);
        let mut outcome = Ok(());
        while at + dropped < count {
            let head = match self.ring.head(at + dropped) {
                Ok(head) => head,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            };
            match self.take_chain(batch, head) {
                Ok(true) => {
                    if let Some(slot) = self.heads.get_mut(usize::from(at)) {
                        *slot = head;
                    }
                    at += 1;
                }
                Err(error) if at == 0 => {
                    self.stats.count_fault(error);
                    self.ring.used.store(self.ring.cursor.next().ahead(dropped).0, head, 0);
                    dropped += 1;
                }
                Ok(false) | Err(_) => break,
            }
        }
        if dropped > 0 {
            self.ring.publish(dropped);
        }
        if at > 0 || dropped > 0 { Ok(()) } else { outcome }
    }

    /// Appends the packet that the chain at `head` holds, if it fits the batch.
    fn take_chain(&mut self, batch: &mut RxBatch, head: u16) -> Result<bool, QueueError> {
        let Ring { descriptors, cursor, memory, walker, .. } = &self.ring;
        self.pieces.clear();
        let table = (descriptors, cursor.ring_size());
        let len = walker.walk(table, head, memory, &mut self.pieces)?;
        if len <= HEADER {
            return Err(QueueError::TooShort { len, header: HEADER });
        }
        let mut header = [0; HEADER_LEN];
        let first = split_header(memory, &mut self.pieces, &mut header)?;
        let offload = match self.offloads {
            true => decode(&header, len - HEADER, &mut self.stats),
            false => Offload::default(),
        };
        batch.append(self.pieces.get(first..).unwrap_or_default(), offload)
    }
}

impl ReleaseRx for Receiver {
    #[inline]
    fn release(&mut self, released: Released<'_>) {
        let heads = &self.heads[..released.packets.min(self.heads.len())];
        self.stats.packets += released.packets as u64;
        self.stats.bytes += released.bytes;
        let (used, first) = (self.ring.used.view(), self.ring.cursor.next());
        // In order, the last one's element says it for all; it is where the first one's would be.
        let heads = if self.in_order { &heads[heads.len().saturating_sub(1)..] } else { heads };
        for (at, head) in (0..).zip(heads) {
            used.store(first.ahead(at).0, *head, 0);
        }
        // No loss: a burst never holds more packets than there are heads.
        self.ring.publish(u16::try_from(released.packets).unwrap_or(u16::MAX));
        self.ring.leave();
    }

    #[inline]
    fn end(&mut self) {
        self.ring.leave();
    }
}

impl Side<RxStats> for Receiver {
    fn begin(&mut self) {
        self.ring.begin();
    }

    fn standing(&self) -> Standing {
        self.ring.standing()
    }

    fn resume(&mut self, from: Standing) {
        self.ring.resume(from);
    }

    fn set_call(&mut self, call: Option<Arc<Doorbell>>) {
        self.ring.set_call(call);
    }

    fn arm(&mut self) -> Result<bool, QueueError> {
        self.ring.arm()
    }

    fn stats(&self) -> &RxStats {
        &self.stats
    }

    fn stats_mut(&mut self) -> &mut RxStats {
        &mut self.stats
    }
}
