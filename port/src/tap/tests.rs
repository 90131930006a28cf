//! TAPs in network namespaces of their own: they need root, and say so where they have none.
#![allow(clippy::print_stderr, reason = "says what was skipped")]

use super::*;
use crate::burst::{PacketRx, PacketTx, PushError, forward};
use crate::error::QueueError;
use crate::offload::{Checksum, Offload, Segmentation};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Where IP, UDP and its payload are in a frame.
const IP: usize = 14;
const UDP: usize = 34;
const PAYLOAD: usize = 42;

/// Takes this thread to a network namespace of its own, which is gone when the test has ended.
/// Returns whether that worked; else the test must return.
#[must_use]
fn alone(test: &str) -> bool {
    let why = match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) if std::path::Path::new("/dev/net/tun").exists() => return true,
        Ok(()) => "there is no /dev/net/tun".to_owned(),
        Err(errno) => format!("no network namespace: {errno}"),
    };
    let line = format!("SKIPPED: {test}: {why}");
    assert!(std::env::var("RINGPORT_REQUIRE_PEERS").as_deref() != Ok("1"), "{line}");
    eprintln!("{line}");
    false
}

fn open(config: &str) -> (Tap, TapLink) {
    let mut tap = Tap::open(&config.parse().unwrap()).unwrap();
    match tap.poll(Some(Duration::ZERO)).unwrap() {
        Some(TapEvent::LinkUp(link)) => (tap, *link),
        other => panic!("{other:?}"),
    }
}

fn opened() -> (Tap, TapLink) {
    open("tap:t0,mac=02:00:00:00:00:01,address=10.0.0.1/24")
}

