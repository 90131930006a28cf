//! A burst makes no system call while both sides poll, in either direction and layout.
//!
//! The driver is in the same thread: it makes none either.
#![cfg(all(target_arch = "x86_64", target_env = "gnu"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{
    Foreign, LAYOUTS, OwnPair, Place, Served, bursts_from_driver, bursts_to_driver,
};
use ringport_bench::interop::calls::{Case, assert_system_calls};
use ringport_vhost_user::{DeviceConfig, Link};

/// Each of a full ring. The driver's packed rings live for 65535 descriptors.
const ROUNDS: usize = 100;

/// A link, with both ends in this process.
struct Pair {
    driver: Foreign,
    link: Link,
    _device: Served,
}

impl Pair {
    fn receive(&mut self, len: usize) {
        bursts_from_driver(&mut self.driver.tx, &mut self.link.rx[0], ROUNDS as u64, len);
    }

    fn send(&mut self, len: usize) {
        bursts_to_driver(&mut self.link.tx[0], &mut self.driver.rx, ROUNDS as u64, len);
    }

    /// The control: a driver that sleeps is called for each burst.
    fn send_with_calls(&mut self) {
        self.driver.rx.ask_for_calls(true);
        self.send(64);
        self.driver.rx.ask_for_calls(false);
        self.take_last_calls();
    }

    /// With event indices the driver has the next buffer called for, and no more then.
    fn take_last_calls(&mut self) {
        bursts_from_driver(&mut self.driver.tx, &mut self.link.rx[0], 1, 64);
        bursts_to_driver(&mut self.link.tx[0], &mut self.driver.rx, 1, 64);
    }

    /// The control: a receiver that would sleep asks for kicks.
    fn arm(&mut self) {
        for _ in 0..ROUNDS {
            assert!(!self.link.rx[0].arm().unwrap());
        }
    }
}

type Pairs = [Pair; 4];

fn each(pairs: &mut Pairs, what: impl FnMut(&mut Pair)) {
    pairs.iter_mut().for_each(what);
}

const CALLS: usize = 4 * ROUNDS;

const CASES: [Case<Pairs>; 7] = [
    Case("short packets received", |pairs| each(pairs, |pair| pair.receive(64)), 0),
    Case("receivers armed", |pairs| each(pairs, Pair::arm), CALLS),
    Case("long packets received", |pairs| each(pairs, |pair| pair.receive(1514)), 0),
    Case("short packets sent", |pairs| each(pairs, |pair| pair.send(64)), 0),
    Case("sent to drivers that sleep", |pairs| each(pairs, Pair::send_with_calls), CALLS),
    Case("long packets sent", |pairs| each(pairs, |pair| pair.send(1514)), 0),
    Case("packets received once more", |pairs| each(pairs, |pair| pair.receive(64)), 0),
];

fn scene() -> Pairs {
    LAYOUTS.map(|features| {
        let place = Place::new();
        let device = Served::listen(&place, DeviceConfig::default());
        let driver = Foreign::connect(&place, features, 64);
        let link = device.link_up();
        let mut pair = Pair { driver, link, _device: device };
        pair.take_last_calls();
        pair
    })
}

#[test]
fn bursts_make_no_system_call() {
    assert_system_calls("bursts_make_no_system_call", scene, &CASES).unwrap();
}

type OwnPairs = [OwnPair; 8];

/// A burst is 32 packets, of which a queue that asks for it is told once.
const OWN_CASES: [Case<OwnPairs>; 5] = [
    Case("driver sends", |pairs| pairs.iter_mut().for_each(|pair| pair.send(100, 64)), 0),
    Case("driver receives", |pairs| pairs.iter_mut().for_each(|pair| pair.receive(100, 64)), 0),
    Case("driver receives when armed", |pairs| pairs.iter_mut().for_each(receive_armed), 800),
    Case("device receives when armed", |pairs| pairs.iter_mut().for_each(send_to_armed), 800),
    Case("driver sends on", |pairs| pairs.iter_mut().for_each(|pair| pair.send(100, 1514)), 0),
];

fn receive_armed(pair: &mut OwnPair) {
    for _ in 0..100 {
        assert!(!pair.rx.arm().unwrap());
        pair.receive(1, 64);
    }
}

fn send_to_armed(pair: &mut OwnPair) {
    for _ in 0..100 {
        assert!(!pair.device_rx.arm().unwrap());
        pair.send(1, 64);
    }
}

#[test]
fn bursts_of_a_driver_make_no_system_call() {
    let scene = || {
        let mut pairs = OwnPair::all(64);
        // The queues pick their rings up.
        pairs.iter_mut().for_each(|pair| {
            pair.send(1, 64);
            pair.receive(1, 64);
        });
        pairs
    };
    let test = "bursts_of_a_driver_make_no_system_call";
    assert_system_calls(test, scene, &OWN_CASES).unwrap();
}
