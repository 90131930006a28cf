//! Opening a device, and asking what it can do.

use super::calls::Calls;
use super::check::RING_PACKED;
use super::limits::subtract;
use crate::device::{Capabilities, DeviceError};
use crate::discovery::{Discovery, FoundDevice};
use nix::errno::Errno;
use nix::sys::stat::{major, minor};
use ringport::vhost_vdpa::{BackendFeatures, VhostVdpaFile};
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;

/// `VIRTIO_F_ACCESS_PLATFORM`: the device keeps to what the IOMMU lets it.
pub(super) const ACCESS_PLATFORM: u64 = 1 << 33;

/// What is used where it is there.
const WANTED: u64 = BackendFeatures::MESSAGE_V2.0
    | BackendFeatures::BATCH.0
    | BackendFeatures::SUSPEND.0
    | BackendFeatures::MAPPINGS_PERSIST.0;

/// What the kernel says beside the error numbers of others: `ENOTSUPP`.
const ENOTSUPP: i32 = 524;

/// A device that was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: Box<dyn Calls>,
    pub(super) backend: BackendFeatures,
    pub(super) capabilities: Capabilities,
    pub(super) doorbells: Vec<bool>,
}

/// Opens a device, makes this process its owner and asks what it can do.
pub(super) fn open(path: &Path, discovery: &Discovery) -> Result<Opened, DeviceError> {
    let file = VhostVdpaFile::open(path).map_err(|source| failed(path, source))?;
    ask(Box::new(file), discovery)
}

/// Makes this process the owner of a device, and asks what it can do.
pub(super) fn ask(file: Box<dyn Calls>, discovery: &Discovery) -> Result<Opened, DeviceError> {
    file.set_owner()?;
    let backend = BackendFeatures(file.backend_features()?.0 & WANTED);
    if !backend.has(BackendFeatures::MESSAGE_V2) {
        return Err(DeviceError::Unable("be told of memory: its kernel is too old (before 5.9)"));
    }
    file.set_backend_features(backend)?;
    let found = file.device_number().ok();
    let found = found.and_then(|it| discovery.by_number(major(it), minor(it)));
    let capabilities = capabilities(&*file, discovery, found.as_ref(), backend)?;
    let doorbells = (0..capabilities.rings).map(|ring| file.has_doorbell(ring)).collect();
    Ok(Opened { file, backend, capabilities, doorbells })
}

fn capabilities(
    file: &dyn Calls,
    discovery: &Discovery,
    found: Option<&FoundDevice>,
    backend: BackendFeatures,
) -> Result<Capabilities, DeviceError> {
    // A packed ring does not say where it stands, and only a device that is suspended can.
    let suspends = backend.has(BackendFeatures::SUSPEND);
    let features = file.features()? & if suspends { u64::MAX } else { !RING_PACKED };
    if features & ACCESS_PLATFORM == 0 {
        return Err(DeviceError::Unable(
            "be used: it does not offer ACCESS_PLATFORM, so it goes past the IOMMU (QEMU's virtio devices \
             offer it with iommu_platform=on)",
        ));
    }
    let ring_size_max = file.ring_size_max()?;
    if ring_size_max == 0 {
        return Err(DeviceError::Absurd("rings have no descriptors".to_owned()));
    }
    Ok(Capabilities {
        device_id: file.device_id()?,
        features,
        rings: rings(file.rings()?)?,
        ring_size_max,
        config_len: file.config_len()?,
        iova: reach(file.iova_range()?, &reserved(discovery, found))?,
        mappings_max: mappings_max(discovery),
        locks_memory: locks_memory(discovery, found),
        translated: true,
        starts_midway: file.ring_base(0).is_ok(),
        tells_base: suspends,
    })
}

fn rings(said: u32) -> Result<u16, DeviceError> {
    let rings = u16::try_from(said).ok().filter(|&rings| rings > 0);
    rings.ok_or_else(|| DeviceError::Absurd(format!("it has {said} rings")))
}

fn reach(
    said: RangeInclusive<u64>,
    reserved: &[RangeInclusive<u64>],
) -> Result<Vec<RangeInclusive<u64>>, DeviceError> {
    let reach = subtract(said.clone(), reserved);
    if reach.is_empty() {
        let (first, last) = (said.start(), said.end());
        return Err(DeviceError::Absurd(format!(
            "it reaches memory at {first:#x} to {last:#x} only"
        )));
    }
    Ok(reach)
}

/// What an IOMMU in front of it keeps to itself. Others translate on their own.
fn reserved(discovery: &Discovery, found: Option<&FoundDevice>) -> Vec<RangeInclusive<u64>> {
    let pci = found.and_then(|found| found.pci);
    pci.map(|pci| discovery.reserved_iovas(pci)).unwrap_or_default()
}

