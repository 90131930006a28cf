//! Received packets, as users see them.
#![expect(unsafe_code, reason = "entries hold addresses in shared memory")]

use super::{RxBatch, RxEntry};
use crate::copy;
use crate::offload::Offload;
use bytes::Bytes;

/// Iterator over the packets of a burst.
#[derive(Debug, Clone)]
pub struct RxPackets<'b> {
    pub(super) rest: &'b [RxEntry],
    pub(super) batch: &'b RxBatch,
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
    // As with `TxBurst::push`.
    #[inline(always)]
    pub fn copy_to(&self, to: &mut [u8]) -> usize {
        let [one] = self.entries else { return copy_pieces(self.entries, 0, to) };
        let len = to.len().min(one.len() as usize);
        // SAFETY: `RxBatch::fill` checked that `len()` bytes at the address lie in a mapping that
        // the batch keeps alive.
        unsafe { copy::out(&mut to[..len], one.address.as_ptr()) };
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
    pub(in crate::burst) fn carries_offload(&self) -> bool {
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
    /// Nobody must write the packet's memory while the slice lives, nor take it away: neither the peer,
    /// nor another queue of this process that has the memory too (on one pool, all have). Nothing
    /// enforces that: only a peer in the same trust domain can be relied on to keep to it.
    #[must_use]
    pub unsafe fn as_slice(&self) -> Option<&'b [u8]> {
        let [one] = self.entries else { return None };
        // SAFETY: `RxBatch::fill` checked the range, which stays mapped while the lease lives; that
        // nobody writes it is the caller's contract.
        Some(unsafe { std::slice::from_raw_parts(one.address.as_ptr(), one.len() as usize) })
    }

    pub(super) fn batch(&self) -> &'b RxBatch {
        self.batch
    }

    #[inline]
    pub(in crate::burst) fn entries(&self) -> &'b [RxEntry] {
        self.entries
    }
}

impl std::fmt::Debug for RxPacket<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (len, pieces) = (self.len(), self.entries.len());
        f.debug_struct("RxPacket").field("len", &len).field("pieces", &pieces).finish()
    }
}

/// See [`RxPacket::copy_range`]. A batch checked the `entries`, and whoever lends them keeps their
/// mappings alive.
pub(super) fn copy_pieces(entries: &[RxEntry], mut offset: usize, to: &mut [u8]) -> usize {
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
        // address lie in a mapping that the lender keeps alive.
        unsafe { copy::out(&mut rest[..take], entry.address.as_ptr().add(offset)) };
        done += take;
        offset = 0;
    }
    done
}
