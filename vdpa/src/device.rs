//! What can be done with a vDPA device, whatever is behind it.
//!
//! A device is a virtio function whose rings are in memory of others: it is told where that memory is
//! ([`map`](VdpaDevice::map)), and where the rings are in it ([`start`](VdpaDevice::start)). Addresses are
//! *IOVAs*: what the device itself puts on the bus. From then on kicks and calls go through eventfds
//! between the driver and the kernel, and nobody here is asked.
//!
//! Nothing here trusts a device: what it says is checked by whoever asked.
//!
//! Spec: VIRTIO 1.3 §3.1, §4.1 (virtio over PCI).

mod error;

pub use error::DeviceError;
pub(crate) use error::explain;

use ringport::shm::Mapping;
use ringport_vhost_user::backend::RingBase;
use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

/// A vDPA device that is open. Dropping it resets it and gives back all it holds: mappings, eventfds,
/// files.
pub trait VdpaDevice: Debug + Send {
    /// How people call it: a path, or a PCI address.
    fn name(&self) -> &str;

    /// By what it is opened, in a word: `vhost-vdpa`, `vfio-pci`.
    fn kind(&self) -> &'static str;

    /// What it can do; the same as long as it is open.
    fn capabilities(&self) -> &Capabilities;

    /// Reads the configuration space from byte `offset` on.
    ///
    /// # Errors
    /// The device is gone, or has no such bytes, or changes them faster than they are read.
    fn read_config(&self, offset: u32, bytes: &mut [u8]) -> Result<(), DeviceError>;

    /// Lets the device use memory. All of it, or on an error nothing more than before.
    ///
    /// # Errors
    /// [`DeviceError`]: a limit that is known is named, with its figure and what would raise it.
    fn map(&mut self, memory: &[DeviceMemory]) -> Result<(), DeviceError>;

    /// Takes memory back, by the same ranges with which it was mapped.
    ///
    /// # Errors
    /// The device is gone, or keeps some of it: then it is to be [given up](Self::give_up).
    fn unmap(&mut self, ranges: &[RangeInclusive<u64>]) -> Result<(), DeviceError>;

    /// Has the device begin. It has no driver before; if this fails, it has none afterwards.
    ///
    /// # Errors
    /// The device refuses something, or does not answer in time.
    fn start(&mut self, setup: &Setup) -> Result<(), DeviceError>;

    /// Exchanges the eventfd by which the device calls the driver of a running ring.
    ///
    /// # Errors
    /// The device is gone.
    fn set_call(&mut self, ring: u16, call: &Arc<OwnedFd>) -> Result<(), DeviceError>;

    /// Exchanges the eventfd by which the driver of a running ring kicks the device.
    ///
    /// # Errors
    /// The device is gone.
    fn set_kick(&mut self, ring: u16, kick: &Arc<OwnedFd>) -> Result<(), DeviceError>;

    /// Why kicks of some rings that run go through a thread of this process, which the kernel did not take;
    /// none when it takes all.
    fn kick_thread(&self) -> Option<&str> {
        None
    }

    /// Has the device write to no ring any more, and reset. Returns where each ring stands, by its
    /// number, as far as the device can say. Memory stays mapped. Never fails to stop: a device that does
    /// not answer in time is closed, and all that follows fails.
    fn stop(&mut self) -> Vec<Option<RingBase>>;

    /// Closes the device, which takes back what it would not give back when asked: mappings, eventfds.
    /// [`gone`](Self::gone) is readable from then on, and all that follows fails with
    /// [`DeviceError::Gone`].
    fn give_up(&mut self);

    /// Readable when the configuration changed. One eventfd as long as the device is open.
    fn config_changed(&self) -> BorrowedFd<'_>;

    /// Readable when the device is to be given up: it is being removed, or has failed.
    fn gone(&self) -> BorrowedFd<'_>;

    /// The page in which a driver can kick a ring without an eventfd, for who may map it.
    fn doorbell(&self, ring: u16) -> Option<DoorbellPage<'_>>;
}

/// What a device can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Virtio device id; 1 is a network device.
    pub device_id: u32,
    /// Virtio features that it offers.
    pub features: u64,
    /// Rings that it has, a control queue among them.
    pub rings: u16,
    /// Most descriptors of a ring.
    pub ring_size_max: u16,
    /// Bytes of its configuration space.
    pub config_len: u32,
    /// IOVAs that it can use, in order.
    pub iova: Vec<RangeInclusive<u64>>,
    /// Most mappings at a time, if that is known.
    pub mappings_max: Option<usize>,
    /// Whether mapping locks pages in memory, against this process's limit.
    pub locks_memory: bool,
    /// Whether an IOMMU translates what it puts on the bus: then its driver must accept
    /// ACCESS_PLATFORM, without which it goes past the IOMMU.
    pub translated: bool,
    /// Whether a ring can be started elsewhere than at its beginning.
    pub starts_midway: bool,
    /// Whether [`stop`](VdpaDevice::stop) says where a ring stands. Of a split ring the memory says it too.
    pub tells_base: bool,
}

impl Capabilities {
    /// Whether the configuration space has `count` bytes from byte `offset` on.
    ///
    /// # Errors
    /// [`DeviceError::NoConfig`]: it does not.
    pub(crate) fn check_config(&self, offset: u32, count: usize) -> Result<(), DeviceError> {
        let len = self.config_len;
        let end = u32::try_from(count).ok().and_then(|more| offset.checked_add(more));
        if end.is_none_or(|end| end > len) {
            return Err(DeviceError::NoConfig { offset, len });
        }
        Ok(())
    }
}

/// Memory that the device may use.
#[derive(Debug, Clone)]
pub struct DeviceMemory {
    /// Where the device finds it.
    pub iova: u64,
    /// Bytes; IOVA, offset and this are multiples of the page size.
    pub len: u64,
    /// The mapping in this process that it is in.
    pub mapping: Arc<Mapping>,
    /// Where it begins in the mapping, in bytes.
    pub offset: u64,
}

/// With what a device begins.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Features that driver and device agree on.
    pub features: u64,
    /// The rings that run, each by its number.
    pub rings: Vec<RingSetup>,
}

/// One ring that the device is to use.
#[derive(Debug, Clone)]
pub struct RingSetup {
    /// Its number.
    pub index: u16,
    /// Descriptors.
    pub size: u16,
    /// IOVA of the descriptor area.
    pub descriptor_area: u64,
    /// IOVA of the driver area (the available ring).
    pub driver_area: u64,
    /// IOVA of the device area (the used ring).
    pub device_area: u64,
    /// Where the ring goes on.
    pub base: RingBase,
    /// The eventfd with which the driver kicks. The device is kicked once as it starts: buffers may
    /// have been there before it listened.
    pub kick: Arc<OwnedFd>,
    /// The eventfd with which the driver is called.
    pub call: Arc<OwnedFd>,
}

/// A page of the device that a driver may map, and writes its ring's number to.
#[derive(Debug)]
pub struct DoorbellPage<'d> {
    /// The file to map.
    pub fd: BorrowedFd<'d>,
    /// Where the page begins in it, in bytes.
    pub offset: u64,
    /// Its bytes.
    pub len: u64,
}
