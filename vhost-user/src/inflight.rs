//! Memory for chains in flight: it outlives a back-end, and tells the next one how far the rings are.
//!
//! Chains are used here in the order in which they come, so none is ever used while an older one is
//! not: what is in flight is what was not used yet, and where the ring goes on says it all. Of the
//! memory's fields only those are kept; no descriptor is ever marked. Memory that another
//! back-end marked descriptors in is taken over if it used them in order as well.
//!
//! A region for each ring, at multiples of 64 bytes:
//!
//! | split | packed | bytes | field | kept |
//! |---|---|---|---|---|
//! | 0 | 0 | 8 | features, none so far | 0 |
//! | 8 | 8 | 2 | version, 0 before the first start | 1 |
//! | 10 | 10 | 2 | descriptors of the ring | yes |
//! | 12 | | 2 | head of the batch used last | 0 |
//! | 14 | | 2 | used index | after it is published |
//! | | 12 | 2 + 2 | free head, and before | 0 |
//! | | 16 | 2 | position, as it will be | before descriptors are used |
//! | | 18 | 2 | position, as it was | after that |
//! | | 20 | 1 + 1 | wrap counters of both | with them |
//! | 16 | 32 | 16 or 32 each | descriptors: byte 0, whether it is in flight | 0 |
//!
//! Spec: vhost-user "Inflight I/O tracking".
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::backend::{InflightMemory, PackedIndex, RingBase};
use ringport::shm::{DescTable, Mapping, OutOfRange, Regions, SharedU16, write_u32};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use thiserror::Error;

/// Why a ring cannot go on by what its memory for chains in flight says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InflightError {
    /// The region is not all in the memory.
    #[error("memory for chains in flight: {0}")]
    Outside(#[from] OutOfRange),
    /// A layout that we do not know.
    #[error("memory for chains in flight of version {version}, 1 is known")]
    Version {
        /// What it says.
        version: u16,
    },
    /// A position outside of the ring.
    #[error("memory for chains in flight: position {index} in a ring of {size}")]
    Position {
        /// What it says.
        index: u16,
        /// Entries of the ring.
        size: u16,
    },
    /// Another back-end has used buffers out of order: which, only it knows.
    #[error("chains in flight of a back-end that used others before them")]
    OutOfOrder,
}

/// Bytes to which regions are aligned.
const ALIGN: u64 = 64;
const VERSION: u16 = 1;

/// What differs between the layouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    packed: bool,
    /// Bytes in front of the descriptors.
    head: u64,
    /// Bytes of a descriptor.
    descriptor: u64,
}

impl Shape {
    fn of(packed: bool) -> Self {
        let (head, descriptor) = if packed { (32, 32) } else { (16, 16) };
        Self { packed, head, descriptor }
    }

    /// Bytes of a ring's region.
    fn region(self, queue_size: u16) -> u64 {
        let descriptors = u64::from(queue_size).saturating_mul(self.descriptor);
        self.head.saturating_add(descriptors).next_multiple_of(ALIGN)
    }
}

/// Bytes for so many rings of at most `queue_size` descriptors each.
#[must_use]
pub(crate) fn area_len(packed: bool, queues: u16, queue_size: u16) -> u64 {
    Shape::of(packed).region(queue_size).saturating_mul(queues.into())
}

/// The memory of all rings.
#[derive(Debug)]
pub(crate) struct InflightArea {
    mapping: Arc<Mapping>,
    offset: u64,
    end: u64,
    queues: u16,
    queue_size: u16,
}

/// The region of one ring, as it was found.
#[derive(Debug)]
pub(crate) struct Found {
    mapping: Arc<Mapping>,
    offset: u64,
    shape: Shape,
    /// A copy.
    head: [u8; 32],
    /// Which descriptors are marked.
    marked: Vec<bool>,
}

/// The region of a ring that runs.
#[derive(Debug, Clone)]
pub struct InflightRing(Kept);

#[derive(Debug, Clone)]
enum Kept {
    Split {
        used: SharedU16,
    },
    /// One descriptor long, whose first word has positions and wrap counters.
    Packed {
        positions: DescTable,
    },
}

impl InflightArea {
    /// The memory that a message describes, mapped from the start of its file.
    pub(crate) fn new(mapping: Arc<Mapping>, said: &InflightMemory) -> Self {
        let &InflightMemory { size, offset, queues, queue_size, .. } = said;
        Self { mapping, offset, end: offset.saturating_add(size), queues, queue_size }
    }

    /// Reads the region of a ring, once; `None` when there is none for it.
    pub(crate) fn find(&self, ring: u16, packed: bool) -> Result<Option<Found>, InflightError> {
        if ring >= self.queues {
            return Ok(None);
        }
        let shape = Shape::of(packed);
        let len = shape.region(self.queue_size);
        let offset = len.saturating_mul(ring.into()).saturating_add(self.offset);
        let outside =
            OutOfRange { offset, bytes: len, mapping_len: self.end, align: shape.descriptor };
        let end = offset.saturating_add(len);
        if end > self.end || !offset.is_multiple_of(shape.descriptor) {
            return Err(outside.into());
        }
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| outside)?];
        let memory = Regions::new(vec![Arc::clone(&self.mapping)]);
        memory.read(0, offset, &mut bytes).ok_or(outside)?;
        Found::new(Arc::clone(&self.mapping), offset, shape, &bytes, self.queue_size).map(Some)
    }
}