#[track_caller]
fn wait_for<T>(what: &str, mut step: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = step() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[track_caller]
fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn udp() -> UdpSocket {
    let socket = UdpSocket::bind("10.0.0.1:7").unwrap();
    socket.set_broadcast(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A datagram to that socket, without a checksum.
fn datagram(payload: &[u8]) -> Vec<u8> {
    let len = |header: usize| u16::try_from(header + payload.len()).unwrap().to_be_bytes();
    let mut frame = [&MAC[..], &[2, 0, 0, 0, 0, 2], &[8, 0, 0x45, 0]].concat();
    frame.extend(len(28));
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1]);
    let words = frame[IP..].chunks_exact(2).map(|word| u16::from_be_bytes([word[0], word[1]]));
    let sum: u32 = words.map(u32::from).sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    frame[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());
    frame.extend([0, 9, 0, 7]);
    frame.extend(len(8));
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}

/// The metadata of the next datagram with `payload` that the kernel sends.
fn next_offload(rx: &mut TapRx, payload: &[u8]) -> Offload {
    wait_for("a datagram", || {
        let burst = rx.rx_burst(64).unwrap();
        // The kernel also speaks IPv6 of its own accord.
        let mut ours = burst.packets().filter(|packet| packet.detach().ends_with(payload));
        ours.next().map(|packet| {
            assert_eq!(
                (packet.read_at(IP - 2), packet.len()),
                (Some([8, 0]), PAYLOAD + payload.len())
            );
            packet.offload()
        })
    })
}

fn received(socket: &UdpSocket) -> Vec<u8> {
    let mut bytes = vec![0; 70_000];
    let len = socket.recv(&mut bytes).unwrap();
    bytes.truncate(len);
    bytes
}

#[test]
fn packets_of_the_kernel_leave_to_be_done_what_they_may() {
    if !alone("packets_of_the_kernel_leave_to_be_done_what_they_may") {
        return;
    }
    let partial = Checksum::Partial { start: 34, offset: 6 };
    for (offload, left) in
        [("none", Checksum::Unknown), ("checksum", partial), ("segmentation", partial)]
    {
        let (_tap, mut link) = open(&format!("tap:t0,address=10.0.0.1/24,offload={offload}"));
        udp().send_to(b"to whom it may concern", "10.0.0.255:9").unwrap();
        let found = next_offload(&mut link.rx, b"to whom it may concern");
        assert_eq!(found, Offload { checksum: left, ..Offload::default() }, "{offload}");
        assert!(link.rx.stats().packets > 0);
    }
}

#[test]
fn packets_that_are_not_released_come_again_in_order() {
    if !alone("packets_that_are_not_released_come_again_in_order") {
        return;
    }
    let (_tap, mut link) = opened();
    let socket = udp();
    let mut next = 0;
    for number in 0..200u8 {
        socket.send_to(&[number; 20], "10.0.0.255:9").unwrap();
    }
    wait_for("200 datagrams", || {
        let burst = link.rx.rx_burst(7).unwrap();
        let mut done = 0;
        for packet in burst.packets().take(3) {
            done += 1;
            if packet.read_at(IP - 2) == Some([8, 0]) {
                assert_eq!(packet.read_at(PAYLOAD), Some([next; 20]));
                next += 1;
            }
        }
        burst.release(done);
        (next == 200).then_some(())
    });
}

#[test]
fn packets_arrive_at_the_kernel_and_unfinished_checksums_with_them() {
    if !alone("packets_arrive_at_the_kernel_and_unfinished_checksums_with_them") {
        return;
    }
    let (_tap, mut link) = opened();
    let socket = udp();
    let long = vec![7; 60_000];
    let mut burst = link.tx.tx_burst(64).unwrap();
    burst.push(&datagram(b"plain")).unwrap();
    burst.push(&datagram(&long)).unwrap();
    let mut frame = datagram(b"unfinished");
    // The sum of the pseudo header, as the kernel wants it.
    let sum = 0x0a00 + 2 + 0x0a00 + 1 + 17 + 18u16;
    frame[UDP + 6..UDP + 8].copy_from_slice(&sum.to_be_bytes());
    let checksum = Checksum::Partial { start: 34, offset: 6 };
    burst.set_offload(Offload { checksum, ..Offload::default() }).unwrap();
    burst.push(&frame).unwrap();
    assert!(matches!(burst.push(&vec![0; 65_601]), Err(PushError::TooLong { .. })));
    assert_eq!(burst.commit(), 3);
    assert_eq!(received(&socket), b"plain");
    assert_eq!(received(&socket), long);
    assert_eq!(received(&socket), b"unfinished");
    assert_eq!(link.tx.stats().packets, 3);
}

#[test]
fn packet_that_is_not_what_it_is_said_to_be_is_dropped_and_the_next_one_arrives() {
    if !alone("packet_that_is_not_what_it_is_said_to_be_is_dropped_and_the_next_one_arrives") {
        return;
    }
    let (_tap, mut link) = opened();
    let socket = udp();
    let partial = |start, offset| Checksum::Partial { start, offset };
    let tcp4 = |segment_size| Segmentation::Tcp4 { header_len: 54, segment_size, ecn: false };
    let tcp6 = Segmentation::Tcp6 { header_len: 54, segment_size: 1000, ecn: true };
    let lies = [
        (partial(0, 0), Segmentation::None),
        (partial(34, 100), Segmentation::None),
        (partial(0xffff, 0xffff), Segmentation::None),
        (partial(34, 16), tcp4(0)),
        (partial(34, 16), tcp4(1000)),
        (Checksum::Verified, tcp4(1000)),
        (partial(34, 16), tcp6),
    ];
    let mut burst = link.tx.tx_burst(64).unwrap();
    for (checksum, segmentation) in lies {
        burst.set_offload(Offload { checksum, segmentation, vlan: None }).unwrap();
        burst.push(&datagram(b"a lie")).unwrap();
    }
    // No Ethernet header: the kernel's own refusal.
    burst.push(&[0; 5]).unwrap();
    burst.push(&datagram(b"good")).unwrap();
    burst.commit();
    assert_eq!(received(&socket), b"good");
    let stats = link.tx.stats();
    assert_eq!((stats.bad_header, stats.refused, stats.packets), (7, 1, 1));
    assert!(link.tx.tx_burst(1).is_ok(), "the link stays");
}

#[test]
fn interface_that_is_down_loses_packets_and_works_again_when_up() {
    if !alone("interface_that_is_down_loses_packets_and_works_again_when_up") {
        return;
    }
    let (tap, mut link) = opened();
    let socket = udp();
    let send = |tx: &mut TapTx, payload: &[u8]| {
        let mut burst = tx.tx_burst(1).unwrap();
        burst.push(&datagram(payload)).unwrap();
        burst.commit()
    };
    ip("link set t0 down");
    send(&mut link.tx, b"lost");
    assert_eq!(link.tx.stats().refused, 1);
    assert!(link.rx.rx_burst(1).is_ok());
    ip("link set t0 up");
    send(&mut link.tx, b"there");
    assert_eq!(received(&socket), b"there");
    assert_eq!(tap.name(), "t0");
}

#[test]
fn deleted_interface_ends_the_link_and_wakes_who_sleeps() {
    if !alone("deleted_interface_ends_the_link_and_wakes_who_sleeps") {
        return;
    }
    for queues_first in [true, false] {
        let (mut tap, mut link) = opened();
        while link.rx.arm().unwrap() {
            let _ = link.rx.rx_burst(64).unwrap();
        }
        assert!(tap.poll(Some(Duration::ZERO)).unwrap().is_none());
        let deleter = std::thread::spawn(|| {
            std::thread::sleep(Duration::from_millis(100));
            ip("link delete t0");
        });
        let fd = if queues_first { link.rx.doorbell() } else { tap.as_fd() };
        let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::from(20_000u16)).unwrap(), 1);
        deleter.join().unwrap();
        if queues_first {
            assert_eq!(link.rx.arm(), Err(QueueError::LinkDown));
            assert_eq!(link.tx.tx_burst(1).err(), Some(QueueError::LinkDown));
        }
        let event = wait_for("the end", || tap.poll(Some(PATIENCE)).unwrap());
        assert!(matches!(event, TapEvent::LinkDown));
        assert_eq!(link.rx.rx_burst(1).err(), Some(QueueError::LinkDown));
        assert_eq!(link.tx.tx_burst(1).err(), Some(QueueError::LinkDown));
        assert!(tap.poll(Some(Duration::ZERO)).unwrap().is_none(), "once");
    }
}

