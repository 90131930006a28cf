//! Virtual functions, and the physical one that they belong to.

use super::{Discovery, link_name, names};
use crate::pci::PciAddress;
use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// The driver that hands functions to programs.
pub(crate) const VFIO_PCI: &str = "vfio-pci";
/// Vendor and device of virtio network functions, as sysfs has them. Virtual functions are never transitional.
///
/// Spec: VIRTIO 1.3 §4.1.2, §5.1.1.
const VIRTIO_NETWORK: [(&str, &str); 2] = [("vendor", "0x1af4"), ("device", "0x1041")];

/// The physical function that a virtual one belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhysicalFunction {
    /// Its address.
    pub address: PciAddress,
    /// Its network interface, the first of several by name; none while no network driver has it.
    pub interface: Option<String>,
    /// The virtual function's number among those of this one, from 0.
    pub index: Option<u32>,
}

impl Discovery {
    /// The physical function of a virtual one; `None` of all others.
    ///
    /// Its interface is in `net` of its directory. That of a virtio device is one level below, in
    /// `virtioN/net`, where N is a number that the machine counts on with each virtio device.
    #[must_use]
    pub fn physical_function(&self, function: PciAddress) -> Option<PhysicalFunction> {
        let place = self.pci_place(function);
        let address = link_name(&place.join("physfn"))?.parse().ok()?;
        let physical = place.join("physfn");
        Some(PhysicalFunction {
            address,
            interface: interface(&physical),
            index: index(&physical, function),
        })
    }

    /// Virtual functions of virtio network devices that the driver vfio-pci has, in order. Physical ones are
    /// left out: programs have those under vfio-pci to drive the whole device themselves.
    ///
    /// # Errors
    /// Sysfs cannot be read. Without the driver there are none.
    pub fn vfio_functions(&self) -> io::Result<Vec<PciAddress>> {
        let entries = match fs::read_dir(self.sys("bus/pci/drivers").join(VFIO_PCI)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut functions = Vec::new();
        for entry in entries {
            // There are files for commands, too.
            let address = entry?.file_name().to_str().and_then(|name| name.parse().ok());
            functions.extend(address.filter(|it| self.is_virtual_network_function(*it)));
        }
        functions.sort_unstable();
        Ok(functions)
    }

    fn is_virtual_network_function(&self, function: PciAddress) -> bool {
        let place = self.pci_place(function);
        let is = |(file, wanted): &(&str, &str)| {
            fs::read_to_string(place.join(file)).is_ok_and(|said| said.trim() == *wanted)
        };
        place.join("physfn").exists() && VIRTIO_NETWORK.iter().all(is)
    }

    /// IOVAs that the IOMMU in front of a function keeps to itself: the window of message-signalled
    /// interrupts, and what the firmware uses.
    pub(crate) fn reserved_iovas(&self, function: PciAddress) -> Vec<RangeInclusive<u64>> {
        let file = self.pci_place(function).join("iommu_group/reserved_regions");
        fs::read_to_string(file).unwrap_or_default().lines().filter_map(reserved).collect()
    }

    /// The driver that has a function, if one has.
    pub(crate) fn function_driver(&self, function: PciAddress) -> Option<String> {
        link_name(&self.pci_place(function).join("driver"))
    }

    /// The node of VFIO, and that of the IOMMU group that a function is in, if an IOMMU is in front of it.
    pub(crate) fn vfio_nodes(&self, function: PciAddress) -> Option<[PathBuf; 2]> {
        let group = link_name(&self.pci_place(function).join("iommu_group"))?;
        let directory = self.root.join("dev/vfio");
        Some([directory.join("vfio"), directory.join(group)])
    }

    /// Where sysfs has a function.
    pub(crate) fn pci_place(&self, function: PciAddress) -> PathBuf {
        self.sys(&format!("bus/pci/devices/{function}"))
    }
}

/// The network interface of a function.
fn interface(function: &Path) -> Option<String> {
    let first = |directory: &Path| names(directory).into_iter().next();
    first(&function.join("net")).or_else(|| {
        let below = names(function).into_iter().filter(|name| name.starts_with("virtio"));
        below.map(|name| function.join(name).join("net")).find_map(|net| first(&net))
    })
}

/// The number of a virtual function: that of the link `virtfnN` that leads to it.
fn index(physical: &Path, function: PciAddress) -> Option<u32> {
    let name = function.to_string();
    let leads = |link: &str| link_name(&physical.join(link)).as_ref() == Some(&name);
    let all = names(physical).into_iter();
    let found = all.filter(|link| link.starts_with("virtfn")).find(|link| leads(link))?;
    found.strip_prefix("virtfn")?.parse().ok()
}

/// A line such as `0x00000000fee00000 0x00000000feefffff msi`. What may be mapped nevertheless
/// (`direct-relaxable`) is none.
fn reserved(line: &str) -> Option<RangeInclusive<u64>> {
    let mut words = line.split_whitespace();
    let mut address = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let (first, last) = (address()?, address()?);
    let kept = words.next() != Some("direct-relaxable");
    (kept && first <= last).then_some(first..=last)
}
