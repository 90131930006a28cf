//! The relay in front of real vDPA devices, in machines of the lab (verified with kernel 6.12.117, QEMU 11.1.3
//! and DPDK 22.11): our driver and DPDK's virtio_user as front-ends, whose packets leave by a virtual function
//! or a virtio device under vp_vdpa and come back from an interface of the machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test"
)]

#[path = "interop_relay/ask.rs"]
mod ask;
mod lab;
mod relay_support;

use ask::ask;
use lab::{Inside, Tier, in_vm};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use relay_support::{Place, Served, eventually, link_up};
use ringport::retry::Reconnect;
use ringport_vdpa::VhostVdpa;
use ringport_vhost_user::device::SocketRole;
use ringport_vhost_user::{Driver, DriverConfig};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const SOON: Reconnect =
    Reconnect::Backoff { initial: Duration::from_millis(10), max: Duration::from_millis(100) };

/// A device on a wire with an interface that has the address 10.0.0.1, served by a relay.
fn relay(inside: &Inside, node: &Path, place: &Place, interface: &str) -> Served {
    setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).unwrap();
    inside.sh(&format!("ip address add 10.0.0.1/24 dev {interface}; ip link set {interface} up"));
    Served::listen(place, VhostVdpa::open(node).unwrap())
}

fn front_ends_come_and_go(relay: &Served, place: &Place, rounds: u8) {
    for round in 0..rounds {
        let config = DriverConfig { ring_size: 64, ..DriverConfig::default() };
        let mut driver = Driver::open(&place.address(), SocketRole::Connect(SOON), config).unwrap();
        let mut link = link_up(&mut driver);
        relay.link_up();
        ask(&mut link, 5);
        drop((link, driver));
        println!("round {round}: {}", relay.link_down());
    }
}

#[test]
fn drivers_that_come_and_go_reach_the_wire_through_a_virtual_function() {
    let test = "drivers_that_come_and_go_reach_the_wire_through_a_virtual_function";
    in_vm(test, Tier::T3, |inside| {
        let function = inside.virtual_functions(1).remove(0);
        let interface = inside.interfaces(&inside.physical_function()).remove(0);
        let (node, place) = (inside.vp_vdpa("vdpa0", &function), Place::new());
        let relay = relay(inside, &node, &place, &interface);
        front_ends_come_and_go(&relay, &place, 20);
    });
}

#[test]
fn device_that_is_deleted_under_its_driver_ends_the_link_and_does_not_block_who_deletes_it() {
    let test =
        "device_that_is_deleted_under_its_driver_ends_the_link_and_does_not_block_who_deletes_it";
    in_vm(test, Tier::T2, |inside| {
        let interface = {
            inside.load(&["virtio_net"]);
            inside.interfaces("0000:00:11.0").remove(0)
        };
        let (node, place) = (inside.vp_vdpa("vdpa0", "0000:00:10.0"), Place::new());
        let relay = relay(inside, &node, &place, &interface);
        let config = DriverConfig { ring_size: 64, ..DriverConfig::default() };
        let mut driver = Driver::open(&place.address(), SocketRole::Connect(SOON), config).unwrap();
        let mut link = link_up(&mut driver);
        relay.link_up();
        ask(&mut link, 2);
        let mut deleted = Command::new("vdpa").args(["dev", "del", "vdpa0"]).spawn().unwrap();
        assert!(relay.link_down().contains("gone"));
        // The relay goes with its device.
        drop(relay);
        eventually("vdpa dev del returns", || deleted.try_wait().unwrap().is_some());
        assert!(!node.exists());
    });
}

/// A process that ends with its test.
struct Testpmd(Child);

impl Drop for Testpmd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn virtio_user_of_dpdk_answers_pings_through_a_virtual_function_again_and_again() {
    let test = "virtio_user_of_dpdk_answers_pings_through_a_virtual_function_again_and_again";
    in_vm(test, Tier::T3, |inside| {
        let function = inside.virtual_functions(1).remove(0);
        let interface = inside.interfaces(&inside.physical_function()).remove(0);
        inside.sh("mkdir -p /dev/hugepages; mount -t hugetlbfs none /dev/hugepages");
        inside.sh("echo 96 > /proc/sys/vm/nr_hugepages");
        let (node, place) = (inside.vp_vdpa("vdpa0", &function), Place::new());
        let relay = relay(inside, &node, &place, &interface);
        for round in 0..3 {
            let path = place.path.display();
            let vdev = format!("net_virtio_user0,path={path},queues=1,queue_size=256");
            let testpmd = Command::new("dpdk-testpmd")
                .args(["-l", "0-1", "-m", "128", "--no-pci", "--in-memory", "--no-telemetry"])
                .args(["--single-file-segments", "--vdev", &vdev, "--", "--forward-mode=icmpecho"])
                .args(["--auto-start", "--no-mlockall", "--total-num-mbufs=4096"])
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            let testpmd = Testpmd(testpmd);
            relay.link_up();
            // testpmd makes up another address each time.
            inside.sh(&format!("ip neigh flush dev {interface}"));
            inside.wait_for("a first answer", || {
                let pinged = inside.sh("busybox ping -c 1 -W 1 10.0.0.9 || true");
                pinged.contains("1 packets received").then_some(())
            });
            let pinged = inside.sh("busybox ping -c 5 -W 5 10.0.0.9 || true");
            println!("round {round}: {pinged}");
            assert!(pinged.contains("5 packets received"), "{pinged}");
            drop(testpmd);
            relay.link_down();
        }
    });
}
