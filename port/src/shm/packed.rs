//! A typed view of the ring of a packed virtqueue: descriptors that say themselves whose they are.
//!
//! Spec: VIRTIO 1.3 §2.8.
#![expect(unsafe_code, reason = "the view turns checked offsets into addresses in shared memory")]

use super::Mapping;
use super::view::{OutOfRange, locate};
use crate::sync::Ordering;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A ring of 16-byte descriptors in shared memory, of any size.
///
/// The second word of a descriptor holds length, buffer id and flags: who reads it with the flag
/// that says that the descriptor is his also sees the rest of it, and who writes it gives all of it
/// away at once.
#[derive(Debug, Clone)]
pub struct PackedTable {
    first: NonNull<[AtomicU64; 2]>,
    slots: u16,
    _mapping: Arc<Mapping>,
}

// SAFETY: entries are only accessed atomically and stay mapped while `_mapping` lives.
unsafe impl Send for PackedTable {}
// SAFETY: as above.
unsafe impl Sync for PackedTable {}

impl PackedTable {
    /// The ring of `slots` descriptors, at least one, at `offset` bytes.
    ///
    /// # Errors
    /// [`OutOfRange`] when it leaves the mapping, is not aligned to 16 bytes, or has no slots.
    pub fn new(mapping: &Arc<Mapping>, offset: u64, slots: u16) -> Result<Self, OutOfRange> {
        let bytes = u64::from(slots) * 16;
        let first = locate(mapping, offset, bytes, 16)?.cast();
        if slots == 0 {
            return Err(OutOfRange { offset, bytes, mapping_len: mapping.len() as u64, align: 16 });
        }
        Ok(Self { first, slots, _mapping: Arc::clone(mapping) })
    }

    /// Descriptors in the ring.
    #[must_use]
    pub fn slots(&self) -> u16 {
        self.slots
    }

    /// The ring to work on in a loop, whose place and size stay in registers.
    #[must_use]
    #[inline(always)]
    pub fn view(&self) -> PackedView<'_> {
        PackedView { first: self.first, slots: self.slots, table: PhantomData }
    }
}

/// See [`PackedTable::view`]. Slots beyond the ring are taken for the first.
#[derive(Debug, Clone, Copy)]
pub struct PackedView<'t> {
    first: NonNull<[AtomicU64; 2]>,
    slots: u16,
    table: PhantomData<&'t PackedTable>,
}

/// One descriptor after the other, as often around the ring as wanted. See [`PackedView::walk`].
#[derive(Debug, Clone, Copy)]
pub struct PackedWalk<'t> {
    at: NonNull<[AtomicU64; 2]>,
    view: PackedView<'t>,
    last: NonNull<[AtomicU64; 2]>,
}

impl<'t> PackedView<'t> {
    /// The descriptors from `slot` on. Beyond the ring is taken for the first.
    #[must_use]
    #[inline(always)]
    pub fn walk(self, slot: u16) -> PackedWalk<'t> {
        // Not by way of a reference, which leads to no other entry than its own.
        let at = self.place(slot);
        // SAFETY: a ring has at least one entry, and this is its last one.
        let last = unsafe { self.first.add(usize::from(self.slots) - 1) };
        PackedWalk { at, view: self, last }
    }

    /// The second word of the descriptor at `slot`, read once (Acquire: what its writer wrote before
    /// is visible): length, buffer id and flags from the lowest bit on.
    #[must_use]
    #[inline(always)]
    pub fn load_state(&self, slot: u16) -> u64 {
        u64::from_le(self.entry(slot)[1].load(Ordering::Acquire))
    }

    /// The first word of the descriptor at `slot`, read once: the address. Only after its state was
    /// read.
    #[must_use]
    #[inline(always)]
    pub fn load_address(&self, slot: u16) -> u64 {
        u64::from_le(self.entry(slot)[0].load(Ordering::Relaxed))
    }

    /// Writes the first word of the descriptor at `slot`: the address. Only before its state is
    /// written.
    #[inline(always)]
    pub fn store_address(&self, slot: u16, address: u64) {
        self.entry(slot)[0].store(address.to_le(), Ordering::Relaxed);
    }

    /// Writes the second word of the descriptor at `slot` (Release: what was written before is
    /// visible to who reads it).
    #[inline(always)]
    pub fn store_state(&self, slot: u16, state: u64) {
        self.entry(slot)[1].store(state.to_le(), Ordering::Release);
    }

    /// Hints that `count` descriptors from `slot` on will be written soon, as far as the ring goes.
    #[inline(always)]
    pub fn prefetch_write(&self, slot: u16, count: u16) {
        const PER_LINE: usize = 4;
        let end = slot.saturating_add(count).min(self.slots);
        for at in (slot..end).step_by(PER_LINE) {
            crate::copy::prefetch_write(std::ptr::from_ref(self.entry(at)).cast());
        }
    }

    #[inline(always)]
    fn entry(&self, slot: u16) -> &'t [AtomicU64; 2] {
        // SAFETY: `PackedTable::new` checked that the entry lies in the mapping, aligned to 16 bytes.
        // The table keeps it mapped while it is borrowed.
        unsafe { self.place(slot).as_ref() }
    }

    /// Where the entry at `slot` is.
    #[inline(always)]
    fn place(&self, slot: u16) -> NonNull<[AtomicU64; 2]> {
        let slot = if slot < self.slots { slot } else { 0 };
        // SAFETY: `PackedTable::new` checked that `slots` entries, at least one, lie in the mapping.
        unsafe { self.first.add(usize::from(slot)) }
    }
}

