//! A virtio driver of the benchmarks' own, which does as little as a driver can: its rings, the memory
//! that they and their buffers lie in, and the front-end that hands both to a device.
//!
//! Descriptor `n` has buffer `n` for ever, and names it as `n`. Rings are used in order and without
//! notifications. Each buffer has room for a header and a frame, and holds a header that asks for
//! nothing.
//!
//! | offset in the first region | bytes | what |
//! |---|---|---|
//! | 32768 × ring | 16 × size | descriptor area |
//! | + 16384 | 6 + 2 × size | driver area |
//! | + 20480 | 6 + 8 × size | device area |
//! | 32768 × rings, in every region | 2112 × its buffers | buffers, in turn from region to region |
//!
//! Spec: VIRTIO 1.3 §2.7, §2.8, §5.1.6.

mod front_end;
mod ring;

pub use front_end::FrontEnd;
pub use ring::Ring;

use crate::shared::SharedMemory;
use ringport::shm::{OwnedMemory, RegionError};
use ringport_vhost_user::memory::{GuestMemory, MemoryError, Region};
use ringport_vhost_user::virtqueue::RingAddresses;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;
use thiserror::Error;

/// Bytes in front of each frame.
pub const HEADER: usize = 12;
/// Longest frame, in bytes.
pub const FRAME_MAX: usize = STRIDE - HEADER - ROOM_IN_FRONT;
/// Distance of buffers, in bytes: an odd number of cache lines, so that they do not compete for the
/// same places in the caches.
const STRIDE: usize = 2112;
/// Where in its place a buffer begins, in bytes: the frame begins at a cache line, as in DPDK's.
const ROOM_IN_FRONT: usize = 64 - HEADER;
/// Bytes of a ring's areas.
const AREA: usize = 32768;
const DRIVER_AREA: usize = 16384;
const DEVICE_AREA: usize = 20480;
/// Most descriptors of a ring.
const SIZE_MAX: u16 = 1024;
/// Guest address of the first region, and how far each is from the one before, in bytes.
const GUEST: u64 = 1 << 32;
const GUEST_STEP: u64 = 1 << 30;
/// The same of front-end addresses.
const FRONT_END: u64 = 1 << 40;

/// How a ring is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// Descriptor table, available ring, used ring.
    Split,
    /// One ring.
    Packed,
}

/// How much of everything a driver has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Rings, of both directions.
    pub rings: usize,
    /// Descriptors in each of them: a power of two up to 1024.
    pub size: u16,
    /// Memory regions, over which the buffers of each ring are spread: a power of two.
    pub regions: usize,
}

/// Why there is no driver.
#[derive(Debug, Error)]
pub enum DriverError {
    /// No memory, or it cannot be mapped.
    #[error("memory for a virtio driver")]
    Memory(#[from] io::Error),
    /// The device's side does not accept it.
    #[error("memory for a virtio device")]
    Region(#[from] RegionError),
    /// The regions make up no memory.
    #[error("regions of a virtio driver")]
    Regions(#[from] MemoryError),
    /// The front-end's half of a conversation failed.
    #[error("conversation with a device")]
    Device(#[from] vhost::Error),
    /// The device does not offer what the driver needs.
    #[error("device offers {offered:#x}, which lacks something of {needed:#x}")]
    Features {
        /// Feature bits that the device offers.
        offered: u64,
        /// Feature bits that the driver needs.
        needed: u64,
    },
}

/// The memory of a driver.
#[derive(Debug)]
pub struct DriverMemory {
    regions: Vec<SharedMemory>,
    extent: Extent,
}

impl DriverMemory {
    /// Zeroed memory for `extent`.
    ///
    /// # Errors
    /// When the kernel has none.
    pub fn create(extent: Extent) -> Result<Arc<Self>, DriverError> {
        let Extent { rings, size, regions } = extent;
        assert!(size.is_power_of_two() && size <= SIZE_MAX, "rings of {size}");
        assert!(regions.is_power_of_two() && regions <= size.into(), "{regions} regions");
        let len = rings * (AREA + usize::from(size) / regions * STRIDE);
        let create = || SharedMemory::create(len.next_multiple_of(4096), false);
        let regions = (0..regions).map(|_| create()).collect::<Result<_, _>>()?;
        Ok(Arc::new(Self { regions, extent }))
    }

    /// How much of everything there is.
    #[must_use]
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// The memory as a device sees it that runs in this process.
    ///
    /// # Errors
    /// When it cannot be mapped once more.
    pub fn for_device(&self) -> Result<Arc<GuestMemory>, DriverError> {
        let region = |(guest, front_end, memory): (u64, u64, &SharedMemory)| {
            let fd = memory.fd().ok_or_else(|| io::Error::other("memory of another process"))?;
            let owned = OwnedMemory::from_fd(fd.try_clone_to_owned()?, memory.len())?;
            let (mapping, size) = (Arc::clone(owned.mapping()), memory.len() as u64);
            Ok(Region { guest, front_end, size, mapping, offset: 0 })
        };
        let regions = self.regions().map(region).collect::<Result<_, DriverError>>()?;
        Ok(Arc::new(GuestMemory::new(regions)?))
    }

    /// Where ring `number` is, in front-end addresses.
    #[must_use]
    pub fn addresses(&self, number: usize) -> RingAddresses {
        let at = FRONT_END + (number * AREA) as u64;
        RingAddresses {
            size: self.extent.size,
            descriptor: at,
            driver: at + DRIVER_AREA as u64,
            device: at + DEVICE_AREA as u64,
        }
    }

    /// Guest addresses of the first region.
    #[must_use]
    pub fn guest(&self) -> std::ops::Range<u64> {
        GUEST..GUEST + self.regions.first().map_or(0, |memory| memory.len() as u64)
    }

    /// Guest and front-end address of each region.
    fn regions(&self) -> impl Iterator<Item = (u64, u64, &SharedMemory)> {
        let bases = (0..).map(|number| number * GUEST_STEP);
        bases.zip(&self.regions).map(|(at, memory)| (GUEST + at, FRONT_END + at, memory))
    }

    /// Region of buffer `slot` of a ring, and offset in it.
    fn buffer(&self, ring: usize, slot: usize) -> (usize, usize) {
        let Extent { rings, size, regions } = self.extent;
        let number = ring * (usize::from(size) / regions) + slot / regions;
        (slot % regions, rings * AREA + number * STRIDE + ROOM_IN_FRONT)
    }

    /// Guest address of buffer `slot` of a ring.
    fn guest_address(&self, ring: usize, slot: usize) -> u64 {
        let (region, offset) = self.buffer(ring, slot);
        GUEST + region as u64 * GUEST_STEP + offset as u64
    }
}

#[cfg(test)]
mod tests;
