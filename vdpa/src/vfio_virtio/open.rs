//! Opening a function, and asking what it can do.

use super::common::Common;
use super::function::{Function, VfioPci, enable};
use super::layout::{BARS, CONFIG_LEN, Layout, device_id, layout};
use super::start::{ACKNOWLEDGE, DRIVER};
use crate::device::{Capabilities, DeviceError};
use crate::discovery::{Discovery, VFIO_PCI};
use crate::pci::PciAddress;
use nix::errno::Errno;
use ringport::error::CallError;
use ringport::vfio::{CONFIG_REGION, Interrupts, Reach, Region, VECTORS_MAX, VfioFunction};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

/// `VIRTIO_F_VERSION_1`.
const VERSION_1: u64 = 1 << 32;
/// `VIRTIO_F_ACCESS_PLATFORM`: the device keeps to what the IOMMU lets it.
const ACCESS_PLATFORM: u64 = 1 << 33;
/// What changes what is written to doorbells: `VIRTIO_F_NOTIFICATION_DATA` and
/// `VIRTIO_F_NOTIF_CONFIG_DATA`.
const OTHER_DOORBELLS: u64 = 1 << 38 | 1 << 39;
/// Most bytes of a device's configuration that are of use; its structure may be as long as its BAR.
const CONFIG_MAX: u64 = 4096;

/// Opens a function that vfio-pci has. `gone` is signalled when it is to be given back.
pub(super) fn open(
    address: PciAddress,
    root: &Path,
    gone: BorrowedFd<'_>,
    patience: Duration,
) -> Result<(VfioPci, Layout, Capabilities), DeviceError> {
    let function = open_function(address, &Discovery::below(root))?;
    tell(&function, gone)?;
    enable(&function)?;
    let mut config = [0; CONFIG_LEN];
    function.read(function.region(CONFIG_REGION)?, 0, &mut config)?;
    let device_id = device_id(&config)?;
    let bars = bars(&function)?;
    let layout = layout(&config, &bars.map(|bar| bar.len))?;
    let told = Told {
        device_id,
        config_len: layout.device.map_or(0, |device| device.len),
        vectors: function.vectors(Interrupts::MsiX)?,
        reach: function.reach()?,
    };
    let function = VfioPci::new(function, bars, layout);
    let capabilities = ask(&function, told, patience)?;
    Ok((function, layout, capabilities))
}

fn open_function(address: PciAddress, discovery: &Discovery) -> Result<VfioFunction, DeviceError> {
    let place = discovery.pci_place(address);
    let failed = |source, hint| DeviceError::Open { path: place.clone(), hint, source };
    let unfit = |kind: io::ErrorKind, hint| failed(kind.into(), Some(hint));
    if !place.exists() {
        return Err(unfit(io::ErrorKind::NotFound, "there is no such function (lspci -D)"));
    }
    if discovery.function_driver(address).as_deref() != Some(VFIO_PCI) {
        return Err(unfit(
            io::ErrorKind::InvalidInput,
            "it does not have the driver vfio-pci: modprobe vfio-pci, write vfio-pci to its driver_override, \
             its address to driver/unbind if it has another, and to /sys/bus/pci/drivers_probe",
        ));
    }
    let nodes = discovery.vfio_nodes(address);
    let [container, group] = nodes.ok_or_else(|| unfit(io::ErrorKind::Unsupported, NO_IOMMU))?;
    let opened = VfioFunction::open(&container, &group, &address.to_string());
    opened.map_err(|CallError { source, .. }| {
        let hint = hint(&source);
        failed(source, hint)
    })
}

const NO_IOMMU: &str = "there is no IOMMU in front of it: turn it on in the firmware, and in the kernel \
                        (intel_iommu=on, or amd_iommu=on)";

