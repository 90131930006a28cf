//! The open function, and its regions.

use super::memory::Mapped;
use super::reach::{Reach, parse};
use super::sys::{self, Body, CHAIN_LEN, DeviceInfo, IommuInfo, RegionInfo, Request};
use crate::error::CallError;
use crate::vhost_vdpa::major_number;
use nix::libc::{O_CLOEXEC, O_NONBLOCK, c_ulong};
use nix::sys::stat::{major, makedev};
use std::ffi::CString;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// Number of the region that is the configuration space (`VFIO_PCI_CONFIG_REGION_INDEX`). BARs have their
/// own numbers.
pub const CONFIG_REGION: u32 = 7;

/// `VFIO_API_VERSION`.
const API_VERSION: i32 = 0;
/// `VFIO_TYPE1v2_IOMMU`.
const TYPE1_V2: c_ulong = 3;
/// `VFIO_GROUP_FLAGS_VIABLE`.
const VIABLE: u32 = 1;
/// `VFIO_DEVICE_FLAGS_RESET` and `VFIO_DEVICE_FLAGS_PCI`.
const CAN_RESET: u32 = 1;
const PCI: u32 = 1 << 1;
/// Number of the node `/dev/vfio/vfio`: a miscellaneous device (10).
const CONTAINER: (u64, u64) = (10, 196);

/// A part of a function: a BAR, or its configuration space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Its bytes; 0 when it is not there.
    pub len: u64,
    /// Where it is in the function's file.
    pub(super) offset: u64,
}

/// A PCI function that is open. Dropping it takes back all memory and closes it, upon which the kernel
/// takes it from the bus and resets it.
#[derive(Debug)]
pub struct VfioFunction {
    /// Closed in this order, the first once no [doorbell](super::VfioDoorbell) has it any more.
    pub(super) device: Arc<File>,
    _group: File,
    pub(super) container: File,
    pub(super) mapped: Vec<Mapped>,
    can_reset: bool,
}

impl VfioFunction {
    /// Opens the function `name` (`0000:01:00.1`) of the group at `group` (`/dev/vfio/N`), in a container
    /// of its own, by `container` (`/dev/vfio/vfio`). The kernel resets it.
    ///
    /// # Errors
    /// A node is not there or none of VFIO ([`io::ErrorKind::InvalidInput`]); `EBUSY`: somebody has the
    /// group; `EPERM`: another function of the group has another driver, or the IOMMU cannot keep
    /// interrupts apart; `ENODEV`: the function is not in the group; `EOPNOTSUPP`: there is no IOMMU, or
    /// the function is none of PCI.
    pub fn open(container: &Path, group: &Path, name: &str) -> Result<Self, CallError> {
        let container = open_container(container).map_err(CallError::io("open VFIO"))?;
        let group = open_group(group).map_err(CallError::io("open the group of the function"))?;
        let operation = "use the group of the function";
        let flags = sys::call(group.as_fd(), sys::GET_GROUP_STATUS, 0, &mut ());
        if flags.map_err(CallError::errno(operation))? & VIABLE == 0 {
            return Err(refused(operation, io::ErrorKind::PermissionDenied, NOT_VIABLE));
        }
        sys::set_container(group.as_fd(), container.as_fd())
            .map_err(CallError::errno(operation))?;
        sys::call_plain(container.as_fd(), sys::SET_IOMMU, TYPE1_V2)
            .map_err(CallError::errno("use the IOMMU"))?;
        let operation = "open the function";
        let c_name = CString::new(name).map_err(|_| {
            refused(operation, io::ErrorKind::InvalidInput, "no name of a function")
        })?;
        let device = sys::device(group.as_fd(), &c_name).map_err(CallError::errno(operation))?;
        let mut info = DeviceInfo::default();
        let flags = sys::call(device.as_fd(), sys::GET_DEVICE_INFO, 0, &mut info)
            .map_err(CallError::errno(operation))?;
        if flags & PCI == 0 {
            return Err(refused(operation, io::ErrorKind::Unsupported, "no PCI function"));
        }
        let can_reset = flags & CAN_RESET != 0;
        let device = Arc::new(device.into());
        Ok(Self { device, _group: group, container, mapped: Vec::new(), can_reset })
    }

    /// What it can reach, and how many mappings more there may be.
    ///
    /// # Errors
    /// The kernel's, or it says what cannot be.
    pub fn reach(&self) -> Result<Reach, CallError> {
        let operation = "ask what the IOMMU lets through";
        let mut info = IommuInfo { page_sizes: 0, chain_at: 0, unused: 0, chain: [0; CHAIN_LEN] };
        sys::call(self.container.as_fd(), sys::GET_IOMMU_INFO, 0, &mut info)
            .map_err(CallError::errno(operation))?;
        parse(&info.chain, info.chain_at)
            .ok_or_else(|| refused(operation, io::ErrorKind::InvalidData, "it says what cannot be"))
    }

