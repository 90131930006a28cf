//! The common configuration of a virtio function, and reading its device's own.
//!
//! ```text
//!  0 select features (4)   4 offered (4)    8 select features (4)  12 accepted (4)
//! 16 vector of changes     18 rings         20 status (1)          21 generation (1)
//! 22 select ring  24 size  26 vector        28 enabled             30 number of its doorbell
//! 32 descriptor area (8)   40 driver area (8)   48 device area (8)
//! ```
//! Two bytes each where no other number is given, little-endian. All of a ring's are those of the selected one.
//!
//! Spec: VIRTIO 1.3 §4.1.4.3.

use super::function::{Function, Part};
use crate::device::{DeviceError, RingSetup};
use crate::vhost_vdpa::within::late;
use std::thread::sleep;
use std::time::{Duration, Instant};

const SELECT_OFFERED: u64 = 0;
const OFFERED: u64 = 4;
const SELECT_ACCEPTED: u64 = 8;
const ACCEPTED: u64 = 12;
const CHANGE_VECTOR: u64 = 16;
const RINGS: u64 = 18;
const STATUS: u64 = 20;
const GENERATION: u64 = 21;
const SELECT_RING: u64 = 22;
const RING_SIZE: u64 = 24;
const RING_VECTOR: u64 = 26;
const RING_ENABLED: u64 = 28;
const RING_DOORBELL: u64 = 30;
const DESCRIPTOR_AREA: u64 = 32;
const DRIVER_AREA: u64 = 40;
const DEVICE_AREA: u64 = 48;

/// What is read where nobody answers. No status has all bits.
const NOBODY: u8 = 0xff;
/// Most readings of a configuration that changes meanwhile.
const READINGS_MAX: usize = 32;
/// How often a device is asked whether it has been reset.
const PAUSE: Duration = Duration::from_millis(1);

/// The common configuration of a function.
#[derive(Debug)]
pub(super) struct Common<'f, F>(pub(super) &'f F);

