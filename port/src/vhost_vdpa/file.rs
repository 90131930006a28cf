//! The open file of a vhost-vdpa device.

use super::memory::Mapped;
use super::sys::{self, Argument, Config, IovaRange, Request};
use crate::error::CallError;
use nix::libc::{O_CLOEXEC, O_NONBLOCK, c_int};
use nix::sys::stat::major;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// What the kernel's part of a device can do: `VHOST_BACKEND_F_` bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BackendFeatures(pub u64);

impl BackendFeatures {
    /// IOTLB messages of version 2.
    pub const MESSAGE_V2: Self = Self(1 << 1);
    /// Mappings can be changed in batches.
    pub const BATCH: Self = Self(1 << 2);
    /// There are several address spaces.
    pub const ADDRESS_SPACES: Self = Self(1 << 3);
    /// The device can be stopped without being reset.
    pub const SUSPEND: Self = Self(1 << 4);
    /// And go on then.
    pub const RESUME: Self = Self(1 << 5);
    /// Rings can be enabled after `DRIVER_OK`.
    pub const ENABLE_AFTER_DRIVER_OK: Self = Self(1 << 6);
    /// Descriptors can be in an address space of their own.
    pub const DESCRIPTOR_SPACE: Self = Self(1 << 7);
    /// Mappings survive a reset.
    pub const MAPPINGS_PERSIST: Self = Self(1 << 8);

