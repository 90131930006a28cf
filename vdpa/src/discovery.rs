//! Which vDPA devices there are, and which functions can be one, by sysfs.
//!
//! ```text
//! /sys/bus/vdpa/devices/vdpa0 -> ../../../devices/pci0000:00/.../0000:01:00.1/vdpa0
//!                                     |                          |            |- driver -> .../vhost_vdpa
//!                                     |                          |            `- vhost-vdpa-0   (/dev/vhost-vdpa-0)
//!                                     |                          `- physfn -> ../0000:01:00.0
//!                                     `- the physical function: net/eth0, or virtio4/net/eth0
//! ```
//!
//! Functions that the driver vfio-pci has are on no such bus, and are devices themselves:
//! [`vfio_functions`](Discovery::vfio_functions).
//!
//! Names are the operator's choice (`vdpa dev add name ...`), so devices are better known by the PCI address
//! of their function. Simulated ones (`vdpa_sim`, VDUSE) have none.

mod function;

pub use function::PhysicalFunction;
pub(crate) use function::VFIO_PCI;

use crate::pci::PciAddress;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What the driver of devices with a node is called.
const VHOST_VDPA: &str = "vhost_vdpa";
/// Names of nodes begin so.
const NODE: &str = "vhost-vdpa-";

/// Looks for devices below a root directory.
#[derive(Debug, Clone)]
pub struct Discovery {
    root: PathBuf,
}

/// A device on the vDPA bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundDevice {
    /// What it was called when it was made.
    pub name: String,
    /// Driver that it is bound to: `vhost_vdpa` gives it a node, `virtio_vdpa` makes it an interface of
    /// this machine.
    pub driver: Option<String>,
    /// Its node, `/dev/vhost-vdpa-N`; only with the driver `vhost_vdpa`.
    pub node: Option<PathBuf>,
    /// The management device that made it, as the tool `vdpa` writes it: `pci/0000:01:00.1`,
    /// `auxiliary/mlx5_core.sf.2`, `vduse`. A simulator's is not in sysfs.
    pub management: Option<String>,
    /// The PCI function that it is, or is a part of.
    pub pci: Option<PciAddress>,
}

impl FoundDevice {
    /// What to do so that it gets a node; `None` when it has one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let name = &self.name;
        let bind = format!("echo {name} > /sys/bus/vdpa/drivers/{VHOST_VDPA}/bind");
        match (self.node.is_some(), self.driver.as_deref()) {
            (true, _) => None,
            (_, None) => {
                Some(format!("bind {name} to {VHOST_VDPA}: modprobe {VHOST_VDPA}; {bind}"))
            }
            (_, Some(VHOST_VDPA)) => Some(format!("{name} has no node yet: is udev at work?")),
            (_, Some(other)) => Some(format!(
                "take {name} from {other} (echo {name} > /sys/bus/vdpa/drivers/{other}/unbind), then {bind}"
            )),
        }
    }
}

impl Default for Discovery {
    fn default() -> Self {
        Self::below("/")
    }
}

impl Discovery {
    /// Looks in `ROOT/sys` and `ROOT/dev`: `/`, or another place where they are mounted.
    #[must_use]
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where `/sys` and `/dev` are looked for.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// All devices on the bus, by name. One that vanishes meanwhile is left out; without the bus there are
    /// none.
    ///
    /// # Errors
    /// Sysfs cannot be read.
    pub fn devices(&self) -> io::Result<Vec<FoundDevice>> {
        let entries = match fs::read_dir(self.sys("bus/vdpa/devices")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut devices = Vec::new();
        for entry in entries {
            devices.extend(self.look_at(&entry?.path()));
        }
        devices.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(devices)
    }

    /// The devices that are this PCI function, or parts of it, by name.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub fn by_pci(&self, address: PciAddress) -> io::Result<Vec<FoundDevice>> {
        let devices = self.devices()?.into_iter();
        Ok(devices.filter(|device| device.pci == Some(address)).collect())
    }

    /// The device of this name, if there is one.
    ///
    /// # Errors
    /// As [`devices`](Self::devices).
    pub fn by_name(&self, name: &str) -> io::Result<Option<FoundDevice>> {
        Ok(self.devices()?.into_iter().find(|device| device.name == name))
    }

    /// The device whose node has this number (`st_rdev`), if there is one.
    #[must_use]
    pub fn by_number(&self, major: u64, minor: u64) -> Option<FoundDevice> {
        let node = fs::canonicalize(self.sys(&format!("dev/char/{major}:{minor}"))).ok()?;
        self.look_at(node.parent()?)
    }

    /// A parameter of a kernel module, if that is loaded and lets us see it.
    pub(crate) fn module_parameter(&self, module: &str, name: &str) -> Option<String> {
        let file = self.sys(&format!("module/{module}/parameters/{name}"));
        Some(fs::read_to_string(file).ok()?.trim().to_owned())
    }

    fn look_at(&self, entry: &Path) -> Option<FoundDevice> {
        let place = fs::canonicalize(entry).ok()?;
        Some(FoundDevice {
            name: text(place.file_name()?),
            driver: link_name(&place.join("driver")),
            node: self.node(&place),
            management: place.parent().and_then(management),
            pci: pci_above(&place),
        })
    }

    fn node(&self, device: &Path) -> Option<PathBuf> {
        let name = names(device).into_iter().find(|name| {
            let number = name.strip_prefix(NODE).unwrap_or_default();
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })?;
        Some(self.root.join("dev").join(name))
    }

    fn sys(&self, path: &str) -> PathBuf {
        self.root.join("sys").join(path)
    }
}

/// The management device behind a device's parent directory.
fn management(parent: &Path) -> Option<String> {
    let name = text(parent.file_name()?);
    match link_name(&parent.join("subsystem"))?.as_str() {
        "vduse" => Some("vduse".to_owned()),
        bus => Some(format!("{bus}/{name}")),
    }
}

/// The nearest PCI function that a directory of sysfs is below.
fn pci_above(place: &Path) -> Option<PciAddress> {
    place.ancestors().skip(1).find_map(|above| above.file_name()?.to_str()?.parse().ok())
}

/// Where a link leads, by its last name.
fn link_name(link: &Path) -> Option<String> {
    fs::read_link(link).ok()?.file_name().map(text)
}

/// Names in a directory, in order; none if it cannot be read.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| text(&entry.file_name())).collect();
    names.sort();
    names
}

fn text(name: &OsStr) -> String {
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
