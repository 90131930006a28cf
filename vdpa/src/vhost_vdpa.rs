//! The kernel's vhost-vdpa as a device: `/dev/vhost-vdpa-N`, whichever driver is behind it.
//!
//! | what the kernel does | what is done about it |
//! |---|---|
//! | `EFAULT` for everything that is wrong with a mapping | range, overlap, locked memory and pages are checked before, so that the error can say what it was |
//! | one mapping for each run of pages that are neighbours in memory, and a limit for them | told from the size of the pages when it refuses |
//! | a device gets vectors for those rings only that have an eventfd for calls when it begins | all have one; it is exchanged later |
//! | disabling a ring is a fault to virtio devices over PCI | it is never done: [`stop`](VdpaDevice::stop) resets |
//! | the file cannot be waited for, and nothing says that the device is being removed | the node's removal is watched for, by one thread for all devices |
//! | calls may take as long as the device's driver likes | starts and stops have a thread and a time of their own; a device that does not keep it is given up. Mapping takes what it takes to lock pages |
//! | eventfds that were set are kept after a reset | they are given back by [`stop`](VdpaDevice::stop) |
//!
//! # Where a ring stands
//! [`stop`](VdpaDevice::stop) says it only of devices that can be suspended: of one that runs on, what it
//! said would be of the past. Devices that can neither be suspended nor begin elsewhere than at a
//! ring's beginning (`virtio-pci` behind `vp_vdpa`) cannot go on with rings that have been in use.

mod calls;
pub(crate) mod check;
pub(crate) mod limits;
mod memory;
mod open;
mod reset;
mod start;
pub(crate) mod watch;
pub(crate) mod within;

use crate::device::{Capabilities, DeviceError, DeviceMemory, DoorbellPage, Setup, VdpaDevice};
use crate::discovery::Discovery;
use calls::Calls;
use limits::Taken;
use nix::sys::eventfd::EventFd;
use open::Opened;
use ringport::doorbell::Doorbell;
use ringport::shm::page_len;
use ringport::vhost_vdpa::BackendFeatures;
use ringport_vhost_user::backend::RingBase;
use start::Start;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use watch::Watch;
use within::within;

/// A vhost-vdpa device.
#[derive(Debug)]
pub struct VhostVdpa {
    name: String,
    /// None when it was given up.
    file: Option<Box<dyn Calls>>,
    backend: BackendFeatures,
    capabilities: Capabilities,
    /// Whether each ring's doorbell can be mapped.
    doorbells: Vec<bool>,
    mapped: Vec<Taken>,
    /// Sizes of the rings that run, by number; none while it does not.
    running: Option<Running>,
    config_changed: Arc<EventFd>,
    /// Called for rings that nobody uses.
    idle: Arc<EventFd>,
    watch: Watch,
}

/// What [`reset::stop`] needs to know of the rings.
#[derive(Debug, Clone)]
struct Running {
    packed: bool,
    /// Number and size.
    rings: Vec<(u16, u16)>,
}

impl VhostVdpa {
    /// Opens `/dev/vhost-vdpa-N`, and resets the device.
    ///
    /// # Errors
    /// [`DeviceError::Open`] with what would help, [`DeviceError::Unable`] when the device goes past the
    /// IOMMU, [`DeviceError::Late`], or what the kernel refuses.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DeviceError> {
        let path = path.as_ref();
        let watch = Watch::new(path).map_err(|source| open::failed(path, source))?;
        let (node, discovery) = (path.to_owned(), Discovery::default());
        let opened = within("open", move || open::open(&node, &discovery))??;
        Self::new(path.display().to_string(), opened, watch)
    }

    fn new(name: String, opened: Opened, watch: Watch) -> Result<Self, DeviceError> {
        let Opened { file, backend, capabilities, doorbells } = opened;
        let eventfd = || watch::eventfd().map(Arc::new).map_err(failed("make an eventfd"));
        Ok(Self {
            name,
            file: Some(file),
            backend,
            capabilities,
            doorbells,
            mapped: Vec::new(),
            running: None,
            config_changed: eventfd()?,
            idle: eventfd()?,
            watch,
        })
    }

    fn file(&self) -> Result<&dyn Calls, DeviceError> {
        self.file.as_deref().ok_or(DeviceError::Gone)
    }

    /// The device, if that ring runs: others would keep what they are given.
    fn running(&self, ring: u16) -> Result<&dyn Calls, DeviceError> {
        let file = self.file()?;
        let runs = |running: &Running| running.rings.iter().any(|&(index, _)| index == ring);
        let runs = self.running.as_ref().is_some_and(runs);
        runs.then_some(file)
            .ok_or(DeviceError::Unable("be told of eventfds of a ring that is not running"))
    }

    /// Has `work` done with the device in its time, or gives it up.
    fn work<T: Send + 'static>(
        &mut self,
        what: &'static str,
        work: impl FnOnce(&dyn Calls) -> Result<T, DeviceError> + Send + 'static,
    ) -> Result<T, DeviceError> {
        let file = self.file.take().ok_or(DeviceError::Gone)?;
        let done = within(what, move || {
            let done = work(&*file);
            (file, done)
        });
        let done = done.and_then(|(file, done)| {
            self.file = Some(file);
            done
        });
        if matches!(done, Err(DeviceError::Late { .. })) || self.file.is_none() {
            self.give_up();
        }
        done
    }

    /// Closes the device, in a thread that may take its time.
    fn close(&mut self) {
        if let Some(file) = self.file.take() {
            let _ = within("close", move || drop(file));
        }
        self.mapped.clear();
        self.running = None;
    }
}

