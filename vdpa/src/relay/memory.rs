//! The front-end's memory, mapped here, and with the device.

use super::RelayError;
use super::error::behind;
use crate::device::{self, DeviceMemory, VdpaDevice, explain};
use ringport::error::CallError;
use ringport::link::LinkState;
use ringport::shm::{Mapping, MemoryPolicy};
use ringport_vhost_user::DeviceError;
use ringport_vhost_user::backend::RegionOffer;
use ringport_vhost_user::memory::{GuestMemory, Region};
use ringport_vhost_user::wire::MemoryRegion;
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::sync::Arc;

/// What the device can be told to map.
const PAGE: u64 = 4096;

/// The memory of one front-end. The device maps all of it, at its guest addresses.
#[derive(Debug)]
pub(super) struct Memory {
    policy: MemoryPolicy,
    link: Arc<LinkState>,
    shared: Vec<Shared>,
    guest: Arc<GuestMemory>,
    /// Why the device was given up: what it said when it did not give memory back.
    kept: Option<String>,
}

/// One region.
#[derive(Debug, Clone)]
struct Shared {
    region: Region,
    /// Device and inode of its file: the same region of another file is another region.
    file: (u64, u64),
}

/// What the device has of the memory while it runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Use {
    /// IOVAs of the parts of its rings; none while it does not run.
    pub(super) rings: Vec<u64>,
}

impl Use {
    fn runs(&self) -> bool {
        !self.rings.is_empty()
    }

    fn has_ring_in(&self, range: &RangeInclusive<u64>) -> bool {
        self.rings.iter().any(|area| range.contains(area))
    }
}

impl Memory {
    pub(super) fn new(policy: MemoryPolicy, link: Arc<LinkState>) -> Result<Self, DeviceError> {
        Ok(Self { policy, link, shared: Vec::new(), guest: guest(&[])?, kept: None })
    }

    /// The addresses in it.
    pub(super) fn guest(&self) -> &GuestMemory {
        &self.guest
    }

    /// These regions are all that there is from now on. While the device runs, none may change that it
    /// has, and none go that has a part of a ring; what is new is mapped before what is old goes.
    pub(super) fn replace(
        &mut self,
        offers: &[RegionOffer],
        device: &mut dyn VdpaDevice,
        used: &Use,
    ) -> Result<(), DeviceError> {
        let next = offers.iter().map(|offer| self.take(offer)).collect::<Result<Vec<_>, _>>()?;
        self.change_to(next, device, used)
    }

    /// One region more.
    pub(super) fn add(
        &mut self,
        offer: &RegionOffer,
        device: &mut dyn VdpaDevice,
        used: &Use,
    ) -> Result<(), DeviceError> {
        let mut next = self.shared.clone();
        next.push(self.take(offer)?);
        self.change_to(next, device, used)
    }

    /// One region less.
    pub(super) fn remove(
        &mut self,
        gone: &MemoryRegion,
        device: &mut dyn VdpaDevice,
        used: &Use,
    ) -> Result<(), DeviceError> {
        let mut next = self.shared.clone();
        next.retain(|shared| {
            let Region { guest, front_end, size, .. } = shared.region;
            (guest, front_end, size) != (gone.guest_address, gone.user_address, gone.size)
        });
        self.change_to(next, device, used)
    }

    /// Why the device was given up, if it kept memory.
    pub(super) fn kept(&self) -> Option<device::DeviceError> {
        self.kept.clone().map(|why| device::DeviceError::KeepsMemory { why })
    }

    /// The device maps nothing of it any more, and neither do we.
    pub(super) fn release(&mut self, device: &mut dyn VdpaDevice) {
        let all = std::mem::take(&mut self.shared);
        // A device that keeps it is closed, and then has no mappings.
        let _ = self.unmap(device, &all);
        if let Ok(empty) = guest(&[]) {
            self.guest = empty;
        }
    }

    fn change_to(
        &mut self,
        next: Vec<Shared>,
        device: &mut dyn VdpaDevice,
        used: &Use,
    ) -> Result<(), DeviceError> {
        let guest = guest(&next)?;
        let without = |all: &[Shared], these: &[Shared]| -> Vec<Shared> {
            all.iter().filter(|one| !these.iter().any(|it| it.is(one))).cloned().collect()
        };
        let (new, old) = (without(&next, &self.shared), without(&self.shared, &next));
        if let Some(old) = old.iter().find(|old| used.has_ring_in(&old.range())) {
            return Err(RelayError::InUse { guest: old.region.guest }.into());
        }
        let clash = new.iter().find(|new| old.iter().any(|old| old.overlaps(new)));
        match clash {
            Some(new) if used.runs() => {
                return Err(RelayError::InUse { guest: new.region.guest }.into());
            }
            Some(_) => self.exchange(device, &old, &new)?,
            None => {
                map(device, &new)?;
                self.unmap(device, &old)?;
            }
        }
        (self.shared, self.guest) = (next, guest);
        Ok(())
    }

