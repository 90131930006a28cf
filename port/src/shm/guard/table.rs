//! The ranges that the guard watches: written under a lock, read by a signal handler without one.
//!
//! # Why a handler may read it at any moment
//! * Slots are in blocks that are added to a list and never freed, so walking the list is always
//!   sound.
//! * A slot is a sequence lock. Its version is odd while its owner writes it; a reader that meets an
//!   odd version, or two different ones before and after, passes over the slot. So a reader sees the
//!   fields of one registration together, never a mix of two.
//! * Passing over a slot that is being written is right: the handler looks for the address that its
//!   own thread is accessing. A thread accesses a range only through the `Mapping`, which it got
//!   after the slot was written and which cannot be dropped, nor the slot cleared, before the access
//!   has ended; and the access is in progress. So that slot is stable, and the one being written is
//!   another's.
//! * For the same reason, what was read stays true while the handler uses it: the range stays mapped
//!   and the link's state alive, as the registration is not dropped before the access is over.

use crate::link::LinkState;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Slots of one block: 2 KiB.
const BLOCK_SLOTS: usize = 64;

/// All ranges watched in this process.
pub(super) static TABLE: Block = Block::new();

/// Serializes writers.
static WRITERS: Mutex<()> = Mutex::new(());

/// A watched range. Dropping it ends the watch; the range must still be mapped then.
#[derive(Debug)]
pub(in crate::shm) struct Registration {
    slot: &'static Slot,
    /// Keeps alive what the slot points to.
    _link: Arc<LinkState>,
}

impl Registration {
    pub(super) fn new(start: NonNull<u8>, len: usize, link: Arc<LinkState>) -> Self {
        let status = ptr::from_ref(link.status_word()).cast_mut();
        let writing = write_lock();
        let slot = TABLE.free_slot(&writing);
        slot.write(start.as_ptr(), len, status, &writing);
        Self { slot, _link: link }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.slot.write(ptr::null_mut(), 0, ptr::null_mut(), &write_lock());
    }
}

fn write_lock() -> MutexGuard<'static, ()> {
    WRITERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One registration, as a reader found it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) start: *mut u8,
    /// Bytes.
    pub(super) len: usize,
    pub(super) status: *mut AtomicU32,
}

impl Range {
    pub(super) fn contains(&self, address: usize) -> bool {
        address.checked_sub(self.start.addr()).is_some_and(|offset| offset < self.len)
    }
}

/// A slot; free when its length is zero.
#[derive(Debug)]
struct Slot {
    version: AtomicUsize,
    start: AtomicPtr<u8>,
    len: AtomicUsize,
    status: AtomicPtr<AtomicU32>,
}

impl Slot {
    const fn new() -> Self {
        Self {
            version: AtomicUsize::new(0),
            start: AtomicPtr::new(ptr::null_mut()),
            len: AtomicUsize::new(0),
            status: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// The registration in this slot, if there is one and nobody is writing it.
    fn read(&self) -> Option<Range> {
        // Pairs with the Release store that ends `write`.
        let version = self.version.load(Ordering::Acquire);
        let range = Range {
            start: self.start.load(Ordering::Relaxed),
            len: self.len.load(Ordering::Relaxed),
            status: self.status.load(Ordering::Relaxed),
        };
        // Pairs with the fence in `write`: if any field above is from a later write, its odd version
        // is visible below.
        fence(Ordering::Acquire);
        let unchanged = self.version.load(Ordering::Relaxed) == version;
        (version.is_multiple_of(2) && unchanged && range.len > 0).then_some(range)
    }

    fn write(
        &self,
        start: *mut u8,
        len: usize,
        status: *mut AtomicU32,
        _writing: &MutexGuard<'_, ()>,
    ) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.start.store(start, Ordering::Relaxed);
        self.len.store(len, Ordering::Relaxed);
        self.status.store(status, Ordering::Relaxed);
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }
}

/// Some slots, and the block after them.
#[derive(Debug)]
pub(super) struct Block {
    slots: [Slot; BLOCK_SLOTS],
    next: OnceLock<&'static Self>,
}

impl Block {
    const fn new() -> Self {
        Self { slots: [const { Slot::new() }; BLOCK_SLOTS], next: OnceLock::new() }
    }

    /// Every registration that is not being written. Takes no lock (`OnceLock::get` is one load).
    pub(super) fn ranges(&'static self) -> impl Iterator<Item = Range> {
        self.blocks().flat_map(|block| &block.slots).filter_map(Slot::read)
    }

    fn blocks(&'static self) -> impl Iterator<Item = &'static Self> {
        std::iter::successors(Some(self), |block| block.next.get().copied())
    }

    /// A free slot, in a new block when there is none; blocks are never freed.
    fn free_slot(&'static self, _writing: &MutexGuard<'_, ()>) -> &'static Slot {
        let mut block = self;
        loop {
            let free = |slot: &&Slot| slot.len.load(Ordering::Relaxed) == 0;
            if let Some(slot) = block.slots.iter().find(free) {
                return slot;
            }
            block = block.next.get_or_init(|| Box::leak(Box::new(Self::new())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn more_ranges_than_a_block_holds_are_all_found_until_dropped() {
        let link = Arc::new(LinkState::new().unwrap());
        let fake = |index: usize| ptr::without_provenance_mut::<u8>((index + 1) << 12);
        let make = |index| Registration::new(NonNull::new(fake(index)).unwrap(), 16, link.clone());
        let found = |index| TABLE.ranges().any(|range| range.contains(fake(index).addr() + 15));
        let held: Vec<_> = (0..3 * BLOCK_SLOTS).map(make).collect();
        assert!((0..3 * BLOCK_SLOTS).all(found));
        assert!(!TABLE.ranges().any(|range| range.contains(fake(0).addr() + 16)));
        drop(held);
        assert!(!(0..3 * BLOCK_SLOTS).any(found));
        assert_eq!(Arc::strong_count(&link), 1);
    }

    #[test]
    fn slot_read_during_writes_never_mixes_two_registrations() {
        static SLOT: Slot = Slot::new();
        static DONE: AtomicBool = AtomicBool::new(false);
        let reader = std::thread::spawn(|| {
            let mut seen = 0_u64;
            while !DONE.load(Ordering::Relaxed) {
                if let Some(range) = SLOT.read() {
                    assert_eq!(range.start.addr(), range.len);
                    assert_eq!(range.status.addr(), range.len);
                    seen += 1;
                }
            }
            seen
        });
        for value in (1..200_000).map(|index| index * 8) {
            let start = ptr::without_provenance_mut(value);
            let status = ptr::without_provenance_mut(value);
            SLOT.write(start, value, status, &write_lock());
        }
        DONE.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    }
}
