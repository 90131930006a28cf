//! Another independent driver: the queues and the front-end of the `virtio-driver` crate, in split
//! and in packed rings. What of that crate cannot be used for a network device, and why, is said in
//! `device_support/foreign.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{Foreign, LAYOUTS, PATIENCE, Place, Served};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ringport_bench::interop::frames::{Checker, fill};
use ringport_vhost_user::{DeviceConfig, DownReason, Link, RxQueue};
use std::os::fd::AsFd;
use std::time::Instant;
use virtio_driver::VirtioFeatureFlags as F;

const FRAMES: u64 = 20_000;
const SIZE: u16 = 64;

fn len_of(number: u64) -> usize {
    28 + usize::try_from(number * 61 % 1487).unwrap()
}

fn linked(place: &Place, features: F) -> (Served, Link, Foreign) {
    let config = DeviceConfig { mac: Some([2, 0, 0, 0, 0, 7]), ..DeviceConfig::default() };
    let device = Served::listen(place, config);
    let driver = Foreign::connect(place, features, SIZE);
    let link = device.link_up();
    assert_eq!(link.parameters.packed, features.contains(F::RING_PACKED));
    (device, link, driver)
}

fn receive(rx: &mut RxQueue, checker: &mut Checker) {
    let burst = rx.rx_burst(32).unwrap();
    for packet in burst.packets() {
        checker.take(&packet, len_of).unwrap();
    }
}

#[test]
fn frames_go_both_ways_unchanged_and_in_order() {
    for features in LAYOUTS {
        let place = Place::new();
        let (device, mut link, mut driver) = linked(&place, features);
        let (mut checker, mut sent, mut frame) = (Checker::new(0), 0, vec![0; 1514]);
        let start = Instant::now();
        while checker.count() < FRAMES || driver.rx.taken() < FRAMES {
            assert!(start.elapsed() < PATIENCE, "{} {}", checker.count(), driver.rx.taken());
            driver.tx.take_back();
            while driver.tx.given() < FRAMES && driver.tx.send(len_of(driver.tx.given())) {}
            while driver.rx.given() < FRAMES && driver.rx.provide(len_of(driver.rx.given())) {}
            receive(&mut link.rx[0], &mut checker);
            let mut burst = link.tx[0].tx_burst(32).unwrap();
            while sent < FRAMES {
                let frame = &mut frame[..len_of(sent)];
                fill(frame, 0, sent);
                if burst.push(frame).is_err() {
                    break;
                }
                sent += 1;
            }
            burst.commit();
            driver.rx.receive(len_of);
        }
        drop(driver);
        assert!(matches!(device.link_down(), DownReason::PeerClosed));
    }
}

#[test]
fn configuration_that_the_driver_reads_is_ours() {
    let place = Place::new();
    let (_device, _link, driver) = linked(&place, F::VERSION_1);
    assert_eq!(driver.config().to_le_bytes(), [2, 0, 0, 0, 0, 7, 1, 0]);
}

/// Sleeps until there is something to receive.
fn sleep(rx: &mut RxQueue) {
    while !rx.arm().unwrap() {
        let mut set = [PollFd::new(rx.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(PATIENCE).unwrap();
        assert!(poll(&mut set, patience).unwrap() > 0, "slept through it");
    }
}

#[test]
fn device_that_sleeps_is_kicked_awake() {
    const COUNT: u64 = 2000;
    for features in LAYOUTS {
        let place = Place::new();
        let (_device, mut link, mut driver) = linked(&place, features);
        let (mut checker, rx, tx) = (Checker::new(0), &mut link.rx[0], &mut driver.tx);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let (start, mut kicks) = (Instant::now(), 0);
                while tx.given() < COUNT {
                    assert!(start.elapsed() < PATIENCE);
                    tx.take_back();
                    if tx.send(len_of(tx.given())) {
                        kicks += u64::from(tx.kick_if_wanted());
                    }
                    if tx.given() % 7 == 0 {
                        std::thread::yield_now();
                    }
                }
                assert!(kicks > 0 && kicks <= COUNT);
            });
            while checker.count() < COUNT {
                sleep(rx);
                receive(rx, &mut checker);
            }
        });
    }
}

#[test]
fn driver_that_sleeps_is_called_awake() {
    const COUNT: u64 = 2000;
    for features in LAYOUTS {
        let place = Place::new();
        let (_device, mut link, mut driver) = linked(&place, features);
        let tx = &mut link.tx[0];
        driver.rx.ask_for_calls(true);
        while driver.rx.provide(len_of(driver.rx.given())) {}
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let (start, mut frame, mut sent) = (Instant::now(), vec![0; 1514], 0);
                while sent < COUNT {
                    assert!(start.elapsed() < PATIENCE);
                    let mut burst = tx.tx_burst(3).unwrap();
                    fill(&mut frame[..len_of(sent)], 0, sent);
                    sent += u64::from(burst.push(&frame[..len_of(sent)]).is_ok());
                    burst.commit();
                    if sent % 7 == 0 {
                        std::thread::yield_now();
                    }
                }
                assert!(tx.stats().doorbells > 0);
            });
            let rx = &mut driver.rx;
            while rx.taken() < COUNT {
                if !rx.has_used() {
                    rx.wait_call();
                }
                rx.receive(len_of);
                while rx.given() < COUNT && rx.provide(len_of(rx.given())) {}
            }
        });
    }
}
