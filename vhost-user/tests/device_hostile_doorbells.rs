//! Doorbells in a driver's hands: filled, blocking, a semaphore, closed, rung without end. Neither the
//! thread that moves packets nor the one that polls the device ever waits for them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{
    AtTheEnd, FEATURES, Front, Hand, PACKED, PATIENCE, Place, Served, exchange, frame, in_time,
    receive,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ringport_vhost_user::virtqueue::KickMode;
use ringport_vhost_user::{DeviceConfig, Link, RxQueue};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use vhost::VhostBackend;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EFD_SEMAPHORE, EventFd};

const LAYOUTS: [u64; 2] = [FEATURES, FEATURES | PACKED];

fn running(place: &Place, features: u64, kicks: KickMode) -> (Served, Front, Link, [Hand; 2]) {
    let device = Served::listen(place, DeviceConfig { kicks, ..DeviceConfig::default() });
    let front = Front::running_with(place, 1, features);
    let link = device.link_up();
    let hands = front.hands(0);
    (device, front, link, hands)
}

#[test]
fn call_that_is_full_and_blocking_stops_nobody() {
    for features in LAYOUTS {
        let place = Place::new();
        let (_device, front, mut link, mut hands) = running(&place, features, KickMode::default());
        for (ring, kind) in [(0, 0), (1, EFD_SEMAPHORE)] {
            // Without EFD_NONBLOCK: a write to it sleeps.
            let call = EventFd::new(kind).unwrap();
            call.write(u64::MAX - 1).unwrap();
            front.vhost.set_vring_call(ring, &call).unwrap();
        }
        in_time(|| {
            for seed in 0..500 {
                exchange(&mut hands, &front.guest, &mut link, 0, seed);
            }
        });
        assert!(link.tx[0].stats().doorbells >= 500, "each was called for");
    }
}

#[test]
fn kick_and_err_that_are_full_and_blocking_stop_nobody() {
    for features in LAYOUTS {
        let place = Place::new();
        let (device, mut front, mut link, mut hands) =
            running(&place, features, KickMode::Interrupt);
        assert_eq!(device.pairs_enabled(), 1);
        let full = || {
            let bell = EventFd::new(0).unwrap();
            bell.write(u64::MAX - 1).unwrap();
            bell
        };
        for ring in [0, 1] {
            front.vhost.set_vring_kick(ring, &full()).unwrap();
            front.vhost.set_vring_err(ring, &full()).unwrap();
        }
        in_time(|| {
            for seed in 0..100 {
                link.rx[0].arm().unwrap();
                link.tx[0].arm().unwrap();
                exchange(&mut hands, &front.guest, &mut link, 0, seed);
            }
            // A buffer for no packet breaks the ring.
            hands[0].offer(&front.guest, &[(0, 0, 2)]);
            while link.tx[0].stats().bad_bounds + link.tx[0].stats().bad_length == 0 {
                link.tx[0].tx_burst(1).unwrap();
            }
            assert_eq!(device.ring_broken().0, 0);
            front.stop_ring(0);
        });
    }
}

/// Sleeps until there is something to receive. Returns how often it woke for nothing.
fn sleep(rx: &mut RxQueue) -> usize {
    let mut woken = 0;
    while !rx.arm().unwrap() {
        let mut set = [PollFd::new(rx.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(PATIENCE).unwrap();
        assert!(poll(&mut set, patience).unwrap() > 0, "slept through it");
        woken += 1;
    }
    woken
}

#[test]
fn kick_that_is_a_semaphore_wakes_and_ends() {
    for features in LAYOUTS {
        let place = Place::new();
        let (_device, front, mut link, mut hands) = running(&place, features, KickMode::default());
        let kick = EventFd::new(EFD_SEMAPHORE | EFD_NONBLOCK).unwrap();
        front.vhost.set_vring_kick(1, &kick).unwrap();
        in_time(|| {
            // More than one look takes; each of them is a wake-up for nothing at most.
            kick.write(10_000).unwrap();
            std::thread::scope(|scope| {
                let (hand, guest, kick) = (&mut hands[1], &front.guest, &kick);
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_millis(50));
                    hand.send(guest, &frame(64, 1));
                    kick.write(1).unwrap();
                });
                assert!(sleep(&mut link.rx[0]) <= 10_000);
            });
            assert_eq!(receive(&mut link.rx[0], 1), [frame(64, 1)]);
        });
    }
}

#[test]
fn doorbells_whose_other_end_is_closed_stop_nobody() {
    for features in LAYOUTS {
        let place = Place::new();
        let (_device, mut front, mut link, mut hands) =
            running(&place, features, KickMode::default());
        let bell = || EventFd::new(EFD_NONBLOCK).unwrap();
        for ring in &mut front.rings {
            (ring.kick, ring.call, ring.err) = (bell(), bell(), bell());
        }
        in_time(|| {
            for seed in 0..100 {
                exchange(&mut hands, &front.guest, &mut link, 0, seed);
                link.rx[0].arm().unwrap();
            }
        });
    }
}

#[test]
fn kicks_without_end_keep_neither_packets_nor_messages_back() {
    for features in LAYOUTS {
        let place = Place::new();
        let (_device, front, mut link, mut hands) = running(&place, features, KickMode::Interrupt);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _over = AtTheEnd(&over);
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    for ring in &front.rings {
                        // It may be full.
                        let _ = ring.kick.write(1);
                        let _ = ring.call.write(1);
                    }
                }
            });
            in_time(|| {
                for seed in 0..100 {
                    link.rx[0].arm().unwrap();
                    exchange(&mut hands, &front.guest, &mut link, 0, seed);
                    assert!(front.raw.still_answers());
                }
            });
        });
    }
}

#[test]
fn doorbell_of_a_ring_that_broke_wakes_nobody_any_more() {
    let place = Place::new();
    let (device, front, mut link, mut hands) = running(&place, FEATURES, KickMode::default());
    assert_eq!(device.pairs_enabled(), 1);
    hands[1].publish(&front.guest, 0x8000);
    while link.rx[0].stats().bad_index == 0 {
        link.rx[0].rx_burst(1).unwrap();
    }
    assert_eq!(device.ring_broken().0, 1);
    // Changes by control wake it, and are over now.
    assert!(!link.rx[0].arm().unwrap());
    front.rings[1].kick.write(1).unwrap();
    let mut set = [PollFd::new(link.rx[0].as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut set, PollTimeout::from(50_u8)).unwrap(), 0);
}
