//! A bitmap in shared memory, in which either side sets bits and a peer takes them back.
#![expect(unsafe_code, reason = "the view turns checked offsets into addresses in shared memory")]

use super::Mapping;
use super::view::{OutOfRange, locate};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering, fence};

/// Bits in shared memory: bit `n` is bit `n % 8` of byte `n / 8`, which is also where words of any
/// length have it on a little-endian machine.
#[derive(Debug, Clone)]
pub struct SharedBitmap {
    first: NonNull<AtomicU8>,
    bytes: u64,
    _mapping: Arc<Mapping>,
}

// SAFETY: bytes are only accessed atomically and stay mapped while `_mapping` lives.
unsafe impl Send for SharedBitmap {}
// SAFETY: as above.
unsafe impl Sync for SharedBitmap {}

impl SharedBitmap {
    /// The bitmap of `bytes` bytes at `offset` bytes.
    ///
    /// # Errors
    /// [`OutOfRange`] when it leaves the mapping.
    pub fn new(mapping: &Arc<Mapping>, offset: u64, bytes: u64) -> Result<Self, OutOfRange> {
        let first = locate(mapping, offset, bytes, 1)?.cast();
        Ok(Self { first, bytes, _mapping: Arc::clone(mapping) })
    }

    /// Orders what was written so far before the bits that are set next: whoever takes a bit back
    /// sees what was written before it was set, or found set. Once is enough for many bits.
    #[inline]
    pub fn order(&self) {
        // A bit that is set already is not written again: that takes a full fence.
        fence(Ordering::SeqCst);
    }

    /// Sets a bit. One that does not exist is left out.
    #[inline]
    pub fn set(&self, bit: u64) {
        let Some(byte) = self.byte(bit / 8) else { return };
        let mask = 1u8 << (bit % 8);
        // A locked operation only for the first write to a page.
        if byte.load(Ordering::Relaxed) & mask == 0 {
            byte.fetch_or(mask, Ordering::AcqRel);
        }
    }

    /// Whether a bit is set; `None` for one that does not exist.
    #[must_use]
    pub fn get(&self, bit: u64) -> Option<bool> {
        let byte = self.byte(bit / 8)?.load(Ordering::Acquire);
        Some(byte >> (bit % 8) & 1 == 1)
    }

    fn byte(&self, at: u64) -> Option<&AtomicU8> {
        let offset = usize::try_from(at).ok().filter(|_| at < self.bytes)?;
        // SAFETY: `new` checked that `bytes` bytes from `first` lie in the mapping, which
        // `_mapping` keeps mapped as long as the reference lives; a byte needs no alignment, and
        // memory behind an atomic may be changed by anyone.
        Some(unsafe { self.first.add(offset).as_ref() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::{Backing, OwnedMemory, read_u32};

    fn bitmap(offset: u64, bytes: u64) -> (OwnedMemory, Result<SharedBitmap, OutOfRange>) {
        let memory = OwnedMemory::create("bitmap", 4096, Backing::Pages).unwrap();
        let bitmap = SharedBitmap::new(memory.mapping(), offset, bytes);
        (memory, bitmap)
    }

    #[test]
    fn bits_are_where_words_have_them_and_nowhere_else() {
        let (memory, bitmap) = bitmap(5, 3);
        let bitmap = bitmap.unwrap();
        for bit in [0, 9, 23, 9] {
            bitmap.set(bit);
        }
        assert_eq!(read_u32(memory.mapping(), 4).unwrap(), 0x8002_0100);
        assert_eq!((bitmap.get(9), bitmap.get(10)), (Some(true), Some(false)));
    }

    #[test]
    fn bits_behind_the_end_are_left_out() {
        let (memory, bitmap) = bitmap(0, 4);
        let bitmap = bitmap.unwrap();
        for bit in [32, 33, 4096 * 8, u64::MAX] {
            bitmap.set(bit);
            assert_eq!(bitmap.get(bit), None);
        }
        for at in (0..4096).step_by(4) {
            assert_eq!(read_u32(memory.mapping(), at).unwrap(), 0);
        }
    }

    #[test]
    fn bitmap_outside_of_its_mapping_is_refused() {
        for (offset, bytes) in [(0, 4097), (4096, 1), (u64::MAX, 2), (1, u64::MAX)] {
            assert!(bitmap(offset, bytes).1.is_err(), "{bytes} at {offset}");
        }
        assert!(bitmap(4095, 1).1.is_ok());
    }
}
