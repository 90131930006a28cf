//! Having a device stop.

use super::Running;
use super::calls::Calls;
use super::within::{PATIENCE, late};
use crate::device::DeviceError;
use ringport_vhost_user::backend::RingBase;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often a device is asked whether it has been reset.
const PAUSE: Duration = Duration::from_millis(1);

/// Resets a running device, and returns where each of its `rings` stood.
pub(super) fn stop(
    file: &dyn Calls,
    running: &Running,
    rings: u16,
    suspends: bool,
) -> Result<Vec<Option<RingBase>>, DeviceError> {
    let bases = if suspends && file.suspend().is_ok() {
        (0..rings).map(|ring| base(file, running, ring)).collect()
    } else {
        vec![None; rings.into()]
    };
    reset(file)?;
    forget_eventfds(file, rings);
    Ok(bases)
}

/// Where a ring stands, if it runs and the device says something that can be.
fn base(file: &dyn Calls, running: &Running, ring: u16) -> Option<RingBase> {
    let &(_, size) = running.rings.iter().find(|(index, _)| *index == ring)?;
    RingBase::from_wire(running.packed, file.ring_base(ring).ok()?, size)
}

/// Resets a device, and waits until it has been.
///
/// Spec: VIRTIO 1.3 §2.4.2.
pub(super) fn reset(file: &dyn Calls) -> Result<(), DeviceError> {
    file.set_status(0)?;
    let deadline = Instant::now() + PATIENCE;
    while file.status()? != 0 {
        if Instant::now() > deadline {
            return Err(late("reset", PATIENCE));
        }
        sleep(PAUSE);
    }
    Ok(())
}

/// Gives back the eventfds of drivers, which the kernel keeps otherwise. Not before the reset.
pub(super) fn forget_eventfds(file: &dyn Calls, rings: u16) {
    for ring in 0..rings {
        let _ = file.set_kick(ring, None);
        let _ = file.set_call(ring, None);
    }
}
