//! Bursts of received packets.
#![expect(unsafe_code, reason = "entries hold addresses in shared memory")]

mod headed;
mod held;
mod packet;
mod piece;

pub use held::HeldMemory;
pub use packet::{RxPacket, RxPackets};
pub use piece::{Piece, Shape};

use crate::copy;
use crate::error::QueueError;
use crate::offload::Offload;
use crate::shm::{Ranges, Regions};
use std::ptr::NonNull;
use std::sync::Arc;

/// What bounds a burst while it is filled.
#[derive(Debug, Clone, Copy)]
pub struct FillLimits {
    /// Most packets.
    pub packets_max: usize,
    /// Most pieces of one packet.
    pub chain_max: usize,
    /// Most bytes of one piece: what the buffers hold, where they are ours.
    pub piece_len_max: u32,
}

/// A piece whose range was checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct RxEntry {
    /// `len()` bytes from here lie in a mapping of the batch's regions: see [`RxBatch::fill`].
    pub(super) address: NonNull<u8>,
    shape: Shape,
    /// A line to fetch for a later burst while this piece is read. Never dereferenced.
    ahead: *const u8,
}

impl RxEntry {
    /// The entry of a checked `piece`.
    #[inline(always)]
    fn new(piece: &Piece, ranges: &mut Ranges<'_>) -> Option<Self> {
        // By way of the hint: the piece's own address is not known before its descriptor is here.
        let ahead = ranges.hint(piece.ahead);
        if piece.ahead == piece.offset {
            copy::prefetch_read(ahead);
        }
        Some(Self { address: ranges.locate(piece)?, shape: piece.shape, ahead })
    }

    #[inline(always)]
    pub(super) fn len(self) -> u32 {
        self.shape.len()
    }

    #[inline(always)]
    fn more(self) -> bool {
        self.shape.more()
    }
}

/// The storage of a receive queue's bursts. The queue's protocol fills it with validated entries;
/// users see it as an [`RxBurst`].
#[derive(Debug)]
pub struct RxBatch {
    regions: Arc<Regions>,
    entries: Box<[RxEntry]>,
    /// Entries in use.
    used: usize,
    /// Packets in use.
    packets: usize,
    /// By entry; absent in a protocol without offloads.
    offloads: Option<Box<[Offload]>>,
    /// Buffers may be exchanged with a transmit batch of the same regions.
    exchangeable: bool,
    exchanged: bool,
    /// The entries that have a header in front.
    headed: Headed,
}

/// The first `entries` of a batch have `front` bytes in front of their address that belong to the
/// same checked piece.
#[derive(Debug, Clone, Copy, Default)]
struct Headed {
    entries: usize,
    front: u32,
}

// SAFETY: the addresses in `entries` point into mappings that `regions` keeps alive, whichever
// thread owns the batch.
unsafe impl Send for RxBatch {}

impl RxBatch {
    /// Storage for bursts of up to `capacity` entries that point into `regions`.
    #[must_use]
    pub fn new(regions: Arc<Regions>, capacity: usize) -> Self {
        let address = NonNull::dangling();
        let empty = RxEntry { address, shape: Shape::EMPTY, ahead: address.as_ptr() };
        Self {
            regions,
            entries: vec![empty; capacity].into(),
            used: 0,
            packets: 0,
            offloads: None,
            exchangeable: false,
            exchanged: false,
            headed: Headed::default(),
        }
    }

    /// Allows [`TxBurst::exchange`](super::TxBurst::exchange) with a queue on the same regions:
    /// for queues whose slots may be given other buffers of the same size.
    #[must_use]
    pub fn exchangeable(mut self) -> Self {
        self.exchangeable = true;
        self
    }

    /// Gives each packet offload metadata, for a protocol that carries it.
    #[must_use]
    pub fn with_offloads(mut self) -> Self {
        self.offloads = Some(vec![Offload::default(); self.entries.len()].into());
        self
    }

    /// Sets the metadata of the packet that starts with entry `first`.
    pub fn set_offload(&mut self, first: usize, offload: Offload) {
        if let Some(slot) = self.offloads.as_deref_mut().and_then(|o| o.get_mut(first)) {
            *slot = offload;
        }
    }

    /// How many entries fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// Forgets all entries.
    #[inline]
    pub fn clear(&mut self) {
        self.used = 0;
        self.packets = 0;
        self.exchanged = false;
        self.headed = Headed::default();
    }

