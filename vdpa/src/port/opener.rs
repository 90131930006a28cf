//! Where the devices of a port come from.

use super::PortError;
use crate::device::{DeviceError, VdpaDevice};
use crate::discovery::{Discovery, FoundDevice};
use crate::name::DeviceName;
use crate::pci::PciAddress;
use crate::vfio_virtio::VfioVirtio;
use crate::vhost_vdpa::VhostVdpa;
use std::fmt;
use std::path::{Path, PathBuf};

type Opened = Result<Box<dyn VdpaDevice>, PortError>;

/// Opens the device of a port, as often as that is needed.
pub(super) enum Opener {
    Named(DeviceName),
    Other(Box<dyn FnMut() -> Result<Box<dyn VdpaDevice>, DeviceError> + Send>),
}

impl Opener {
    pub(super) fn of_name(device: DeviceName) -> Self {
        Self::Named(device)
    }

    pub(super) fn other(
        open: impl FnMut() -> Result<Box<dyn VdpaDevice>, DeviceError> + Send + 'static,
    ) -> Self {
        Self::Other(Box::new(open))
    }

    pub(super) fn open(&mut self) -> Opened {
        match self {
            Self::Named(DeviceName::Node(path)) => open_node(Path::new(path)),
            Self::Named(DeviceName::Pci(address)) => open_function(*address),
            Self::Other(open) => Ok(open()?),
        }
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(device) => f.debug_tuple("Named").field(device).finish(),
            Self::Other(_) => f.write_str("Other"),
        }
    }
}

/// How a PCI function can be driven.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// By ourselves.
    Vfio,
    /// By the kernel, which offers it at this node.
    Node(PathBuf),
}

fn open_node(path: &Path) -> Opened {
    Ok(Box::new(VhostVdpa::open(path)?))
}

fn open_function(address: PciAddress) -> Opened {
    match way(address, &Discovery::default())? {
        Way::Vfio => Ok(Box::new(VfioVirtio::open(address, "/")?)),
        Way::Node(path) => open_node(&path),
    }
}

fn way(address: PciAddress, discovery: &Discovery) -> Result<Way, PortError> {
    if discovery.function_driver(address).as_deref() == Some("vfio-pci") {
        return Ok(Way::Vfio);
    }
    let found = discovery.by_pci(address).map_err(PortError::Discovery)?;
    if let Some(node) = found.iter().find_map(|device| device.node.clone()) {
        return Ok(Way::Node(node));
    }
    let hint = found.iter().find_map(FoundDevice::hint);
    Err(hint.map_or(PortError::NotThere(address), PortError::NoNode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    const FUNCTION: &str = "sys/devices/pci0000:00/0000:82:00.2";

    /// A machine with one function, which has this driver.
    fn machine(driver: &str) -> (TempDir, Discovery) {
        let root = tempfile::tempdir().unwrap();
        let function = root.path().join(FUNCTION);
        let by_address = root.path().join("sys/bus/pci/devices");
        fs::create_dir_all(&function).unwrap();
        fs::create_dir_all(&by_address).unwrap();
        symlink(&function, by_address.join("0000:82:00.2")).unwrap();
        symlink(root.path().join("sys/bus/pci/drivers").join(driver), function.join("driver"))
            .unwrap();
        let discovery = Discovery::below(root.path());
        (root, discovery)
    }

    /// Makes a vDPA device of the function, with a node or without.
    fn add_vdpa(root: &TempDir, with_node: bool) {
        let device = root.path().join(FUNCTION).join("vdpa0");
        let bus = root.path().join("sys/bus/vdpa/devices");
        fs::create_dir_all(&device).unwrap();
        fs::create_dir_all(&bus).unwrap();
        symlink(&device, bus.join("vdpa0")).unwrap();
        if with_node {
            fs::create_dir(device.join("vhost-vdpa-3")).unwrap();
        }
    }

    fn address() -> PciAddress {
        "82:00.2".parse().unwrap()
    }

    #[test]
    fn function_of_vfio_pci_is_driven_by_ourselves_and_others_by_their_node() {
        let (_root, discovery) = machine("vfio-pci");
        assert_eq!(way(address(), &discovery).unwrap(), Way::Vfio);
        let (root, discovery) = machine("vp-vdpa");
        add_vdpa(&root, true);
        let node = root.path().join("dev/vhost-vdpa-3");
        assert_eq!(way(address(), &discovery).unwrap(), Way::Node(node));
    }

    #[test]
    fn function_without_a_device_or_a_node_is_named_with_what_makes_one() {
        let (root, discovery) = machine("virtio-pci");
        let error = way(address(), &discovery).unwrap_err().to_string();
        assert!(error.contains("vdpa dev add mgmtdev pci/0000:82:00.2"), "{error}");
        assert!(error.contains("vfio-pci"), "{error}");
        add_vdpa(&root, false);
        let error = way(address(), &discovery).unwrap_err().to_string();
        assert!(error.contains("bind vdpa0 to vhost_vdpa"), "{error}");
    }
}
