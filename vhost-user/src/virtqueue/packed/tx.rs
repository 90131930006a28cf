//! Transmit queues: fill the driver's receive buffers.

use super::chain::Chain;
use super::ring::{Position, Ring, State};
use crate::backend::PackedIndex;
use crate::memory::GuestMemory;
use crate::net::{self, HEADER};
use crate::virtqueue::buffer::{Written, mark_buffer};
use crate::virtqueue::descriptor::{Access, KNOWN};
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
    /// What was written to each of the buffers, in bytes.
    lens: Box<[u32]>,
    stats: TxStats,
}

/// A receive buffer of the driver: one chain.
#[derive(Debug, Clone, Copy, Default)]
struct Buffer {
    chain: Chain,
    /// Slots of the window that it takes.
    slots: u16,
}

/// What sends on the ring that `start` describes.
pub(in crate::virtqueue) fn tx(
    memory: Arc<GuestMemory>,
    start: &RingStart,
    base: PackedIndex,
    seat: Arc<Seat>,
) -> Result<Box<Engine<Tx>>, RingError> {
    let (features, ring) = (&start.features, Ring::new(memory, start, base, Access::Write, seat)?);
    let slots = BURST_MAX.max(usize::from(ring.walker.limit));
    let offloads = features.tx_offloads != Accepts::default();
    let batch = TxBatch::new(Arc::clone(ring.memory.regions()), slots, slots)
        .behind(HEADER, !features.mergeable);
    let batch = if offloads { batch.with_offloads(features.tx_offloads) } else { batch };
    let (buffers, lens) = (vec![Buffer::default(); slots].into(), vec![0; slots].into());
    let pieces = Vec::with_capacity(2 * slots + GuestMemory::REGIONS_MAX);
    let stats = TxStats::default();
    let side = Sender { ring, buffers, pieces, lens, stats };
    Ok(Box::new(Engine { batch, side }))
}

impl TxSide for Sender {
    #[inline]
    fn reserve(&mut self, batch: &mut TxBatch, max: usize) -> Result<(), QueueError> {
        batch.clear();
        let size = self.ring.table.slots();
        let wanted = max.min(batch.burst_max());
        let mut free = self.reserve_plain(batch, wanted.min(size.into()));
        if free < wanted && free < size.into() && self.has_more(free) {
            free = self.reserve_odd(batch, wanted)?;
        }
        self.stats.ring_full += u64::from(free < wanted);
        batch.set_complete(free == usize::from(size));
        if free > 0 {
            self.ring.disarm();
        }
        Ok(())
    }
}

impl Sender {
    /// Whether there is a buffer behind `plain` ones of one descriptor each.
    fn has_more(&self, plain: usize) -> bool {
        u16::try_from(plain).is_ok_and(|plain| self.ring.has(self.ring.next.ahead(plain)))
    }

    /// Reserves buffers that are in one descriptor of the ring and one region.
    #[inline]
    fn reserve_plain(&mut self, batch: &mut TxBatch, wanted: usize) -> usize {
        let Ring { next, memory, table, .. } = &self.ring;
        let (table, mut at) = (table.view(), *next);
        let mut memory = memory.translator();
        let buffers = self.buffers.iter_mut().take(wanted);
        batch.reserve_behind(buffers.map_while(move |buffer| {
            let state = State(table.load_state(at.slot()));
            if !at.has(state) || state.flags() & KNOWN != Access::Write.flag() {
                return None;
            }
            let (region, offset) = memory.locate(table.load_address(at.slot()), state.len())?;
            *buffer = Buffer { chain: Chain { id: state.id(), entries: 1 }, slots: 1 };
            at = at.ahead(1);
            Some(Piece::alone(offset, Shape::new(region, state.len(), false)))
        }))
    }

    /// Reserves buffers of all kinds, in pieces, and returns how many. A bad one ends the window;
    /// the first is an error.
    #[inline(never)]
    fn reserve_odd(&mut self, batch: &mut TxBatch, wanted: usize) -> Result<usize, QueueError> {
        self.pieces.clear();
        let (mut at, mut count) = (self.ring.next, 0);
        // Not beyond the ring, however the driver moves its flags meanwhile.
        let mut left = self.ring.table.slots();
        while count < wanted && left > 0 && self.ring.has(at) {
            let before = self.pieces.len();
            let chain = match self.take_buffer(at) {
                Ok(chain) => chain,
                Err(error) if count == 0 => return Err(error),
                Err(_) => Chain { entries: u16::MAX, ..Chain::default() },
            };
            if count == 0 {
                // What is beyond a whole burst stays unused.
                self.pieces.truncate(batch.burst_max());
            } else if self.pieces.len() > batch.burst_max() || chain.entries > left {
                self.pieces.truncate(before);
                break;
            }
            let slots = mark_buffer(&mut self.pieces[before..]);
            self.buffers[count] = Buffer { chain, slots };
            count += 1;
            at = at.ahead(chain.entries);
            left -= chain.entries;
        }
        batch.reserve_pieces(&self.pieces)?;
        Ok(count)
    }

    /// Appends the pieces of the buffer at `at`.
    fn take_buffer(&mut self, at: Position) -> Result<Chain, QueueError> {
        let Ring { table, memory, walker, .. } = &self.ring;
        let (chain, len) = walker.walk(table.view(), at, memory, &mut self.pieces)?;
        match len? {
            len if len <= HEADER => Err(QueueError::TooShort { len, header: HEADER }),
            _ => Ok(chain),
        }
    }

    /// Writes the headers of packets, and notes in `lens` what was written to each buffer, header
    /// and all. Returns how many buffers there are.
    #[inline]
    fn fill(&mut self, committed: &Committed<'_>) -> usize {
        let mut shapes = committed.shapes();
        let (mut slots, mut count) = (0, 0);
        let (mut packet, mut packet_buffers) = (0, 0u16);
        for (buffer, len) in self.buffers.iter().zip(&mut self.lens) {
            if slots >= committed.slots {
                break;
            }
            let written = Written::sum(shapes.by_ref().take(buffer.slots.into()));
            *len = written.len + if packet_buffers == 0 { HEADER } else { 0 };
            slots += usize::from(buffer.slots);
            (count, packet_buffers) = (count + 1, packet_buffers + 1);
            self.stats.bytes += u64::from(written.len);
            if written.ends {
                let offload = committed.batch.offload(packet);
                committed.batch.write_front(packet, &net::encode(&offload, packet_buffers));
                (packet, packet_buffers) = (slots, 0);
            }
        }
        count
    }
}

impl CommitTx for Sender {
    #[inline]
    fn commit(&mut self, committed: Committed<'_>) {
        let count = self.fill(&committed);
        self.stats.packets += committed.packets as u64;
        let used = self.buffers.iter().zip(&self.lens).take(count);
        match self.ring.give_back(used.map(|(buffer, len)| (buffer.chain, *len))) {
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
        Ok(self.ring.arm())
    }

    fn stats(&self) -> &TxStats {
        &self.stats
    }

    fn stats_mut(&mut self) -> &mut TxStats {
        &mut self.stats
    }
}
