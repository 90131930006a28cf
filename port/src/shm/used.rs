//! Typed views of the two rings of a split virtqueue: descriptor indices that are offered, and
//! elements that give them back. Each is checked once, when it is made; slots are masked.
//!
//! Spec: VIRTIO 1.3 §2.7.6, §2.7.8.
#![expect(unsafe_code, reason = "the views turn checked offsets into addresses in shared memory")]

use super::Mapping;
use super::view::{OutOfRange, locate};
use crate::sync::{AtomicU16, Ordering};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// A table of 16-bit indices in shared memory.
#[derive(Debug, Clone)]
pub struct IndexTable {
    first: NonNull<AtomicU16>,
    mask: u16,
    _mapping: Arc<Mapping>,
}

// SAFETY: entries are only accessed atomically and stay mapped while `_mapping` lives.
unsafe impl Send for IndexTable {}
// SAFETY: as above.
unsafe impl Sync for IndexTable {}

impl IndexTable {
    /// The table of `slots` indices (a power of two) at `offset` bytes.
    ///
    /// # Errors
    /// [`OutOfRange`] when it leaves the mapping, is not aligned to 2 bytes, or `slots` is no power
    /// of two.
    pub fn new(mapping: &Arc<Mapping>, offset: u64, slots: u16) -> Result<Self, OutOfRange> {
        let first = locate_table(mapping, offset, slots, 2, 2)?.cast();
        Ok(Self { first, mask: slots - 1, _mapping: Arc::clone(mapping) })
    }

    /// The index at `slot`, read once.
    #[must_use]
    #[inline]
    pub fn load(&self, slot: u16) -> u16 {
        self.view().load(slot)
    }

    /// Writes the index at `slot`.
    #[inline]
    pub fn store(&self, slot: u16, index: u16) {
        self.view().store(slot, index);
    }

    /// The table to work on in a loop, whose place and size stay in registers.
    #[must_use]
    #[inline(always)]
    pub fn view(&self) -> IndexView<'_> {
        IndexView { first: self.first, mask: self.mask, table: PhantomData }
    }
}

/// See [`IndexTable::view`].
#[derive(Debug, Clone, Copy)]
pub struct IndexView<'t> {
    first: NonNull<AtomicU16>,
    mask: u16,
    table: PhantomData<&'t IndexTable>,
}

impl<'t> IndexView<'t> {
    /// The index at `slot`, read once.
    #[must_use]
    #[inline(always)]
    pub fn load(&self, slot: u16) -> u16 {
        self.entry(slot).load(Ordering::Relaxed)
    }

    /// Writes the index at `slot`.
    #[inline(always)]
    pub fn store(&self, slot: u16, index: u16) {
        self.entry(slot).store(index, Ordering::Relaxed);
    }

    #[inline(always)]
    fn entry(&self, slot: u16) -> &'t AtomicU16 {
        // SAFETY: `IndexTable::new` checked that `mask + 1` entries lie in the mapping, aligned to
        // 2 bytes, and the slot is masked. The table keeps them mapped while it is borrowed.
        unsafe { self.first.add(usize::from(slot & self.mask)).as_ref() }
    }
}

/// A table of elements of two 32-bit words in shared memory: the head of a chain that is given
/// back, and how many bytes were written to it.
#[derive(Debug, Clone)]
pub struct UsedTable {
    /// By word: the table is aligned to 4 bytes only.
    first: NonNull<[AtomicU32; 2]>,
    mask: u16,
    _mapping: Arc<Mapping>,
}

// SAFETY: entries are only accessed atomically and stay mapped while `_mapping` lives.
unsafe impl Send for UsedTable {}
// SAFETY: as above.
unsafe impl Sync for UsedTable {}

impl UsedTable {
    /// The table of `slots` elements (a power of two) at `offset` bytes.
    ///
    /// # Errors
    /// [`OutOfRange`] when it leaves the mapping, is not aligned to 4 bytes, or `slots` is no power
    /// of two.
    pub fn new(mapping: &Arc<Mapping>, offset: u64, slots: u16) -> Result<Self, OutOfRange> {
        let first = locate_table(mapping, offset, slots, 8, 4)?.cast();
        Ok(Self { first, mask: slots - 1, _mapping: Arc::clone(mapping) })
    }

