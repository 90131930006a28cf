//! Where a virtio function has its structures: capabilities of its configuration space.
//!
//! A capability, in bytes from its beginning; numbers are little-endian:
//! ```text
//!  0 id (9)   1 next   2 length   3 kind   4 BAR   5 id, padding   8 offset (4)   12 length (4)
//! 16 multiplier (4; of the doorbells only: of others, these bytes mean nothing)
//! ```
//!
//! Spec: VIRTIO 1.3 §4.1.4; PCI Local Bus 3.0 §6.7.

use crate::device::DeviceError;

/// Bytes of a configuration space in which capabilities are.
pub const CONFIG_LEN: usize = 256;
/// BARs that a function can have.
pub const BARS: usize = 6;

/// `PCI_VENDOR_ID`, `PCI_DEVICE_ID`, `PCI_SUBSYSTEM_ID`: 2 bytes each.
const VENDOR_AT: usize = 0;
const DEVICE_AT: usize = 2;
const SUBSYSTEM_AT: usize = 0x2e;
/// `PCI_STATUS` (2 bytes), and its bit that there are capabilities.
const STATUS_AT: usize = 6;
const HAS_CAPABILITIES: u16 = 1 << 4;
/// Where the place of the first one is, and where the first can be.
const FIRST_AT: usize = 0x34;
const HEADER_LEN: usize = 0x40;
/// As many as have room.
const CAPABILITIES_MAX: usize = (CONFIG_LEN - HEADER_LEN) / 4;

/// Red Hat's: the vendor of all virtio functions.
const VENDOR: u16 = 0x1af4;
/// `PCI_CAP_ID_VNDR`.
const VENDOR_SPECIFIC: u8 = 9;
/// Kinds of structures.
const COMMON: u8 = 1;
const NOTIFY: u8 = 2;
const DEVICE: u8 = 4;
/// Bytes of a capability, and of that of doorbells.
const CAPABILITY_LEN: usize = 16;
const NOTIFY_LEN: usize = 20;
/// Bytes of the common configuration of virtio 1.0.
const COMMON_LEN: u64 = 56;
/// Bytes of a doorbell.
pub(super) const DOORBELL_LEN: u64 = 2;

/// A part of a BAR. It is within the BAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Structure {
    /// Number of the BAR.
    pub bar: usize,
    /// Where it begins there, in bytes.
    pub offset: u64,
    /// Its bytes.
    pub len: u64,
}

/// Where everything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The common configuration.
    pub common: Structure,
    /// Doorbells.
    pub notify: Structure,
    /// Bytes from one doorbell to the next.
    pub multiplier: u32,
    /// What is the device's own kind's, if there is such.
    pub device: Option<Structure>,
}

/// The virtio device id of a function. Transitional ones have it elsewhere.
///
/// # Errors
/// [`DeviceError::Gone`]: nobody answers; [`DeviceError::Unable`]: it is no virtio function.
///
/// Spec: VIRTIO 1.3 §4.1.2.
pub fn device_id(config: &[u8; CONFIG_LEN]) -> Result<u32, DeviceError> {
    let number = |at: usize| u16::from_le_bytes([config[at], config[at + 1]]);
    match (number(VENDOR_AT), number(DEVICE_AT)) {
        (VENDOR, device @ 0x1040..=0x107f) => Ok(u32::from(device) - 0x1040),
        (VENDOR, 0x1000..=0x103f) => Ok(number(SUBSYSTEM_AT).into()),
        (0xffff, _) => Err(DeviceError::Gone),
        _ => Err(DeviceError::Unable("be used: it is no virtio function")),
    }
}

/// Reads the capabilities of a configuration space, given the lengths of the BARs, 0 where there is none.
///
/// # Errors
/// [`DeviceError::Absurd`]: what they say cannot be; [`DeviceError::Unable`]: what a driver needs is missing.
pub fn layout(config: &[u8; CONFIG_LEN], bars: &[u64; BARS]) -> Result<Layout, DeviceError> {
    let [mut common, mut notify, mut device] = [None; 3];
    let mut multiplier = 0;
    for at in capabilities(config)? {
        let Some(capability) = virtio(config, at)? else { continue };
        // Of several of a kind, the first is the one that the device likes best.
        match capability[3] {
            COMMON if common.is_none() => {
                common = Some(structure(capability, bars, COMMON_LEN, 4)?);
            }
            NOTIFY if notify.is_none() => {
                notify = Some(structure(capability, bars, DOORBELL_LEN, DOORBELL_LEN)?);
                multiplier = checked_multiplier(config, at, capability)?;
            }
            DEVICE if device.is_none() => device = Some(structure(capability, bars, 1, 4)?),
            _ => {}
        }
    }
    let (Some(common), Some(notify)) = (common, notify) else {
        return Err(DeviceError::Unable(
            "be used: it has no common configuration or no doorbells, as functions before virtio 1.0",
        ));
    };
    Ok(Layout { common, notify, multiplier, device })
}

