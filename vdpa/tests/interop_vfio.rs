//! Virtual functions under vfio-pci as devices, in machines of the lab (verified with kernel 6.12.117 and QEMU
//! 11.1.3): packets leave by a virtual function, and come back from an interface of the machine on the same
//! wire.
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
#[path = "interop_vfio/relay.rs"]
mod relay;
mod relay_support;
#[allow(dead_code, reason = "a part of it")]
#[path = "interop_vhost_vdpa/rig.rs"]
mod rig;
#[allow(dead_code, reason = "a part of it")]
#[path = "interop_relay/traffic.rs"]
mod traffic;

use ask::{THEIRS, arp};
use lab::{Inside, Tier, in_vm};
use rig::{BEGINNING, FEATURES, Rig, is_ready};
use ringport::doorbell::Doorbell;
use ringport_vdpa::device::DeviceMemory;
use ringport_vdpa::{DeviceError, PciAddress, VdpaDevice, VfioVirtio};
use ringport_vhost_user::backend::RingBase;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

/// A virtual function under vfio-pci, on a wire with an interface that has the address [`THEIRS`].
fn function(inside: &Inside) -> PciAddress {
    let function = inside.virtual_functions(1).remove(0);
    let interface = inside.interfaces(&inside.physical_function()).remove(0);
    inside.sh(&format!("ip address add 10.0.0.1/24 dev {interface}; ip link set {interface} up"));
    inside.vfio(&function);
    function.parse().unwrap()
}

#[track_caller]
fn open(function: PciAddress) -> VfioVirtio {
    VfioVirtio::open(function, "/").unwrap_or_else(|error| panic!("{error}: {error:?}"))
}

/// Asks for the interface's address as often, and waits for each answer.
fn ask(rig: &mut Rig, device: &VfioVirtio, times: u32) {
    let mut mac = [0; 6];
    device.read_config(0, &mut mac).unwrap();
    for _ in 0..times {
        rig.send(&arp::question(mac, [10, 0, 0, 2], THEIRS));
        rig.receive(|frame| arp::is_answer(frame, mac, THEIRS));
    }
}

/// Has the machine ask all on the wire for an address that nobody has.
fn be_asked_for(address: [u8; 4]) {
    let socket = UdpSocket::bind("10.0.0.1:0").unwrap();
    socket.send_to(b"?", (Ipv4Addr::from(address), 9)).unwrap();
}

/// Takes all virtual functions away, which waits until nobody has them.
fn take_away(inside: &Inside) -> JoinHandle<()> {
    let physical = inside.physical_function();
    let file = format!("/sys/bus/pci/devices/{physical}/sriov_numvfs");
    std::thread::spawn(move || fs::write(file, "0").unwrap())
}

#[test]
fn virtual_function_asks_the_machine_and_hears_its_answers_until_it_is_stopped() {
    let test = "virtual_function_asks_the_machine_and_hears_its_answers_until_it_is_stopped";
    in_vm(test, Tier::T3, |inside| {
        let function = function(inside);
        let open_files = || fs::read_dir("/proc/self/fd").unwrap().count();
        let before = open_files();
        let mut device = open(function);
        println!("{:?}", device.capabilities());
        let can = device.capabilities();
        assert_eq!((can.device_id, can.ring_size_max), (1, 256));
        assert!(can.rings >= 2 && can.features & FEATURES == FEATURES && !can.starts_midway);
        assert!(!can.iova.iter().any(|it| it.contains(&0xfee0_0000)), "the IOMMU keeps that");
        let busy = VfioVirtio::open(function, "/").unwrap_err();
        assert!(busy.to_string().contains("somebody has its IOMMU group open"), "{busy}");

        for round in 0..3 {
            let mut rig = Rig::new(64);
            rig.start(&mut device);
            ask(&mut rig, &device, 20);
            let [before, after] = [10 + round, 20 + round].map(|last| [10, 0, 0, last]);
            be_asked_for(before);
            rig.receive(|frame| arp::is_question(frame, before));
            assert!(device.stop().iter().all(Option::is_none));
            be_asked_for(after);
            assert!(rig.is_silent(Duration::from_millis(500)), "it writes to its rings still");
            let on = [RingBase::Split { avail: 20 }; 2];
            let error = device.start(&rig.setup(on)).unwrap_err().to_string();
            assert!(error.contains("ring 0 was in use before"), "{error}");
            device.unmap(&[rig.range()]).unwrap();
        }
        assert!(!is_ready(device.gone(), Duration::ZERO));
        drop(device);
        assert_eq!(open_files(), before);
        drop(open(function));
    });
}

