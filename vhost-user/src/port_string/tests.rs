use super::*;
use ringport::shm::MemoryPolicy;
use std::time::Duration;

#[track_caller]
fn parse(text: &str) -> PortConfig {
    text.parse().unwrap()
}

#[track_caller]
fn check_error(text: &str, message: &str) {
    assert_eq!(text.parse::<PortConfig>().unwrap_err().to_string(), message);
}

const FULL: &str = "vhost:/run/x.sock,role=device,socket-mode=660,socket-uid=0,socket-gid=107,\
    queues=8,ring-size=1024,packed=off,in-order=off,mergeable=off,indirect=off,event-idx=off,\
    offload=checksum,mac=02:00:00:00:00:0a,mtu=9000,rx-mode=polling,policy=sealed,regions=8,\
    timeout=250ms";

#[test]
fn device_takes_every_key() {
    let PortConfig { socket, role: RoleConfig::Device(device), .. } = parse(FULL);
    let SocketRole::Listen(options) = socket else { panic!("does not listen") };
    assert_eq!((options.mode, options.uid, options.gid), (Some(0o660), Some(0), Some(107)));
    assert_eq!((device.queue_pairs, device.limits.ring_size), (8, 1024));
    let on = [device.packed, device.in_order, device.mergeable, device.indirect, device.event_idx];
    assert_eq!(on, [false; 5]);
    assert_eq!(device.offloads, Offloads::Checksum);
    assert_eq!((device.mac, device.mtu), (Some([2, 0, 0, 0, 0, 10]), Some(9000)));
    assert_eq!((device.kicks, device.policy), (KickMode::Polling, MemoryPolicy::Sealed));
    assert_eq!((device.limits.regions, device.answer_timeout), (8, Duration::from_millis(250)));
}

#[test]
fn shown_port_reads_as_the_same_port() {
    for text in [
        FULL,
        "vhost:@x,role=device",
        "vhost:/a,role=device,socket=connect,reconnect=never",
        "vhost:/a,role=device,socket=connect,reconnect=50ms-2s",
    ] {
        assert_eq!(parse(text).to_string(), text);
    }
}

#[test]
fn mistakes_are_named_with_key_value_and_what_is_expected() {
    check_error("memif:/a", "port string \"memif:/a\" does not start with \"vhost:\"");
    check_error("vhost:/a", "key role is missing: expected device");
    check_error("vhost:/a,role=guest", "role=guest: expected device");
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
