//! Transmit queues: fill the driver's receive buffers.

use super::ring::Ring;
use crate::memory::GuestMemory;
use crate::net::{self, HEADER, HEADER_LEN};
use crate::virtqueue::buffer::{Written, mark_buffer};
use crate::virtqueue::descriptor::{Access, Descriptor};
use crate::virtqueue::line::{Engine, Side, Standing};
use crate::virtqueue::seat::Seat;
use crate::virtqueue::tx::{Tx, TxSide};
use crate::virtqueue::{Called, RingError, RingStart};
use ringport::burst::{BURST_MAX, CommitTx, Committed, Piece, Shape, TxBatch};
use ringport::doorbell::Doorbell;
use ringport::error::QueueError;
use ringport::offload::Accepts;
use ringport::stats::TxStats;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Sender {
    ring: Ring,
    /// The window's buffers, in order.
    buffers: Box<[Buffer]>,
    /// The pieces of a window that is not of whole buffers.
    pieces: Vec<Piece>,
    /// Whether packets may ask anything of the driver.
    offloads: bool,
    stats: TxStats,
}

/// A receive buffer of the driver: one chain.
#[derive(Debug, Clone, Copy, Default)]
struct Buffer {
    head: u16,
    /// Slots of the window that it takes.
    slots: u16,
}

/// What sends on the ring that `start` describes.
pub(in crate::virtqueue) fn tx(
    memory: Arc<GuestMemory>,
    start: &RingStart,
    base: u16,
    seat: Arc<Seat>,
) -> Result<Box<Engine<Tx>>, RingError> {
    let (features, ring) = (&start.features, Ring::new(memory, start, base, Access::Write, seat)?);
    let slots = BURST_MAX.max(usize::from(ring.walker.limit));
    let offloads = features.tx_offloads != Accepts::default();
    let batch = TxBatch::new(Arc::clone(ring.memory.regions()), slots, slots)
        .behind(HEADER, !features.mergeable);
    let batch = if offloads { batch.with_offloads(features.tx_offloads) } else { batch };
    let buffers = vec![Buffer::default(); slots].into();
    let pieces = Vec::with_capacity(2 * slots + GuestMemory::REGIONS_MAX);
    let stats = TxStats::default();
    let side = Sender { ring, buffers, pieces, offloads, stats };
    Ok(Box::new(Engine { batch, side }))
}

impl TxSide for Sender {
    #[inline]
    fn reserve(&mut self, batch: &mut TxBatch, max: usize) -> Result<(), QueueError> {
        batch.clear();
        let wanted = u16::try_from(max.min(batch.burst_max())).unwrap_or(u16::MAX);
        let known = self.ring.available(wanted)?;
        self.stats.ring_full += u64::from(known < wanted);
        let count = known.min(wanted);
        if self.reserve_plain(batch, count) < usize::from(count) {
            self.reserve_odd(batch, count)?;
        }
        batch.set_complete(count == self.ring.cursor.ring_size());
        if count > 0 {
            self.ring.disarm();
        }
        Ok(())
    }
}

impl Sender {
    /// Reserves buffers that are in one descriptor of the ring and one region.
    #[inline]
    fn reserve_plain(&mut self, batch: &mut TxBatch, count: u16) -> usize {
        let Ring { cursor, memory, descriptors, available, .. } = &self.ring;
        let (available, descriptors) = (available.view(), descriptors.view());
        let (first, size) = (cursor.next(), cursor.ring_size());
        let mut memory = memory.translator();
        let slots = self.buffers.iter_mut().zip(0..count);
        batch.reserve_behind(slots.map_while(move |(buffer, at)| {
            let head = available.load(first.ahead(at).0);
            let descriptor = Descriptor::from_words(descriptors.load(head));
            if head >= size || !descriptor.is_plain(Access::Write) {
                return None;
            }
            let (region, offset) = memory.locate(descriptor.address, descriptor.len)?;
            *buffer = Buffer { head, slots: 1 };
            Some(Piece::alone(offset, Shape::new(region, descriptor.len, false)))
        }))
    }

