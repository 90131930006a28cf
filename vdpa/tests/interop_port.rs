//! Ports on real devices, in machines of the lab (verified with kernel 6.12.117 and QEMU 11.1.3): the kernel's
//! simulator, which returns what is sent to all, a virtio device under vp_vdpa, and virtual functions under
//! vfio-pci, which are on a wire with an interface of the machine.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test")]

#[path = "interop_vhost_vdpa/arp.rs"]
mod arp;
mod lab;

use lab::{Inside, Tier, in_vm};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ringport::error::QueueError;
use ringport_vdpa::port::DownReason;
use ringport_vdpa::{Port, PortEvent, PortLink};
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(30);
/// How soon a link has to be down when somebody begins to take its device away. It takes some 50 ms.
const SOON: Duration = Duration::from_secs(1);
/// Of the interface on the same wire.
const THEIRS: [u8; 4] = [10, 0, 0, 1];
/// The last byte of the next address that nobody has.
static NOBODY: AtomicU8 = AtomicU8::new(50);
const MAC: &str = "02:00:00:00:00:55";
const MAC_BYTES: [u8; 6] = [2, 0, 0, 0, 0, 0x55];

#[track_caller]
fn open(port: &str) -> Port {
    Port::open(&format!("vdpa:{port},reconnect=10ms-100ms")).unwrap()
}

#[track_caller]
fn link_up(port: &mut Port) -> PortLink {
    let link = port.wait_link_up(LONG).unwrap_or_else(|error| panic!("{error}: {error:?}"));
    println!("{:?}", link.parameters);
    link
}

#[track_caller]
fn send(link: &mut PortLink, frames: &[Vec<u8>]) {
    let mut burst = link.tx[0].tx_burst(frames.len()).unwrap();
    frames.iter().for_each(|frame| burst.push(frame).unwrap());
    assert_eq!(burst.commit(), frames.len());
}

/// The next packet that is `wanted`. Waits for the device's call, and for nothing else.
#[track_caller]
fn receive(link: &mut PortLink, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let end = Instant::now() + LONG;
    let rx = &mut link.rx[0];
    loop {
        let packet = rx.rx_burst(1).unwrap().packets().next().map(|it| it.detach().to_vec());
        match packet {
            Some(packet) if wanted(&packet) => return packet,
            Some(_) => {}
            None if rx.arm().unwrap() => {}
            None => {
                let left = PollTimeout::try_from(end.saturating_duration_since(Instant::now()));
                let mut fds = [PollFd::new(rx.as_fd(), PollFlags::POLLIN)];
                assert_eq!(poll(&mut fds, left.unwrap()).unwrap(), 1, "no call");
            }
        }
    }
}

/// A frame to all, with a number, of a length that depends on that.
fn frame(number: usize) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 9, 0x88, 0xb5]);
    frame.extend(number.to_le_bytes());
    let rest = 60 - frame.len() + number * 37 % 1455;
    frame.extend((0..rest).map(|at| (at * 7 + number).to_le_bytes()[0]));
    frame
}

/// Sends frames to all, and expects them back from a device that returns those.
#[track_caller]
fn bounce(link: &mut PortLink, count: usize) {
    for first in (0..count).step_by(8) {
        let frames: Vec<_> = (first..first + 8).map(frame).collect();
        send(link, &frames);
        for (at, sent) in frames.iter().enumerate() {
            assert_eq!(receive(link, |_| true), *sent, "frame {}", first + at);
        }
    }
}

/// Asks for the interface's address as often, and waits for each answer; then is asked.
#[track_caller]
fn ask(link: &mut PortLink, times: u32) {
    let mac = link.parameters.mac.unwrap();
    for _ in 0..times {
        send(link, &[arp::question(mac, [10, 0, 0, 2], THEIRS)]);
        receive(link, |frame| arp::is_answer(frame, mac, THEIRS));
    }
    // Another one each time: the machine does not ask again at once for one that it has asked for.
    let nobody = [10, 0, 0, NOBODY.fetch_add(1, Ordering::Relaxed)];
    let socket = UdpSocket::bind("10.0.0.1:0").unwrap();
    socket.send_to(b"?", (Ipv4Addr::from(nobody), 9)).unwrap();
    receive(link, |frame| arp::is_question(frame, nobody));
}

