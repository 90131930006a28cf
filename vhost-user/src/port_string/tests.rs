use super::*;
use crate::device::Offloads;
use crate::driver::CallMode;
use crate::virtqueue::KickMode;
use ringport::shm::{Backing, MemoryPolicy};
use std::time::Duration;

#[track_caller]
fn parse(text: &str) -> PortConfig {
    text.parse().unwrap()
}

#[track_caller]
fn check_error(text: &str, message: &str) {
    assert_eq!(text.parse::<PortConfig>().unwrap_err().to_string(), message);
}

const DEVICE: &str = "vhost:/run/x.sock,role=device,socket-mode=660,socket-uid=0,socket-gid=107,\
    queues=8,ring-size=1024,packed=off,in-order=off,mergeable=off,event-idx=off,control=on,offload=checksum,\
    mtu=9000,policy=sealed,timeout=250ms,rx-mode=polling,indirect=off,mac=02:00:00:00:00:0a,\
    regions=8";

const DRIVER: &str = "vhost:/run/x.sock,role=driver,socket=connect,reconnect=never,queues=4,\
    ring-size=4096,packed=off,in-order=off,mergeable=off,event-idx=off,control=on,offload=segmentation,\
    mtu=1400,policy=trust,timeout=2s,rx-mode=interrupt,buffer-size=9216,memory=hugepages,\
    keep-features=on";

#[test]
fn device_takes_every_key() {
    let PortConfig { socket, role: RoleConfig::Device(device), .. } = parse(DEVICE) else {
        panic!("no device")
    };
    let SocketRole::Listen(options) = socket else { panic!("does not listen") };
    assert_eq!((options.mode, options.uid, options.gid), (Some(0o660), Some(0), Some(107)));
    assert_eq!((device.queue_pairs, device.limits.ring_size), (8, 1024));
    let on = [device.packed, device.in_order, device.mergeable, device.indirect, device.event_idx];
    assert_eq!(on, [false; 5]);
    assert!(device.control);
    assert_eq!(device.offloads, Offloads::Checksum);
    assert_eq!((device.mac, device.mtu), (Some([2, 0, 0, 0, 0, 10]), Some(9000)));
    assert_eq!((device.kicks, device.policy), (KickMode::Polling, MemoryPolicy::Sealed));
    assert_eq!((device.limits.regions, device.answer_timeout), (8, Duration::from_millis(250)));
}

#[test]
fn driver_takes_every_key() {
    let PortConfig { socket, role: RoleConfig::Driver(driver), .. } = parse(DRIVER) else {
        panic!("no driver")
    };
    assert_eq!(socket, SocketRole::Connect(Reconnect::Never));
    assert_eq!((driver.queue_pairs, driver.ring_size, driver.buffer_size), (4, 4096, 9216));
    let on = [driver.packed, driver.in_order, driver.mergeable, driver.event_idx];
    assert_eq!(on, [false; 4]);
    assert_eq!((driver.offloads, driver.mtu), (Offloads::Segmentation, Some(1400)));
    assert_eq!((driver.calls, driver.policy), (CallMode::Interrupt, MemoryPolicy::Trust));
    assert!(driver.keep_features && driver.control);
    assert_eq!((driver.backing, driver.timeout), (Backing::HugePages2M, Duration::from_secs(2)));
}

#[test]
fn driver_listens_with_usual_settings_unless_told_otherwise() {
    let PortConfig { socket, role, .. } = parse("vhost:/run/x.sock,role=driver");
    assert_eq!(socket, SocketRole::default());
    assert_eq!(role, RoleConfig::Driver(DriverConfig::default()));
}

#[test]
fn shown_port_reads_as_the_same_port() {
    for text in [
        DEVICE,
        DRIVER,
        "vhost:@x,role=device",
        "vhost:@x,role=driver",
        "vhost:@x,role=driver,ring-size=1000",
        "vhost:/a,role=device,socket=connect,reconnect=never",
        "vhost:/a,role=device,socket=connect,reconnect=50ms-2s",
    ] {
        assert_eq!(parse(text).to_string(), text);
    }
}

#[test]
fn mistakes_are_named_with_key_value_and_what_is_expected() {
    check_error("memif:/a", "port string \"memif:/a\" does not start with \"vhost:\"");
    check_error("vhost:/a", "key role is missing: expected device or driver");
    check_error("vhost:/a,role=guest", "role=guest: expected device or driver");
    check_error("vhost:/a,role=device,queues=129", "queues=129 is out of range 1 to 128");
    check_error("vhost:/a,role=device,packed=yes", "packed=yes: expected on or off");
    check_error(
        "vhost:/a,role=device,ring-size=65536",
        "ring-size=65536 is out of range 2 to 32768",
    );
    check_error(
        "vhost:/a,role=device,mac=01:00:00:00:00:01",
        "mac=01:00:00:00:00:01: expected an address of one interface such as 02:00:00:00:00:01",
    );
    check_error(
        "vhost:/a,role=device,mac=02:00:00:00:00:+1",
        "mac=02:00:00:00:00:+1: expected an address of one interface such as 02:00:00:00:00:01",
    );
    check_error(
        "vhost:/a,role=driver,ring-size=1000,packed=off",
        "ring-size=1000: expected a power of two, or packed=on",
    );
    check_error(
        "vhost:/a,role=driver,mac=02:00:00:00:00:01",
        "key mac means nothing with role=driver",
    );
    check_error("vhost:/a,role=device,memory=pages", "key memory means nothing with role=device");
    check_error(
        "vhost:/a,role=driver,buffer-size=63",
        "buffer-size=63 is out of range 64 to 65536",
    );
    check_error("vhost:/a,role=device,tso=on", "unknown key \"tso\"");
    check_error(
        "vhost:/a,role=device,reconnect=never",
        "key reconnect means nothing with socket=listen",
    );
    check_error(
        &format!("vhost:/{},role=device", "p".repeat(107)),
        &format!("socket address \"/{}\" of 108 bytes, at most 107 fit", "p".repeat(107)),
    );
}
