use super::super::fake::{Fake, Lies};
use super::*;
use crate::vhost_vdpa::watch::eventfd;
use std::error::Error;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;

const SHORT: Duration = Duration::from_millis(50);

fn told() -> Told {
    let iova = vec![0..=0xfedf_ffff, 0xfef0_0000..=(1 << 48) - 1];
    let reach = Reach { iova, mappings_left: Some(65_535) };
    Told { device_id: 1, config_len: 0x1000, vectors: 4, reach }
}

fn asked(change: impl FnOnce(&Fake, &mut Told)) -> Result<Capabilities, DeviceError> {
    let (fake, mut told) = (Fake::new(Lies::default()), told());
    change(&fake, &mut told);
    ask(&fake, told, SHORT)
}

#[test]
fn function_says_what_it_can_do_and_is_reset_afterwards() {
    let fake = Fake::new(Lies::default());
    let can = ask(&fake, told(), SHORT).unwrap();
    assert_eq!((can.device_id, can.rings, can.ring_size_max, can.config_len), (1, 3, 256, 4096));
    assert_eq!(can.features, 1 << 32 | 1 << 33 | 1 << 5);
    assert!(can.locks_memory && can.translated && !can.starts_midway && !can.tells_base);
    assert_eq!((can.mappings_max, can.iova), (Some(65_535), told().reach.iova));
    assert_eq!(fake.state().status, 0);
}

#[test]
fn features_that_change_doorbells_are_not_offered() {
    let can = asked(|fake, _| fake.state().features |= OTHER_DOORBELLS | 1 << 40).unwrap();
    assert_eq!(can.features, 1 << 32 | 1 << 33 | 1 << 5 | 1 << 40);
}

#[test]
fn rings_are_those_that_have_a_vector() {
    let rings = |said, vectors| {
        let asked = asked(|fake, told| {
            fake.state().says_rings = Some(said);
            told.vectors = vectors;
        });
        asked.map(|can| can.rings).ok()
    };
    assert_eq!(rings(3, 3), Some(2));
    assert_eq!(rings(3, 4), Some(3));
    assert_eq!(rings(65_535, u32::MAX), Some(2047));
    assert_eq!([rings(0, 4), rings(3, 1), rings(3, 0)], [None; 3]);
}

#[test]
fn function_that_lies_or_goes_past_the_iommu_is_refused() {
    let past = asked(|fake, _| fake.state().features &= !ACCESS_PLATFORM).unwrap_err();
    assert!(past.to_string().contains("goes past the IOMMU"), "{past}");
    let old = asked(|fake, _| fake.state().features &= !VERSION_1).unwrap_err();
    assert!(matches!(old, DeviceError::Absurd(_)), "{old}");
    let empty = asked(|fake, _| fake.state().rings = vec![0, 0]).unwrap_err();
    assert!(empty.to_string().contains("no descriptors"), "{empty}");
    let unknown = asked(|_, told| told.reach.iova.clear()).unwrap_err();
    assert!(unknown.to_string().contains("5.4"), "{unknown}");
    let never = asked(|fake, _| fake.state().lies.never_reset = true).unwrap_err();
    assert!(matches!(never, DeviceError::Late { what: "reset", .. }), "{never}");
    let absent = asked(|fake, _| fake.state().lies.absent = true).unwrap_err();
    assert!(matches!(absent, DeviceError::Gone), "{absent}");
}

/// What is said of a function in a tree of links and files.
fn opened(links: &[(&str, &str)], nodes: &[&str]) -> DeviceError {
    let root = tempfile::tempdir().unwrap();
    let make = |path: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    for (from, to) in links {
        symlink(to, make(&format!("sys/bus/pci/devices/{from}"))).unwrap();
    }
    nodes.iter().for_each(|node| fs::write(make(node), "").unwrap());
    let gone = eventfd().unwrap();
    open("0000:01:00.1".parse().unwrap(), root.path(), gone.as_fd(), SHORT).unwrap_err()
}

#[test]
fn function_that_is_not_ready_is_refused_with_what_would_help() {
    let driver = ("0000:01:00.1/driver", "../../../../bus/pci/drivers/vfio-pci");
    let group = ("0000:01:00.1/iommu_group", "../../../../kernel/iommu_groups/8");
    let virtio = ("0000:01:00.1/driver", "../../../../bus/pci/drivers/virtio-pci");
    let nodes = ["dev/vfio/vfio", "dev/vfio/8"];
    let cases = [
        (opened(&[], &[]), "there is no such function"),
        (opened(&[virtio, group], &nodes), "modprobe vfio-pci"),
        (opened(&[group], &nodes), "modprobe vfio-pci"),
        (opened(&[driver], &nodes), "intel_iommu=on"),
        (opened(&[driver, group], &[]), "/dev/vfio"),
    ];
    for (error, wanted) in cases {
        let said = error.to_string();
        assert!(
            said.contains("0000:01:00.1 cannot be opened: ") && said.contains(wanted),
            "{said}"
        );
        assert!(error.source().is_some());
    }
    let file = opened(&[driver, group], &nodes);
    let source = file.source().unwrap().to_string();
    assert!(source.contains("not the node of VFIO"), "{file}: {source}");
}

#[test]
fn what_the_kernel_says_is_explained() {
    let said = |errno| hint(&io::Error::from_raw_os_error(errno)).unwrap_or_default();
    for (errno, word) in
        [(16, "somebody"), (1, "interrupt remapping"), (13, "permission"), (2, "/dev/vfio")]
    {
        assert!(said(errno).contains(word), "{errno}");
    }
    assert_eq!(said(5), "");
    let unviable = io::Error::new(io::ErrorKind::PermissionDenied, "not all functions");
    assert!(hint(&unviable).unwrap().contains("other functions"));
}
