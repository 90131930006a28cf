//! Bursts of received packets.
#![expect(unsafe_code, reason = "entries hold addresses in shared memory")]

mod headed;

use crate::copy;
use crate::error::QueueError;
use crate::offload::Offload;
use crate::shm::{Ranges, Regions};
use bytes::Bytes;
use std::ptr::NonNull;
use std::sync::Arc;

/// A piece of a packet, as a descriptor names it: not checked yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it starts in its region, in bytes.
    pub offset: u64,
    /// Its other properties.
    pub shape: Shape,
    /// Where in the same region a piece probably starts that will be used some slots later: its
    /// first line is fetched meanwhile. Only a hint: it is never dereferenced, and may be anything.
    /// The piece's own offset where nothing is known.
    pub ahead: u64,
}

impl Piece {
    /// A piece with no hint of what comes after it.
    #[must_use]
    #[inline(always)]
    pub fn alone(offset: u64, shape: Shape) -> Self {
        Self { offset, shape, ahead: offset }
    }
}

/// Region, length and continuation of a piece, in one word: a burst writes and reads one a packet.
///
/// | bits | field |
/// |---|---|
/// | 0 | the packet goes on in the next piece |
/// | 16 to 31 | region |
/// | 32 to 63 | length in bytes |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shape(u64);

impl Shape {
    const MORE: u64 = 1;
    pub(super) const EMPTY: Self = Self(0);
    const FIELDS: u64 = 0xffff_ffff_ffff_0000 | Self::MORE;

    /// Puts a shape together.
    #[must_use]
    #[inline(always)]
    pub fn new(region: u16, len: u32, more: bool) -> Self {
        Self(u64::from(more) | u64::from(region) << 16 | u64::from(len) << 32)
    }

    /// Takes a shape from a word laid out as above; other bits are ignored.
    #[must_use]
    #[inline(always)]
    pub fn from_word(word: u64) -> Self {
        Self(word & Self::FIELDS)
    }

    /// The word, laid out as above.
    #[must_use]
    #[inline(always)]
    pub fn word(self) -> u64 {
        self.0
    }

    /// Length in bytes.
    #[must_use]
    #[inline(always)]
    pub fn len(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Whether the piece has no bytes.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether the packet goes on in the next piece.
    #[must_use]
    #[inline(always)]
    pub fn more(self) -> bool {
        self.0 & Self::MORE != 0
    }

    /// Region that the piece lies in.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes the word apart")]
    pub fn region(self) -> u16 {
        (self.0 >> 16) as u16
    }
}

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
        self.headed = Headed::default();
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

    /// How many whole packets, and entries, fit `room` slots.
    pub(super) fn fitting(&self, room: usize) -> (usize, usize) {
        let entries = &self.entries[..self.used.min(room)];
        let ends = entries.iter().enumerate().filter(|(_, e)| !e.more());
        ends.fold((0, 0), |(packets, _), (at, _)| (packets + 1, at + 1))
    }

    /// Shape of entry `at`.
    pub(super) fn shape(&self, at: usize) -> Shape {
        self.entries[at].shape
    }

    /// Exchanges the buffer of entry `at` for another of the same region.
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

/// Iterator over the packets of a burst.
#[derive(Debug, Clone)]
pub struct RxPackets<'b> {
    rest: &'b [RxEntry],
    batch: &'b RxBatch,
}

impl<'b> Iterator for RxPackets<'b> {
    type Item = RxPacket<'b>;

    #[inline(always)]
    fn next(&mut self) -> Option<RxPacket<'b>> {
        let (first, rest) = self.rest.split_first()?;
        let batch = self.batch;
        copy::prefetch_read(first.ahead);
        if !first.more() {
            self.rest = rest;
            return Some(RxPacket { entries: std::slice::from_ref(first), batch });
        }
        let last = self.rest.iter().position(|entry| !entry.more())?;
        let (entries, rest) = self.rest.split_at(last + 1);
        self.rest = rest;
        Some(RxPacket { entries, batch })
    }
}

impl Drop for RxBurst<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.returning == 0 {
            return;
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

/// One received packet, in one or more pieces of shared memory.
///
/// The peer can write that memory while it is leased, so the payload is never lent as `&[u8]`: it
/// is copied out, or read by typed value, and whatever is to be trusted must be read once.
#[derive(Clone, Copy)]
pub struct RxPacket<'b> {
    /// At least one: a slice of the batch's entries.
    entries: &'b [RxEntry],
    batch: &'b RxBatch,
}

