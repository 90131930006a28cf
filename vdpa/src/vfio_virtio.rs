//! A virtio PCI function under vfio-pci as a device: a VF with 1af4:1041, of whoever makes it.
//!
//! ```text
//! driver's kick --eventfd--> kernel (VFIO_DEVICE_IOEVENTFD) --2 bytes to the doorbell--> function
//! driver's call <--eventfd-- kernel                         <--MSI-X------------------- function
//! ```
//! Nothing of this process is woken by either. Where the kernel refuses to ring a doorbell, a thread of ours does it.
//!
//! | what may be | what is done about it |
//! |---|---|
//! | capabilities, sizes, vectors and doorbells that lie | all are checked against the BARs before they are used |
//! | a reset that does not end | it has a time; then the function is taken from the bus, and closed |
//! | a function that goes past the IOMMU | without `ACCESS_PLATFORM` it is not opened |
//! | the kernel wants the function back (`sriov_numvfs`, unbinding), or it fails | [`gone`](VdpaDevice::gone); the kernel waits until this is dropped |
//! | a kernel that does not ring doorbells by eventfds | a thread does, and [`kick_thread`](VdpaDevice::kick_thread) says why |
//!
//! A ring can only begin at its beginning, and where one stood, nobody says.
//!
//! Spec: VIRTIO 1.3 §3.1, §4.1.

mod common;
mod function;
mod kicks;
pub mod layout;
mod memory;
mod open;
mod start;

use crate::device::{Capabilities, DeviceError, DeviceMemory, DoorbellPage, Setup, VdpaDevice};
use crate::pci::PciAddress;
use crate::vhost_vdpa::limits::Taken;
use crate::vhost_vdpa::watch::eventfd;
use crate::vhost_vdpa::{check, failed, kick};
use common::Common;
use function::{Doorbell, Function, VfioPci};
use kicks::Kicks;
use layout::Layout;
use nix::sys::eventfd::EventFd;
use ringport_vhost_user::backend::RingBase;
use start::Start;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a reset may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A virtio function under vfio-pci.
#[derive(Debug)]
pub struct VfioVirtio {
    name: String,
    /// None when it was given up.
    function: Option<VfioPci>,
    layout: Layout,
    capabilities: Capabilities,
    mapped: Vec<Taken>,
    /// With what rings are kicked; none while it does not run.
    running: Option<Kicks>,
    config_changed: EventFd,
    gone: Arc<EventFd>,
}

impl VfioVirtio {
    /// Opens the function at `address`, which vfio-pci has, and resets it. `/sys` and `/dev` are looked
    /// for in `root`: `/`.
    ///
    /// # Errors
    /// [`DeviceError::Open`] with what would help, [`DeviceError::Unable`] when it is no virtio 1 function
    /// or goes past the IOMMU, [`DeviceError::Absurd`], [`DeviceError::Late`], or what the kernel refuses.
    pub fn open(address: PciAddress, root: impl AsRef<Path>) -> Result<Self, DeviceError> {
        let eventfd = || eventfd().map_err(failed("make an eventfd"));
        let (config_changed, gone) = (eventfd()?, Arc::new(eventfd()?));
        let opened = open::open(address, root.as_ref(), gone.as_fd(), PATIENCE)?;
        let (function, layout, capabilities) = opened;
        Ok(Self {
            name: address.to_string(),
            function: Some(function),
            layout,
            capabilities,
            mapped: Vec::new(),
            running: None,
            config_changed,
            gone,
        })
    }

    fn function(&self) -> Result<&VfioPci, DeviceError> {
        self.function.as_ref().ok_or(DeviceError::Gone)
    }

    /// The doorbell of a ring that runs.
    fn running(&self, ring: u16) -> Result<Doorbell, DeviceError> {
        let running = self.running.as_ref().and_then(|kicks| kicks.doorbell(ring));
        running.ok_or(DeviceError::Unable("be told of eventfds of a ring that is not running"))
    }

    fn close(&mut self) {
        // Its thread has the function's file.
        self.running = None;
        if let Some(function) = self.function.take() {
            function.silence();
        }
        self.mapped.clear();
    }
}

impl VdpaDevice for VfioVirtio {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "vfio-pci"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn read_config(&self, offset: u32, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.capabilities.check_config(offset, bytes.len())?;
        Common(self.function()?).read_config(offset.into(), bytes)
    }

    fn map(&mut self, memory: &[DeviceMemory]) -> Result<(), DeviceError> {
        self.map_memory(memory)
    }

    fn unmap(&mut self, ranges: &[RangeInclusive<u64>]) -> Result<(), DeviceError> {
        self.unmap_memory(ranges)
    }

    fn start(&mut self, setup: &Setup) -> Result<(), DeviceError> {
        let function = self.function()?;
        if self.running.is_some() {
            return Err(DeviceError::Unable("be started twice: stop it first"));
        }
        check::setup(setup, &self.capabilities, || self.mapped.iter().map(|it| &it.range))?;
        let start = Start {
            setup,
            layout: &self.layout,
            config_changed: self.config_changed.as_fd(),
            gone: &self.gone,
            patience: PATIENCE,
        };
        match start.run(function) {
            Ok(kicks) => self.running = Some(kicks),
            Err(error) => {
                if matches!(error, DeviceError::Late { .. } | DeviceError::Gone) {
                    self.give_up();
                }
                return Err(error);
            }
        }
        let kicked = setup.rings.iter().try_for_each(|ring| kick(&ring.kick));
        kicked.inspect_err(|_| drop(self.stop()))
    }

    fn set_call(&mut self, ring: u16, call: &Arc<OwnedFd>) -> Result<(), DeviceError> {
        let vector = u32::from(self.running(ring)?.ring) + 1;
        self.function()?.set_vectors(vector, &[Some(call.as_fd())])?;
        // What it was called for in between may have reached neither.
        kick(call)
    }

    fn set_kick(&mut self, ring: u16, new: &Arc<OwnedFd>) -> Result<(), DeviceError> {
        let doorbell = self.running(ring)?;
        let (Some(kicks), Some(function)) = (&mut self.running, &self.function) else {
            return Err(DeviceError::Gone);
        };
        kicks.exchange(function, doorbell, new)?;
        // What was kicked in between may have reached neither.
        kick(new)
    }

    fn kick_thread(&self) -> Option<&str> {
        self.running.as_ref()?.thread()
    }

    fn stop(&mut self) -> Vec<Option<RingBase>> {
        let nothing = vec![None; self.capabilities.rings.into()];
        if let (Some(kicks), Some(function)) = (self.running.take(), &self.function)
            && start::stop(function, kicks, PATIENCE).is_err()
        {
            self.give_up();
        }
        nothing
    }

    fn give_up(&mut self) {
        let _ = self.gone.write(1);
        self.close();
    }

    fn config_changed(&self) -> BorrowedFd<'_> {
        self.config_changed.as_fd()
    }

    fn gone(&self) -> BorrowedFd<'_> {
        self.gone.as_fd()
    }

    /// None: whoever has the function's file can do all with it.
    fn doorbell(&self, _ring: u16) -> Option<DoorbellPage<'_>> {
        None
    }
}

impl Drop for VfioVirtio {
    fn drop(&mut self) {
        self.stop();
        self.close();
    }
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
