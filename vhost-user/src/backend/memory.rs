//! Which memory regions there are.

use super::{Limits, PeerMisbehaved};
use crate::wire::MemoryRegion;

/// The regions that the data side has mapped; their addresses only.
#[derive(Debug, Clone, Default)]
pub(super) struct MemoryTable(Vec<MemoryRegion>);

impl MemoryTable {
    /// A table of these regions.
    pub(super) fn new(regions: &[MemoryRegion], limits: &Limits) -> Result<Self, PeerMisbehaved> {
        let none = Self::default();
        regions.iter().try_fold(none, |table, region| table.with(*region, limits))
    }

    /// The table with one more region.
    pub(super) fn with(
        mut self,
        region: MemoryRegion,
        limits: &Limits,
    ) -> Result<Self, PeerMisbehaved> {
        check_extent(&region)?;
        if self.0.len() >= usize::from(limits.regions) {
            return Err(PeerMisbehaved::TooManyRegions { limit: limits.regions });
        }
        if let Some(other) = self.0.iter().find(|other| overlap(other, &region)) {
            let (first, second) = (other.guest_address, region.guest_address);
            return Err(PeerMisbehaved::RegionsOverlap { first, second });
        }
        self.0.push(region);
        let bytes = self.0.iter().fold(0, |sum: u64, region| sum.saturating_add(region.size));
        // A file is mapped from its start: what is in front of a region takes addresses, too.
        let bytes = bytes.max(region.mmap_offset.saturating_add(region.size));
        if bytes > limits.total_bytes {
            return Err(PeerMisbehaved::TooMuchMemory { bytes, limit: limits.total_bytes });
        }
        Ok(self)
    }

    /// The table without a region, which is named by its addresses and its size.
    pub(super) fn without(mut self, region: &MemoryRegion) -> Result<Self, PeerMisbehaved> {
        let same = |other: &MemoryRegion| {
            (other.guest_address, other.user_address, other.size)
                == (region.guest_address, region.user_address, region.size)
        };
        let count = self.0.len();
        self.0.retain(|other| !same(other));
        if self.0.len() == count {
            let MemoryRegion { guest_address, size, .. } = *region;
            return Err(PeerMisbehaved::NoSuchRegion { guest_address, size });
        }
        Ok(self)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn check_extent(region: &MemoryRegion) -> Result<(), PeerMisbehaved> {
    let starts = [region.guest_address, region.user_address, region.mmap_offset];
    let ends = starts.iter().all(|start| start.checked_add(region.size).is_some());
    if ends && region.size > 0 {
        return Ok(());
    }
    Err(PeerMisbehaved::RegionExtent { size: region.size })
}

fn overlap(one: &MemoryRegion, other: &MemoryRegion) -> bool {
    let meet = |a: u64, b: u64| a < b.saturating_add(other.size) && b < a.saturating_add(one.size);
    meet(one.guest_address, other.guest_address) || meet(one.user_address, other.user_address)
}
