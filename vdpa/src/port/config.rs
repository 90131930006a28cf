//! What a port wants of its device.

use super::ConfigError;
use crate::name::DeviceName;
use ringport::port_string::{ItemError, check_range};
use ringport::retry::Reconnect;
use ringport::shm::{Backing, MemoryPolicy};
use ringport_vhost_user::backend::RING_SIZE_MAX;
use ringport_vhost_user::driver::{BUFFER_SIZE_MAX, BUFFER_SIZE_MIN, CallMode, Offloads};

/// A device, and what a port wants of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortConfig {
    /// Which device. At a PCI address it is the function itself if vfio-pci has it, and else its
    /// vhost-vdpa device, the first by name if it has several.
    pub device: DeviceName,
    /// Most entries of each ring, a power of two from 2 to 32768. The device may have fewer.
    pub ring_size: u16,
    /// Whether packed rings are used where the device has them. Of vhost-vdpa devices these are the ones
    /// that can be suspended.
    pub packed: bool,
    /// Whether the device may give back buffers by one element a burst.
    pub in_order: bool,
    /// Whether a packet may take several receive buffers. Without it the device cannot send what is longer
    /// than one.
    pub mergeable: bool,
    /// Whether either side may name the index that it wants to hear of.
    pub event_idx: bool,
    /// What packets may leave to be done. Packets that are received may be segmented only when several
    /// buffers may hold them.
    pub offloads: Offloads,
    /// Bytes of a packet that one buffer holds, [`BUFFER_SIZE_MIN`] to [`BUFFER_SIZE_MAX`].
    pub buffer_size: u32,
    /// What the memory is made of.
    pub backing: Backing,
    /// What to do about memory that the device could take back: huge pages. The kernel's own devices
    /// cannot; a device in software (VDUSE) has our memory's file.
    pub policy: MemoryPolicy,
    /// When the device is asked for calls.
    pub calls: CallMode,
    /// What to do when there is no device, or no more.
    pub reconnect: Reconnect,
}

impl PortConfig {
    /// A port of this device, with the defaults of the [port string](crate::port_string).
    #[must_use]
    pub fn new(device: DeviceName) -> Self {
        Self {
            device,
            ring_size: 1024,
            packed: true,
            in_order: true,
            mergeable: true,
            event_idx: true,
            offloads: Offloads::None,
            buffer_size: 2048,
            backing: Backing::default(),
            policy: MemoryPolicy::default(),
            calls: CallMode::default(),
            reconnect: Reconnect::default(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        check_range("ring-size", self.ring_size, 2, RING_SIZE_MAX)?;
        check_range("buffer-size", self.buffer_size, BUFFER_SIZE_MIN, BUFFER_SIZE_MAX)?;
        if !self.ring_size.is_power_of_two() {
            let given = self.ring_size.to_string();
            return Err(ItemError::bad("ring-size", &given, "a power of two").into());
        }
        Ok(())
    }
}