    /// A region, by its number: 0 to 5 for the BARs, [`CONFIG_REGION`].
    ///
    /// # Errors
    /// `EINVAL`: there can be no such region.
    pub fn region(&self, index: u32) -> Result<Region, CallError> {
        let mut info = RegionInfo { index, ..RegionInfo::default() };
        self.call("ask for a region", sys::GET_REGION_INFO, 0, &mut info)?;
        Ok(Region { len: info.len, offset: info.offset })
    }

    /// Reads a region from byte `offset` on. The function sees accesses of the width that there are bytes,
    /// for 1, 2 and 4 of them at a multiple of that; of others as the kernel likes.
    ///
    /// # Errors
    /// The region has no such bytes ([`io::ErrorKind::InvalidInput`]); `EIO`: memory accesses are
    /// disabled in the command register.
    pub fn read(&self, region: Region, offset: u64, bytes: &mut [u8]) -> Result<(), CallError> {
        let operation = "read from the function";
        let at = place(operation, region, offset, bytes.len())?;
        self.device.read_exact_at(bytes, at).map_err(CallError::io(operation))
    }

    /// Writes to a region from byte `offset` on, in such accesses.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn write(&self, region: Region, offset: u64, bytes: &[u8]) -> Result<(), CallError> {
        let operation = "write to the function";
        let at = place(operation, region, offset, bytes.len())?;
        self.device.write_all_at(bytes, at).map_err(CallError::io(operation))
    }

    /// Whether it can be [reset](Self::reset).
    #[must_use]
    pub fn can_reset(&self) -> bool {
        self.can_reset
    }

    /// Resets the function, as PCI has it. Interrupts and mappings stay.
    ///
    /// # Errors
    /// `EINVAL`: it cannot be. `EAGAIN`: something else is being done with it.
    pub fn reset(&self) -> Result<(), CallError> {
        sys::call_plain(self.device.as_fd(), sys::RESET, 0)
            .map(drop)
            .map_err(CallError::errno("reset the function"))
    }

    pub(super) fn call<T: Body>(
        &self,
        operation: &'static str,
        request: Request<T>,
        flags: u32,
        body: &mut T,
    ) -> Result<u32, CallError> {
        sys::call(self.device.as_fd(), request, flags, body).map_err(CallError::errno(operation))
    }
}

impl Drop for VfioFunction {
    fn drop(&mut self) {
        self.release_memory();
    }
}

const NOT_VIABLE: &str =
    "not all functions of its IOMMU group are under vfio-pci or without a driver";

/// Where the bytes are in the function's file, if the region has them.
pub(super) fn place(
    operation: &'static str,
    region: Region,
    offset: u64,
    len: usize,
) -> Result<u64, CallError> {
    let end = offset.checked_add(len as u64).filter(|&end| end <= region.len);
    end.and_then(|_| region.offset.checked_add(offset))
        .ok_or_else(|| refused(operation, io::ErrorKind::InvalidInput, "the region ends before"))
}

fn open_container(path: &Path) -> io::Result<File> {
    let wanted = makedev(CONTAINER.0, CONTAINER.1);
    let why = "not the node of VFIO (/dev/vfio/vfio)";
    let file = open(path, why, |node| node.rdev() == wanted)?;
    let said = sys::call_plain(file.as_fd(), sys::GET_API_VERSION, 0)?;
    let has = sys::call_plain(file.as_fd(), sys::CHECK_EXTENSION, TYPE1_V2)?;
    if said != API_VERSION || has == 0 {
        let why = "the kernel's VFIO has no IOMMU of type 1 (modprobe vfio_iommu_type1)";
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    Ok(file)
}

pub(super) fn open_group(path: &Path) -> io::Result<File> {
    let devices = std::fs::read_to_string("/proc/devices");
    let devices = devices.map_err(|it| io::Error::other(format!("/proc/devices: {it}")))?;
    let why = "not the node of a group of VFIO (/dev/vfio/N)";
    open(path, why, |node| major_number(&devices, "vfio") == Some(major(node.rdev())))
}

/// Opens a node if it is of such a device; others, to which the same ioctls may mean something else, are
/// not even opened.
fn open(path: &Path, why: &'static str, is_it: impl Fn(&Metadata) -> bool) -> io::Result<File> {
    let check = |node: &Metadata| {
        let fits = node.file_type().is_char_device() && is_it(node);
        fits.then_some(()).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, why))
    };
    check(&path.metadata()?)?;
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).custom_flags(O_CLOEXEC | O_NONBLOCK).open(path)?;
    // And again, of what was opened: all unsafe code relies on it.
    check(&file.metadata()?)?;
    Ok(file)
}

pub(super) fn refused(
    operation: &'static str,
    kind: io::ErrorKind,
    why: &'static str,
) -> CallError {
    CallError { operation, source: io::Error::new(kind, why) }
}
