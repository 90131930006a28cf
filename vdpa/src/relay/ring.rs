//! One ring, as the front-end has said it.

use super::RelayError;
use crate::device::RingSetup;
use ringport::doorbell::Doorbell;
use ringport::error::CallError;
use ringport::shm::Regions;
use ringport_vhost_user::DeviceError;
use ringport_vhost_user::backend::{RingBase, RingOffer};
use ringport_vhost_user::memory::{GuestMemory, Place};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A ring of the front-end that has its kick, which is when it starts.
#[derive(Debug)]
pub(super) struct Ring {
    index: u16,
    size: u16,
    /// Where its parts are for the front-end: descriptor, driver and device area.
    areas: [u64; 3],
    base: RingBase,
    pub(super) kick: Arc<OwnedFd>,
    pub(super) call: Arc<OwnedFd>,
}

impl Ring {
    /// The ring that a front-end starts. Where it has no eventfd for calls it gets one that nobody reads:
    /// some devices make room for an interrupt only if there is one as they begin.
    ///
    /// # Errors
    /// There is no eventfd for kicks, or what is there is none.
    pub(super) fn new(offer: RingOffer) -> Result<Self, DeviceError> {
        let RingOffer { index, size, addresses, base, kick, call, .. } = offer;
        let areas = [addresses.descriptor_area, addresses.driver_area, addresses.device_area];
        let (kick, call) = (kick_of(index, kick)?, call_of(index, call)?);
        Ok(Self { index, size, areas, base, kick, call })
    }

    /// Descriptors.
    pub(super) fn size(&self) -> u16 {
        self.size
    }

    /// What the device is told of it.
    ///
    /// # Errors
    /// A part of it is not in memory, or the device would have to begin where it cannot.
    pub(super) fn setup(
        &self,
        memory: &GuestMemory,
        starts_midway: bool,
    ) -> Result<RingSetup, RelayError> {
        if !self.size.is_power_of_two() {
            return Err(RelayError::RingSize { ring: self.index, size: self.size });
        }
        let [descriptor_area, driver_area, device_area] = self.areas_for(memory)?;
        let base = self.base_in(memory)?;
        let beginning = RingBase::Split { avail: 0 };
        if !starts_midway && base != beginning {
            let at = match base {
                RingBase::Split { avail } => avail,
                RingBase::Packed { used, .. } => used.index,
            };
            return Err(RelayError::Midway { ring: self.index, at });
        }
        Ok(RingSetup {
            index: self.index,
            size: self.size,
            descriptor_area,
            driver_area,
            device_area,
            base,
            kick: Arc::clone(&self.kick),
            call: Arc::clone(&self.call),
        })
    }

    /// The device said that it stopped there.
    pub(super) fn go_on_from(&mut self, base: RingBase) {
        self.base = base;
    }

    /// Where the ring stands, the device having stopped: what it says, or else what it last published.
    pub(super) fn stopped_at(&self, said: Option<RingBase>, memory: &GuestMemory) -> RingBase {
        said.or_else(|| self.base_in(memory).ok()).unwrap_or(self.base)
    }

    /// Where the ring goes on: a split ring itself says up to where it was used, whatever the front-end
    /// believes.
    fn base_in(&self, memory: &GuestMemory) -> Result<RingBase, RelayError> {
        if let RingBase::Packed { .. } = self.base {
            return Ok(self.base);
        }
        let place = self.place(memory, 2)?;
        let index = read_u16(memory.regions(), place, 2);
        Ok(RingBase::Split { avail: index.ok_or_else(|| self.misplaced(2))? })
    }

    fn areas_for(&self, memory: &GuestMemory) -> Result<[u64; 3], RelayError> {
        let mut areas = [0; 3];
        for (at, area) in areas.iter_mut().enumerate() {
            let guest = memory.guest_address(self.place(memory, at)?);
            *area = guest.ok_or_else(|| self.misplaced(at))?;
        }
        Ok(areas)
    }

    /// Where one of its parts is, all in one region.
    fn place(&self, memory: &GuestMemory, area: usize) -> Result<Place, RelayError> {
        let address = self.areas.get(area).copied().unwrap_or_default();
        let place = memory.at_front_end(address, self.len(area));
        let place = place.filter(|place| {
            let guest = memory.guest_address(*place);
            guest.is_some_and(|guest| guest % self.align(area) == 0)
        });
        place.ok_or_else(|| self.misplaced(area))
    }

    /// Bytes of a part.
    ///
    /// Spec: VIRTIO 1.3 §2.7, §2.8.
    fn len(&self, area: usize) -> u64 {
        let size = u64::from(self.size);
        match (self.base, area) {
            (_, 0) => 16 * size,
            (RingBase::Packed { .. }, _) => 4,
            (RingBase::Split { .. }, 1) => 6 + 2 * size,
            (RingBase::Split { .. }, _) => 6 + 8 * size,
        }
    }

    /// What its address has to be a multiple of.
    fn align(&self, area: usize) -> u64 {
        match (self.base, area) {
            (_, 0) => 16,
            (RingBase::Split { .. }, 1) => 2,
            _ => 4,
        }
    }

    fn misplaced(&self, area: usize) -> RelayError {
        let name = ["descriptor area", "driver area", "device area"].get(area).copied();
        RelayError::Misplaced {
            ring: self.index,
            area: name.unwrap_or_default(),
            address: self.areas.get(area).copied().unwrap_or_default(),
            align: self.align(area),
        }
    }
}

fn read_u16(regions: &Regions, Place { region, offset }: Place, behind: u64) -> Option<u16> {
    let mut bytes = [0; 2];
    regions.read(region, offset + behind, &mut bytes)?;
    Some(u16::from_le_bytes(bytes))
}

/// The eventfd by which a driver kicks: a device does not poll.
pub(super) fn kick_of(ring: u16, kick: Option<OwnedFd>) -> Result<Arc<OwnedFd>, DeviceError> {
    checked(ring, kick.ok_or(RelayError::NoKick { ring })?)
}

/// The eventfd by which a driver is called, or one that nobody reads.
pub(super) fn call_of(ring: u16, call: Option<OwnedFd>) -> Result<Arc<OwnedFd>, DeviceError> {
    match call {
        Some(call) => checked(ring, call),
        None => {
            let nobody = Doorbell::create().and_then(|bell| bell.try_clone_fd());
            Ok(Arc::new(nobody.map_err(CallError::io("make an eventfd"))?))
        }
    }
}

/// Writes to an eventfd of a ring, however its other holders have it set.
pub(super) fn ring_once(ring: u16, eventfd: &OwnedFd) -> Result<(), DeviceError> {
    let own = eventfd.try_clone().map_err(CallError::io("duplicate an eventfd"))?;
    let rung = Doorbell::from_peer(own).and_then(|bell| bell.ring());
    rung.map_err(|source| DeviceError::Doorbell { ring, source })
}

/// A front-end's descriptor, if it is an eventfd.
fn checked(ring: u16, fd: OwnedFd) -> Result<Arc<OwnedFd>, DeviceError> {
    let bell = Doorbell::from_peer(fd).map_err(|source| DeviceError::Doorbell { ring, source })?;
    Ok(Arc::new(bell.try_clone_fd().map_err(CallError::io("keep an eventfd"))?))
}
