//! The memory that a front-end shares: regions, and addresses in them.
//!
//! A [`GuestMemory`] is one generation: it never changes. A table of other regions is another
//! generation, and queues move to it with all that they know of addresses.
//!
//! Two kinds of address name the same memory: descriptors hold *guest* (physical) addresses, the
//! messages that set up a ring hold *front-end* (virtual) ones.
//!
//! Spec: vhost-user "Memory region description", VHOST_USER_SET_MEM_TABLE.

mod translate;

#[cfg(test)]
mod tests;

use ringport::burst::{Piece, Shape};
use ringport::shm::{Mapping, Regions};
use std::sync::Arc;
use thiserror::Error;

/// Most regions that are all compared with an address, instead of halving them again and again.
const COMPARED_ALL: usize = 8;

/// One region, as the front-end announces it, with its mapping here.
#[derive(Debug, Clone)]
pub struct Region {
    /// Guest (physical) address of the first byte.
    pub guest: u64,
    /// Front-end (virtual) address of the first byte.
    pub front_end: u64,
    /// Length in bytes.
    pub size: u64,
    /// What it is mapped in.
    pub mapping: Arc<Mapping>,
    /// Where in the mapping it begins, in bytes.
    pub offset: u64,
}

/// Why regions make up no memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// A region has no bytes.
    #[error("memory region at {guest:#x} of length zero")]
    Empty {
        /// Its guest address.
        guest: u64,
    },
    /// A region goes beyond the last address.
    #[error("memory region of {size} bytes at {start:#x} goes beyond the last address")]
    Wraps {
        /// Its guest or front-end address.
        start: u64,
        /// Its length, in bytes.
        size: u64,
    },
    /// A region goes beyond its mapping.
    #[error("memory region of {size} bytes at offset {offset} of a mapping of {mapped}")]
    NotMapped {
        /// Where in the mapping it begins, in bytes.
        offset: u64,
        /// Its length, in bytes.
        size: u64,
        /// Length of the mapping, in bytes.
        mapped: u64,
    },
    /// Two regions have an address in common.
    #[error("memory regions overlap at {start:#x}")]
    Overlap {
        /// Guest or front-end address at which the second of them begins.
        start: u64,
    },
    /// More regions than a table may have.
    #[error("{count} memory regions, at most {limit} are accepted")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
}

/// A place in one region of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Index of the region in [`GuestMemory::regions`].
    pub region: u16,
    /// Offset in the region's mapping, in bytes.
    pub offset: u64,
}

/// One generation of a front-end's memory.
#[derive(Debug)]
pub struct GuestMemory {
    /// By guest address, none of which two have in common.
    ranges: Box<[Range]>,
    /// In the same order.
    regions: Arc<Regions>,
}

/// A region's addresses.
#[derive(Debug, Clone, Copy)]
struct Range {
    guest: u64,
    front_end: u64,
    /// Not zero. The addresses behind the region exist.
    size: u64,
    /// Offset in the mapping, which has `size` bytes from there on.
    offset: u64,
}

impl GuestMemory {
    /// Most regions of a generation: what front-ends ask for when slots can be added one by one.
    pub const REGIONS_MAX: usize = 512;

    /// The memory that `regions` make up, in whatever order.
    ///
    /// # Errors
    /// [`MemoryError`]: a region is empty, wraps, is not all mapped, or overlaps another.
    pub fn new(mut regions: Vec<Region>) -> Result<Self, MemoryError> {
        let (count, limit) = (regions.len(), Self::REGIONS_MAX);
        if count > limit {
            return Err(MemoryError::TooMany { count, limit });
        }
        regions.iter().try_for_each(check)?;
        no_overlap(regions.iter().map(|region| (region.front_end, region.size)).collect())?;
        no_overlap(regions.iter().map(|region| (region.guest, region.size)).collect())?;
        regions.sort_by_key(|region| region.guest);
        let range = |r: &Region| Range {
            guest: r.guest,
            front_end: r.front_end,
            size: r.size,
            offset: r.offset,
        };
        let ranges = regions.iter().map(range).collect();
        let mappings = regions.into_iter().map(|region| region.mapping).collect();
        Ok(Self { ranges, regions: Arc::new(Regions::new(mappings)) })
    }

    /// The mappings of the regions, by guest address.
    #[must_use]
    pub fn regions(&self) -> &Arc<Regions> {
        &self.regions
    }

