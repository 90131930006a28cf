//! Packets laid out over several slots, or written in place.
#![expect(unsafe_code, reason = "copies into slots in shared memory")]

use super::batch::TxBatch;
use super::{PushError, TxBurst};
use crate::burst::RxPacket;
use crate::copy;
use std::ptr::NonNull;

/// Lays `frame` out over the slots from `used` on, and returns how many it takes.
#[cold]
#[inline(never)]
pub(super) fn push_chained(
    batch: &mut TxBatch,
    used: usize,
    frame: &[u8],
) -> Result<usize, PushError> {
    let mut layout = Layout::new(batch, used);
    layout.append(batch, frame)?;
    layout.finish(batch)
}

#[inline(never)]
pub(super) fn push_pieces(
    batch: &mut TxBatch,
    used: usize,
    packet: &RxPacket<'_>,
) -> Result<usize, PushError> {
    let mut layout = Layout::new(batch, used);
    for piece in packet.pieces() {
        // SAFETY: `RxBatch::fill` checked that the pieces of a leased packet lie in mappings that
        // its batch keeps alive.
        unsafe { layout.append_shared(batch, piece)? };
    }
    layout.finish(batch)
}

/// Writes one packet in place, over as many slots as it needs. Dropped unfinished, it leaves
/// nothing behind.
#[derive(Debug)]
pub struct PacketWriter<'b, 'q> {
    burst: &'b mut TxBurst<'q>,
    layout: Layout,
}

impl<'b, 'q> PacketWriter<'b, 'q> {
    pub(super) fn new(burst: &'b mut TxBurst<'q>) -> Self {
        let layout = Layout::new(burst.batch, burst.used);
        Self { burst, layout }
    }

    /// Bytes written so far.
    #[expect(clippy::len_without_is_empty, reason = "finish refuses an empty packet")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.layout.len
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`PushError`]: the packet cannot be finished then, only dropped.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), PushError> {
        self.layout.append(self.burst.batch, bytes)
    }

    /// Overwrites bytes that were appended before, such as a checksum. Returns whether the range
    /// lies in what was appended.
    pub fn overwrite(&mut self, offset: usize, bytes: &[u8]) -> bool {
        self.layout.overwrite(self.burst.batch, offset, bytes)
    }

    /// Ends the packet.
    ///
    /// # Errors
    /// [`PushError::Empty`] when nothing was appended.
    pub fn finish(self) -> Result<(), PushError> {
        let taken = self.layout.finish(self.burst.batch)?;
        self.burst.take(taken)
    }
}

/// A part of a slot that was taken for bytes of a packet.
struct Room {
    address: NonNull<u8>,
    len: usize,
}

/// A packet that is being laid out over free slots.
#[derive(Debug)]
pub(super) struct Layout {
    /// First slot of the packet, counted in the window.
    first: usize,
    /// Slots taken so far.
    slots: usize,
    /// Bytes left in the last of them.
    room: usize,
    /// Bytes of the packet's header that have not found their place yet.
    header: usize,
    len: usize,
    /// An append failed: the packet is incomplete.
    broken: Option<PushError>,
}

impl Layout {
    pub(super) fn new(batch: &TxBatch, first: usize) -> Self {
        Self { first, slots: 0, room: 0, header: batch.front_in_extent(), len: 0, broken: None }
    }

    /// Appends bytes of private memory.
    fn append(&mut self, batch: &mut TxBatch, mut bytes: &[u8]) -> Result<(), PushError> {
        while let Some(room) = self.next_room(batch, bytes.len())? {
            let (now, later) = bytes.split_at(room.len);
            // SAFETY: the room has `now.len()` bytes, in a mapping that the batch keeps alive.
            unsafe { copy::put(room.address.as_ptr(), now) };
            bytes = later;
        }
        Ok(())
    }

