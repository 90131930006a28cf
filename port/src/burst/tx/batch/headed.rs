//! Windows of protocols that write a header in front of each packet, and whose buffers may be in
//! pieces.
#![expect(unsafe_code, reason = "slots hold addresses in shared memory")]

use super::{Committed, TxBatch, TxSlot};
use crate::burst::{Piece, PushError, Shape};
use crate::copy;
use crate::error::QueueError;
use std::ptr::NonNull;

/// What is kept free for headers, and which slots make up one buffer.
#[derive(Debug, Default)]
pub(super) struct Fronts {
    /// Bytes kept free in front of each packet.
    front: u32,
    /// Packets must not go on in another buffer.
    confined: bool,
    /// What is kept free has headers and nothing else, in buffers that packets go on in as well.
    kept: bool,
    /// Slots of the window by [`TxBatch::reserve_pieces`], whose first entries these are then.
    pieces: Box<[Extent]>,
    /// Whether the window is one of those.
    in_pieces: bool,
    /// Whether the window is all that there ever is.
    complete: bool,
}

impl Fronts {
    /// The next window is one of whole buffers without headers, as all are from then on.
    #[inline(always)]
    pub(super) fn none(&mut self) {
        (self.front, self.in_pieces) = (0, false);
    }

    /// The next window is one of whole buffers.
    #[inline(always)]
    pub(super) fn plain(&mut self) {
        self.in_pieces = false;
    }
}

/// The memory of a slot.
#[derive(Debug, Clone, Copy)]
pub(in crate::burst::tx) struct Extent {
    /// `len` bytes from here lie in a mapping of the batch's regions.
    pub(in crate::burst::tx) address: NonNull<u8>,
    pub(in crate::burst::tx) len: usize,
    /// Whether the buffer ends with it.
    pub(in crate::burst::tx) last: bool,
}

impl TxBatch {
    /// Keeps `front` bytes free in front of each packet, in the first of its buffers, for a header
    /// that the protocol [writes](Self::write_front). Where `confined`, a packet must not go on in
    /// another buffer.
    #[must_use]
    pub fn behind(mut self, front: u32, confined: bool) -> Self {
        let none = Extent { address: NonNull::dangling(), len: 0, last: true };
        let pieces = vec![none; self.slots.len()].into();
        self.fronts = Fronts { front, confined, pieces, ..Fronts::default() };
        self.free = 0;
        self
    }

    /// Where a packet goes on in another buffer, keeps as much free there as in front of it: for
    /// headers that need not be written again. Only for windows of whole buffers.
    #[must_use]
    pub fn keeping_fronts(mut self) -> Self {
        self.fronts.kept = true;
        self
    }

    /// Reserves a window of free slots, each of which is a whole buffer of `buffers`, and returns
    /// how many: it stops at the first buffer that is not all in its region, has no room behind the
    /// header, or goes on in another piece.
    #[inline(always)]
    pub fn reserve_behind(&mut self, buffers: impl Iterator<Item = Piece>) -> usize {
        let Self { regions, slots, fronts, .. } = self;
        let front = fronts.front;
        let mut alike = regions.alike();
        let mut free = 0;
        for (slot, buffer) in slots.iter_mut().zip(buffers) {
            let shape = buffer.shape;
            if shape.more() || shape.len() <= front {
                break;
            }
            let Some(address) = alike.locate(&buffer) else { break };
            // SAFETY: the buffer's `len()` bytes lie in a mapping, and `front` is less.
            slot.address = unsafe { address.add(front as usize) };
            copy::prefetch_behind(address.as_ptr(), slot.address.as_ptr(), copy::prefetch_write);
            slot.holds = Shape::new(shape.region(), shape.len() - front, false);
            free += 1;
        }
        self.free = free;
        self.fronts.plain();
        if self.offloads.is_some() {
            self.forget_offloads();
        }
        free
    }

