//! Chains: neighbours in the ring, or one descriptor that names a table.

use super::position::{Position, State};
use crate::memory::GuestMemory;
use crate::virtqueue::descriptor::{Access, Descriptor, INDIRECT, LEN, NEXT};
use crate::virtqueue::layout::{Walked, Walker};
use ringport::error::QueueError;
use ringport::shm::PackedView;

/// A chain in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::virtqueue) struct Chain {
    /// The buffer id to give back.
    pub(super) id: u16,
    /// Descriptors in the ring.
    pub(super) entries: u16,
}

/// Appends the buffers of the chain at `at` to what was `walked` before. Returns the chain, and how
/// many bytes they have or what is wrong with them: buffers of length zero are passed over.
///
/// # Errors
/// The chain has no end: then nobody knows its id.
#[inline(never)]
pub(super) fn walk(
    walker: &Walker,
    ring: PackedView<'_>,
    mut at: Position,
    memory: &GuestMemory,
    walked: &mut Walked,
) -> Result<(Chain, Result<u32, QueueError>), QueueError> {
    let room = walked.pieces.len() + usize::from(walker.limit);
    let mut outcome = Ok(0);
    for entries in 1..=walker.limit {
        walked.descriptors += 1;
        walked.in_ring = entries;
        let state = State(ring.load_state(at.slot()));
        let (len, flags) = (state.len(), state.flags());
        let descriptor = Descriptor { address: ring.load_address(at.slot()), len, flags, next: 0 };
        outcome = outcome.and_then(|bytes| match flags & INDIRECT {
            0 => take(walker, descriptor, bytes, room, memory, walked),
            _ if entries > 1 => Err(QueueError::OddFlags { flags }),
            _ => take_table(walker, descriptor, room, memory, walked),
        });
        if flags & NEXT == 0 {
            return Ok((Chain { id: state.id(), entries }, outcome));
        }
        at = at.ahead(1);
    }
    Err(QueueError::ChainTooLong { limit: walker.limit })
}

/// Appends one buffer, unless there are more than `room` pieces then: buffers across regions have
/// more of them than descriptors.
fn take(
    walker: &Walker,
    descriptor: Descriptor,
    bytes: u32,
    room: usize,
    memory: &GuestMemory,
    walked: &mut Walked,
) -> Result<u32, QueueError> {
    let total = walker.take(descriptor, bytes, memory, walked)?;
    if walked.pieces.len() > room {
        return Err(QueueError::ChainTooLong { limit: walker.limit });
    }
    Ok(total)
}

/// Appends the buffers of a table: all of it, in order.
fn take_table(
    walker: &Walker,
    Descriptor { address, len, flags, .. }: Descriptor,
    room: usize,
    memory: &GuestMemory,
    walked: &mut Walked,
) -> Result<u32, QueueError> {
    if !walker.indirect || flags & NEXT != 0 {
        return Err(QueueError::OddFlags { flags });
    }
    if len == 0 || !len.is_multiple_of(LEN) {
        return Err(QueueError::OddTable { len });
    }
    if len / LEN >= walker.limit.into() {
        return Err(QueueError::ChainTooLong { limit: walker.limit });
    }
    let missing = QueueError::NotShared { address, len };
    let mut bytes = 0;
    for at in (0..len).step_by(LEN as usize) {
        walked.descriptors += 1;
        let at = address.checked_add(at.into()).ok_or(missing)?;
        let mut descriptor = [0; LEN as usize];
        memory.read(at, &mut descriptor).ok_or(missing)?;
        // In a table the third field is the id; flags are where they are in the ring.
        let words = Descriptor::words(descriptor);
        let state = State(words[1]);
        let (len, flags) = (state.len(), state.flags());
        if flags & INDIRECT != 0 {
            return Err(QueueError::OddFlags { flags });
        }
        // Spec: a device looks at no flag here but WRITE. DPDK's driver (22.11) leaves that set in
        // front of what it sends, so only a buffer that we are to write has to have it.
        let flags = if walker.access == Access::Read { 0 } else { flags };
        let descriptor = Descriptor { address: words[0], len, flags, next: 0 };
        bytes = take(walker, descriptor, bytes, room, memory, walked)?;
    }
    Ok(bytes)
}