    /// Whether all of `wanted` are among these.
    #[must_use]
    pub fn has(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

/// The open file of a vhost-vdpa device. Dropping it resets the device, takes back all memory, and
/// closes it.
///
/// Any of this may take as long as the device's driver likes. All errors are the kernel's, and mean what
/// the driver behind it wants them to mean: `EOPNOTSUPP` that it lacks the call.
#[derive(Debug)]
pub struct VhostVdpaFile {
    file: File,
    pub(super) mapped: Vec<Mapped>,
}

impl VhostVdpaFile {
    /// Opens `/dev/vhost-vdpa-N`, which resets the device.
    ///
    /// # Errors
    /// There is no such file, it is none of a vhost-vdpa device ([`io::ErrorKind::InvalidInput`]), or the
    /// kernel refuses: `EBUSY` when somebody has it, or maps a doorbell of it; 524 (`ENOTSUPP`) without an
    /// IOMMU that keeps caches coherent.
    pub fn open(path: &Path) -> io::Result<Self> {
        let devices = std::fs::read_to_string("/proc/devices");
        let devices = devices.map_err(|it| io::Error::other(format!("/proc/devices: {it}")))?;
        // Before it is opened: opening others may do something.
        require_vhost_vdpa(&path.metadata()?, &devices)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(O_CLOEXEC | O_NONBLOCK);
        let file = options.open(path)?;
        // And again, of what was opened: all unsafe code below relies on it.
        require_vhost_vdpa(&file.metadata()?, &devices)?;
        Ok(Self { file, mapped: Vec::new() })
    }

    /// Number of the device's node (`st_rdev`).
    ///
    /// # Errors
    /// The file cannot be looked at.
    pub fn device_number(&self) -> io::Result<u64> {
        self.file.metadata().map(|it| it.rdev())
    }

    /// Makes this process the one that uses the device: rings and memory need that.
    ///
    /// # Errors
    /// `EBUSY`: it is already.
    pub fn set_owner(&self) -> Result<(), CallError> {
        self.call("own the device", sys::SET_OWNER, ()).map(drop)
    }

    /// What the kernel's part can do.
    ///
    /// # Errors
    /// The kernel's.
    pub fn backend_features(&self) -> Result<BackendFeatures, CallError> {
        self.call("ask for backend features", sys::GET_BACKEND_FEATURES, 0).map(BackendFeatures)
    }

    /// What of it is used.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: not all of it is there.
    pub fn set_backend_features(&self, features: BackendFeatures) -> Result<(), CallError> {
        self.call("set backend features", sys::SET_BACKEND_FEATURES, features.0).map(drop)
    }

    /// Virtio device id.
    ///
    /// # Errors
    /// The kernel's.
    pub fn device_id(&self) -> Result<u32, CallError> {
        self.call("ask what the device is", sys::GET_DEVICE_ID, 0)
    }

    /// Virtio features that are offered.
    ///
    /// # Errors
    /// The kernel's.
    pub fn features(&self) -> Result<u64, CallError> {
        self.call("ask for features", sys::GET_FEATURES, 0)
    }

    /// Virtio features that are accepted.
    ///
    /// # Errors
    /// `EBUSY` after `FEATURES_OK`; `EINVAL`: the device's driver wants others.
    pub fn set_features(&self, features: u64) -> Result<(), CallError> {
        self.call("set features", sys::SET_FEATURES, features).map(drop)
    }

    /// Virtio device status.
    ///
    /// # Errors
    /// The kernel's.
    pub fn status(&self) -> Result<u8, CallError> {
        self.call("ask for the status", sys::GET_STATUS, 0)
    }

    /// Sets bits of the status; 0 resets the device.
    ///
    /// # Errors
    /// `EINVAL`: bits would be cleared.
    pub fn set_status(&self, status: u8) -> Result<(), CallError> {
        self.call("set the status", sys::SET_STATUS, status).map(drop)
    }

    /// Has the device use no ring any more, and remember where it stands.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: it cannot.
    pub fn suspend(&self) -> Result<(), CallError> {
        self.call("suspend the device", sys::SUSPEND, ()).map(drop)
    }

    /// Has the device go on.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: it cannot.
    pub fn resume(&self) -> Result<(), CallError> {
        self.call("resume the device", sys::RESUME, ()).map(drop)
    }

    /// Bytes of the configuration space.
    ///
    /// # Errors
    /// The kernel's.
    pub fn config_len(&self) -> Result<u32, CallError> {
        self.call("ask for the length of the configuration", sys::GET_CONFIG_LEN, 0)
    }

    /// Reads the configuration space from byte `offset` on, at most
    /// [`CONFIG_MAX`](super::CONFIG_MAX) bytes, all of one generation.
    ///
    /// # Errors
    /// `EINVAL`: there are not as many.
    pub fn read_config(&self, offset: u32, bytes: &mut [u8]) -> Result<(), CallError> {
        let read = self.config("read the configuration", sys::GET_CONFIG, offset, bytes)?;
        bytes.copy_from_slice(read.bytes());
        Ok(())
    }

    /// Writes to the configuration space.
    ///
    /// # Errors
    /// As [`read_config`](Self::read_config).
    pub fn write_config(&self, offset: u32, bytes: &[u8]) -> Result<(), CallError> {
        self.config("write the configuration", sys::SET_CONFIG, offset, bytes).map(drop)
    }

    /// Has an eventfd signalled when the configuration changes, or none.
    ///
    /// # Errors
    /// `EINVAL`: it is no eventfd.
    pub fn set_config_call(&self, call: Option<BorrowedFd<'_>>) -> Result<(), CallError> {
        self.call("set the eventfd of configuration changes", sys::SET_CONFIG_CALL, number(call))
            .map(drop)
    }

    /// IOVAs that can be mapped.
    ///
    /// # Errors
    /// The kernel's.
    pub fn iova_range(&self) -> Result<RangeInclusive<u64>, CallError> {
        let none = IovaRange { first: 0, last: 0 };
        let range = self.call("ask for the IOVA range", sys::GET_IOVA_RANGE, none)?;
        Ok(range.first..=range.last)
    }

    /// Address spaces that there are.
    ///
    /// # Errors
    /// The kernel's.
    pub fn address_spaces(&self) -> Result<u32, CallError> {
        self.call("count address spaces", sys::GET_SPACES, 0)
    }

    /// Groups of rings that there are: each is in one address space.
    ///
    /// # Errors
    /// The kernel's.
    pub fn groups(&self) -> Result<u32, CallError> {
        self.call("count groups of rings", sys::GET_GROUPS, 0)
    }

    fn config(
        &self,
        operation: &'static str,
        request: Request<Config>,
        offset: u32,
        bytes: &[u8],
    ) -> Result<Config, CallError> {
        let too_long = || CallError { operation, source: io::ErrorKind::InvalidInput.into() };
        let config = Config::new(offset, bytes).ok_or_else(too_long)?;
        self.call(operation, request, config)
    }

    pub(super) fn call<T: Argument>(
        &self,
        operation: &'static str,
        request: Request<T>,
        mut argument: T,
    ) -> Result<T, CallError> {
        sys::call(self.file.as_fd(), request, &mut argument)
            .map_err(CallError::errno(operation))?;
        Ok(argument)
    }
}

impl AsFd for VhostVdpaFile {
    /// To map a doorbell of. It is always ready, and nobody can wait for it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for VhostVdpaFile {
    fn drop(&mut self) {
        // First: it then uses no memory. Whoever has a doorbell mapped keeps the file open.
        let _ = self.set_status(0);
        self.release_memory();
    }
}

/// The descriptor as the kernel wants it.
pub(super) fn number(fd: Option<BorrowedFd<'_>>) -> c_int {
    fd.map_or(-1, |fd| fd.as_raw_fd())
}

/// Refuses files of other devices, to which the same ioctls may mean something else.
pub(super) fn require_vhost_vdpa(file: &Metadata, devices: &str) -> io::Result<()> {
    let is_it = file.file_type().is_char_device()
        && major_number(devices, "vhost-vdpa") == Some(major(file.rdev()));
    let why = "not the file of a vhost-vdpa device (/dev/vhost-vdpa-N)";
    is_it.then_some(()).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, why))
}

/// Major number of a kind of character device, in the words of `/proc/devices`.
pub(crate) fn major_number(devices: &str, wanted: &str) -> Option<u64> {
    let lines = devices.lines().take_while(|line| !line.starts_with("Block"));
    let mut entries = lines.filter_map(|line| line.trim().split_once(' '));
    let (number, _) = entries.find(|(_, name)| *name == wanted)?;
    number.parse().ok()
}
