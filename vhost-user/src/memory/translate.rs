//! Looking up the addresses of a burst.

use super::{GuestMemory, Range};

/// Looks up the buffers of a burst. It remembers the region of the one before, which is mostly that
/// of the next: then a look-up is two comparisons of values in registers.
#[derive(Debug)]
pub(crate) struct Translator<'m> {
    memory: &'m GuestMemory,
    range: Range,
    region: u16,
}

impl GuestMemory {
    /// A look-up of many buffers.
    #[inline(always)]
    pub(crate) fn translator(&self) -> Translator<'_> {
        let none = Range { guest: 0, front_end: 0, size: 0, offset: 0 };
        Translator { memory: self, range: self.ranges.first().copied().unwrap_or(none), region: 0 }
    }
}

impl Translator<'_> {
    /// Region, and offset in its mapping, of `len` bytes at a guest address, if all of them are in
    /// one region.
    #[inline(always)]
    pub(crate) fn locate(&mut self, address: u64, len: u32) -> Option<(u16, u64)> {
        let mut into = address.wrapping_sub(self.range.guest);
        if into >= self.range.size {
            (self.region, self.range) = lookup(self.memory, address)?;
            into = address - self.range.guest;
        }
        if u64::from(len) > self.range.size - into {
            return None;
        }
        Some((self.region, self.range.offset + into))
    }
}

/// The region that holds `address`. (It takes no part of a [`Translator`] by reference, so that all of
/// that stays in registers.)
#[inline(never)]
fn lookup(memory: &GuestMemory, address: u64) -> Option<(u16, Range)> {
    let (region, range) = memory.range_of(address)?;
    Some((u16::try_from(region).ok()?, *range))
}