fn hint(source: &io::Error) -> Option<&'static str> {
    const BUSY: i32 = Errno::EBUSY as i32;
    const NOT_PERMITTED: i32 = Errno::EPERM as i32;
    match (source.raw_os_error(), source.kind()) {
        (Some(BUSY), _) => {
            Some("somebody has its IOMMU group open (fuser on its node in /dev/vfio)")
        }
        (Some(NOT_PERMITTED), _) => {
            Some("the IOMMU cannot keep its interrupts apart (interrupt remapping): dmesg may tell")
        }
        (_, io::ErrorKind::NotFound) => {
            Some("there is no node for it in /dev/vfio: is that of the machine here?")
        }
        (None, io::ErrorKind::PermissionDenied) => Some(
            "other functions of its IOMMU group are to be under vfio-pci as well, or without a driver",
        ),
        (_, io::ErrorKind::PermissionDenied) => Some(
            "this needs permission to read and write /dev/vfio/vfio and its group's node there",
        ),
        (_, io::ErrorKind::Unsupported) => Some(NO_IOMMU),
        _ => None,
    }
}

/// Has an eventfd signalled when the kernel wants the function back, or it fails.
fn tell(function: &VfioFunction, gone: BorrowedFd<'_>) -> Result<(), DeviceError> {
    for kind in [Interrupts::Request, Interrupts::Error] {
        if function.vectors(kind)? > 0 {
            function.set_eventfds(kind, 0, &[Some(gone)])?;
        }
    }
    Ok(())
}

fn bars(function: &VfioFunction) -> Result<[Region; BARS], DeviceError> {
    let [a, b, c, d, e, f] = [0, 1, 2, 3, 4, 5].map(|bar| function.region(bar));
    Ok([a?, b?, c?, d?, e?, f?])
}

/// What was told of a function, but not by its common configuration.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) device_id: u32,
    /// Bytes of the device's own configuration.
    pub(super) config_len: u64,
    /// Interrupt vectors.
    pub(super) vectors: u32,
    pub(super) reach: Reach,
}

/// Asks a function what it can do. It is reset before and afterwards.
pub(super) fn ask<F: Function>(
    function: &F,
    told: Told,
    patience: Duration,
) -> Result<Capabilities, DeviceError> {
    let Told { device_id, config_len, vectors, reach } = told;
    if reach.iova.is_empty() {
        return Err(DeviceError::Unable(
            "be used: its kernel does not say what the IOMMU lets through (before 5.4)",
        ));
    }
    let common = Common(function);
    common.reset(patience)?;
    common.set_status(ACKNOWLEDGE)?;
    common.set_status(ACKNOWLEDGE | DRIVER)?;
    let features = common.features()?;
    if features & VERSION_1 == 0 {
        return Err(DeviceError::Absurd("it is of virtio 1, and does not say so".to_owned()));
    }
    if features & ACCESS_PLATFORM == 0 {
        return Err(DeviceError::Unable(
            "be used: it does not offer ACCESS_PLATFORM, so it goes past the IOMMU (QEMU's virtio devices \
             offer it with iommu_platform=on)",
        ));
    }
    let rings = usable(common.rings()?, vectors)?;
    let ring_size_max = ring_size_max(&common, rings)?;
    common.reset(patience)?;
    Ok(Capabilities {
        device_id,
        features: features & !OTHER_DOORBELLS,
        rings,
        ring_size_max,
        config_len: u32::try_from(config_len.min(CONFIG_MAX)).unwrap_or(0),
        iova: reach.iova,
        mappings_max: reach.mappings_left.and_then(|left| left.try_into().ok()),
        locks_memory: true,
        translated: true,
        starts_midway: false,
        tells_base: false,
    })
}

/// Rings that have a vector, beside that of the configuration.
fn usable(rings: u16, vectors: u32) -> Result<u16, DeviceError> {
    let vectors = usize::try_from(vectors).unwrap_or(VECTORS_MAX).min(VECTORS_MAX);
    match usize::from(rings).min(vectors.saturating_sub(1)) {
        0 => Err(DeviceError::Absurd(format!("it has {rings} rings and {vectors} vectors"))),
        usable => Ok(u16::try_from(usable).unwrap_or(rings)),
    }
}

/// The most descriptors that any ring can have: a control ring may have fewer.
fn ring_size_max<F: Function>(common: &Common<'_, F>, rings: u16) -> Result<u16, DeviceError> {
    let mut max = 0;
    for ring in 0..rings {
        common.select(ring)?;
        max = max.max(common.ring_size()?);
    }
    if max == 0 {
        return Err(DeviceError::Absurd("rings have no descriptors".to_owned()));
    }
    Ok(max)
}

#[cfg(test)]
mod tests;
