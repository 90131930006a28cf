//! Having a device begin, and stop.

use super::common::Common;
use super::function::{Doorbell, Function};
use super::kicks::Kicks;
use super::layout::Layout;
use crate::device::{DeviceError, RingSetup, Setup};
use nix::sys::eventfd::EventFd;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

/// Virtio device status bits.
pub(super) const ACKNOWLEDGE: u8 = 1;
pub(super) const DRIVER: u8 = 2;
pub(super) const DRIVER_OK: u8 = 4;
pub(super) const FEATURES_OK: u8 = 8;
pub(super) const NEEDS_RESET: u8 = 0x40;
pub(super) const FAILED: u8 = 0x80;

/// The vector of changes of the configuration. A ring's is its number and one.
const CHANGES: u16 = 0;

/// What a device is to begin with.
#[derive(Debug)]
pub(super) struct Start<'s> {
    pub(super) setup: &'s Setup,
    pub(super) layout: &'s Layout,
    pub(super) config_changed: BorrowedFd<'s>,
    /// Told when it cannot be kicked.
    pub(super) gone: &'s Arc<EventFd>,
    /// How long a reset may take.
    pub(super) patience: Duration,
}

impl Start<'_> {
    /// Has the device begin; if it does not, it is reset. Returns where its rings are kicked.
    pub(super) fn run<F: Function>(&self, function: &F) -> Result<Kicks, DeviceError> {
        let mut kicks = Kicks::new(Arc::clone(self.gone));
        match self.begin(function, &mut kicks) {
            Ok(()) => Ok(kicks),
            // How it failed matters more than that this does too; but for being late.
            Err(error) => match stop(function, kicks, self.patience) {
                Err(late @ DeviceError::Late { .. }) => Err(late),
                _ => Err(error),
            },
        }
    }

    /// Spec: VIRTIO 1.3 §3.1.1.
    fn begin<F: Function>(&self, function: &F, kicks: &mut Kicks) -> Result<(), DeviceError> {
        let common = Common(function);
        common.reset(self.patience)?;
        self.agree(&common)?;
        self.set_vectors(function)?;
        if !common.set_change_vector(CHANGES)? {
            return Err(DeviceError::Unable("tell of changes: it has no interrupt vector left"));
        }
        for ring in &self.setup.rings {
            kicks.add(set_up(&common, ring, self.layout)?);
        }
        let status = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;
        common.set_status(status)?;
        let said = common.status()?;
        if said & status != status || said & (NEEDS_RESET | FAILED) != 0 {
            return Err(DeviceError::Absurd(format!("it is not ready to begin: status {said:#x}")));
        }
        // Not before: until now, it must not be kicked.
        kicks.connect(function, self.setup.rings.iter().map(|ring| &ring.kick))
    }

    fn agree<F: Function>(&self, common: &Common<'_, F>) -> Result<(), DeviceError> {
        let features = self.setup.features;
        common.set_status(ACKNOWLEDGE)?;
        common.set_status(ACKNOWLEDGE | DRIVER)?;
        common.set_features(features)?;
        common.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK)?;
        if common.status()? & FEATURES_OK == 0 {
            return Err(DeviceError::FeaturesRefused { features });
        }
        Ok(())
    }

    /// All at once: none can be added later.
    fn set_vectors<F: Function>(&self, function: &F) -> Result<(), DeviceError> {
        let rings = &self.setup.rings;
        let last = rings.iter().map(|ring| usize::from(ring.index) + 1).max().unwrap_or(0);
        let mut eventfds = vec![None; last + 1];
        eventfds[usize::from(CHANGES)] = Some(self.config_changed);
        for ring in rings {
            eventfds[usize::from(ring.index) + 1] = Some(ring.call.as_fd());
        }
        function.set_vectors(CHANGES.into(), &eventfds)
    }
}

/// Sets up a ring, and returns where it is kicked.
fn set_up<F: Function>(
    common: &Common<'_, F>,
    ring: &RingSetup,
    layout: &Layout,
) -> Result<Doorbell, DeviceError> {
    let bad = |why| DeviceError::BadRing { ring: ring.index, why };
    common.select(ring.index)?;
    let max = common.ring_size()?;
    if max == 0 {
        return Err(bad("is one that the device does not have"));
    }
    if ring.size > max {
        return Err(bad("is larger than the device can have it"));
    }
    if common.ring_is_enabled()? {
        let said = format!("ring {} is enabled after a reset", ring.index);
        return Err(DeviceError::Absurd(said));
    }
    common.set_ring(ring)?;
    if !common.set_ring_vector(ring.index + 1)? {
        return Err(bad("gets no interrupt vector: the device has none left"));
    }
    let offset = layout.doorbell(common.ring_doorbell()?)?;
    common.enable_ring()?;
    Ok(Doorbell { ring: ring.index, offset })
}

/// Has a device stop, and takes back all eventfds, even if it does not stop.
pub(super) fn stop<F: Function>(
    function: &F,
    mut kicks: Kicks,
    patience: Duration,
) -> Result<(), DeviceError> {
    kicks.end_thread();
    let reset = Common(function).reset(patience);
    function.clear_vectors();
    kicks.disconnect(function);
    reset
}
