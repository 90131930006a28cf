//! Why a relay does not do what a front-end asks, or cannot serve a device.

use crate::device::DeviceError;
use ringport_vhost_user as vhost_user;
use thiserror::Error;

/// Why a relay cannot do something. Front-ends are told no; whoever runs the relay is told why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RelayError {
    /// It is not for packets.
    #[error(
        "a virtio device of type {device_id}, and only network devices (type 1) can be relayed"
    )]
    NotNetwork {
        /// What it is.
        device_id: u32,
    },
    /// It lacks a pair of rings.
    #[error("a device with {rings} rings, and at least a pair is needed")]
    TooFewRings {
        /// As many as there are.
        rings: u16,
    },
    /// It is older than virtio 1.0.
    #[error("the device does not offer VERSION_1: QEMU needs disable-legacy=on")]
    Legacy,
    /// An IOMMU is there, and it does not use it.
    #[error(
        "the device does not offer ACCESS_PLATFORM and would go past the IOMMU to all memory of this \
         machine: QEMU needs iommu_platform=on"
    )]
    GoesPastIommu,
    /// Memory is not in whole pages.
    #[error(
        "memory at guest address {guest:#x} of {size} bytes, at {offset:#x} of its file, is not in whole pages"
    )]
    NotInPages {
        /// Where it begins.
        guest: u64,
        /// Its bytes.
        size: u64,
        /// Where in its file.
        offset: u64,
    },
    /// Memory that is in use would have to be mapped elsewhere.
    #[error("memory at guest address {guest:#x} would change while the device uses it")]
    InUse {
        /// Where it begins.
        guest: u64,
    },
    /// There is no ring of this number.
    #[error("ring {ring} does not exist")]
    NoRing {
        /// Its number.
        ring: u16,
    },
    /// A part of a ring is not in one region, or not at a multiple of what it has to be.
    #[error(
        "the {area} of ring {ring} at {address:#x} is not in shared memory, or not aligned to {align}"
    )]
    Misplaced {
        /// The ring.
        ring: u16,
        /// Which part.
        area: &'static str,
        /// Where the front-end has it.
        address: u64,
        /// What it is to be a multiple of, in bytes.
        align: u64,
    },
    /// A ring of a size that hardware does not have.
    #[error("ring {ring} of {size} descriptors: a device wants a power of two")]
    RingSize {
        /// The ring.
        ring: u16,
        /// Its descriptors.
        size: u16,
    },
    /// The ring is to be polled.
    #[error("ring {ring} has no eventfd for kicks, and a device does not poll")]
    NoKick {
        /// The ring.
        ring: u16,
    },
    /// The ring is not at its beginning.
    #[error(
        "ring {ring} was used up to {at}, and the device can begin at 0 only: the driver has to be reset \
         (a reboot of the guest, its driver bound anew)"
    )]
    Midway {
        /// The ring.
        ring: u16,
        /// How far it is.
        at: u16,
    },
    /// A packet of that length does not pass the device.
    #[error("an MTU of {wanted}, and the device has {max}")]
    Mtu {
        /// What the front-end has.
        wanted: u16,
        /// Most that the device takes.
        max: u16,
    },
    /// Nothing that a front-end may ask of a relay.
    #[error("not offered")]
    NotOffered,
    /// The device was taken out.
    #[error("there is no device any more")]
    NoDevice,
}

impl From<RelayError> for vhost_user::DeviceError {
    fn from(error: RelayError) -> Self {
        Self::Behind(Box::new(error))
    }
}

/// So that both kinds of error can be told in one way.
pub(super) fn behind(error: DeviceError) -> vhost_user::DeviceError {
    vhost_user::DeviceError::Behind(Box::new(error))
}
