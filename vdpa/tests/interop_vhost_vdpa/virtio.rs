//! Virtio devices under vp_vdpa, on a wire with an interface of the machine.

use super::lab::{Tier, in_vm};
use super::rig::Rig;
use super::{arp, open};
use ringport_vdpa::discovery::Discovery;
use ringport_vdpa::{PciAddress, VdpaDevice, VhostVdpa};
use ringport_vhost_user::backend::RingBase;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

#[test]
fn virtio_device_asks_the_machine_and_hears_its_answers_until_it_is_stopped() {
    let test = "virtio::virtio_device_asks_the_machine_and_hears_its_answers_until_it_is_stopped";
    in_vm(test, Tier::T2, |inside| {
        let node = inside.vp_vdpa("vdpa0", "0000:00:10.0");
        inside.load(&["virtio_net"]);
        let interface = inside.interfaces("0000:00:11.0").remove(0);
        inside
            .sh(&format!("ip address add 10.0.0.1/24 dev {interface}; ip link set {interface} up"));
        let mut device = open(&node);
        println!("{:?}", device.capabilities());
        let can = device.capabilities();
        assert!(can.locks_memory && can.translated && !can.starts_midway && !can.tells_base);
        let page = device.doorbell(1).unwrap();
        assert_eq!((page.offset, page.len), (4096, 4096));
        assert!(device.doorbell(can.rings).is_none());

        for round in 0..3 {
            let mut rig = Rig::new(64);
            rig.start(&mut device);
            ask(&mut rig, &device, 20);
            let [before, after] = [10 + round, 20 + round].map(|last| [10, 0, 0, last]);
            be_asked_for(before);
            rig.receive(|frame| arp::is_question(frame, before));
            assert_eq!(device.stop(), [None; 3]);
            be_asked_for(after);
            assert!(rig.is_silent(Duration::from_millis(500)), "it writes to its rings still");
            // It can only begin at the beginning, where these rings are no more.
            let on = [RingBase::Split { avail: 20 }; 2];
            let error = device.start(&rig.setup(on)).unwrap_err().to_string();
            assert!(error.contains("ring 0 was in use before"), "{error}");
            device.unmap(&[rig.range()]).unwrap();
        }
    });
}

#[test]
fn device_that_goes_past_the_iommu_is_not_opened() {
    in_vm("virtio::device_that_goes_past_the_iommu_is_not_opened", Tier::T2, |inside| {
        let node = inside.vp_vdpa("vdpa0", "0000:00:11.0");
        let error = VhostVdpa::open(node).unwrap_err();
        println!("{error}");
        assert!(error.to_string().contains("ACCESS_PLATFORM"), "{error}");
    });
}

#[test]
fn virtual_function_is_found_by_its_address_and_works_beside_its_physical_one() {
    let test = "virtio::virtual_function_is_found_by_its_address_and_works_beside_its_physical_one";
    in_vm(test, Tier::T3, |inside| {
        let functions = inside.virtual_functions(3);
        let interface = inside.interfaces("0000:01:00.0").remove(0);
        inside.sh(&format!("ip address add 10.0.0.1/24 dev {interface}"));
        let node = inside.vp_vdpa("any", &functions[1]);
        let (discovery, address) =
            (Discovery::default(), functions[1].parse::<PciAddress>().unwrap());
        let found = discovery.by_pci(address).unwrap().remove(0);
        println!("{found:?}");
        assert_eq!((&*found.name, found.node.as_deref()), ("any", Some(&*node)));
        assert_eq!(found.management.as_deref(), Some("pci/0000:01:00.2"));
        let physical = discovery.physical_function(address).unwrap();
        assert_eq!(physical.address.to_string(), "0000:01:00.0");
        assert_eq!((physical.interface, physical.index), (Some(interface), Some(1)));

        let mut device = open(&found.node.unwrap());
        println!("{:?}", device.capabilities());
        let interrupts = device.capabilities().iova.iter().any(|it| it.contains(&0xfee0_0000));
        assert!(!interrupts, "the IOMMU keeps that");
        let mut rig = Rig::new(256);
        rig.start(&mut device);
        ask(&mut rig, &device, 50);
    });
}

/// Asks for 10.0.0.1 as often, and waits for each answer.
fn ask(rig: &mut Rig, device: &VhostVdpa, times: u32) {
    let mut mac = [0; 6];
    device.read_config(0, &mut mac).unwrap();
    let (own, wanted) = ([10, 0, 0, 2], [10, 0, 0, 1]);
    for _ in 0..times {
        rig.send(&arp::question(mac, own, wanted));
        rig.receive(|frame| arp::is_answer(frame, mac, wanted));
    }
}

/// Has the machine ask all on the wire for an address that nobody has.
fn be_asked_for(address: [u8; 4]) {
    let socket = UdpSocket::bind("10.0.0.1:0").unwrap();
    socket.send_to(b"?", (Ipv4Addr::from(address), 9)).unwrap();
}
