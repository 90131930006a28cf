//! Bursts of received packets.
#![expect(unsafe_code, reason = "entries hold addresses in shared memory")]

use crate::copy;
use crate::error::QueueError;
use crate::offload::Offload;
use crate::shm::Regions;
use bytes::Bytes;
use std::ptr::NonNull;
use std::sync::Arc;

/// One descriptor's worth of a received packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct RxEntry {
    /// `len` bytes from here lie in a mapping of the batch's regions: see [`RxBatch::push`].
    pub(super) address: NonNull<u8>,
    pub(super) len: u32,
    /// The packet goes on in the next entry.
    more: bool,
    pub(super) region: u16,
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
}

// SAFETY: the addresses in `entries` point into mappings that `regions` keeps alive, whichever
// thread owns the batch.
unsafe impl Send for RxBatch {}

impl RxBatch {
    /// Storage for bursts of up to `capacity` entries that point into `regions`.
    #[must_use]
    pub fn new(regions: Arc<Regions>, capacity: usize) -> Self {
        let empty = RxEntry { address: NonNull::dangling(), len: 0, more: false, region: 0 };
        Self {
            regions,
            entries: vec![empty; capacity].into(),
            used: 0,
            packets: 0,
            offloads: None,
            exchangeable: false,
            exchanged: false,
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
    }

    /// Appends a descriptor's bytes: `len` bytes at `offset` of `region`. `more`: the packet goes
    /// on in the next entry.
    ///
    /// # Errors
    /// When they do not lie in the region, or `len` is zero. Nothing is appended then.
    #[inline]
    pub fn push(
        &mut self,
        region: u16,
        offset: u64,
        len: u32,
        more: bool,
    ) -> Result<(), QueueError> {
        if len == 0 {
            return Err(QueueError::EmptyDescriptor);
        }
        let address = self.regions.resolve(region, offset, len)?;
        let Some(entry) = self.entries.get_mut(self.used) else {
            let limit = u16::try_from(self.entries.len()).unwrap_or(u16::MAX);
            return Err(QueueError::ChainTooLong { limit });
        };
        *entry = RxEntry { address, len, more, region };
        copy::prefetch_read(address.as_ptr());
        self.used += 1;
        self.packets += usize::from(!more);
        Ok(())
    }

    /// Drops entries from `used` on: those of a packet whose end has not arrived.
    #[inline]
    pub fn truncate(&mut self, used: usize) {
        self.used = self.used.min(used);
    }

    /// Entries in use.
    #[must_use]
    #[inline]
    pub fn used(&self) -> usize {
        self.used
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
        self.regions.offset_of(entry.region, entry.address)
    }

    /// Entries of the first `packets` packets.
    fn entries_of(&self, packets: usize) -> usize {
        if packets >= self.packets {
            return self.used;
        }
        let ends = self.entries[..self.used].iter().enumerate().filter(|(_, e)| !e.more);
        packets.checked_sub(1).and_then(|last| ends.map(|(at, _)| at + 1).nth(last)).unwrap_or(0)
    }

    /// How many whole packets, and entries, fit `room` slots.
    pub(super) fn fitting(&self, room: usize) -> (usize, usize) {
        let entries = &self.entries[..self.used.min(room)];
        let ends = entries.iter().enumerate().filter(|(_, e)| !e.more);
        ends.fold((0, 0), |(packets, _), (at, _)| (packets + 1, at + 1))
    }

    /// Length and continuation of entry `at`.
    pub(super) fn shape(&self, at: usize) -> (u32, bool) {
        (self.entries[at].len, self.entries[at].more)
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
    pub fn packets(&self) -> impl Iterator<Item = RxPacket<'_>> {
        let batch = &*self.batch;
        let mut rest = &batch.entries[..batch.used];
        let mut first = 0;
        std::iter::from_fn(move || {
            let len = packet_entries(rest)?;
            let (entries, tail) = rest.split_at(len);
            let packet = RxPacket { entries, first, batch };
            rest = tail;
            first += len;
            Some(packet)
        })
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

/// Entries of the first packet in `rest`.
#[inline]
fn packet_entries(rest: &[RxEntry]) -> Option<usize> {
    let first = rest.first()?;
    if !first.more {
        return Some(1);
    }
    rest.iter().position(|e| !e.more).map(|last| last + 1)
}

impl Drop for RxBurst<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.returning == 0 {
            return;
        }
        let packets = self.returning;
        let entries = self.batch.entries_of(packets);
        let bytes = self.batch.entries[..entries].iter().map(|e| u64::from(e.len)).sum();
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
    entries: &'b [RxEntry],
    /// Index of the first entry in the batch.
    first: usize,
    batch: &'b RxBatch,
}

impl<'b> RxPacket<'b> {
    /// Length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a packet is never empty")]
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        match self.entries {
            [one] => one.len as usize,
            many => many.iter().map(|e| e.len as usize).sum(),
        }
    }

    /// Copies the packet's first bytes to `to`, as many as fit, and returns how many. Compare with
    /// [`len`](Self::len) to see whether that was all.
    #[inline]
    pub fn copy_to(&self, to: &mut [u8]) -> usize {
        let mut done = 0;
        for entry in self.entries {
            let rest = &mut to[done..];
            let len = rest.len().min(entry.len as usize);
            // SAFETY: `RxBatch::push` checked that `entry.len` bytes at the address lie in a
            // mapping that the batch keeps alive; `rest` is private and at least `len` long.
            unsafe { copy::copy(rest.as_mut_ptr(), entry.address.as_ptr(), len) };
            done += len;
        }
        done
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
    pub fn copy_range(&self, mut offset: usize, to: &mut [u8]) -> usize {
        let mut done = 0;
        for entry in self.entries {
            let len = entry.len as usize;
            if offset >= len {
                offset -= len;
                continue;
            }
            let rest = &mut to[done..];
            let take = rest.len().min(len - offset);
            // SAFETY: `offset + take <= len`, and `RxBatch::push` checked that `len` bytes at the
            // address lie in a mapping that the batch keeps alive; `rest` is private.
            unsafe { copy::copy(rest.as_mut_ptr(), entry.address.as_ptr().add(offset), take) };
            done += take;
            offset = 0;
        }
        done
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
        offloads.and_then(|o| o.get(self.first)).copied().unwrap_or_default()
    }

    #[inline]
    pub(super) fn carries_offload(&self) -> bool {
        self.batch.carries_offloads()
    }

    /// The packet's pieces in shared memory, for code that works on raw memory itself. They stay
    /// mapped while the lease lives; the peer may write them at any time.
    pub fn pieces(&self) -> impl Iterator<Item = *const [u8]> + use<'b> {
        let piece = |e: &RxEntry| {
            std::ptr::slice_from_raw_parts(e.address.as_ptr().cast_const(), e.len as usize)
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
        // SAFETY: `RxBatch::push` checked the range, which stays mapped while the lease lives; that
        // nobody writes it is the caller's contract.
        Some(unsafe { std::slice::from_raw_parts(one.address.as_ptr(), one.len as usize) })
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
