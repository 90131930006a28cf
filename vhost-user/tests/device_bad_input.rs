//! What cannot work says why in one line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{Front, Place, Served};
use ringport_vhost_user::device::SocketRole;
use ringport_vhost_user::{Device, DeviceConfig, DeviceError, DownReason, Event, Port};
use std::error::Error;
use vhost::VhostBackend;

fn one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    assert!(!text.contains('\n'), "{text}");
    text
}

fn open_error(port: &str) -> String {
    one_line(&Port::open(port).unwrap_err())
}

#[test]
fn socket_path_that_is_too_long_or_in_use_is_named() {
    let long = "p".repeat(110);
    let said = open_error(&format!("vhost:/{long},role=device"));
    assert_eq!(said, format!("socket address \"/{long}\" of 111 bytes, at most 107 fit"));
    let place = Place::new();
    let path = place.path.display().to_string();
    let _first = Device::open(&place.address(), SocketRole::default(), DeviceConfig::default());
    let said = open_error(&format!("vhost:{path},role=device"));
    assert_eq!(said, format!("socket address {path:?}: another server listens there"));
    let file = place.path.with_file_name("file");
    std::fs::write(&file, "").unwrap();
    let said = open_error(&format!("vhost:{},role=device", file.display()));
    assert!(said.ends_with("a file that is no socket is there"), "{said}");
    let said = open_error("vhost:/nowhere/at/all.sock,role=device");
    let why = "No such file or directory (os error 2)";
    assert_eq!(said, format!("cannot listen at socket address \"/nowhere/at/all.sock\": {why}"));
}

#[test]
fn socket_in_a_place_that_is_not_permitted_is_named() {
    // Not even root may: "Operation not permitted", "Permission denied" or "Read-only file system".
    let said = open_error("vhost:/sys/x.sock,role=device");
    let why = said.strip_prefix("cannot listen at socket address \"/sys/x.sock\": ");
    let why = why.unwrap_or_else(|| panic!("{said}"));
    let known = ["Operation not permitted", "Permission denied", "Read-only file system"];
    assert!(known.iter().any(|known| why.starts_with(known)), "{said}");
}

#[test]
fn socket_that_is_not_there_is_what_a_single_attempt_reports() {
    let place = Place::new();
    let said = Port::open(&format!(
        "vhost:{},role=device,socket=connect,reconnect=never",
        place.path.display()
    ))
    .unwrap()
    .wait_link_up(device_support::PATIENCE)
    .unwrap_err();
    assert_eq!(one_line(&said), "connect failed: No such file or directory (os error 2)");
}

#[test]
fn guest_without_shared_memory_is_told_which_options_are_missing() {
    let place = Place::new();
    let device = Served::listen(&place, DeviceConfig::default());
    let mut front = Front::connect(&place, 1);
    assert!(front.start_ring(0, 0).is_err());
    let Event::RequestRefused(error) = device.next() else { panic!("not refused") };
    assert!(one_line(&error).contains("memory-backend-memfd"), "{error}");
    assert!(one_line(&error).contains("share=on"), "{error}");
}

#[test]
fn driver_without_a_feature_that_is_needed_is_told_which() {
    let place = Place::new();
    let device = Served::listen(&place, DeviceConfig::default());
    let stream = std::os::unix::net::UnixStream::connect(&place.path).unwrap();
    let front = vhost::vhost_user::Frontend::from_stream(stream, 2);
    front.set_owner().unwrap();
    front.get_features().unwrap();
    // A driver from before virtio 1.0; it does not ask whether that is fine.
    let _ = front.set_features(1 << 30);
    let Event::Refused(DownReason::Protocol(error)) = device.next() else { panic!("not refused") };
    assert_eq!(one_line(&error), "peer is incompatible: features 0x100000000 are required");
}

#[test]
fn ring_that_the_device_does_not_have_is_named_with_how_many_there_are() {
    let place = Place::new();
    let device = Served::listen(&place, DeviceConfig { queue_pairs: 2, ..DeviceConfig::default() });
    let mut front = Front::connect(&place, 3);
    front.share();
    assert!(front.start_ring(4, 0).is_err());
    let Event::RequestRefused(error) = device.next() else { panic!("not refused") };
    assert_eq!(one_line(&error), "peer misbehaved: ring 4, 4 exist");
}

#[test]
fn numbers_out_of_range_are_named_with_the_range() {
    let place = Place::new();
    let refused = |config| {
        let opened = Device::open(&place.address(), SocketRole::default(), config);
        let error = opened.unwrap_err();
        assert!(matches!(error, DeviceError::Config(_)));
        one_line(&error)
    };
    let config = DeviceConfig { queue_pairs: 0, ..DeviceConfig::default() };
    assert_eq!(refused(config), "queues=0 is out of range 1 to 128");
    let config = DeviceConfig { mtu: Some(60), ..DeviceConfig::default() };
    assert_eq!(refused(config), "mtu=60 is out of range 68 to 65535");
    assert!(!place.path.exists(), "no socket file is left");
}
