//! Counts what a thread allocates, for tests that say "nothing".
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, with a counter for each thread. A test makes it its own:
///
/// ```
/// use ringport_bench::interop::allocations::{Counting, allocations};
///
/// #[global_allocator]
/// static COUNTING: Counting = Counting;
///
/// let before = allocations();
/// let _ = std::hint::black_box(vec![1; 10]);
/// assert_eq!(allocations(), before + 1);
/// ```
#[derive(Debug)]
pub struct Counting;

// SAFETY: everything is left to the system's allocator; counting touches a thread-local cell that
// needs no allocation and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the same.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Allocations of this thread so far, if [`Counting`] is the process's allocator.
#[must_use]
pub fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}