    /// Reserves a window of buffers in one or more pieces, each a slot: the shape of a piece says
    /// whether its buffer goes on in the next.
    ///
    /// # Errors
    /// When a piece does not lie in its region or is empty, or when they are more than
    /// [`burst_max`](Self::burst_max). No slot is reserved then.
    pub fn reserve_pieces(&mut self, pieces: &[Piece]) -> Result<(), QueueError> {
        self.free = 0;
        let limit = self.slots.len().min(self.fronts.pieces.len());
        if pieces.len() > limit {
            let limit = u16::try_from(limit).unwrap_or(u16::MAX);
            return Err(QueueError::ChainTooLong { limit });
        }
        let mut alike = self.regions.alike();
        for (at, piece) in pieces.iter().enumerate() {
            let whole = Piece {
                shape: Shape::new(piece.shape.region(), piece.shape.len(), false),
                ..*piece
            };
            let address = alike.locate(&whole).ok_or_else(|| self.regions.refuse(piece))?;
            let last = !piece.shape.more() || at + 1 == pieces.len();
            self.fronts.pieces[at] = Extent { address, len: whole.shape.len() as usize, last };
            // A slot that holds nothing is passed over by the quick way of writing.
            let holds = Shape::new(piece.shape.region(), 0, false);
            self.slots[at] = TxSlot { holds, ..TxSlot::NONE };
        }
        self.free = pieces.len();
        self.fronts.in_pieces = true;
        self.forget_offloads();
        Ok(())
    }

    /// Says whether the window is the whole ring: then a packet that it has no room for never finds
    /// any.
    #[inline(always)]
    pub fn set_complete(&mut self, complete: bool) {
        self.fronts.complete = complete;
    }

    /// Why a packet that starts with slot number `first` finds no further slot: a later burst may
    /// have more, unless this one has as many as any.
    #[cold]
    pub(in crate::burst::tx) fn no_room(&self, first: usize, len: usize) -> PushError {
        let largest = self.fronts.complete || self.free == self.slots.len();
        match first == 0 && self.free > 0 && largest {
            true => PushError::TooLong { len, chain_max: self.free },
            false => PushError::Full,
        }
    }

    /// Writes the header in front of the packet that starts with slot number `at` of the window.
    /// Bytes beyond what is kept free are left out.
    #[inline]
    pub fn write_front<const N: usize>(&self, at: usize, header: &[u8; N]) {
        if self.fronts.in_pieces || N != self.fronts.front as usize {
            return self.write_front_in_pieces(at, header);
        }
        let Some(slot) = self.slots.get(at).filter(|_| at < self.free) else { return };
        // SAFETY: `reserve_behind` made this window, as `in_pieces` tells, and checked that `front`
        // bytes in front of the address, which is `N`, belong to the same buffer; where the address
        // was exchanged, `RxBatch::fitting` checked that they belong to the same region.
        unsafe { slot.put_front(header) };
    }

    /// Writes the same header in front of each of `count` packets of one slot each, the first ones of the
    /// window.
    #[inline(always)]
    pub fn write_fronts<const N: usize>(&self, count: usize, header: &[u8; N]) {
        if self.fronts.in_pieces || N != self.fronts.front as usize {
            (0..count).for_each(|at| self.write_front_in_pieces(at, header));
            return;
        }
        for slot in self.slots.iter().take(count.min(self.free)) {
            // SAFETY: as in `write_front`.
            unsafe { slot.put_front(header) };
        }
    }

    #[cold]
    fn write_front_in_pieces(&self, at: usize, header: &[u8]) {
        let mut rest = &header[..header.len().min(self.front())];
        let extents = (at..self.free).map_while(|at| self.extent(at));
        for extent in extents {
            let (now, later) = rest.split_at(rest.len().min(extent.len));
            // SAFETY: `now` is at most as long as the extent.
            unsafe { copy::put(extent.address.as_ptr(), now) };
            rest = later;
            if rest.is_empty() || extent.last {
                return;
            }
        }
    }

    /// Bytes kept free in front of each packet.
    #[inline(always)]
    pub(in crate::burst::tx) fn front(&self) -> usize {
        self.fronts.front as usize
    }

