//! Storms of requests that change running rings, while packets go both ways on other threads, in
//! rings of both layouts. No packet is lost, doubled, cut or mixed up, but for those that a disabled
//! ring throws away, which are counted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{
    AtTheEnd, FEATURES, Front, Guest, Hand, PACKED, PATIENCE, Place, Served, frame,
};
use ringport_vhost_user::{DeviceConfig, Link};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;
use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// Least turns of a storm, and least packets that go each way in it.
const ROUNDS: usize = 300;
const PACKETS: u32 = 2000;

/// The `number`th packet of one direction.
fn packet(number: u32) -> Vec<u8> {
    let mut packet = frame(60 + (number * 13 % 900) as usize, number);
    packet[..4].copy_from_slice(&number.to_le_bytes());
    packet
}

/// Packets of one direction as they arrive: numbers go up, contents are right.
#[derive(Debug, Default)]
struct Arrivals {
    count: u32,
    /// Number of the one after the last.
    next: u32,
}

impl Arrivals {
    fn take(&mut self, got: &[u8]) {
        let number = u32::from_le_bytes(got[..4].try_into().unwrap());
        assert!(number >= self.next, "packet {number} where {} was due", self.next);
        assert!(got == packet(number), "packet {number} is another");
        (self.count, self.next) = (self.count + 1, number + 1);
    }
}

/// What a driver has sent, and what it has received.
struct DriverSide {
    hands: [Hand; 2],
    guest: Guest,
    sent: u32,
    arrivals: Arrivals,
}

impl DriverSide {
    fn turn(&mut self, sends: bool) {
        let [to_driver, from_driver] = &mut self.hands;
        for got in to_driver.received(&self.guest) {
            self.arrivals.take(&got);
        }
        while to_driver.outstanding() < 32 {
            to_driver.provide(&self.guest);
        }
        from_driver.used(&self.guest);
        if sends && from_driver.outstanding() < 32 {
            from_driver.send(&self.guest, &packet(self.sent));
            self.sent += 1;
        }
    }
}

/// What the device has.
struct DeviceSide {
    link: Link,
    sent: u32,
    arrivals: Arrivals,
}

impl DeviceSide {
    fn turn(&mut self, sends: bool) {
        let burst = self.link.rx[0].rx_burst(8).unwrap();
        for got in burst.packets() {
            self.arrivals.take(&got.detach());
        }
        drop(burst);
        let mut burst = self.link.tx[0].tx_burst(4).unwrap();
        while sends && burst.push(&packet(self.sent)).is_ok() {
            self.sent += 1;
        }
        burst.commit();
    }

    /// Whether everything has arrived that was not thrown away.
    fn has_all(&self, sent: u32) -> bool {
        u64::from(self.arrivals.count) + self.link.rx[0].stats().discarded == u64::from(sent)
    }
}

/// Runs `storm` again and again while packets go both ways, and some more after the last time.
fn under_traffic(features: u64, storm: impl Fn(&mut Front, usize)) {
    let place = Place::new();
    let served = Served::listen(&place, DeviceConfig::default());
    let mut front = Front::running_with(&place, 1, features);
    let link = served.link_up();
    let guest = front.guest.again();
    let hands = front.hands(0);
    let mut driver = DriverSide { hands, guest, sent: 0, arrivals: Arrivals::default() };
    let mut device = DeviceSide { link, sent: 0, arrivals: Arrivals::default() };
    let (over, arrived) = (AtomicBool::new(false), [AtomicU32::new(0), AtomicU32::new(0)]);
    std::thread::scope(|scope| {
        let driver = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                driver.turn(true);
                arrived[0].store(driver.arrivals.count, Ordering::Relaxed);
            }
            driver
        });
        let device = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                device.turn(true);
                arrived[1].store(device.arrivals.count, Ordering::Relaxed);
            }
            device
        });
        let ended = AtTheEnd(&over);
        let (mut round, start) = (0, Instant::now());
        let enough = || arrived.iter().all(|count| count.load(Ordering::Relaxed) >= PACKETS);
        while round < ROUNDS || !enough() {
            assert!(start.elapsed() < PATIENCE, "{arrived:?} after {round} turns");
            storm(&mut front, round);
            round += 1;
        }
        for ring in 0..2 {
            front.vhost.set_vring_enable(ring, true).unwrap();
        }
        drop(ended);
        settle(driver.join().unwrap(), device.join().unwrap());
    });
}

/// Lets what is on its way arrive, and counts.
fn settle(mut driver: DriverSide, mut device: DeviceSide) {
    let deadline = Instant::now() + PATIENCE;
    while !device.has_all(driver.sent) || driver.arrivals.count < device.sent {
        device.turn(false);
        driver.turn(false);
        let counts = (driver.sent, &device.arrivals, device.sent, &driver.arrivals);
        let stats = (device.link.rx[0].stats(), device.link.tx[0].stats());
        assert!(Instant::now() < deadline, "{counts:?} {stats:?}");
    }
    assert_eq!(driver.arrivals.count, device.sent);
}

fn for_both(storm: impl Fn(&mut Front, usize) + Copy) {
    under_traffic(FEATURES, storm);
    under_traffic(FEATURES | PACKED, storm);
}

fn eventfd() -> EventFd {
    EventFd::new(EFD_NONBLOCK).unwrap()
}

#[test]
fn rings_enabled_and_disabled_lose_only_what_they_count() {
    for_both(|front, round| {
        front.vhost.set_vring_enable(round % 2, round % 4 >= 2).unwrap();
    });
}

#[test]
fn memory_mapped_anew_again_and_again_loses_nothing() {
    for_both(|front, _| front.share());
}

#[test]
fn regions_that_come_and_go_lose_nothing() {
    for_both(|front, _| {
        let mut region = front.guest.region();
        region.guest_phys_addr += 1 << 32;
        region.userspace_addr += 1 << 32;
        front.vhost.add_mem_region(&region).unwrap();
        front.vhost.remove_mem_region(&region).unwrap();
    });
}

#[test]
fn rings_stopped_and_started_where_they_were_lose_nothing() {
    for_both(|front, round| {
        let ring = round % 2;
        let base = front.stop_ring(ring);
        front.restart_ring(ring, base);
    });
}

#[test]
fn doorbells_exchanged_lose_nothing() {
    for_both(|front, round| {
        let ring = round % 2;
        front.vhost.set_vring_kick(ring, &eventfd()).unwrap();
        front.vhost.set_vring_call(ring, &eventfd()).unwrap();
        front.vhost.set_vring_err(ring, &eventfd()).unwrap();
    });
}

#[test]
fn all_of_it_at_once_loses_only_what_is_counted() {
    for_both(|front, round| {
        let ring = round % 2;
        front.vhost.set_vring_enable(ring, false).unwrap();
        front.share();
        front.vhost.set_vring_call(ring, &eventfd()).unwrap();
        let base = front.stop_ring(ring);
        front.share();
        front.vhost.set_vring_enable(ring, true).unwrap();
        front.restart_ring(ring, base);
        front.vhost.set_vring_kick(ring, &eventfd()).unwrap();
    });
}