impl<F: Function> Common<'_, F> {
    /// Features that are offered.
    pub(super) fn features(&self) -> Result<u64, DeviceError> {
        let half = |half: u32| {
            self.set(SELECT_OFFERED, half.to_le_bytes())?;
            self.get(OFFERED).map(|bytes| u64::from(u32::from_le_bytes(bytes)))
        };
        Ok(half(0)? | half(1)? << 32)
    }

    /// Accepts features.
    pub(super) fn set_features(&self, features: u64) -> Result<(), DeviceError> {
        let bytes = features.to_le_bytes();
        for (half, bytes) in (0_u32..).zip(bytes.chunks_exact(4)) {
            self.set(SELECT_ACCEPTED, half.to_le_bytes())?;
            self.0.write(Part::Common, ACCEPTED, bytes)?;
        }
        Ok(())
    }

    /// Rings that there are.
    pub(super) fn rings(&self) -> Result<u16, DeviceError> {
        self.number(RINGS)
    }

    /// # Errors
    /// [`DeviceError::Gone`]: nobody answers.
    pub(super) fn status(&self) -> Result<u8, DeviceError> {
        let [status] = self.get(STATUS)?;
        if status == NOBODY { Err(DeviceError::Gone) } else { Ok(status) }
    }

    pub(super) fn set_status(&self, status: u8) -> Result<(), DeviceError> {
        self.set(STATUS, [status])
    }

    /// Resets the device, and waits until it has been.
    ///
    /// Spec: VIRTIO 1.3 §4.1.4.3.2 (the driver waits until the status is 0).
    pub(super) fn reset(&self, patience: Duration) -> Result<(), DeviceError> {
        self.set_status(0)?;
        let deadline = Instant::now() + patience;
        while self.status()? != 0 {
            if Instant::now() > deadline {
                return Err(late("reset", patience));
            }
            sleep(PAUSE);
        }
        Ok(())
    }

    /// Has changes of the configuration told by a vector. Returns whether there is one left for that.
    pub(super) fn set_change_vector(&self, vector: u16) -> Result<bool, DeviceError> {
        self.set_number(CHANGE_VECTOR, vector)?;
        Ok(self.number(CHANGE_VECTOR)? == vector)
    }

    /// All below is about this ring.
    pub(super) fn select(&self, ring: u16) -> Result<(), DeviceError> {
        self.set_number(SELECT_RING, ring)
    }

    /// Most descriptors of a ring after a reset, 0 if it cannot be used; then what it was set to.
    pub(super) fn ring_size(&self) -> Result<u16, DeviceError> {
        self.number(RING_SIZE)
    }

    /// Has the ring told by a vector. Returns whether there is one left for that.
    pub(super) fn set_ring_vector(&self, vector: u16) -> Result<bool, DeviceError> {
        self.set_number(RING_VECTOR, vector)?;
        Ok(self.number(RING_VECTOR)? == vector)
    }

    /// Size and areas.
    pub(super) fn set_ring(&self, ring: &RingSetup) -> Result<(), DeviceError> {
        self.set_number(RING_SIZE, ring.size)?;
        self.set_area(DESCRIPTOR_AREA, ring.descriptor_area)?;
        self.set_area(DRIVER_AREA, ring.driver_area)?;
        self.set_area(DEVICE_AREA, ring.device_area)
    }

    pub(super) fn ring_doorbell(&self) -> Result<u16, DeviceError> {
        self.number(RING_DOORBELL)
    }

    pub(super) fn ring_is_enabled(&self) -> Result<bool, DeviceError> {
        Ok(self.number(RING_ENABLED)? != 0)
    }

    pub(super) fn enable_ring(&self) -> Result<(), DeviceError> {
        self.set_number(RING_ENABLED, 1)
    }

    /// Reads the device's own configuration, all of it of one generation.
    ///
    /// Spec: VIRTIO 1.3 §2.5.1.
    pub(super) fn read_config(&self, offset: u64, bytes: &mut [u8]) -> Result<(), DeviceError> {
        for _ in 0..READINGS_MAX {
            let [before] = self.get(GENERATION)?;
            self.read_whole(offset, bytes)?;
            if self.get(GENERATION)? == [before] {
                return Ok(());
            }
        }
        Err(DeviceError::Unable("be read: its configuration changes faster than that"))
    }

    /// In the widest accesses that are aligned.
    fn read_whole(&self, mut offset: u64, mut bytes: &mut [u8]) -> Result<(), DeviceError> {
        while !bytes.is_empty() {
            let fits =
                |width: &usize| *width <= bytes.len() && offset.is_multiple_of(*width as u64);
            let width = [4, 2].into_iter().find(fits).unwrap_or(1);
            let (now, later) = bytes.split_at_mut(width);
            self.0.read(Part::Device, offset, now)?;
            (offset, bytes) = (offset + width as u64, later);
        }
        Ok(())
    }

    /// In two halves: not all devices take it in one.
    ///
    /// Spec: VIRTIO 1.3 §4.1.3.1.
    fn set_area(&self, at: u64, area: u64) -> Result<(), DeviceError> {
        let bytes = area.to_le_bytes();
        let (low, high) = bytes.split_at(4);
        self.0.write(Part::Common, at, low)?;
        self.0.write(Part::Common, at + 4, high)
    }

    fn number(&self, at: u64) -> Result<u16, DeviceError> {
        self.get(at).map(u16::from_le_bytes)
    }

    fn set_number(&self, at: u64, number: u16) -> Result<(), DeviceError> {
        self.set(at, number.to_le_bytes())
    }

    fn get<const N: usize>(&self, at: u64) -> Result<[u8; N], DeviceError> {
        let mut bytes = [0; N];
        self.0.read(Part::Common, at, &mut bytes)?;
        Ok(bytes)
    }

    fn set<const N: usize>(&self, at: u64, bytes: [u8; N]) -> Result<(), DeviceError> {
        self.0.write(Part::Common, at, &bytes)
    }
}