#[test]
fn calls_and_kicks_are_exchanged_while_packets_pass() {
    in_vm("calls_and_kicks_are_exchanged_while_packets_pass", Tier::T3, |inside| {
        let mut device = open(function(inside));
        let mut rig = Rig::new(64);
        rig.start(&mut device);
        ask(&mut rig, &device, 1);
        let rings = rig.setup(BEGINNING).rings;
        for _ in 0..10 {
            for ring in &rings {
                device.set_call(ring.index, &ring.call).unwrap();
                device.set_kick(ring.index, &ring.kick).unwrap();
                ask(&mut rig, &device, 1);
            }
        }
        // Kicks that the kernel takes are gone from the eventfd.
        let [old, new] = [doorbell(&rings[1].kick), Doorbell::create().unwrap()];
        old.ring().unwrap();
        assert!(!is_ready(old.as_fd(), Duration::ZERO));
        device.set_kick(1, &Arc::new(new.try_clone_fd().unwrap())).unwrap();
        old.ring().unwrap();
        assert!(is_ready(old.as_fd(), Duration::ZERO) && !is_ready(new.as_fd(), Duration::ZERO));
        device.set_kick(1, &rings[1].kick).unwrap();
        ask(&mut rig, &device, 1);

        let new = Doorbell::create().unwrap();
        device.set_call(0, &Arc::new(new.try_clone_fd().unwrap())).unwrap();
        new.drain().unwrap();
        while rig.arm() {
            rig.receive(|_| true);
        }
        be_asked_for([10, 0, 0, 99]);
        assert!(is_ready(new.as_fd(), LONG));
        device.set_call(0, &rings[0].call).unwrap();
        ask(&mut rig, &device, 1);
        device.stop();
        assert!(device.set_call(0, &rings[0].call).is_err(), "it does not run");
        assert!(device.set_kick(0, &rings[0].kick).is_err());
    });
}

fn doorbell(fd: &Arc<OwnedFd>) -> Doorbell {
    Doorbell::from_peer(fd.try_clone().unwrap()).unwrap()
}

#[test]
fn mappings_that_overlap_or_are_out_of_reach_are_refused() {
    in_vm("mappings_that_overlap_or_are_out_of_reach_are_refused", Tier::T3, |inside| {
        let mut device = open(function(inside));
        let mut rig = Rig::new(64);
        let ours = rig.memory();
        let with = |iova| DeviceMemory { iova, ..ours.clone() };
        let window = device.map(&[with(1 << 40), with(0xfee0_0000)]).unwrap_err();
        assert!(matches!(window, DeviceError::OutOfReach { .. }), "{window}");
        device.map(&[with(1 << 40)]).expect("nothing is left of it");
        let twice = device.map(&[with(1 << 40)]).unwrap_err();
        assert!(matches!(twice, DeviceError::Overlap(_)), "{twice}");
        let outside = device.start(&rig.setup(BEGINNING)).unwrap_err();
        assert!(matches!(outside, DeviceError::BadRing { ring: 0, .. }), "{outside}");
        rig.start(&mut device);
        ask(&mut rig, &device, 2);
        device.stop();
        device.unmap(&[rig.range()]).unwrap();
        assert!(device.unmap(&[rig.range()]).is_err(), "it is not mapped");
    });
}

#[test]
fn function_that_is_taken_away_is_told_and_waits_until_it_is_dropped() {
    let test = "function_that_is_taken_away_is_told_and_waits_until_it_is_dropped";
    in_vm(test, Tier::T3, |inside| {
        let mut device = open(function(inside));
        let mut rig = Rig::new(64);
        rig.start(&mut device);
        ask(&mut rig, &device, 1);
        assert!(!is_ready(device.gone(), Duration::ZERO));
        let removal = take_away(inside);
        assert!(is_ready(device.gone(), LONG));
        ask(&mut rig, &device, 1);
        assert!(!removal.is_finished());
        drop(device);
        removal.join().unwrap();
    });
}