    /// Where the `len` bytes at a front-end address are, if all of them are in one region.
    #[must_use]
    pub fn at_front_end(&self, address: u64, len: u64) -> Option<Place> {
        self.ranges.iter().enumerate().find_map(|(region, range)| {
            range.within(range.front_end, address, len).map(|offset| place(region, offset))
        })?
    }

    /// Where the `len` bytes at a guest address are, if all of them are in one region.
    #[must_use]
    pub fn at_guest(&self, address: u64, len: u64) -> Option<Place> {
        let (region, range) = self.range_of(address)?;
        place(region, range.within(range.guest, address, len)?)
    }

    /// Guest address of a place; `None` for one outside of the regions.
    #[must_use]
    pub fn guest_address(&self, Place { region, offset }: Place) -> Option<u64> {
        let range = self.ranges.get(usize::from(region))?;
        let into = offset.checked_sub(range.offset)?;
        (into < range.size).then(|| range.guest + into)
    }

    /// Appends the `len` bytes at a guest address to `pieces`: one piece for each region that they
    /// lie in, for a buffer may go on in the region that begins where another ends. Returns `None`
    /// when some of them are not shared; `pieces` has then some of the others.
    pub(crate) fn pieces(&self, mut address: u64, len: u32, pieces: &mut Vec<Piece>) -> Option<()> {
        let mut left = len;
        while left > 0 {
            let (region, range) = self.range_of(address)?;
            let into = address - range.guest;
            let now = u32::try_from(range.size - into).unwrap_or(u32::MAX).min(left);
            let shape = Shape::new(u16::try_from(region).ok()?, now, false);
            pieces.push(Piece::alone(range.offset + into, shape));
            // Not in the last turn: no address is behind the last region's end, which exists.
            address += u64::from(now);
            left -= now;
        }
        Some(())
    }

    /// Copies the bytes at a guest address out, wherever they lie; `None` when some of them are not
    /// shared.
    pub(crate) fn read(&self, mut address: u64, mut to: &mut [u8]) -> Option<()> {
        address.checked_add(to.len() as u64)?;
        while !to.is_empty() {
            let (region, range) = self.range_of(address)?;
            let into = address - range.guest;
            let now = usize::try_from(range.size - into).unwrap_or(usize::MAX).min(to.len());
            let (part, rest) = to.split_at_mut(now);
            self.regions.read(u16::try_from(region).ok()?, range.offset + into, part)?;
            address += now as u64;
            to = rest;
        }
        Some(())
    }

    /// The region that holds a guest address.
    fn range_of(&self, address: u64) -> Option<(usize, &Range)> {
        let behind = match self.ranges.len() {
            // A comparison with each needs no branch, and none waits for another.
            ..=COMPARED_ALL => self.ranges.iter().filter(|range| range.guest <= address).count(),
            _ => self.ranges.partition_point(|range| range.guest <= address),
        };
        let region = behind.checked_sub(1)?;
        let range = self.ranges.get(region)?;
        (address - range.guest < range.size).then_some((region, range))
    }
}

impl Range {
    /// Offset in the mapping of `len` bytes at `address`, of which `start` is the region's first.
    fn within(&self, start: u64, address: u64, len: u64) -> Option<u64> {
        let into = address.checked_sub(start)?;
        (into < self.size && len <= self.size - into).then_some(self.offset + into)
    }
}

fn place(region: usize, offset: u64) -> Option<Place> {
    Some(Place { region: u16::try_from(region).ok()?, offset })
}

fn check(region: &Region) -> Result<(), MemoryError> {
    let &Region { guest, front_end, size, offset, .. } = region;
    if size == 0 {
        return Err(MemoryError::Empty { guest });
    }
    for start in [guest, front_end] {
        start.checked_add(size).ok_or(MemoryError::Wraps { start, size })?;
    }
    let mapped = region.mapping.len() as u64;
    match offset.checked_add(size) {
        Some(end) if end <= mapped => Ok(()),
        _ => Err(MemoryError::NotMapped { offset, size, mapped }),
    }
}

/// Checks that no two of `ranges` (start and size) have an address in common.
fn no_overlap(mut ranges: Vec<(u64, u64)>) -> Result<(), MemoryError> {
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        if let &[(start, size), (next, _)] = pair
            && next - start < size
        {
            return Err(MemoryError::Overlap { start: next });
        }
    }
    Ok(())
}