impl Found {
    fn new(
        mapping: Arc<Mapping>,
        offset: u64,
        shape: Shape,
        bytes: &[u8],
        queue_size: u16,
    ) -> Result<Self, InflightError> {
        let mut head = [0; 32];
        head.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        let [start, step] =
            [shape.head, shape.descriptor].map(|len| usize::try_from(len).unwrap_or(32));
        let marks = bytes.iter().skip(start).step_by(step).take(queue_size.into());
        let found =
            Self { mapping, offset, shape, head, marked: marks.map(|mark| *mark != 0).collect() };
        match found.word(8) {
            0 | VERSION => Ok(found),
            version => Err(InflightError::Version { version }),
        }
    }

    fn word(&self, at: usize) -> u16 {
        let bytes = self.head.get(at..).and_then(<[u8]>::first_chunk);
        bytes.copied().map_or(0, u16::from_le_bytes)
    }

    fn is_new(&self) -> bool {
        self.word(8) == 0
    }

    /// Whether the chains that are marked are the next ones, in order: `next` are the heads that the
    /// ring has next.
    pub(crate) fn check_order(
        &self,
        mut next: impl Iterator<Item = u16>,
    ) -> Result<(), InflightError> {
        let mut marked = self.marked.clone();
        for _ in self.marked.iter().filter(|mark| **mark && !self.is_new()) {
            let mark = next.next().and_then(|head| marked.get_mut(usize::from(head)));
            match mark {
                Some(mark) if *mark => *mark = false,
                _ => return Err(InflightError::OutOfOrder),
            }
        }
        Ok(())
    }

    /// Where a packed ring of `size` entries goes on, unless this is new: `is_used` tells whether the
    /// driver can see that a descriptor was used.
    ///
    /// A back-end that ended while it used a batch has announced the position behind it, and may or
    /// may not have come to publish the batch, which happens all at once.
    pub(crate) fn position(
        &self,
        size: u16,
        is_used: impl FnOnce(PackedIndex) -> bool,
    ) -> Result<Option<PackedIndex>, InflightError> {
        if self.is_new() {
            return Ok(None);
        }
        if self.marked.contains(&true) {
            // What was used out of order has overwritten them in the ring.
            return Err(InflightError::OutOfOrder);
        }
        let [wrap, old_wrap] = self.word(20).to_le_bytes();
        let used = PackedIndex { index: self.word(16), wrap: wrap != 0 };
        let old = PackedIndex { index: self.word(18), wrap: old_wrap != 0 };
        if let Some(PackedIndex { index, .. }) = [used, old].into_iter().find(|at| at.index >= size)
        {
            return Err(InflightError::Position { index, size });
        }
        Ok(Some(if used == old || is_used(old) { used } else { old }))
    }

    /// Has the region remember a ring of `size` descriptors that starts at `base`.
    pub(crate) fn start(self, base: RingBase, size: u16) -> Result<InflightRing, InflightError> {
        let Self { mapping, offset, shape, marked, .. } = self;
        let at = |field: u64| offset.saturating_add(field);
        for (number, _) in (0u64..).zip(&marked).filter(|(_, marked)| **marked) {
            let descriptor = shape.head.saturating_add(number.saturating_mul(shape.descriptor));
            write_u32(&mapping, at(descriptor), 0)?;
        }
        write_u32(&mapping, at(0), 0)?;
        write_u32(&mapping, at(4), 0)?;
        write_u32(&mapping, at(12), 0)?;
        let kept = if shape.packed {
            Kept::Packed { positions: DescTable::new(&mapping, at(16), 1)? }
        } else {
            Kept::Split { used: SharedU16::new(&mapping, at(14))? }
        };
        let ring = InflightRing(kept);
        match base {
            RingBase::Split { avail } => ring.used(avail),
            RingBase::Packed { used, .. } => ring.positions(used, used),
        }
        // Last: until then it counts as new, unless it was used before.
        write_u32(&mapping, at(8), u32::from(size) << 16 | u32::from(VERSION))?;
        Ok(ring)
    }
}

impl InflightRing {
    /// Notes the used index of a split ring, after it was published.
    pub(crate) fn used(&self, index: u16) {
        if let Kept::Split { used } = &self.0 {
            // Nothing of what was published may come later than this.
            fence(Ordering::Release);
            used.set(index);
        }
    }

    /// Notes where a packed ring is to go on, and where it was. One store: whoever reads the memory
    /// later finds both as they were at one time.
    pub(crate) fn positions(&self, next: PackedIndex, old: PackedIndex) {
        if let Kept::Packed { positions } = &self.0 {
            let wraps = u64::from(next.wrap) | u64::from(old.wrap) << 8;
            let word = u64::from(next.index) | u64::from(old.index) << 16 | wraps << 32;
            // As above.
            fence(Ordering::Release);
            positions.store_low(0, word);
        }
    }
}

#[cfg(test)]
mod tests;