    /// Fills the batch with the packets that `pieces` make up, in order. Every range is checked. A
    /// packet whose end is missing is left out, as is what does not fit the batch.
    ///
    /// # Errors
    /// What is wrong with the first packet. When a later one is wrong, the good ones before it are
    /// delivered first: the next burst meets the error.
    #[inline(always)]
    pub fn fill(
        &mut self,
        mut pieces: impl Iterator<Item = Piece>,
        limits: FillLimits,
    ) -> Result<(), QueueError> {
        let Self { regions, entries, .. } = self;
        // First, in case that `pieces` panics: nothing is in front of the entries that it made.
        self.headed = Headed::default();
        let mut ranges = regions.ranges();
        let room = limits.packets_max.min(entries.len());
        let mut used = 0;
        let mut odd = None;
        // Packets of one piece each, which most are.
        for entry in &mut entries[..room] {
            let Some(piece) = pieces.next() else { break };
            let checked = RxEntry::new(&piece, &mut ranges);
            let Some(checked) = checked.filter(|_| limits.is_plain(piece.shape)) else {
                odd = Some(piece);
                break;
            };
            *entry = checked;
            used += 1;
        }
        (self.used, self.packets, self.exchanged) = (used, used, false);
        match odd {
            None => Ok(()),
            Some(piece) => self.fill_chained(std::iter::once(piece).chain(pieces), limits),
        }
    }

    /// Goes on with packets in several pieces, and with what is wrong.
    #[inline(never)]
    fn fill_chained(
        &mut self,
        pieces: impl Iterator<Item = Piece>,
        limits: FillLimits,
    ) -> Result<(), QueueError> {
        let (mut used, mut outcome) = (self.used, Ok(()));
        let mut ranges = self.regions.ranges();
        for piece in pieces {
            let checked = limits.check(piece.shape).and_then(|()| {
                RxEntry::new(&piece, &mut ranges).ok_or_else(|| self.regions.refuse(&piece))
            });
            let checked = match checked {
                Ok(checked) => checked,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            };
            let Some(entry) = self.entries.get_mut(used) else {
                outcome = Err(chain_too_long(self.entries.len()));
                break;
            };
            *entry = checked;
            used += 1;
            if !piece.shape.more() {
                (self.used, self.packets) = (used, self.packets + 1);
                if self.packets == limits.packets_max {
                    break;
                }
            } else if used - self.used >= limits.chain_max {
                outcome = Err(chain_too_long(limits.chain_max));
                break;
            }
        }
        if self.packets > 0 { Ok(()) } else { outcome }
    }

    /// Complete packets in use.
    #[must_use]
    #[inline]
    pub fn packets(&self) -> usize {
        self.packets
    }

    /// Offset in its region of the buffer at `entry`, for an owner whose buffers were exchanged.
    #[must_use]
    pub fn offset(&self, entry: usize) -> Option<u64> {
        let entry = self.entries.get(..self.used)?.get(entry)?;
        self.regions.offset_of(entry.shape.region(), entry.address)
    }

    /// Entries of the first `packets` packets.
    fn entries_of(&self, packets: usize) -> usize {
        if packets >= self.packets {
            return self.used;
        }
        let ends = self.entries[..self.used].iter().enumerate().filter(|(_, e)| !e.more());
        packets.checked_sub(1).and_then(|last| ends.map(|(at, _)| at + 1).nth(last)).unwrap_or(0)
    }

    /// How many whole packets, and entries, fit slots of these `capacities`, each entry one, and have
    /// `front` bytes of their region in front of each entry. Of packets behind a header only those in one
    /// piece do: the next piece begins where the header would be.
    pub(super) fn fitting(
        &self,
        capacities: impl Iterator<Item = usize>,
        front: usize,
    ) -> (usize, usize) {
        let whole = if self.headed.front > 0 { self.headed.entries } else { self.used };
        let pairs = self.entries[..whole].iter().zip(capacities).enumerate();
        let fit = pairs.take_while(|(_, (entry, capacity))| {
            entry.len() as usize <= *capacity && self.has_in_front(entry, front)
        });
        let ends = fit.filter(|(_, (entry, _))| !entry.more());
        ends.fold((0, 0), |(packets, _), (at, _)| (packets + 1, at + 1))
    }