    /// The element at `slot`: head and length, each read once.
    #[must_use]
    pub fn load(&self, slot: u16) -> (u32, u32) {
        self.view().load(slot)
    }

    /// Writes the element at `slot`.
    #[inline]
    pub fn store(&self, slot: u16, head: u16, len: u32) {
        self.view().store(slot, head, len);
    }

    /// The table to work on in a loop, whose place and size stay in registers.
    #[must_use]
    #[inline(always)]
    pub fn view(&self) -> UsedView<'_> {
        UsedView { first: self.first, mask: self.mask, table: PhantomData }
    }
}

/// See [`UsedTable::view`].
#[derive(Debug, Clone, Copy)]
pub struct UsedView<'t> {
    first: NonNull<[AtomicU32; 2]>,
    mask: u16,
    table: PhantomData<&'t UsedTable>,
}

impl<'t> UsedView<'t> {
    /// The element at `slot`: head and length, each read once.
    #[must_use]
    #[inline(always)]
    pub fn load(&self, slot: u16) -> (u32, u32) {
        let [head, len] = self.entry(slot);
        (head.load(Ordering::Relaxed), len.load(Ordering::Relaxed))
    }

    /// Hints that `count` elements from `slot` on will be read soon.
    #[inline(always)]
    pub fn prefetch_read(&self, slot: u16, count: u16) {
        const PER_LINE: usize = 8;
        for at in (0..count).step_by(PER_LINE) {
            let entry = std::ptr::from_ref(self.entry(slot.wrapping_add(at)));
            crate::copy::prefetch_read(entry.cast());
        }
    }

    /// Writes the element at `slot`.
    #[inline(always)]
    pub fn store(&self, slot: u16, head: u16, len: u32) {
        let entry = self.entry(slot);
        entry[0].store(head.into(), Ordering::Relaxed);
        entry[1].store(len, Ordering::Relaxed);
    }

    #[inline(always)]
    fn entry(&self, slot: u16) -> &'t [AtomicU32; 2] {
        // SAFETY: `UsedTable::new` checked that `mask + 1` elements lie in the mapping, aligned to
        // 4 bytes, and the slot is masked. The table keeps them mapped while it is borrowed.
        unsafe { self.first.add(usize::from(slot & self.mask)).as_ref() }
    }
}

/// Checks a table of `slots` entries of `bytes` bytes each, and returns its address.
fn locate_table(
    mapping: &Mapping,
    offset: u64,
    slots: u16,
    bytes: u64,
    align: u64,
) -> Result<NonNull<u8>, OutOfRange> {
    let bytes = u64::from(slots) * bytes;
    let first = locate(mapping, offset, bytes, align)?;
    if !slots.is_power_of_two() {
        return Err(OutOfRange { offset, bytes, mapping_len: mapping.len() as u64, align });
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::{Backing, OwnedMemory};

    #[test]
    fn tables_keep_to_their_mapping_and_mask_their_slots() {
        let memory = OwnedMemory::create("used-test", 4096, Backing::Pages).unwrap();
        let mapping = memory.mapping();
        let indices = IndexTable::new(mapping, 4096 - 8, 4).unwrap();
        let used = UsedTable::new(mapping, 4, 4).unwrap();
        for slot in 0..4u16 {
            indices.store(slot + 8, 100 + slot);
            used.store(slot + 4, 200 + slot, 7);
            assert_eq!(indices.load(slot), 100 + slot);
            assert_eq!(used.load(slot), (200 + u32::from(slot), 7));
        }
        for (offset, slots) in [(4096 - 6, 4), (1, 4), (0, 0), (0, 3), (u64::MAX - 1, 4)] {
            assert!(IndexTable::new(mapping, offset, slots).is_err(), "{offset} {slots}");
        }
        for (offset, slots) in [(4096 - 28, 4), (2, 4), (0, 0), (0, 6), (u64::MAX - 3, 4)] {
            assert!(UsedTable::new(mapping, offset, slots).is_err(), "{offset} {slots}");
        }
    }
}
