//! The regions that are shared now, and the generation that they make up.

use crate::backend::RegionOffer;
use crate::error::DeviceError;
use crate::memory::{GuestMemory, Region};
use crate::wire::MemoryRegion;
use ringport::link::LinkState;
use ringport::shm::{Mapping, MemoryPolicy, RegionError};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What the front-end shares.
#[derive(Debug)]
pub(super) struct SharedMemory {
    policy: MemoryPolicy,
    link: Arc<LinkState>,
    current: Generation,
}

/// Regions, and the memory that they make up.
#[derive(Debug, Clone)]
pub(super) struct Generation {
    regions: Vec<Region>,
    memory: Arc<GuestMemory>,
}

impl SharedMemory {
    pub(super) fn new(policy: MemoryPolicy, link: Arc<LinkState>) -> Result<Self, DeviceError> {
        Ok(Self { policy, link, current: Generation::of(Vec::new())? })
    }

    /// The memory that rings lie in; `None` while nothing is shared.
    pub(super) fn current(&self) -> Option<&Arc<GuestMemory>> {
        (!self.current.regions.is_empty()).then_some(&self.current.memory)
    }

    /// What the memory will be with these regions and no others.
    pub(super) fn replaced(&self, offers: &[RegionOffer]) -> Result<Generation, DeviceError> {
        Generation::of(offers.iter().map(|offer| self.map(offer)).collect::<Result<_, _>>()?)
    }

    /// What it will be with one more.
    pub(super) fn with(&self, offer: &RegionOffer) -> Result<Generation, DeviceError> {
        let mut regions = self.current.regions.clone();
        regions.push(self.map(offer)?);
        Generation::of(regions)
    }

    /// What it will be without one.
    pub(super) fn without(&self, gone: &MemoryRegion) -> Result<Generation, DeviceError> {
        let mut regions = self.current.regions.clone();
        regions.retain(|region| {
            let known = (region.guest, region.front_end, region.size);
            known != (gone.guest_address, gone.user_address, gone.size)
        });
        Generation::of(regions)
    }

    /// From now on that is the memory.
    pub(super) fn become_current(&mut self, next: Generation) {
        self.current = next;
    }

    /// Maps `size` bytes at `offset` of a file, from its start, as mappings of huge pages must.
    pub(super) fn map_file(
        &self,
        fd: &OwnedFd,
        offset: u64,
        size: u64,
    ) -> Result<Arc<Mapping>, RegionError> {
        let limit = u64::MAX - offset;
        let end = offset.checked_add(size);
        let end = end.ok_or(RegionError::TooLong { announced: size, limit })?;
        Mapping::from_peer(fd, end, self.policy, &self.link).map(Arc::new)
    }

    fn map(&self, offer: &RegionOffer) -> Result<Region, DeviceError> {
        let MemoryRegion { guest_address, size, user_address, mmap_offset } = offer.region;
        let mapping = self.map_file(&offer.fd, mmap_offset, size);
        Ok(Region {
            guest: guest_address,
            front_end: user_address,
            size,
            mapping: mapping.map_err(|source| DeviceError::Region { guest_address, source })?,
            offset: mmap_offset,
        })
    }
}

impl Generation {
    pub(super) fn memory(&self) -> &Arc<GuestMemory> {
        &self.memory
    }

    fn of(regions: Vec<Region>) -> Result<Self, DeviceError> {
        let memory = GuestMemory::new(regions.clone()).map_err(DeviceError::Memory)?;
        Ok(Self { regions, memory: Arc::new(memory) })
    }
}
