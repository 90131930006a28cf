//! Where the buffers of a ring are.

use super::layout::Buffer;
use super::memory::{Parts, stride};
use crate::virtqueue::descriptor::WRITE;
use ringport::burst::{Piece, Shape};

/// The only region there is.
pub(super) const REGION: u16 = 0;

/// The buffers of a ring, one by id. Never read back from shared memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Buffers {
    /// Offset of buffer 0 in the memory, in bytes.
    first: u64,
    stride: u64,
    /// Guest address of buffer 0.
    address: u64,
    /// What one holds, header included, in bytes.
    pub(super) capacity: u32,
}

impl Buffers {
    pub(super) fn new(parts: &Parts) -> Self {
        let (first, capacity) = (parts.place.buffers, parts.capacity);
        Self { first, stride: stride(capacity), address: parts.guest + first, capacity }
    }

    /// Offset of a buffer, in bytes.
    #[inline(always)]
    pub(super) fn offset(&self, id: u16) -> u64 {
        self.first + u64::from(id) * self.stride
    }

    /// Guest address of a buffer.
    #[inline(always)]
    pub(super) fn address(&self, id: u16) -> u64 {
        self.address + u64::from(id) * self.stride
    }

    /// All of a buffer.
    #[inline(always)]
    pub(super) fn whole(&self, id: u16) -> Piece {
        Piece::alone(self.offset(id), Shape::new(REGION, self.capacity, false))
    }

    /// A buffer for the device to write.
    #[inline(always)]
    pub(super) fn empty(&self, id: u16) -> Buffer {
        let (address, len) = (self.address(id), self.capacity);
        Buffer { id, head: id, address, len, flags: WRITE, next: 0 }
    }
}