/// Where each capability begins.
fn capabilities(config: &[u8; CONFIG_LEN]) -> Result<Vec<usize>, DeviceError> {
    let mut found = Vec::new();
    let status = u16::from_le_bytes([config[STATUS_AT], config[STATUS_AT + 1]]);
    if status & HAS_CAPABILITIES == 0 {
        return Ok(found);
    }
    let place = |byte: u8| usize::from(byte & !3);
    let mut at = place(config[FIRST_AT]);
    while at != 0 {
        if at < HEADER_LEN {
            return Err(absurd(at, "is in the header"));
        }
        if found.len() == CAPABILITIES_MAX {
            return Err(absurd(at, "comes again and again"));
        }
        found.push(at);
        // The place is a byte's, and a multiple of 4.
        at = place(config[at + 1]);
    }
    Ok(found)
}

/// The capability there, if it is of virtio, and of a BAR that there can be.
fn virtio(config: &[u8; CONFIG_LEN], at: usize) -> Result<Option<&[u8]>, DeviceError> {
    if config[at] != VENDOR_SPECIFIC {
        return Ok(None);
    }
    let len = usize::from(config[at + 2]);
    if len < CAPABILITY_LEN {
        // Some vendors' own.
        return Ok(None);
    }
    let capability = config.get(at..at + len);
    let capability = capability.ok_or_else(|| absurd(at, "ends behind its space"))?;
    Ok((usize::from(capability[4]) < BARS).then_some(capability))
}

/// What a capability describes, if it is in its BAR, and as long and aligned as it is to be.
fn structure(
    capability: &[u8],
    bars: &[u64; BARS],
    len_min: u64,
    align: u64,
) -> Result<Structure, DeviceError> {
    let number = |at: usize| -> u64 {
        let bytes = capability[at..].first_chunk().copied().unwrap_or_default();
        u32::from_le_bytes(bytes).into()
    };
    let found = Structure { bar: capability[4].into(), offset: number(8), len: number(12) };
    let Structure { bar, offset, len } = found;
    let bar_len = bars.get(bar).copied().unwrap_or(0);
    let why = if bar_len == 0 {
        "is in a BAR that is not there"
    } else if offset + len > bar_len {
        "ends behind its BAR"
    } else if len < len_min {
        "is too short"
    } else if offset % align != 0 {
        "is not aligned"
    } else {
        return Ok(found);
    };
    let kind = capability[3];
    Err(DeviceError::Absurd(format!(
        "its structure {kind} at {offset:#x} of {len:#x} bytes in BAR {bar} of {bar_len:#x} {why}"
    )))
}

fn checked_multiplier(
    config: &[u8; CONFIG_LEN],
    at: usize,
    capability: &[u8],
) -> Result<u32, DeviceError> {
    let bytes = config.get(at + CAPABILITY_LEN..).and_then(|rest| rest.first_chunk().copied());
    let bytes = bytes.filter(|_| capability.len() >= NOTIFY_LEN);
    let multiplier = bytes.map(u32::from_le_bytes).ok_or_else(|| absurd(at, "is too short"))?;
    if multiplier != 0 && (!multiplier.is_power_of_two() || multiplier == 1) {
        let said = format!("its doorbells are {multiplier} bytes apart");
        return Err(DeviceError::Absurd(said));
    }
    Ok(multiplier)
}

impl Layout {
    /// Where a doorbell is among them, by its number, in bytes.
    ///
    /// # Errors
    /// [`DeviceError::Absurd`]: behind the end.
    pub fn doorbell(&self, number: u16) -> Result<u64, DeviceError> {
        let at = u64::from(number) * u64::from(self.multiplier);
        if at + DOORBELL_LEN > self.notify.len {
            let len = self.notify.len;
            let said = format!("doorbell {number} is at {at:#x} of {len:#x} bytes");
            return Err(DeviceError::Absurd(said));
        }
        Ok(at)
    }
}

fn absurd(at: usize, why: &str) -> DeviceError {
    DeviceError::Absurd(format!("its capability at {at:#x} {why}"))
}

#[cfg(test)]
mod tests;