    /// Appends bytes of shared memory.
    ///
    /// # Safety
    /// `piece` must lie in a mapping that stays for the whole call.
    unsafe fn append_shared(
        &mut self,
        batch: &mut TxBatch,
        piece: *const [u8],
    ) -> Result<(), PushError> {
        let (mut from, mut left) = (piece.cast::<u8>(), piece.len());
        while let Some(room) = self.next_room(batch, left)? {
            // SAFETY: the room has `room.len` bytes, in a mapping that the batch keeps alive; no fewer
            // are left of `piece`.
            unsafe { copy::across(room.address.as_ptr(), from, room.len) };
            from = from.wrapping_add(room.len);
            left -= room.len;
        }
        Ok(())
    }

    /// Takes room for the first of `left` bytes, as many as lie together; `None` when none are left.
    fn next_room(&mut self, batch: &mut TxBatch, left: usize) -> Result<Option<Room>, PushError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        if left == 0 {
            return Ok(None);
        }
        if self.room == 0 {
            self.take_slot(batch, left).inspect_err(|error| self.broken = Some(*error))?;
        }
        let at_slot = self.first + self.slots - 1;
        let Some(extent) = batch.extent(at_slot) else { return Err(PushError::Full) };
        let len = left.min(self.room);
        // SAFETY: `room <= extent.len`, so the `room` bytes from there on, of which `len` are taken,
        // are the extent's, which `TxBatch::extent` says to lie in a mapping that the batch keeps
        // alive.
        let address = unsafe { extent.address.add(extent.len - self.room) };
        let slot = batch.slot_mut(at_slot);
        #[expect(clippy::cast_possible_truncation, reason = "at most the extent's, a u32")]
        let written = (slot.written() + len) as u32;
        slot.set_written(written, true);
        self.room -= len;
        self.len += len;
        Ok(Some(Room { address, len }))
    }

    /// Takes slots until one has room.
    fn take_slot(&mut self, batch: &mut TxBatch, left: usize) -> Result<(), PushError> {
        while self.room == 0 {
            if self.slots == batch.chain_max || self.is_at_the_end(batch) {
                return Err(PushError::TooLong { len: self.len + left, chain_max: self.slots });
            }
            let at = self.first + self.slots;
            let extent = batch.extent(at);
            let extent = extent.ok_or_else(|| batch.no_room(self.first, self.len + left))?;
            batch.slot_mut(at).start();
            let header = self.header.min(extent.len);
            self.header -= header;
            self.room = extent.len - header;
            self.slots += 1;
        }
        Ok(())
    }

    /// Whether the packet's buffer is used up, and it may not go on in another.
    fn is_at_the_end(&self, batch: &TxBatch) -> bool {
        !batch.spans()
            && self.slots > 0
            && batch.extent(self.first + self.slots - 1).is_none_or(|extent| extent.last)
    }

    fn overwrite(&self, batch: &mut TxBatch, mut offset: usize, mut bytes: &[u8]) -> bool {
        if offset.checked_add(bytes.len()).is_none_or(|end| end > self.len) {
            return false;
        }
        let mut header = batch.front_in_extent();
        for at in self.first..self.first + self.slots {
            let Some(extent) = batch.extent(at) else { return false };
            let skipped = header.min(extent.len);
            header -= skipped;
            let len = batch.slot_mut(at).written();
            if offset >= len {
                offset -= len;
                continue;
            }
            let (now, later) = bytes.split_at(bytes.len().min(len - offset));
            // SAFETY: behind the `skipped` bytes of header, `len` bytes of the packet were written
            // to this extent, and `offset + now.len() <= len`.
            unsafe { copy::put(extent.address.as_ptr().add(skipped + offset), now) };
            (bytes, offset) = (later, 0);
        }
        true
    }

    /// Ends the packet and returns how many slots it takes: all of the buffer that it ends in.
    fn finish(&self, batch: &mut TxBatch) -> Result<usize, PushError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let Some(last) = self.slots.checked_sub(1) else {
            return Err(PushError::Empty);
        };
        let mut last = self.first + last;
        batch.slot_mut(last).set_last();
        while batch.extent(last).is_some_and(|extent| !extent.last) {
            last += 1;
            batch.slot_mut(last).set_written(0, false);
        }
        Ok(last + 1 - self.first)
    }
}