/// Takes a device away, and sees that its port gives it up at once.
#[track_caller]
fn lose(port: &mut Port, link: &mut PortLink, take: impl FnOnce() + Send) {
    let start = Instant::now();
    std::thread::scope(|scope| {
        let removal = scope.spawn(take);
        let event = port.poll(Some(LONG)).unwrap();
        let down = start.elapsed();
        assert!(matches!(event, Some(PortEvent::LinkDown(DownReason::Gone))), "{event:?}");
        removal.join().unwrap();
        println!("down after {down:.1?}, removed after {:.1?}", start.elapsed());
        assert!(down < SOON);
    });
    assert_eq!(link.rx[0].rx_burst(1).err(), Some(QueueError::LinkDown));
    assert_eq!(link.tx[0].tx_burst(1).err(), Some(QueueError::LinkDown));
}

#[test]
fn simulator_returns_frames_whole_and_its_port_follows_when_it_goes_and_comes() {
    let test = "simulator_returns_frames_whole_and_its_port_follows_when_it_goes_and_comes";
    in_vm(test, Tier::T2, |inside| {
        let node = inside.simulator("vdpa0", MAC);
        let mut port = open(&node.display().to_string());
        let mut link = link_up(&mut port);
        let parameters = &link.parameters;
        assert_eq!((parameters.mac, parameters.carrier), (Some(MAC_BYTES), true));
        assert_eq!((parameters.ring_sizes, parameters.packed), ([256; 2], false));
        bounce(&mut link, 800);
        let open_files = || fs::read_dir("/proc/self/fd").unwrap().count();
        let mut before = 0;
        for round in 0..3 {
            lose(&mut port, &mut link, || drop(inside.sh("vdpa dev del vdpa0")));
            let nothing = port.poll(Some(Duration::from_millis(300))).unwrap();
            assert!(matches!(nothing, Some(PortEvent::Refused(_))), "{nothing:?}");
            assert_eq!(inside.simulator("vdpa0", MAC), node);
            link = link_up(&mut port);
            bounce(&mut link, 80);
            match round {
                0 => before = open_files(),
                _ => assert_eq!(open_files(), before),
            }
        }
    });
}

#[test]
fn virtio_device_under_vp_vdpa_is_a_port_by_the_address_of_its_function() {
    let test = "virtio_device_under_vp_vdpa_is_a_port_by_the_address_of_its_function";
    in_vm(test, Tier::T2, |inside| {
        let mut port = open("0000:00:10.0");
        let refused = port.poll(Some(LONG)).unwrap();
        let Some(PortEvent::Refused(reason)) = refused else { panic!("{refused:?}") };
        assert!(reason.to_string().contains("vdpa dev add mgmtdev pci/0000:00:10.0"), "{reason}");
        let node = inside.vp_vdpa("vdpa0", "0000:00:10.0");
        inside.load(&["virtio_net"]);
        let interface = inside.interfaces("0000:00:11.0").remove(0);
        inside
            .sh(&format!("ip address add 10.0.0.1/24 dev {interface}; ip link set {interface} up"));
        let mut link = link_up(&mut port);
        assert_eq!(link.parameters.device, node.display().to_string());
        ask(&mut link, 50);
        drop(port);
        let mut port = open("00:10.0,ring-size=16,mergeable=off,event-idx=off,rx-mode=interrupt");
        let mut link = link_up(&mut port);
        assert_eq!(link.parameters.ring_sizes, [16; 2]);
        ask(&mut link, 50);
        lose(&mut port, &mut link, || drop(inside.sh("vdpa dev del vdpa0")));
    });
}

/// A virtual function under vfio-pci, on a wire with an interface that has the address [`THEIRS`].
fn function(inside: &Inside) -> String {
    let function = inside.virtual_functions(1).remove(0);
    let interface = inside.interfaces(&inside.physical_function()).remove(0);
    inside
        .sh(&format!("ip address replace 10.0.0.1/24 dev {interface}; ip link set {interface} up"));
    inside.vfio(&function);
    function
}

#[test]
fn virtual_function_under_vfio_pci_is_a_port_that_follows_when_it_goes_and_comes() {
    let test = "virtual_function_under_vfio_pci_is_a_port_that_follows_when_it_goes_and_comes";
    in_vm(test, Tier::T3, |inside| {
        let address = function(inside);
        let sriov = format!("/sys/bus/pci/devices/{}/sriov_numvfs", inside.physical_function());
        for packed in [true, false] {
            let switch = if packed { "on" } else { "off" };
            let mut port = open(&format!("{address},packed={switch}"));
            let mut link = link_up(&mut port);
            assert_eq!((&*link.parameters.device, link.parameters.packed), (&*address, packed));
            ask(&mut link, 50);
            lose(&mut port, &mut link, || fs::write(&sriov, "0").unwrap());
            assert_eq!(function(inside), address);
            ask(&mut link_up(&mut port), 20);
        }
    });
}