    /// Maps other memory at the same addresses, or leaves it as it was.
    fn exchange(
        &mut self,
        device: &mut dyn VdpaDevice,
        old: &[Shared],
        new: &[Shared],
    ) -> Result<(), DeviceError> {
        self.unmap(device, old)?;
        let Err(error) = map(device, new) else { return Ok(()) };
        if map(device, old).is_err() {
            self.shared.retain(|shared| !old.iter().any(|old| old.is(shared)));
            self.guest = guest(&self.shared)?;
        }
        Err(error)
    }

    /// Has the device give memory back. One that does not is closed: what is left in it would be in the
    /// way of everyone to come, and in reach of the device.
    fn unmap(&mut self, device: &mut dyn VdpaDevice, shared: &[Shared]) -> Result<(), DeviceError> {
        if shared.is_empty() {
            return Ok(());
        }
        let ranges: Vec<_> = shared.iter().map(Shared::range).collect();
        match device.unmap(&ranges) {
            Ok(()) => Ok(()),
            Err(gone @ device::DeviceError::Gone) => Err(behind(gone)),
            Err(error) => {
                device.give_up();
                let why = self.kept.get_or_insert_with(|| explain(&error)).clone();
                Err(behind(device::DeviceError::KeepsMemory { why }))
            }
        }
    }

    /// Maps a region here.
    fn take(&self, offer: &RegionOffer) -> Result<Shared, DeviceError> {
        let MemoryRegion { guest_address: guest, size, user_address, mmap_offset: offset } =
            offer.region;
        if (guest | size | offset) % PAGE != 0 {
            return Err(RelayError::NotInPages { guest, size, offset }.into());
        }
        let file = nix::sys::stat::fstat(offer.fd.as_fd());
        let file = file.map_err(|errno| CallError::io("look at memory")(errno.into()))?;
        let file = (file.st_dev, file.st_ino);
        if let Some(known) = self.shared.iter().find(|known| {
            let region = &known.region;
            (region.guest, region.front_end, region.size) == (guest, user_address, size)
                && (region.offset, known.file) == (offset, file)
        }) {
            return Ok(known.clone());
        }
        // The sum does not overflow: the machine has checked it.
        let mapping = Mapping::from_peer(&offer.fd, offset + size, self.policy, &self.link);
        let mapping = mapping
            .map_err(|source| DeviceError::Region { guest_address: guest, source })
            .map(Arc::new)?;
        Ok(Shared {
            region: Region { guest, front_end: user_address, size, mapping, offset },
            file,
        })
    }
}

impl Shared {
    /// Whether the two are the same memory at the same addresses.
    fn is(&self, other: &Self) -> bool {
        let key = |it: &Self| {
            let Region { guest, front_end, size, offset, .. } = it.region;
            (guest, front_end, size, offset, it.file)
        };
        key(self) == key(other)
    }

    /// IOVAs; a region is not empty.
    fn range(&self) -> RangeInclusive<u64> {
        self.region.guest..=self.region.guest + (self.region.size - 1)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.range(), other.range());
        ours.start() <= theirs.end() && theirs.start() <= ours.end()
    }

    fn for_device(&self) -> DeviceMemory {
        let Region { guest, size, offset, ref mapping, .. } = self.region;
        DeviceMemory { iova: guest, len: size, mapping: Arc::clone(mapping), offset }
    }
}

fn guest(shared: &[Shared]) -> Result<Arc<GuestMemory>, DeviceError> {
    let regions = shared.iter().map(|shared| shared.region.clone()).collect();
    GuestMemory::new(regions).map(Arc::new).map_err(DeviceError::Memory)
}

fn map(device: &mut dyn VdpaDevice, shared: &[Shared]) -> Result<(), DeviceError> {
    if shared.is_empty() {
        return Ok(());
    }
    let memory: Vec<_> = shared.iter().map(Shared::for_device).collect();
    device.map(&memory).map_err(behind)
}