impl PackedWalk<'_> {
    /// As [`PackedView::load_state`], of the descriptor here.
    #[must_use]
    #[inline(always)]
    pub fn load_state(&self) -> u64 {
        u64::from_le(self.entry()[1].load(Ordering::Acquire))
    }

    /// As [`PackedView::load_address`], of the descriptor here.
    #[must_use]
    #[inline(always)]
    pub fn load_address(&self) -> u64 {
        u64::from_le(self.entry()[0].load(Ordering::Relaxed))
    }

    /// As [`PackedView::store_address`], of the descriptor here.
    #[inline(always)]
    pub fn store_address(&self, address: u64) {
        self.entry()[0].store(address.to_le(), Ordering::Relaxed);
    }

    /// As [`PackedView::store_state`], of the descriptor here.
    #[inline(always)]
    pub fn store_state(&self, state: u64) {
        self.entry()[1].store(state.to_le(), Ordering::Release);
    }

    /// Goes on to the next descriptor. Returns whether that is the first of the ring.
    #[inline(always)]
    pub fn step(&mut self) -> bool {
        let wraps = self.at == self.last;
        self.at = match wraps {
            true => self.view.first,
            // SAFETY: behind an entry that is not the last one there is another.
            false => unsafe { self.at.add(1) },
        };
        wraps
    }

    #[inline(always)]
    fn entry(&self) -> &[AtomicU64; 2] {
        // SAFETY: `at` is an entry of the ring, as `walk` and `step` keep it; it stays mapped while the
        // table is borrowed.
        unsafe { self.at.as_ref() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::{Backing, OwnedMemory};

    #[test]
    fn walk_leads_around_the_ring() {
        let ring = [const { [const { AtomicU64::new(0) }; 2] }; 3];
        (7..).zip(&ring).for_each(|(state, [_, word])| word.store(state, Ordering::Relaxed));
        let first = NonNull::from(&ring).cast();
        let mut walk = PackedView { first, slots: 3, table: PhantomData }.walk(1);
        let seen = [(); 4].map(|()| (u64::from_le(walk.load_state()), walk.step()));
        assert_eq!(seen, [(8, false), (9, true), (7, false), (8, false)]);
    }

    #[test]
    fn ring_of_any_size_keeps_to_its_mapping() {
        let memory = OwnedMemory::create("packed-test", 4096, Backing::Pages).unwrap();
        let table = PackedTable::new(memory.mapping(), 4096 - 48, 3).unwrap();
        for slot in 0..3 {
            table.view().store_state(slot, 7 + u64::from(slot));
        }
        assert_eq!([0, 1, 2].map(|slot| table.view().load_state(slot)), [7, 8, 9]);
        assert_eq!(table.view().load_state(3), 7, "beyond the ring");
        assert_eq!(table.view().load_address(2), 0);
        let mut walk = table.view().walk(1);
        let seen = [(); 5].map(|()| (walk.load_state(), walk.load_address(), walk.step()));
        let wraps = [(8, 0, false), (9, 0, true), (7, 0, false), (8, 0, false), (9, 0, true)];
        assert_eq!(seen, wraps);
        assert_eq!(table.view().walk(3).load_state(), 7, "beyond the ring");
        table.view().store_address(2, 5);
        assert_eq!([1, 2].map(|slot| table.view().load_address(slot)), [0, 5]);
        for (offset, slots) in [(4096 - 32, 3), (8, 1), (0, 0), (u64::MAX - 15, 1)] {
            assert!(PackedTable::new(memory.mapping(), offset, slots).is_err(), "{offset} {slots}");
        }
    }
}
