//! One ring of a connection, from control's side, and where it begins.

use crate::backend::RingBase;
use crate::error::DeviceError;
use crate::inflight::Found;
use crate::memory::GuestMemory;
use crate::virtqueue::{RingAddresses, RingControl, RingError, packed, split};
use ringport::doorbell::Doorbell;
use ringport::error::QueueError;
use std::os::fd::OwnedFd;

/// One ring, from control's side.
#[derive(Debug)]
pub(super) struct Ring {
    pub(super) control: RingControl,
    /// Not commands.
    pub(super) has_packets: bool,
    /// Guest address under which its device area is logged.
    pub(super) log: Option<u64>,
    /// Entries, while it runs.
    pub(super) size: Option<u16>,
    /// By the driver.
    pub(super) enabled: bool,
    /// Told when it breaks.
    pub(super) err: Option<Doorbell>,
    /// Nobody has asked yet.
    pub(super) fault: Option<QueueError>,
}

impl Ring {
    pub(super) fn new(control: RingControl, has_packets: bool) -> Self {
        Self { control, has_packets, log: None, size: None, enabled: false, err: None, fault: None }
    }

    pub(super) fn is_active(&self) -> bool {
        self.size.is_some() && self.enabled
    }

    pub(super) fn stop(&mut self) {
        self.control.stop();
        self.size = None;
        self.err = None;
    }

    pub(super) fn set_enabled(&mut self, enabled: bool, link_up: bool) {
        self.enabled = enabled;
        self.control.set_enabled(enabled && (link_up || !self.has_packets));
    }

    pub(super) fn new_fault(&mut self) -> Option<QueueError> {
        let error = self.control.fault()?;
        if self.fault.replace(error).is_some() {
            return None;
        }
        if let Some(err) = &self.err {
            // It is a courtesy; nobody waits for it.
            let _ = err.ring();
        }
        Some(error)
    }
}

/// Where a ring begins.
///
/// A split ring says itself how far its last device was: buffers are used in order, so those behind
/// the published index were not used, whatever the base. DPDK's driver sets the base to 0 when its
/// device has restarted, and relies on that.
///
/// A packed ring does not; the memory for chains in flight does, where the front-end has that.
pub(super) fn begin(
    base: RingBase,
    memory: &GuestMemory,
    addresses: &RingAddresses,
    inflight: Option<&Found>,
) -> Result<RingBase, RingError> {
    match base {
        RingBase::Split { .. } => {
            let avail = split::published(memory, addresses)?;
            if let Some(found) = inflight {
                found.check_order(split::heads(memory, addresses, avail)?)?;
            }
            Ok(RingBase::Split { avail })
        }
        base @ RingBase::Packed { .. } => {
            let Some(found) = inflight else { return Ok(base) };
            let table = packed::table(memory, addresses)?;
            let kept = found.position(addresses.size, |at| packed::is_used(&table, at))?;
            Ok(kept.map_or(base, |at| RingBase::Packed { avail: at, used: at }))
        }
    }
}

/// The doorbell behind a descriptor, if there is one.
pub(super) fn doorbell(ring: u16, fd: Option<OwnedFd>) -> Result<Option<Doorbell>, DeviceError> {
    let made = fd.map(Doorbell::from_peer).transpose();
    made.map_err(|source| DeviceError::Doorbell { ring, source })
}