/// Only since the kernel has a limit there is a parameter; zero is none.
fn mappings_max(discovery: &Discovery) -> Option<usize> {
    let text = discovery.module_parameter("vhost_vdpa", "max_iotlb_entries")?;
    text.parse().ok().filter(|&max| max > 0)
}

/// Whether pages are locked: not those of devices in software, which use our mapping (`use_va`). The
/// simulator does either. Of a device that is not known it is assumed.
fn locks_memory(discovery: &Discovery, found: Option<&FoundDevice>) -> bool {
    let Some(found) = found else { return true };
    let simulated = found.management.is_none() && found.pci.is_none();
    let by_address = || discovery.module_parameter("vdpa_sim", "use_va").as_deref() == Some("Y");
    !(found.management.as_deref() == Some("vduse") || (simulated && by_address()))
}

/// Why a device cannot be opened, with what would help.
pub(super) fn failed(path: &Path, source: io::Error) -> DeviceError {
    DeviceError::Open { path: path.to_owned(), hint: hint(&source), source }
}

fn hint(source: &io::Error) -> Option<&'static str> {
    const BUSY: i32 = Errno::EBUSY as i32;
    match (source.raw_os_error(), source.kind()) {
        (Some(BUSY), _) => Some(
            "somebody has it open, or a doorbell of it mapped (fuser and /proc/*/maps say who)",
        ),
        (Some(ENOTSUPP), _) => Some(
            "there is no IOMMU in front of it that keeps caches coherent: turn it on in the firmware, and in \
             the kernel (intel_iommu=on, or amd_iommu=on)",
        ),
        (_, io::ErrorKind::NotFound) => Some(
            "a vDPA device has a node while the driver vhost_vdpa has it (modprobe vhost_vdpa; vdpa dev show)",
        ),
        (_, io::ErrorKind::PermissionDenied) => Some("this needs permission to read and write it"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;
    use std::fs;

    fn found(management: Option<&str>, pci: Option<&str>) -> FoundDevice {
        FoundDevice {
            name: "d".to_owned(),
            driver: None,
            node: None,
            management: management.map(str::to_owned),
            pci: pci.map(|pci| pci.parse().unwrap()),
        }
    }

    fn tree(parameters: &[(&str, &str)]) -> (tempfile::TempDir, Discovery) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in parameters {
            let file = root.path().join("sys/module").join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let discovery = Discovery::below(root.path());
        (root, discovery)
    }

    #[test]
    fn error_names_path_and_remedy_and_keeps_what_the_kernel_said() {
        for (errno, word) in
            [(16, "somebody"), (524, "IOMMU"), (2, "modprobe vhost_vdpa"), (13, "permission")]
        {
            let error = failed(Path::new("/dev/x"), io::Error::from_raw_os_error(errno));
            let said = error.to_string();
            assert!(said.starts_with("/dev/x cannot be opened: ") && said.contains(word), "{said}");
            assert!(error.source().is_some());
        }
        let other = failed(Path::new("/dev/x"), io::Error::from_raw_os_error(5));
        assert_eq!(other.to_string(), "/dev/x cannot be opened");
    }

    #[test]
    fn memory_is_locked_but_by_devices_in_software_that_use_our_addresses() {
        let (_root, by_address) = tree(&[("vdpa_sim/parameters/use_va", "Y\n")]);
        let (_root, pinning) = tree(&[("vdpa_sim/parameters/use_va", "N\n")]);
        let simulated = found(None, None);
        assert!(!locks_memory(&by_address, Some(&simulated)));
        assert!(locks_memory(&pinning, Some(&simulated)));
        let vf = found(Some("pci/0000:01:00.1"), Some("0000:01:00.1"));
        assert!(locks_memory(&by_address, Some(&vf)));
        assert!(!locks_memory(&pinning, Some(&found(Some("vduse"), None))));
        assert!(locks_memory(&by_address, None));
    }

    #[test]
    fn limit_of_mappings_is_that_of_the_module() {
        let limit =
            |text| mappings_max(&tree(&[("vhost_vdpa/parameters/max_iotlb_entries", text)]).1);
        assert_eq!(limit("2048\n"), Some(2048));
        assert_eq!(limit("0\n"), None);
        assert_eq!(mappings_max(&tree(&[]).1), None);
    }

    #[test]
    fn device_that_says_what_cannot_be_is_refused() {
        assert_eq!(rings(3).unwrap(), 3);
        assert!(matches!(rings(0), Err(DeviceError::Absurd(_))));
        assert!(matches!(rings(0x1_0000), Err(DeviceError::Absurd(_))));
        assert!(matches!(reach(RangeInclusive::new(5, 4), &[]), Err(DeviceError::Absurd(_))));
        assert!(matches!(reach(5..=9, &[0..=20]), Err(DeviceError::Absurd(_))));
        assert_eq!(reach(0..=9, &[3..=4]).unwrap(), [0..=2, 5..=9]);
    }
}
