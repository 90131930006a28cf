//! Where devices come from.

use super::DeviceName;
use crate::device::{DeviceError, VdpaDevice};
use crate::discovery::Discovery;
use crate::pci::PciAddress;
use crate::vhost_vdpa::VhostVdpa;
use std::fmt::Debug;
use std::io;
use thiserror::Error;

/// Opens devices by their names. It is asked from many threads at once, and again and again for devices
/// that are not there.
pub trait Opener: Debug + Send + Sync {
    /// Opens a device.
    ///
    /// # Errors
    /// [`OpenError`]. It is tried again later, whatever the error is.
    fn open(&self, device: &DeviceName) -> Result<Box<dyn VdpaDevice>, OpenError>;
}

/// Why a device cannot be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The function is not there, or has no vDPA device.
    #[error("there is no vDPA device of {0}: make one (vdpa dev add mgmtdev pci/{0} name NAME)")]
    NotThere(PciAddress),
    /// The device is there, and cannot be opened.
    #[error("{0}")]
    NoNode(String),
    /// Nobody can tell which devices there are.
    #[error("sysfs does not tell which vDPA devices there are")]
    Discovery(#[source] io::Error),
    /// It is there, and refuses.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// Opens the kernel's vhost-vdpa devices. Of several at one PCI function the first by name is taken.
#[derive(Debug, Clone, Default)]
pub struct KernelOpener(Discovery);

impl KernelOpener {
    /// Looks for devices in this way.
    #[must_use]
    pub fn new(discovery: Discovery) -> Self {
        Self(discovery)
    }

    fn node(&self, address: PciAddress) -> Result<String, OpenError> {
        let found = self.0.by_pci(address).map_err(OpenError::Discovery)?;
        if let Some(node) = found.iter().find_map(|device| device.node.as_ref()) {
            return Ok(node.display().to_string());
        }
        let hint = found.iter().find_map(crate::discovery::FoundDevice::hint);
        Err(hint.map_or(OpenError::NotThere(address), OpenError::NoNode))
    }
}

impl Opener for KernelOpener {
    fn open(&self, device: &DeviceName) -> Result<Box<dyn VdpaDevice>, OpenError> {
        let node = match device {
            DeviceName::Pci(address) => self.node(*address)?,
            DeviceName::Node(path) => path.clone(),
        };
        Ok(Box::new(VhostVdpa::open(node)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn function_without_a_device_is_named_with_what_makes_one() {
        let root = tempfile::tempdir().unwrap();
        let opener = KernelOpener::new(Discovery::below(root.path()));
        let error = opener.open(&"82:00.2".parse().unwrap()).unwrap_err();
        assert!(matches!(error, OpenError::NotThere(_)), "{error}");
        assert!(error.to_string().contains("vdpa dev add mgmtdev pci/0000:82:00.2"), "{error}");
    }

    #[test]
    fn device_of_another_driver_is_named_with_what_gives_it_a_node() {
        let root = tempfile::tempdir().unwrap();
        let bus = root.path().join("sys/bus/vdpa/devices");
        let device = root.path().join("sys/devices/pci0000:00/0000:82:00.2/vdpa0");
        std::fs::create_dir_all(&bus).unwrap();
        std::fs::create_dir_all(&device).unwrap();
        std::os::unix::fs::symlink(&device, bus.join("vdpa0")).unwrap();
        let opener = KernelOpener::new(Discovery::below(root.path()));
        let error = opener.open(&"82:00.2".parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("bind vdpa0 to vhost_vdpa"), "{error}");
    }
}