    /// Bytes in front of each packet that belong to its first slot's [extent](Self::extent).
    #[inline(always)]
    pub(in crate::burst::tx) fn front_in_extent(&self) -> usize {
        if self.fronts.kept { 0 } else { self.front() }
    }

    /// Whether a packet may go on in another buffer.
    pub(in crate::burst::tx) fn spans(&self) -> bool {
        !self.fronts.confined
    }

    /// The memory of slot number `at` of the window in which packets are, if it was reserved.
    pub(in crate::burst::tx) fn extent(&self, at: usize) -> Option<Extent> {
        let slot = self.slots.get(at).filter(|_| at < self.free)?;
        if self.fronts.in_pieces {
            return self.fronts.pieces.get(at).copied();
        }
        let front = self.front_in_extent();
        // SAFETY: `reserve_behind` checked that `front` bytes in front of the address belong to
        // the same buffer: `reserve` sets `front` to zero. Where the address was exchanged,
        // `RxBatch::fitting` checked that they belong to the same region.
        let address = unsafe { slot.address.sub(front) };
        Some(Extent { address, len: slot.capacity() + front, last: true })
    }
}

impl TxSlot {
    /// Writes a header in front of the packet, unless it is there from the turn before: where its line is
    /// not the packet's, both sides' caches keep it then.
    ///
    /// # Safety
    /// The `N` bytes in front of the address belong to the same buffer, which is mapped.
    #[inline(always)]
    unsafe fn put_front<const N: usize>(&self, header: &[u8; N]) {
        // SAFETY: the caller's contract.
        unsafe {
            let front = self.address.as_ptr().sub(N);
            if !copy::holds(front, header) {
                copy::put(front, header);
            }
        }
    }
}

/// A range that was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenRange {
    /// Its region.
    pub region: u16,
    /// Start in the region's mapping, in bytes.
    pub offset: u64,
    /// Length, in bytes.
    pub len: usize,
}

impl Committed<'_> {
    /// Where the packets are, with the headers in front of them unless these are
    /// [kept](TxBatch::keeping_fronts), for a protocol that takes note of what it wrote. One range for each slot that holds something, in order.
    pub fn written(&self) -> impl Iterator<Item = WrittenRange> + '_ {
        let batch = &*self.batch;
        // Of the header in front of the packet, what is still to be passed.
        let (mut front, mut ended) = (batch.front_in_extent(), false);
        (0..self.slots).filter_map(move |at| {
            let (extent, slot) = (batch.extent(at)?, batch.slots.get(at)?);
            let headed = front.min(extent.len);
            front -= headed;
            ended |= slot.written() > 0 && !slot.written.more();
            if extent.last && ended {
                (front, ended) = (batch.front_in_extent(), false);
            }
            let (region, len) = (slot.holds.region(), headed + slot.written());
            let offset = batch.regions.offset_of(region, extent.address)?;
            (len > 0).then_some(WrittenRange { region, offset, len })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::{Backing, OwnedMemory, Regions, read_u32};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    #[test]
    fn nothing_is_in_front_of_buffers_of_a_reserve_that_panicked() {
        let memory = OwnedMemory::create("fronts-test", 4096, Backing::Pages).unwrap();
        let regions = Arc::new(Regions::new(vec![Arc::clone(memory.mapping())]));
        let mut batch = TxBatch::new(regions, 8, 1).behind(4, false);
        let piece = Piece::alone(64, Shape::new(0, 64, false));
        assert_eq!(batch.reserve_behind([piece].into_iter()), 1);
        let mut pieces = [piece].into_iter();
        let pieces = std::iter::from_fn(|| Some(pieces.next().expect("no more of them")));
        assert!(catch_unwind(AssertUnwindSafe(|| batch.reserve(pieces))).is_err());
        batch.write_front(0, &[0xff; 4]);
        assert_eq!(read_u32(memory.mapping(), 60).unwrap(), 0);
    }
}