#[test]
fn write_to_a_deleted_interface_ends_the_link() {
    if !alone("write_to_a_deleted_interface_ends_the_link") {
        return;
    }
    let (mut tap, mut link) = opened();
    let mut burst = link.tx.tx_burst(2).unwrap();
    burst.push(&datagram(b"late")).unwrap();
    ip("link delete t0");
    burst.commit();
    assert_eq!((link.tx.stats().refused, link.tx.stats().packets), (1, 0));
    assert_eq!(link.tx.tx_burst(1).err(), Some(QueueError::LinkDown));
    let mut fds = [PollFd::new(tap.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PollTimeout::from(20_000u16)).unwrap(), 1);
    assert!(matches!(tap.poll(Some(PATIENCE)).unwrap(), Some(TapEvent::LinkDown)));
}

#[test]
fn interface_is_as_it_was_asked_for_and_goes_with_its_last_part() {
    if !alone("interface_is_as_it_was_asked_for_and_goes_with_its_last_part") {
        return;
    }
    let config = "tap:many%d,mtu=9000,mac=02:00:00:00:00:77";
    let (tap, link) = open(&format!("{config},address=192.168.7.9/20"));
    let (other, _link) = open("tap:many%d,address=fd00::9/64");
    assert_eq!([tap.name(), other.name()], ["many0", "many1"]);
    let said = ip("address show many0");
    for part in ["mtu 9000", "02:00:00:00:00:77", "192.168.7.9/20", ",UP"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(ip("address show many1").contains("fd00::9/64"));
    drop(tap);
    assert!(ip("link").contains("many0"), "its queues are there");
    drop(link);
    wait_for("the end of the interface", || (!ip("link").contains("many0")).then_some(()));
}

#[test]
fn interface_of_somebody_else_is_used_and_stays() {
    if !alone("interface_of_somebody_else_is_used_and_stays") {
        return;
    }
    ip("tuntap add dev t0 mode tap");
    let (tap, link) = opened();
    let taken = Tap::open(&TapConfig::new("t0"));
    assert!(matches!(taken, Err(TapError::Make { .. })), "{taken:?}");
    drop((tap, link));
    assert!(ip("link").contains("t0"));
    let other = Tap::open(&TapConfig::new("lo"));
    assert!(matches!(other, Err(TapError::Make { .. })), "{other:?}");
}

#[test]
fn interface_is_made_in_the_namespace_that_is_named() {
    if !alone("interface_is_made_in_the_namespace_that_is_named") {
        return;
    }
    let (there, here) = std::sync::mpsc::channel();
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let host = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let thread = nix::unistd::gettid();
        there.send(format!("/proc/{}/task/{thread}/ns/net", std::process::id())).unwrap();
        let _ = wait.recv();
        ip("address show t0")
    });
    let namespace = here.recv_timeout(PATIENCE).unwrap();
    let (_tap, mut link) = open(&format!("tap:t0,netns={namespace},address=10.0.0.1/24"));
    assert!(!ip("link").contains("t0"));
    done.send(()).unwrap();
    assert!(host.join().unwrap().contains("10.0.0.1/24"));
    assert!(link.rx.rx_burst(1).is_ok());
    let nowhere = Tap::open(&"tap:t1,netns=/proc/self/status".parse().unwrap());
    assert!(matches!(nowhere, Err(TapError::Namespace { .. })), "{nowhere:?}");
}

#[test]
fn two_taps_forward_to_each_other() {
    if !alone("two_taps_forward_to_each_other") {
        return;
    }
    let (_a, mut a) = opened();
    let socket = udp();
    let (_b, mut b) = open("tap:t1");
    socket.send_to(b"there", "10.0.0.255:9").unwrap();
    wait_for("the datagram on the other interface", || {
        forward(&mut a.rx, &mut b.tx, 64).unwrap();
        (b.tx.stats().packets > 0).then_some(())
    });
    assert_eq!((b.tx.stats().refused, b.tx.stats().bad_header), (0, 0));
}
