//! Where the buffers of a ring are.

use super::layout::Buffer;
use super::memory::Parts;
use crate::virtqueue::descriptor::WRITE;
use ringport::burst::{Piece, Shape};
use ringport::pool::Pool;
use std::sync::Arc;

/// The buffers of a ring, by id. Never read back from shared memory.
#[derive(Debug)]
pub(super) struct Buffers {
    /// The region that they lie in.
    pub(super) region: u16,
    /// Offset of the header of buffer number 0 in that region, in bytes.
    first: u64,
    stride: u64,
    /// Guest address of that header.
    address: u64,
    /// What one holds, header included, in bytes.
    pub(super) capacity: u32,
    /// Of a ring on a pool.
    lent: Option<Lent>,
}

/// Buffers of a pool; they go back to it when the ring is gone.
#[derive(Debug)]
struct Lent {
    /// By id: the buffer's number. Each is that of another buffer.
    numbers: Box<[u32]>,
    pool: Arc<Pool>,
}

impl Buffers {
    pub(super) fn new(parts: &Parts) -> Self {
        let place = &parts.buffers;
        let lent = place.lent.as_ref().map(|(pool, starts)| {
            // No loss: offsets in a pool have 32 bits.
            let number = |start: &u64| u32::try_from(start / place.stride).unwrap_or(u32::MAX);
            Lent { numbers: starts.iter().map(number).collect(), pool: Arc::clone(pool) }
        });
        Self {
            region: place.region,
            first: place.first,
            stride: place.stride,
            address: place.guest + place.first,
            capacity: place.capacity,
            lent,
        }
    }

    /// Whether packets can be exchanged with other ports on the same pool.
    pub(super) fn are_lent(&self) -> bool {
        self.lent.is_some()
    }

    /// Offset of a buffer's header, in bytes.
    #[inline(always)]
    pub(super) fn offset(&self, id: u16) -> u64 {
        self.first + self.number(id) * self.stride
    }

    /// Guest address of a buffer's header.
    #[inline(always)]
    pub(super) fn address(&self, id: u16) -> u64 {
        self.address + self.number(id) * self.stride
    }

    /// All of a buffer.
    #[inline(always)]
    pub(super) fn whole(&self, id: u16) -> Piece {
        Piece::alone(self.offset(id), Shape::new(self.region, self.capacity, false))
    }

    /// The first `len` bytes of a buffer.
    #[inline(always)]
    pub(super) fn filled(&self, id: u16, len: u32) -> Piece {
        Piece::alone(self.offset(id), Shape::new(self.region, len, false))
    }

    /// A buffer for the device to write.
    #[inline(always)]
    pub(super) fn empty(&self, id: u16) -> Buffer {
        let (address, len) = (self.address(id), self.capacity);
        Buffer { id, head: id, address, len, flags: WRITE, next: 0 }
    }

    /// Notes that buffer `id` was exchanged for the one that holds `offset`, where a packet begins behind a
    /// header, or goes on without one.
    pub(super) fn exchange(&mut self, id: u16, offset: Option<u64>) {
        let (first, stride) = (self.first, self.stride);
        let slot = self.lent.as_mut().and_then(|lent| lent.numbers.get_mut(usize::from(id)));
        let number = offset.and_then(|offset| offset.checked_sub(first)?.checked_div(stride));
        if let (Some(slot), Some(Ok(number))) = (slot, number.map(u32::try_from)) {
            *slot = number;
        }
    }

    #[inline(always)]
    fn number(&self, id: u16) -> u64 {
        match &self.lent {
            None => id.into(),
            Some(lent) => lent.numbers.get(usize::from(id)).copied().unwrap_or(0).into(),
        }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        if let Some(Lent { numbers, pool }) = &self.lent {
            let stride = self.stride;
            pool.give_back(numbers.iter().map(|number| u64::from(*number) * stride));
        }
    }
}