impl VdpaDevice for VhostVdpa {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "vhost-vdpa"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn read_config(&self, offset: u32, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.capabilities.check_config(offset, bytes.len())?;
        if bytes.is_empty() {
            return Ok(());
        }
        Ok(self.file()?.read_config(offset, bytes)?)
    }

    fn map(&mut self, memory: &[DeviceMemory]) -> Result<(), DeviceError> {
        self.map_memory(memory)
    }

    fn unmap(&mut self, ranges: &[RangeInclusive<u64>]) -> Result<(), DeviceError> {
        self.unmap_memory(ranges)
    }

    fn start(&mut self, setup: &Setup) -> Result<(), DeviceError> {
        self.file()?;
        if self.running.is_some() {
            return Err(DeviceError::Unable("be started twice: stop it first"));
        }
        let mapped = || self.mapped.iter().map(|it| &it.range);
        check::setup(setup, &self.capabilities, mapped)?;
        if !self.backend.has(BackendFeatures::MAPPINGS_PERSIST) && !self.mapped.is_empty() {
            // The reset since they were made may have lost them: an empty batch makes them again.
            self.batch(|_| Ok(()))?;
        }
        let running = Running {
            packed: check::is_packed(setup.features),
            rings: setup.rings.iter().map(|ring| (ring.index, ring.size)).collect(),
        };
        let start = Start {
            setup: setup.clone(),
            rings: self.capabilities.rings,
            idle: Arc::clone(&self.idle),
            config_changed: Arc::clone(&self.config_changed),
        };
        self.work("start", move |file| start.run(file))?;
        self.running = Some(running);
        let kicked = setup.rings.iter().try_for_each(|ring| kick(&ring.kick));
        kicked.inspect_err(|_| drop(self.stop()))
    }

    fn set_call(&mut self, ring: u16, call: &Arc<OwnedFd>) -> Result<(), DeviceError> {
        Ok(self.running(ring)?.set_call(ring, Some(call.as_fd()))?)
    }

    fn set_kick(&mut self, ring: u16, new: &Arc<OwnedFd>) -> Result<(), DeviceError> {
        self.running(ring)?.set_kick(ring, Some(new.as_fd()))?;
        // What was kicked in between may have reached neither.
        kick(new)
    }

    fn stop(&mut self) -> Vec<Option<RingBase>> {
        let rings = self.capabilities.rings;
        let nothing = vec![None; rings.into()];
        let Some(running) = self.running.take() else { return nothing };
        let suspends = self.backend.has(BackendFeatures::SUSPEND);
        let stopped = self.work("stop", move |file| reset::stop(file, &running, rings, suspends));
        stopped.unwrap_or_else(|_| {
            self.give_up();
            nothing
        })
    }

    fn give_up(&mut self) {
        self.watch.tell();
        self.close();
    }

    fn config_changed(&self) -> BorrowedFd<'_> {
        self.config_changed.as_fd()
    }

    fn gone(&self) -> BorrowedFd<'_> {
        self.watch.gone()
    }

    fn doorbell(&self, ring: u16) -> Option<DoorbellPage<'_>> {
        self.doorbells.get(usize::from(ring)).copied().filter(|&mapped| mapped)?;
        let len = page_len() as u64;
        Some(DoorbellPage { fd: self.file.as_ref()?.fd(), offset: u64::from(ring) * len, len })
    }
}

impl Drop for VhostVdpa {
    fn drop(&mut self) {
        self.close();
    }
}

/// Signals an eventfd that a driver may have filled, to make us wait.
pub(crate) fn kick(eventfd: &Arc<OwnedFd>) -> Result<(), DeviceError> {
    let own = eventfd.try_clone().map_err(failed("duplicate an eventfd"))?;
    let doorbell = Doorbell::from_peer(own).map_err(io::Error::other);
    let rung = doorbell.and_then(|doorbell| doorbell.ring().map_err(io::Error::other));
    rung.map_err(failed("kick a ring"))
}

/// For `map_err` on the system's calls.
pub(crate) fn failed(call: &'static str) -> impl FnOnce(io::Error) -> DeviceError {
    move |source| DeviceError::Call { call, source }
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