impl<'b> RxPacket<'b> {
    /// Length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a packet is never empty")]
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        match self.entries {
            [one] => one.len() as usize,
            many => many.iter().map(|e| e.len() as usize).sum(),
        }
    }

    /// Copies the packet's first bytes to `to`, as many as fit, and returns how many. Compare with
    /// [`len`](Self::len) to see whether that was all.
    #[inline]
    pub fn copy_to(&self, to: &mut [u8]) -> usize {
        let [one] = self.entries else { return copy_pieces(self.entries, 0, to) };
        let len = to.len().min(one.len() as usize);
        // SAFETY: `RxBatch::fill` checked that `len()` bytes at the address lie in a mapping that
        // the batch keeps alive; `to` is private and at least `len` long.
        unsafe { copy::copy(to.as_mut_ptr(), one.address.as_ptr(), len) };
        len
    }

    /// Reads `N` bytes at `offset`, or `None` when the packet ends before them.
    ///
    /// ```
    /// # fn ethertype(packet: &ringport::burst::RxPacket<'_>) -> Option<u16> {
    /// packet.read_at(12).map(u16::from_be_bytes)
    /// # }
    /// ```
    #[must_use]
    #[inline]
    pub fn read_at<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let mut value = [0; N];
        (self.copy_range(offset, &mut value) == N).then_some(value)
    }

    /// Copies bytes from `offset` on to `to`, as many as there are and fit, and returns how many.
    pub fn copy_range(&self, offset: usize, to: &mut [u8]) -> usize {
        copy_pieces(self.entries, offset, to)
    }

    /// Copies the packet into a buffer of its own, which outlives the lease.
    #[must_use]
    pub fn detach(&self) -> Bytes {
        let mut owned = vec![0; self.len()];
        self.copy_to(&mut owned);
        owned.into()
    }

    /// The packet's offload metadata.
    #[must_use]
    pub fn offload(&self) -> Offload {
        let offloads = self.batch.offloads.as_deref();
        offloads.and_then(|o| o.get(self.first_entry())).copied().unwrap_or_default()
    }

    /// Index of the first entry in the batch.
    fn first_entry(&self) -> usize {
        let (batch, first) = (self.batch.entries.as_ptr() as usize, self.entries.as_ptr() as usize);
        (first - batch) / size_of::<RxEntry>()
    }

    #[inline]
    pub(super) fn carries_offload(&self) -> bool {
        self.batch.carries_offloads()
    }

    /// The packet's pieces in shared memory, for code that works on raw memory itself. They stay
    /// mapped while the lease lives; the peer may write them at any time.
    pub fn pieces(&self) -> impl Iterator<Item = *const [u8]> + use<'b> {
        let piece = |e: &RxEntry| {
            std::ptr::slice_from_raw_parts(e.address.as_ptr().cast_const(), e.len() as usize)
        };
        self.entries.iter().map(piece)
    }

    /// The packet as one slice of shared memory, or `None` when it is in pieces.
    ///
    /// # Safety
    /// The peer must not write the packet's memory while the slice lives. Nothing enforces that:
    /// only a peer in the same trust domain can be relied on to keep to it.
    #[must_use]
    pub unsafe fn as_slice(&self) -> Option<&'b [u8]> {
        let [one] = self.entries else { return None };
        // SAFETY: `RxBatch::fill` checked the range, which stays mapped while the lease lives; that
        // nobody writes it is the caller's contract.
        Some(unsafe { std::slice::from_raw_parts(one.address.as_ptr(), one.len() as usize) })
    }

    #[inline]
    pub(super) fn entries(&self) -> &'b [RxEntry] {
        self.entries
    }
}

impl std::fmt::Debug for RxPacket<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (len, pieces) = (self.len(), self.entries.len());
        f.debug_struct("RxPacket").field("len", &len).field("pieces", &pieces).finish()
    }
}

/// See [`RxPacket::copy_range`]. `entries` are a batch's, which is borrowed.
fn copy_pieces(entries: &[RxEntry], mut offset: usize, to: &mut [u8]) -> usize {
    let mut done = 0;
    for entry in entries {
        let len = entry.len() as usize;
        if offset >= len {
            offset -= len;
            continue;
        }
        let rest = &mut to[done..];
        let take = rest.len().min(len - offset);
        // SAFETY: `offset + take <= len`, and `RxBatch::fill` checked that `len` bytes at the
        // address lie in a mapping that the batch keeps alive; `rest` is private.
        unsafe { copy::copy(rest.as_mut_ptr(), entry.address.as_ptr().add(offset), take) };
        done += take;
        offset = 0;
    }
    done
}
