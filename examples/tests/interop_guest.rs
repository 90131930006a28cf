//! Linux guests on `ringport tap`: the virtio_net driver of kernel 6.12 in QEMU 10 (verified with
//! 6.12.117 and 10.0.2).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod guest;
mod host;
mod support;

use guest::{FEW, MANY, Wire};
use host::{Host, hosts};
use ringport_bench::peers::guest::RunningGuest;
use ringport_bench::peers::{Guest, require_guest};
use ringport_vhost_user::wire::feature as f;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Place, Run};

/// What `offload=checksum` and `offload=segmentation` offer, and nobody else.
const CHECKSUM: u64 = f::CSUM | f::GUEST_CSUM;
const SEGMENTATION: u64 = f::HOST_TSO4 | f::HOST_TSO6 | f::GUEST_TSO4 | f::GUEST_TSO6;

#[test]
fn every_ring_and_offload_carries_tcp_both_ways() {
    let test = "every_ring_and_offload_carries_tcp_both_ways";
    let Some(_peer) = require_guest(test) else { return };
    let Some([host]) = hosts(test) else { return };
    let offloads = [("none", 0), ("checksum", CHECKSUM), ("segmentation", CHECKSUM | SEGMENTATION)];
    let mut cases = Vec::new();
    let mut guest = Guest::new();
    for packed in [false, true] {
        for (offload, wanted) in offloads {
            let mut wire = Wire::new(cases.len(), &format!("offload={offload}"));
            wire.start(&host);
            guest = guest.nic(if packed { wire.nic().packed() } else { wire.nic() });
            cases.push((wire, packed, wanted));
        }
    }
    let mut guest = guest.start().unwrap();
    for (wire, packed, wanted) in &cases {
        wire.configure(&mut guest);
        let features = wire.features(&mut guest);
        assert_eq!(features & (CHECKSUM | SEGMENTATION), *wanted, "{features:#x}");
        assert_eq!(features & f::RING_PACKED != 0, *packed, "{features:#x}");
        wire.ping(&host, &mut guest);
        wire.transfer(&host, &mut guest, MANY);
    }
    for (wire, ..) in &mut cases {
        let total = wire.end();
        assert_eq!(total["a_to_b"]["dropped"], 0, "{total}");
    }
}

#[test]
fn guest_with_two_cpus_sends_on_both_of_its_queues() {
    let test = "guest_with_two_cpus_sends_on_both_of_its_queues";
    let Some(_peer) = require_guest(test) else { return };
    let Some([host]) = hosts(test) else { return };
    let mut wires = [0, 1].map(|number| Wire::new(number, "queues=2,offload=segmentation"));
    wires.iter_mut().for_each(|wire| wire.start(&host));
    let [split, packed] = wires.each_ref().map(|wire| wire.nic().queues(2));
    let guest = Guest::new().vcpus(2).nic(split).nic(packed.packed());
    let mut guest = guest.start().unwrap();
    for wire in &wires {
        wire.configure(&mut guest);
        assert!(wire.features(&mut guest) & f::MQ != 0);
        let queues = guest.run(&format!("ls /sys/class/net/eth{}/queues", wire.number)).unwrap();
        assert_eq!(queues.split_whitespace().collect::<Vec<_>>(), ["rx-0", "rx-1", "tx-0", "tx-1"]);
        wire.ping(&host, &mut guest);
        // Each CPU sends on the queue of its number.
        for mask in [1, 2] {
            let ping = format!("taskset {mask} ping -c 3 -A -W 5 10.0.{}.1", wire.number);
            let said = guest.run(&ping).unwrap();
            assert!(said.contains("3 packets transmitted, 3 packets received"), "{said}");
        }
        wire.transfer(&host, &mut guest, MANY);
    }
}

#[test]
fn guest_sees_the_address_the_mtu_and_the_cable_that_it_is_given() {
    let test = "guest_sees_the_address_the_mtu_and_the_cable_that_it_is_given";
    let Some(_peer) = require_guest(test) else { return };
    let Some([host]) = hosts(test) else { return };
    // QEMU tells its guest the address that QEMU was given, whatever the device has.
    let items = "mac=02:00:00:00:77:77,mtu=9000";
    let mut wire = Wire::new(0, items).options(&["--mtu", "9000"]);
    wire.start(&host);
    let nic = wire.nic().property("mac=02:00:00:00:88:88").property("host_mtu=9000");
    let mut guest = Guest::new().nic(nic).start().unwrap();
    wire.configure(&mut guest);
    let mut of = |name| guest.run(&wire.attribute(name)).unwrap().trim().to_owned();
    assert_eq!([of("address"), of("mtu"), of("carrier")], ["02:00:00:00:88:88", "9000", "1"]);
    wire.ping(&host, &mut guest);
    let long = guest.run("ping -c 3 -A -W 5 -s 8972 10.0.0.1").unwrap();
    assert!(long.contains("3 packets received"), "{long}");
    for up in [false, true] {
        guest.set_link(0, up).unwrap();
        wire.wait_carrier(&mut guest, up);
    }
    wire.ping(&host, &mut guest);
}

