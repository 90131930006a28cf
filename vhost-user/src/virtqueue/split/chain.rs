//! Chains of descriptors, in the ring's table and in tables of their own.

use crate::memory::GuestMemory;
use crate::virtqueue::descriptor::{Descriptor, INDIRECT, LEN, NEXT};
use crate::virtqueue::layout::{Walked, Walker};
use ringport::error::QueueError;
use ringport::shm::DescTable;

/// The part of a chain that lies in the ring's table, or in one of its own.
#[derive(Debug, Clone, Copy)]
enum Table<'t> {
    Ring { table: &'t DescTable, size: u16 },
    Indirect { memory: &'t GuestMemory, address: u64, entries: u16 },
}

/// Follows the chain: appends the buffers of the one at `head`, which is less than `size`, to what was
/// `walked` before, and returns how many bytes they have. Buffers of length zero are passed over. It
/// counts the descriptors, so that it comes to an end whatever they say.
#[inline(never)]
pub(super) fn walk(
    walker: &Walker,
    (table, size): (&DescTable, u16),
    head: u16,
    memory: &GuestMemory,
    walked: &mut Walked,
) -> Result<u32, QueueError> {
    let mut table = Table::Ring { table, size };
    let (mut index, mut bytes) = (head, 0u32);
    let room = walked.pieces.len() + usize::from(walker.limit);
    walked.in_ring = 0;
    for _ in 0..walker.limit {
        walked.descriptors += 1;
        walked.in_ring += u16::from(matches!(table, Table::Ring { .. }));
        let descriptor = table.load(index)?;
        if descriptor.flags & INDIRECT != 0 {
            table = enter(walker, table, descriptor, memory)?;
            index = 0;
            continue;
        }
        bytes = walker.take(descriptor, bytes, memory, walked)?;
        if walked.pieces.len() > room {
            // Buffers across regions have more pieces than descriptors.
            break;
        }
        if descriptor.flags & NEXT == 0 {
            return Ok(bytes);
        }
        index = descriptor.next;
    }
    Err(QueueError::ChainTooLong { limit: walker.limit })
}

/// Goes on in a table of the chain's own, which must be its end.
fn enter<'t>(
    walker: &Walker,
    from: Table<'t>,
    Descriptor { address, len, flags, .. }: Descriptor,
    memory: &'t GuestMemory,
) -> Result<Table<'t>, QueueError> {
    let nested = matches!(from, Table::Indirect { .. });
    if !walker.indirect || nested || flags & NEXT != 0 {
        return Err(QueueError::OddFlags { flags });
    }
    if len == 0 || !len.is_multiple_of(LEN) {
        return Err(QueueError::OddTable { len });
    }
    let Ok(entries) = u16::try_from(len / LEN) else {
        return Err(QueueError::OddTable { len });
    };
    Ok(Table::Indirect { memory, address, entries })
}

impl Table<'_> {
    /// Copies a descriptor out.
    fn load(&self, index: u16) -> Result<Descriptor, QueueError> {
        match *self {
            Self::Ring { table, size } => {
                if index >= size {
                    return Err(QueueError::NoSuchDescriptor { index, entries: size });
                }
                Ok(Descriptor::from_words(table.load(index)))
            }
            Self::Indirect { memory, address, entries } => {
                if index >= entries {
                    return Err(QueueError::NoSuchDescriptor { index, entries });
                }
                let missing = QueueError::NotShared { address, len: u32::from(entries) * LEN };
                let mut bytes = [0; LEN as usize];
                let at = address.checked_add(u64::from(index) * u64::from(LEN));
                memory.read(at.ok_or(missing)?, &mut bytes).ok_or(missing)?;
                Ok(Descriptor::from_bytes(bytes))
            }
        }
    }
}
