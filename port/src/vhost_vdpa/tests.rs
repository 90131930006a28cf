//! What can be tested without a device. Real ones are the matter of the crate that uses this.

use super::VhostVdpaFile;
use super::file::major_number;
use std::io::ErrorKind;
use std::path::Path;

#[test]
fn file_of_another_device_is_refused_before_it_is_opened() {
    for other in ["/dev/null", "/proc/self/status", "/"] {
        let error = VhostVdpaFile::open(Path::new(other)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{other}: {error}");
        assert!(error.to_string().contains("/dev/vhost-vdpa-N"), "{error}");
    }
}

#[test]
fn fifo_is_refused_without_waiting_for_its_writer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(VhostVdpaFile::open(&path).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn device_that_is_not_there_is_not_found() {
    let error = VhostVdpaFile::open(Path::new("/nowhere/vhost-vdpa-0")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn major_number_is_that_of_the_character_device_of_the_whole_name() {
    let devices = "Character devices:\n  1 mem\n 10 misc\n244 vhost-vdpa-x\n245 vhost-vdpa\n\n\
                   Block devices:\n  8 sd\n246 vhost-blk\n";
    assert_eq!(major_number(devices, "vhost-vdpa"), Some(245));
    assert_eq!(major_number(devices, "mem"), Some(1));
    assert_eq!(major_number(devices, "vhost-blk"), None);
    assert_eq!(major_number("", "vhost-vdpa"), None);
}