/// Starts the driver of a device anew.
fn rebind(guest: &mut RunningGuest, wire: &Wire) {
    let n = wire.number;
    let line = format!(
        "d=$(basename $(readlink /sys/class/net/eth{n}/device)); cd /sys/bus/virtio/drivers/virtio_net; \
         echo $d >unbind && echo $d >bind && test -e /sys/class/net/eth{n}"
    );
    guest.run(&line).unwrap();
}

#[track_caller]
fn works(wires: &[Wire], host: &Host, guest: &mut RunningGuest) {
    for wire in wires {
        wire.configure(guest);
        wire.ping(host, guest);
        wire.transfer(host, guest, FEW);
    }
}

#[test]
fn driver_that_starts_anew_and_guest_that_reboots_have_a_link_again() {
    let test = "driver_that_starts_anew_and_guest_that_reboots_have_a_link_again";
    let Some(_peer) = require_guest(test) else { return };
    let Some([host]) = hosts(test) else { return };
    let mut wires = [0, 1].map(|number| Wire::new(number, "offload=segmentation"));
    wires.iter_mut().for_each(|wire| wire.start(&host));
    let [split, packed] = wires.each_ref().map(Wire::nic);
    let mut guest = Guest::new().nic(split).nic(packed.packed()).start().unwrap();
    works(&wires, &host, &mut guest);
    // All of it while packets come.
    let over = Arc::new(AtomicBool::new(false));
    let floods = [0, 1].map(|number| host.flood_to([10, 0, number, 255], 2, Arc::clone(&over)));
    for wire in &wires {
        rebind(&mut guest, wire);
    }
    works(&wires, &host, &mut guest);
    guest.run("(sleep 0.2; reboot -f) &").unwrap();
    guest.wait_boot().unwrap();
    works(&wires, &host, &mut guest);
    guest.reset().unwrap();
    guest.wait_boot().unwrap();
    works(&wires, &host, &mut guest);
    over.store(true, Ordering::Relaxed);
    floods.into_iter().for_each(|flood| flood.join().unwrap());
}

#[test]
fn device_that_is_killed_under_traffic_is_followed_by_another() {
    let test = "device_that_is_killed_under_traffic_is_followed_by_another";
    let Some(_peer) = require_guest(test) else { return };
    let Some([host]) = hosts(test) else { return };
    let mut wires = [
        Wire::new(0, "offload=segmentation"),
        Wire::new(1, "offload=segmentation,socket=connect"),
        Wire::new(2, "offload=segmentation"),
    ];
    for wire in &mut wires {
        wire.start(&host);
    }
    let [split, server, packed] = wires.each_ref().map(Wire::nic);
    let guest = Guest::new().nic(split).nic(server).nic(packed.packed());
    let mut guest = guest.start().unwrap();
    works(&wires, &host, &mut guest);
    let over = Arc::new(AtomicBool::new(false));
    for (wire, times) in wires.iter_mut().take(2).zip([2, 1]) {
        let n = u8::try_from(wire.number).unwrap();
        let flood = host.flood_to([10, 0, n, 2], 1, Arc::clone(&over));
        guest.run(&format!("ping -A -s 1400 10.0.{n}.1 >/dev/null 2>&1 &")).unwrap();
        for _ in 0..times {
            wire.kill(&host);
            wire.wait_carrier(&mut guest, false);
            wire.start(&host);
            wire.wait_carrier(&mut guest, true);
            wire.ping(&host, &mut guest);
        }
        over.store(true, Ordering::Relaxed);
        flood.join().unwrap();
        over.store(false, Ordering::Relaxed);
        guest.run("killall ping").unwrap();
        wire.transfer(&host, &mut guest, FEW);
    }
    // What QEMU knows of a packed ring dies with the device, until the driver makes the ring anew.
    let packed = &mut wires[2];
    packed.kill(&host);
    packed.wait_carrier(&mut guest, false);
    packed.start(&host);
    packed.wait_carrier(&mut guest, true);
    rebind(&mut guest, packed);
    packed.configure(&mut guest);
    packed.ping(&host, &mut guest);
    packed.transfer(&host, &mut guest, FEW);
}

#[test]
fn guest_talks_to_a_memif_through_a_forwarder() {
    let test = "guest_talks_to_a_memif_through_a_forwarder";
    let Some(_peer) = require_guest(test) else { return };
    let Some([host]) = hosts(test) else { return };
    let (place, wire) = (Place::new(), Wire::new(0, ""));
    let (memif, vhost) = (place.port("memif:SOCKET"), wire.port());
    let _forwarder = Run::start(&["forward", &format!("{memif},role=server"), &vhost]);
    place.wait_socket();
    wire.wait_socket();
    let (memif, netns) = (format!("{memif},role=client"), host.path());
    let tap = ["tap", &memif, "--name", "t0", "--address", "10.0.0.1/24", "--netns", &netns];
    let _tap = Run::start(&tap);
    let mut guest = Guest::new().nic(wire.nic().packed()).start().unwrap();
    wire.configure(&mut guest);
    wire.ping(&host, &mut guest);
    wire.transfer(&host, &mut guest, MANY);
}
