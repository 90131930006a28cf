//! Having a device begin.

use super::calls::Calls;
use super::reset::{forget_eventfds, reset};
use crate::device::{DeviceError, RingSetup, Setup};
use nix::errno::Errno;
use nix::sys::eventfd::EventFd;
use ringport::error::CallError;
use ringport::vhost_vdpa::RingAddresses;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// Virtio device status bits.
const ACKNOWLEDGE: u8 = 1;
const DRIVER: u8 = 2;
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;
const NEEDS_RESET: u8 = 0x40;
const FAILED: u8 = 0x80;

/// What a device is to begin with.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) setup: Setup,
    /// Rings that it has.
    pub(super) rings: u16,
    /// Is called for those of them that do not run.
    pub(super) idle: Arc<EventFd>,
    pub(super) config_changed: Arc<EventFd>,
}

impl Start {
    /// Has the device begin; if it does not, it is reset.
    pub(super) fn run(self, file: &dyn Calls) -> Result<(), DeviceError> {
        let begun = self.begin(file);
        if begun.is_err() {
            // How it failed matters more than that this does too; but for being late.
            if let Err(late @ DeviceError::Late { .. }) = reset(file) {
                return Err(late);
            }
            forget_eventfds(file, self.rings);
        }
        begun
    }

    fn begin(&self, file: &dyn Calls) -> Result<(), DeviceError> {
        reset(file)?;
        self.agree(file)?;
        for index in 0..self.rings {
            match self.setup.rings.iter().find(|ring| ring.index == index) {
                Some(ring) => set_up(file, ring)?,
                None => file.set_call(index, Some(self.idle.as_fd()))?,
            }
        }
        file.set_config_call(Some(self.config_changed.as_fd()))?;
        for ring in &self.setup.rings {
            file.enable_ring(ring.index)?;
        }
        let status = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;
        file.set_status(status)?;
        let said = file.status()?;
        if said & status != status || said & (NEEDS_RESET | FAILED) != 0 {
            return Err(DeviceError::Absurd(format!("it is not ready to begin: status {said:#x}")));
        }
        Ok(())
    }

    /// Agrees on features.
    ///
    /// Spec: VIRTIO 1.3 §3.1.1.
    fn agree(&self, file: &dyn Calls) -> Result<(), DeviceError> {
        let features = self.setup.features;
        file.set_status(ACKNOWLEDGE)?;
        file.set_status(ACKNOWLEDGE | DRIVER)?;
        file.set_features(features).map_err(|error| refused(error, features))?;
        file.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK)?;
        if file.status()? & FEATURES_OK == 0 {
            return Err(DeviceError::FeaturesRefused { features });
        }
        Ok(())
    }
}

fn refused(error: CallError, features: u64) -> DeviceError {
    match error.source.raw_os_error() {
        Some(errno) if errno == Errno::EINVAL as i32 => DeviceError::FeaturesRefused { features },
        _ => error.into(),
    }
}

fn set_up(file: &dyn Calls, ring: &RingSetup) -> Result<(), CallError> {
    let some = |fd| -> Option<BorrowedFd<'_>> { Some(fd) };
    let index = ring.index;
    file.set_ring_size(index, ring.size)?;
    file.set_ring_base(index, ring.base.to_wire())?;
    file.set_ring_addresses(RingAddresses {
        index: index.into(),
        flags: 0,
        descriptor: ring.descriptor_area,
        device: ring.device_area,
        driver: ring.driver_area,
        log: 0,
    })?;
    file.set_call(index, some(ring.call.as_fd()))?;
    file.set_kick(index, some(ring.kick.as_fd()))
}