    fn has_in_front(&self, entry: &RxEntry, front: usize) -> bool {
        let offset = || self.regions.offset_of(entry.shape.region(), entry.address);
        front == 0 || offset().is_some_and(|offset| offset >= front as u64)
    }

    /// Shape of entry `at`.
    pub(super) fn shape(&self, at: usize) -> Shape {
        self.entries[at].shape
    }

    /// Exchanges the buffer of entry `at` for another that holds as much.
    pub(super) fn swap_buffer(&mut self, at: usize, other: &mut NonNull<u8>) {
        std::mem::swap(&mut self.entries[at].address, other);
        self.exchanged = true;
    }

    #[inline]
    pub(super) fn carries_offloads(&self) -> bool {
        self.offloads.is_some()
    }

    pub(super) fn shares_buffers_with(&self, regions: &Arc<Regions>) -> bool {
        self.exchangeable && Arc::ptr_eq(&self.regions, regions)
    }
}

impl FillLimits {
    /// Whether a piece is a packet of its own and no longer than allowed.
    #[inline(always)]
    fn is_plain(&self, shape: Shape) -> bool {
        !shape.more() && shape.len() <= self.piece_len_max
    }

    fn check(&self, shape: Shape) -> Result<(), QueueError> {
        let (len, capacity) = (shape.len(), self.piece_len_max);
        if len > capacity {
            return Err(QueueError::LengthExceedsBuffer { len, capacity });
        }
        Ok(())
    }
}

#[cold]
fn chain_too_long(limit: usize) -> QueueError {
    QueueError::ChainTooLong { limit: u16::try_from(limit).unwrap_or(u16::MAX) }
}

/// The side of a receive queue that takes slots back.
pub trait ReleaseRx {
    /// Returns the slots of the released packets to the peer.
    fn release(&mut self, released: Released<'_>);

    /// The burst ends, and no slot goes back.
    fn end(&mut self) {}
}

/// Packets whose slots go back.
#[derive(Debug)]
pub struct Released<'a> {
    /// How many packets.
    pub packets: usize,
    /// How many entries they hold: the first of the batch.
    pub entries: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The batch, for the owner whose buffers were exchanged: see [`RxBatch::offset`].
    pub batch: &'a RxBatch,
    /// Whether any buffer was exchanged.
    pub exchanged: bool,
}

/// A lease of received packets, oldest first. Their slots go back to the peer when it is released
/// or dropped.
pub struct RxBurst<'q> {
    batch: &'q mut RxBatch,
    owner: &'q mut dyn ReleaseRx,
    /// Packets to return on drop.
    returning: usize,
}

impl<'q> RxBurst<'q> {
    /// Leases what `batch` holds; `owner` gets the slots back.
    #[inline]
    pub fn new(batch: &'q mut RxBatch, owner: &'q mut dyn ReleaseRx) -> Self {
        let returning = batch.packets;
        Self { batch, owner, returning }
    }

    /// Packets in the burst.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.batch.packets
    }

    /// Whether the ring was empty.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.batch.packets == 0
    }

    /// Slots that the packets occupy: at least one each.
    #[must_use]
    #[inline]
    pub fn slots(&self) -> usize {
        self.batch.used
    }

    /// The packets, oldest first.
    #[inline]
    pub fn packets(&self) -> RxPackets<'_> {
        RxPackets { rest: &self.batch.entries[..self.batch.used], batch: self.batch }
    }

    /// Returns the slots of the first `packets` packets; the others are delivered again by the
    /// next burst.
    #[inline]
    pub fn release(mut self, packets: usize) {
        self.returning = packets.min(self.batch.packets);
    }

    pub(super) fn batch_mut(&mut self) -> &mut RxBatch {
        self.batch
    }
}

impl Drop for RxBurst<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.returning == 0 {
            return self.owner.end();
        }
        let packets = self.returning;
        let entries = self.batch.entries_of(packets);
        let bytes = self.batch.entries[..entries].iter().map(|e| u64::from(e.len())).sum();
        let exchanged = self.batch.exchanged;
        self.owner.release(Released { packets, entries, bytes, batch: self.batch, exchanged });
    }
}

impl std::fmt::Debug for RxBurst<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RxBurst")
            .field("packets", &self.len())
            .field("slots", &self.slots())
            .finish()
    }
}
