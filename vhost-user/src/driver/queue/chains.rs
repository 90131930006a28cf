//! Which buffers of a transmit ring are free, and which chains the device has.

mod any_order;
mod in_order;

pub(super) use any_order::AnyOrder;
pub(super) use in_order::InOrder;

use super::layout::Layout;
use ringport::error::QueueError;
use std::fmt::Debug;

/// Free buffers come again in the order in which they became free. So with a device that keeps the
/// order, they are used in the order of their ids for ever: what IN_ORDER asks for.
///
/// Spec: VIRTIO 1.3 §2.7.13.1, §2.7.9.
pub(super) trait Chains: Debug + Send + 'static {
    /// Buffers of a ring of `size`, all of which are free.
    fn new(size: u16) -> Self;

    /// How many buffers are free.
    fn free(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// The id of free buffer number `at`, which is less than their count.
    fn id(&self, at: usize) -> u16;

    /// Notes that free buffer `id` becomes a chain.
    fn lend(&mut self, id: u16);

    /// Notes that buffer `id` goes on the chain at `head`, behind `last`.
    fn extend(&mut self, head: u16, last: u16, id: u16);

    /// The first `count` free buffers are not free any more.
    fn remove(&mut self, count: usize);

    /// Takes back up to `wanted` chains that the device has sent.
    ///
    /// # Errors
    /// The device does not have one that it gives back, or broke the ring.
    fn reclaim<L: Layout>(&mut self, ring: &mut L, wanted: u16) -> Result<(), QueueError>;
}

/// The device names a buffer beyond the ring.
#[cold]
pub(super) fn no_such_buffer(id: u32, size: usize) -> QueueError {
    QueueError::NoSuchDescriptor {
        index: u16::try_from(id).unwrap_or(u16::MAX),
        entries: u16::try_from(size).unwrap_or(u16::MAX),
    }
}
