//! Where devices come from.

use crate::device::{DeviceError, VdpaDevice};
use crate::discovery::{Discovery, FoundDevice, VFIO_PCI};
use crate::name::DeviceName;
use crate::pci::PciAddress;
use crate::vfio_virtio::VfioVirtio;
use crate::vhost_vdpa::VhostVdpa;
use std::fmt::Debug;
use std::io;
use std::path::Path;
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
    /// There is no such function.
    #[error(
        "there is no PCI function {0}: lspci -D lists those that are there, and sriov_numvfs in sysfs makes \
         virtual ones"
    )]
    NotThere(PciAddress),
    /// The function is neither under vfio-pci nor has it a vDPA device.
    #[error("{address} {}", advice(*.address, .driver.as_deref()))]
    NoDevice {
        /// The function.
        address: PciAddress,
        /// The driver that has it, if one has.
        driver: Option<String>,
    },
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

/// The driver that makes vDPA devices of virtio functions.
const VP_VDPA: &str = "vp-vdpa";

/// What makes a device of a function, in either way.
fn advice(address: PciAddress, driver: Option<&str>) -> String {
    let make = format!("vdpa dev add mgmtdev pci/{address} name NAME");
    let place = format!("/sys/bus/pci/devices/{address}");
    let unbind = match driver {
        Some(VP_VDPA) => {
            return format!("has the driver {VP_VDPA} and no vDPA device: make one ({make})");
        }
        Some(_) => format!("echo {address} > {place}/driver/unbind; "),
        None => String::new(),
    };
    let has = driver.map_or_else(|| "no driver".to_owned(), |name| format!("the driver {name}"));
    format!(
        "has {has} and no vDPA device: make one ({make}; a virtio function needs the driver {VP_VDPA} for that), \
         or give it to {VFIO_PCI}; to give it a driver: modprobe DRIVER; {unbind}\
         echo DRIVER > {place}/driver_override; echo {address} > /sys/bus/pci/drivers_probe"
    )
}

/// Opens the devices of this machine. A PCI function is opened itself if vfio-pci has it; else its vDPA device
/// is, of several the first by name. A node is one of the kernel's vhost-vdpa.
#[derive(Debug, Clone, Default)]
pub struct SystemOpener(Discovery);

impl SystemOpener {
    /// Looks for `/sys` and `/dev` in `root`: `/`.
    #[must_use]
    pub fn below(root: impl AsRef<Path>) -> Self {
        Self(Discovery::below(root.as_ref()))
    }

    fn open_function(&self, address: PciAddress) -> Result<Box<dyn VdpaDevice>, OpenError> {
        let driver = self.0.function_driver(address);
        if driver.as_deref() == Some(VFIO_PCI) {
            return Ok(Box::new(VfioVirtio::open(address, self.0.root())?));
        }
        let found = self.0.by_pci(address).map_err(OpenError::Discovery)?;
        if let Some(node) = found.iter().find_map(|device| device.node.as_ref()) {
            return Ok(Box::new(VhostVdpa::open(node)?));
        }
        Err(match found.iter().find_map(FoundDevice::hint) {
            Some(hint) => OpenError::NoNode(hint),
            None if self.0.pci_place(address).exists() => OpenError::NoDevice { address, driver },
            None => OpenError::NotThere(address),
        })
    }
}

impl Opener for SystemOpener {
    fn open(&self, device: &DeviceName) -> Result<Box<dyn VdpaDevice>, OpenError> {
        match device {
            DeviceName::Pci(address) => self.open_function(*address),
            DeviceName::Node(path) => Ok(Box::new(VhostVdpa::open(path)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const FUNCTION: &str = "sys/bus/pci/devices/0000:82:00.2";

    /// A machine with the function, which has that driver.
    fn function(driver: Option<&str>) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join(FUNCTION);
        fs::create_dir_all(&place).unwrap();
        if let Some(driver) = driver {
            symlink(format!("../../../../bus/pci/drivers/{driver}"), place.join("driver")).unwrap();
        }
        root
    }

    fn refused(root: &Path) -> OpenError {
        SystemOpener::below(root).open(&"82:00.2".parse().unwrap()).unwrap_err()
    }

    #[test]
    fn function_that_is_not_there_is_named_with_what_lists_them() {
        let error = refused(tempfile::tempdir().unwrap().path());
        assert!(matches!(error, OpenError::NotThere(_)), "{error:?}");
        assert!(error.to_string().contains("no PCI function 0000:82:00.2: lspci -D"), "{error}");
    }

    #[test]
    fn function_with_neither_is_named_with_its_driver_and_what_would_help_in_either_way() {
        let either = [
            "vdpa dev add mgmtdev pci/0000:82:00.2 name",
            "/sys/bus/pci/devices/0000:82:00.2/driver_override",
            "/sys/bus/pci/drivers_probe",
            "needs the driver vp-vdpa",
            "or give it to vfio-pci",
        ];
        for (driver, words) in [
            (None, "0000:82:00.2 has no driver and no vDPA device"),
            (Some("virtio-pci"), "0000:82:00.2 has the driver virtio-pci and no vDPA device"),
        ] {
            let error = refused(function(driver).path());
            let said = error.to_string();
            assert!(matches!(error, OpenError::NoDevice { .. }), "{error:?}");
            assert!(said.starts_with(words), "{said}");
            assert!(either.iter().all(|way| said.contains(way)), "{said}");
            assert_eq!(said.contains("/driver/unbind"), driver.is_some(), "{said}");
        }
    }

    #[test]
    fn function_under_vp_vdpa_without_a_device_is_told_what_makes_one() {
        let said = refused(function(Some("vp-vdpa")).path()).to_string();
        assert!(said.contains("make one (vdpa dev add mgmtdev pci/0000:82:00.2 name"), "{said}");
        assert!(!said.contains("driver_override"), "{said}");
    }

    #[test]
    fn function_under_vfio_pci_is_opened_itself() {
        let error = refused(function(Some("vfio-pci")).path());
        // Of what is looked for below the root only, its group is not there.
        let OpenError::Device(DeviceError::Open { path, hint, .. }) = &error else {
            panic!("{error:?}")
        };
        assert!(path.ends_with(FUNCTION), "{error}");
        assert!(hint.unwrap().contains("IOMMU"), "{error}");
    }

    #[test]
    fn device_of_another_driver_is_named_with_what_gives_it_a_node() {
        let root = function(Some("vp-vdpa"));
        let bus = root.path().join("sys/bus/vdpa/devices");
        let device = root.path().join("sys/devices/pci0000:00/0000:82:00.2/vdpa0");
        fs::create_dir_all(&bus).unwrap();
        fs::create_dir_all(&device).unwrap();
        symlink(&device, bus.join("vdpa0")).unwrap();
        let said = refused(root.path()).to_string();
        assert!(said.contains("bind vdpa0 to vhost_vdpa"), "{said}");
    }
}
