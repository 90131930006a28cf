//! Transmit queues: fill the driver's receive buffers.

use super::chain::Chain;
use super::ring::{Position, Ring, State};
use crate::memory::GuestMemory;
use crate::net::{self, HEADER};
use crate::virtqueue::buffer::{Written, mark_buffer};
use crate::virtqueue::descriptor::{Access, KNOWN};
use crate::virtqueue::{Called, KickMode, RingAddresses, RingEnds, RingError, RingFeatures};
use ringport::burst::{BURST_MAX, CommitTx, Committed, PacketTx, Piece, Shape, TxBatch, TxBurst};
use ringport::error::QueueError;
use ringport::offload::Accepts;
use ringport::stats::TxStats;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// A transmit queue: puts packets into the driver's receive buffers.
#[derive(Debug)]
pub struct TxQueue {
    batch: TxBatch,
    side: TxSide,
}

#[derive(Debug)]
struct TxSide {
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

impl TxQueue {
    /// The queue on the started ring at `at`, from the position that `base` stands for
    /// on.
    ///
    /// # Errors
    /// [`RingError`]: there is no ring at these addresses.
    ///
    /// Spec: vhost-user "Starting and stopping rings".
    pub fn new(
        memory: Arc<GuestMemory>,
        at: &RingAddresses,
        base: u32,
        features: &RingFeatures,
        kicks: KickMode,
        ends: RingEnds,
    ) -> Result<Self, RingError> {
        let ring = Ring::new(memory, at, base, features, kicks, ends, Access::Write)?;
        let slots = BURST_MAX.max(usize::from(ring.walker.limit));
        let offloads = features.tx_offloads != Accepts::default();
        let batch = TxBatch::new(Arc::clone(ring.memory.regions()), slots, slots)
            .behind(HEADER, !features.mergeable);
        let batch = if offloads { batch.with_offloads(features.tx_offloads) } else { batch };
        let (buffers, lens) = (vec![Buffer::default(); slots].into(), vec![0; slots].into());
        let pieces = Vec::with_capacity(2 * slots + GuestMemory::REGIONS_MAX);
        let stats = TxStats::default();
        Ok(Self { batch, side: TxSide { ring, buffers, pieces, lens, stats } })
    }

    /// Reserves up to `max` free slots: receive buffers, or pieces of those that are in several.
    /// Never blocks, allocates, or makes a system call. A full ring is an empty burst.
    ///
    /// A packet takes the whole of the buffers that it is written to: one, or several when the
    /// driver agreed to that.
    ///
    /// # Errors
    /// [`QueueError`]: the link went down or the driver broke the ring contract. Repeated for ever.
    #[inline]
    pub fn tx_burst(&mut self, max: usize) -> Result<TxBurst<'_>, QueueError> {
        if let Err(error) = self.side.reserve(&mut self.batch, max) {
            return Err(self.side.fail(error));
        }
        Ok(TxBurst::new(&mut self.batch, &mut self.side))
    }

    /// Asks the driver for a kick when it has provided more buffers, and returns whether there are
    /// some already: when `true`, do not sleep. Takes earlier kicks, one system call.
    ///
    /// # Errors
    /// As [`tx_burst`](Self::tx_burst).
    pub fn arm(&mut self) -> Result<bool, QueueError> {
        let armed = self.side.ring.arm();
        armed.map(|(free, _)| free).map_err(|error| self.side.fail(error))
    }

    /// Ends the queue and returns the word that stands for the position at which the ring goes on.
    ///
    /// Spec: vhost-user VHOST_USER_GET_VRING_BASE.
    #[must_use]
    pub fn stop(self) -> u32 {
        self.side.ring.next.to_base()
    }

    /// The counters now.
    #[must_use]
    pub fn stats(&self) -> TxStats {
        self.side.stats
    }

    /// Entries in the ring.
    #[must_use]
    pub fn ring_size(&self) -> u16 {
        self.side.ring.table.slots()
    }
}

impl AsFd for TxQueue {
    /// The kick, for the caller's epoll, mio or tokio: readable once the driver kicked.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.side.ring.ends().kick.as_fd()
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
        batch.clear();
        self.ring.check()?;
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

    #[cold]
    fn fail(&mut self, error: QueueError) -> QueueError {
        let (standing, first) = self.ring.fail(error);
        if first {
            self.stats.count_fault(error);
        }
        standing
    }
}

impl CommitTx for TxSide {
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
    }
}
