//! The atomics that the ring and doorbell functions use: the standard library's, or `loom`'s when
//! the crate is built with `--cfg loom`, so that the model checker runs the functions we ship.

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU16, AtomicU32, Ordering, fence};
#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU16, AtomicU32, Ordering, fence};