    /// Reserves buffers of all kinds, in pieces. A bad one ends the window; the first is an error.
    #[inline(never)]
    fn reserve_odd(&mut self, batch: &mut TxBatch, count: u16) -> Result<(), QueueError> {
        self.pieces.clear();
        for at in 0..count {
            let before = self.pieces.len();
            let head = match self.take_buffer(at) {
                Ok(head) => head,
                Err(error) if at == 0 => return Err(error),
                Err(_) => {
                    self.pieces.truncate(before);
                    break;
                }
            };
            if at == 0 {
                // What is beyond a whole burst stays unused.
                self.pieces.truncate(batch.burst_max());
            } else if self.pieces.len() > batch.burst_max() {
                self.pieces.truncate(before);
                break;
            }
            let slots = mark_buffer(&mut self.pieces[before..]);
            self.buffers[usize::from(at)] = Buffer { head, slots };
        }
        batch.reserve_pieces(&self.pieces)
    }

    /// Appends the pieces of the buffer at position `at` from ours on, and returns its head.
    fn take_buffer(&mut self, at: u16) -> Result<u16, QueueError> {
        let head = self.ring.head(at)?;
        let Ring { descriptors, cursor, memory, walker, .. } = &self.ring;
        let table = (descriptors, cursor.ring_size());
        let len = walker.walk(table, head, memory, &mut self.pieces)?;
        if len <= HEADER {
            return Err(QueueError::TooShort { len, header: HEADER });
        }
        Ok(head)
    }

    /// Notes what was written to buffers of one slot, of which each holds a packet. Returns how many
    /// there are, and their bytes.
    #[inline]
    fn fill_plain(&mut self, committed: &Committed<'_>) -> (u16, u64) {
        const PLAIN: [u8; HEADER_LEN] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        let (used, first) = (self.ring.used.view(), self.ring.cursor.next());
        let (mut count, mut bytes) = (0u16, 0);
        for ((at, buffer), shape) in self.buffers.iter().enumerate().zip(committed.shapes()) {
            let header = match self.offloads {
                true => net::encode(&committed.batch.offload(at), 1),
                false => PLAIN,
            };
            committed.batch.write_front(at, &header);
            used.store(first.ahead(count).0, buffer.head, shape.len() + HEADER);
            bytes += u64::from(shape.len());
            count += 1;
        }
        (count, bytes)
    }

    /// As [`fill_plain`](Self::fill_plain), for packets and buffers of any kind.
    #[inline(never)]
    fn fill_odd(&mut self, committed: &Committed<'_>) -> (u16, u64) {
        let (used, first) = (self.ring.used.view(), self.ring.cursor.next());
        let mut shapes = committed.shapes();
        let (mut slots, mut count, mut bytes) = (0, 0u16, 0);
        let (mut packet, mut packet_buffers) = (0, 0u16);
        for buffer in &self.buffers {
            if slots >= committed.slots {
                break;
            }
            let written = Written::sum(shapes.by_ref().take(buffer.slots.into()));
            let header = if packet_buffers == 0 { HEADER } else { 0 };
            used.store(first.ahead(count).0, buffer.head, written.len + header);
            slots += usize::from(buffer.slots);
            (count, packet_buffers) = (count + 1, packet_buffers + 1);
            bytes += u64::from(written.len);
            if written.ends {
                let offload = committed.batch.offload(packet);
                committed.batch.write_front(packet, &net::encode(&offload, packet_buffers));
                (packet, packet_buffers) = (slots, 0);
            }
        }
        (count, bytes)
    }
}

impl CommitTx for Sender {
    #[inline]
    fn commit(&mut self, committed: Committed<'_>) {
        let (buffers, bytes) = match committed.packets == committed.slots {
            true => self.fill_plain(&committed),
            false => self.fill_odd(&committed),
        };
        self.stats.packets += committed.packets as u64;
        self.stats.bytes += bytes;
        match self.ring.publish(buffers) {
            Called::Yes => self.stats.doorbells += 1,
            Called::Suppressed => self.stats.doorbells_suppressed += 1,
            Called::Never => {}
        }
        self.ring.leave();
    }

    #[inline]
    fn end(&mut self) {
        self.ring.leave();
    }
}

impl Side<TxStats> for Sender {
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

    fn stats(&self) -> &TxStats {
        &self.stats
    }

    fn stats_mut(&mut self) -> &mut TxStats {
        &mut self.stats
    }
}
