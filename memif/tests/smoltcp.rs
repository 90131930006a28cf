//! The device for smoltcp over a link's queues.
#![allow(clippy::unwrap_used, reason = "a test")]

use ringport::error::QueueError;
use ringport::smoltcp::PortDevice;
use ringport_memif::{Link, Port, RxQueue, TxQueue};
use smoltcp::phy::{Device, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use std::time::{Duration, Instant as Clock};

const DEADLINE: Duration = Duration::from_secs(20);
const NOW: Instant = Instant::ZERO;
const MTU: usize = 1500;

type MemifDevice = PortDevice<RxQueue, TxQueue>;

/// A device on the server's side, and everything on the client's, whose rings have 16 slots of 1024
/// bytes.
fn pair() -> (MemifDevice, Port, Link, Port) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("m.sock");
    let mut server = Port::open(&format!("memif:{},role=server", socket.display())).unwrap();
    let client = format!("memif:{},role=client,ring-size=16,buffer-size=1024", socket.display());
    let mut client = Port::open(&client).unwrap();
    let deadline = Clock::now() + DEADLINE;
    let (mut ours, mut theirs) = (None, None);
    while ours.is_none() || theirs.is_none() {
        assert!(Clock::now() < deadline);
        ours = ours.or_else(|| server.wait_link_up(Duration::from_millis(1)).ok());
        theirs = theirs.or_else(|| client.wait_link_up(Duration::from_millis(1)).ok());
    }
    let mut ours = ours.unwrap();
    let device = PortDevice::new(ours.rx.remove(0), ours.tx.remove(0), Medium::Ethernet, MTU);
    (device, server, theirs.unwrap(), client)
}

fn send(link: &mut Link, frames: &[Vec<u8>]) {
    let mut burst = link.tx[0].tx_burst(16).unwrap();
    frames.iter().for_each(|frame| burst.push(frame).unwrap());
    assert_eq!(burst.commit(), frames.len());
}

fn receive(device: &mut MemifDevice) -> Option<Vec<u8>> {
    let (frame, _) = device.receive(NOW)?;
    Some(frame.consume(<[u8]>::to_vec))
}

#[test]
fn frames_come_in_order_and_those_longer_than_the_stack_takes_are_passed_over() {
    let (mut device, _server, mut link, _client) = pair();
    let (longest, longer) = (MTU + 14, MTU + 15);
    send(&mut link, &[vec![1; 60], vec![2; longer], vec![3; longest], vec![4; 1]]);
    assert_eq!(device.capabilities().max_transmission_unit, longest);
    let frames: Vec<Vec<u8>> = std::iter::from_fn(|| receive(&mut device)).collect();
    assert_eq!(frames, [vec![1; 60], vec![3; longest], vec![4; 1]]);
    send(&mut link, &[vec![5; 60]]);
    assert!(device.arm().unwrap());
    assert_eq!(receive(&mut device), Some(vec![5; 60]));
    assert!(!device.arm().unwrap());
}

#[test]
fn full_ring_takes_nothing_more_and_a_frame_without_room_counts_as_dropped() {
    let (mut device, _server, mut link, _client) = pair();
    let write = |device: &mut MemifDevice, len: usize| {
        let slot = device.transmit(NOW);
        slot.map(|slot| slot.consume(len, |frame| frame.fill(7)))
    };
    (0..15).for_each(|_| write(&mut device, 60).unwrap());
    // It takes two slots, and one is free.
    write(&mut device, MTU).unwrap();
    assert_eq!(device.dropped(), 1);
    write(&mut device, 60).unwrap();
    assert_eq!(write(&mut device, 60), None);
    // What comes in could not be answered: it waits.
    send(&mut link, &[vec![1; 60]]);
    assert_eq!(receive(&mut device), None);
    let burst = link.rx[0].rx_burst(16).unwrap();
    assert_eq!(burst.len(), 16);
    burst.release(16);
    assert_eq!(receive(&mut device), Some(vec![1; 60]));
    assert_eq!(device.dropped(), 1);
}

#[test]
fn link_that_went_down_is_silence_and_an_end() {
    let (mut device, mut server, link, client) = pair();
    client.close("bye");
    drop(link);
    let deadline = Clock::now() + DEADLINE;
    while device.end().is_none() {
        assert!(Clock::now() < deadline);
        server.poll(Some(Duration::from_millis(1))).unwrap();
        assert!(device.receive(NOW).is_none());
    }
    assert_eq!(device.end(), Some(QueueError::LinkDown));
    assert!(device.transmit(NOW).is_none());
    assert_eq!(device.arm(), Err(QueueError::LinkDown));
}
