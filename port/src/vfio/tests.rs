use super::function::place;
use super::{Region, VfioDoorbell, VfioFunction};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

fn open(container: &Path, group: &Path) -> (&'static str, ErrorKind, String) {
    let error = VfioFunction::open(container, group, "0000:01:00.1").unwrap_err();
    (error.operation, error.source.kind(), error.source.to_string())
}

#[test]
fn node_of_another_device_is_refused_before_it_is_opened() {
    for other in ["/dev/null", "/proc/self/status", "/"] {
        let (operation, kind, said) = open(Path::new(other), Path::new("/dev/null"));
        assert_eq!((operation, kind), ("open VFIO", ErrorKind::InvalidInput), "{other}");
        assert!(said.contains("/dev/vfio/vfio"), "{said}");
        let error = super::function::open_group(Path::new(other)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{other}");
        assert!(error.to_string().contains("/dev/vfio/N"), "{error}");
    }
}

#[test]
fn fifo_is_refused_without_waiting_for_its_writer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(open(&path, &path).1, ErrorKind::InvalidInput);
    assert_eq!(super::function::open_group(&path).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn node_that_is_not_there_is_not_found() {
    let (_, kind, _) = open(Path::new("/nowhere/vfio"), Path::new("/nowhere/1"));
    assert_eq!(kind, ErrorKind::NotFound);
}

#[test]
fn only_bytes_of_a_region_have_a_place_in_the_file() {
    let region = Region { len: 0x1000, offset: 0x100_0000_0000 };
    let at = |offset, len| place("read", region, offset, len).ok();
    assert_eq!(at(0, 0x1000), Some(0x100_0000_0000));
    assert_eq!(at(0xffe, 2), Some(0x100_0000_0ffe));
    assert_eq!(at(0x1000, 0), Some(0x100_0000_1000));
    for (offset, len) in [(0xfff, 2), (0x1001, 0), (u64::MAX, 1), (u64::MAX, usize::MAX)] {
        assert_eq!(at(offset, len), None, "{offset:#x} {len:#x}");
    }
    let far = Region { len: u64::MAX, offset: u64::MAX };
    assert!(place("read", far, 1, 1).is_err());
    assert!(place("read", Region { len: 0, offset: 0 }, 0, 1).is_err());
}

#[test]
fn doorbell_is_rung_with_two_bytes_in_its_place_and_says_so_when_it_is_not() {
    let device = Arc::new(tempfile::tempfile().unwrap());
    device.write_all_at(&[0xff; 8], 0).unwrap();
    VfioDoorbell { device: Arc::clone(&device), at: 4, value: 0x0102 }.ring().unwrap();
    let mut bytes = [0; 9];
    assert_eq!(device.read_at(&mut bytes, 0).unwrap(), 8);
    assert_eq!(bytes[..8], [0xff, 0xff, 0xff, 0xff, 2, 1, 0xff, 0xff]);
    let device = Arc::new(std::fs::File::open("/dev/null").unwrap());
    let error = VfioDoorbell { device, at: 0, value: 1 }.ring().unwrap_err();
    assert_eq!(error.operation, "ring a doorbell");
}
