//! A Linux guest in front of the relay, in a machine of the lab: a guest in a guest, both emulated (verified with
//! kernel 6.12.117 in both, QEMU 10.0.2 in QEMU 11.1.3).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test"
)]

mod lab;
mod relay_support;

use lab::{Tier, in_vm};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use relay_support::{Place, Served};
use ringport_bench::peers::Guest;
use ringport_bench::peers::guest::{Nic, RunningGuest};
use ringport_vdpa::VhostVdpa;

/// Most entries of a ring of QEMU's devices, and so of the function.
const RING_SIZE: u16 = 256;

#[track_caller]
fn ping(guest: &mut RunningGuest) {
    let until_one = "for i in $(seq 20); do ping -c 1 -W 2 10.0.0.1 && exit; done; false";
    guest.run(until_one).unwrap();
    for bytes in [56, 1400] {
        let said = guest.run(&format!("ping -c 5 -A -W 10 -s {bytes} 10.0.0.1")).unwrap();
        assert!(said.contains("5 packets transmitted, 5 packets received"), "{said}");
    }
}

#[test]
fn linux_guest_is_on_the_wire_by_a_virtual_function_and_again_when_its_driver_is_bound_anew() {
    let test =
        "linux_guest_is_on_the_wire_by_a_virtual_function_and_again_when_its_driver_is_bound_anew";
    in_vm(test, Tier::T3, |inside| {
        setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).unwrap();
        // The guest's memory is in pages of 4 KiB, each of which may be a mapping of its own.
        inside.load(&["vhost_vdpa max_iotlb_entries=65536"]);
        let function = inside.virtual_functions(1).remove(0);
        let interface = inside.interfaces(&inside.physical_function()).remove(0);
        inside.sh(&format!("ip address add 10.0.0.1/24 dev {interface}"));
        let (node, place) = (inside.vp_vdpa("vdpa0", &function), Place::new());
        let relay = Served::listen(&place, VhostVdpa::open(&node).unwrap());
        let nic = Nic::vhost_user(&place.path)
            .property("disable-legacy=on")
            .property(&format!("rx_queue_size={RING_SIZE},tx_queue_size={RING_SIZE}"));
        let mut guest = Guest::new().nic(nic).start().unwrap_or_else(|error| panic!("{error:?}"));
        relay.link_up();
        guest.run("ip link set eth0 up; ip address add 10.0.0.2/24 dev eth0").unwrap();
        ping(&mut guest);
        let bind = "d=$(basename $(readlink -f /sys/class/net/eth0/device)); \
                    cd /sys/bus/virtio/drivers/virtio_net; echo $d >unbind && echo $d >bind";
        guest.run(bind).unwrap();
        guest.run("ip link set eth0 up; ip address add 10.0.0.2/24 dev eth0").unwrap();
        ping(&mut guest);
        drop(guest);
        println!("{}", relay.link_down());
    });
}
