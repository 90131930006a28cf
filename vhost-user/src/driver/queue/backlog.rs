//! Buffers of a receive ring: which the device has, and which it gave back and we have not released.

mod any_order;
mod in_order;

pub(super) use any_order::AnyOrder;
pub(super) use in_order::InOrder;

use super::buffers::Buffers;
use super::layout::Layout;
use ringport::burst::Piece;
use ringport::error::QueueError;
use std::fmt::Debug;
use std::ops::Range;

/// A buffer that the device gave back.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Filled {
    pub(super) id: u16,
    /// Bytes written; not more than it holds.
    pub(super) len: u32,
}

/// Buffers that the device gave back, oldest first.
pub(super) trait Backlog: Debug + Send + 'static {
    /// Buffers of a ring of `size`, all of which the device has, of `capacity` bytes each.
    fn new(size: u16, capacity: u32) -> Self;

    /// How many were given back.
    fn len(&self) -> usize;

    /// How many there are in all.
    fn size(&self) -> usize;

    /// One that was given back, and is the oldest but `at`.
    fn get(&self, at: usize) -> Option<Filled>;

    /// All that were given back.
    fn filled(&self) -> impl Iterator<Item = Filled>;

    /// Those in `run`, the oldest being number 0, as if each were a packet. Maybe not all: then the rest
    /// is another run.
    fn run(&self, buffers: &Buffers, run: Range<usize>) -> impl Iterator<Item = Piece>;

    /// Takes what up to `wanted` more used elements of the ring stand for, as long as there are
    /// buffers that the device has.
    ///
    /// # Errors
    /// The device does not have one that it gives back, wrote more than it holds, or broke the ring.
    fn read<L: Layout>(&mut self, ring: &mut L, wanted: u16) -> Result<(), QueueError>;

    /// The device gets the first `count` again, as they were.
    fn give_back<L: Layout>(&mut self, ring: &mut L, buffers: &Buffers, count: usize);

    /// The device has got the first `count`.
    fn release(&mut self, count: usize);
}

/// The device wrote more than a buffer holds.
#[cold]
fn too_long(len: u32, capacity: u32) -> QueueError {
    QueueError::LengthExceedsBuffer { len, capacity }
}
