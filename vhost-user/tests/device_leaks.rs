//! Nothing stays behind: one test, as it counts what the process holds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{FEATURES, Front, PACKED, Place, Raw, Served, eventually, exchange};
use ringport_bench::interop::census::{Census, resident_kb};
use ringport_vhost_user::wire::{Message, Request};
use ringport_vhost_user::{DeviceConfig, DownReason, Event};
use std::os::fd::AsFd;

const LINKS: usize = 500;
/// Kilobytes that the process may grow by: a generation of memory would have as many each time.
const GROWTH_MAX: u64 = 8192;

/// A link from its beginning to its end, with packets; `turn` chooses how it ends.
fn link(place: &Place, device: &Served, turn: usize) {
    let features = [FEATURES, FEATURES | PACKED][turn % 2];
    let mut front = Front::running_with(place, 1, features);
    let mut link = device.link_up();
    exchange(&mut front.hands(0), &front.guest, &mut link, 0, 1);
    match turn % 4 {
        0 => {}
        // Memory and doorbells were exchanged.
        1 => {
            front.share();
            front.guest = front.guest.copy(0x1000);
            front.share();
        }
        // A ring is stopped, the device reset.
        2 => {
            front.stop_ring(0);
            assert!(front.raw.ask(&Message::Plain(Request::ResetDevice), &[]).is_yes());
        }
        // In the middle of a message, with a descriptor.
        _ => {
            let table = Message::MemTable(vec![front.guest.said()]).encode(true);
            front.raw.send(&table[..30], &[front.guest.file.as_fd()]);
        }
    }
    drop(front);
    assert!(matches!(device.link_down(), DownReason::PeerClosed));
}

/// A front-end that leaves before there is a link.
fn attempt(place: &Place, device: &Served, turn: usize) {
    let mut front = Front::connect(place, 1);
    let steps = turn % 3;
    if steps > 0 {
        front.share();
    }
    if steps > 1 {
        front.start_ring(1, 0).unwrap();
    }
    drop(front);
    assert!(matches!(device.next(), Event::Refused(DownReason::PeerClosed)));
    // Or says nothing at all.
    drop(Raw::connect(place));
    assert!(matches!(device.next(), Event::Refused(DownReason::PeerClosed)));
}

#[test]
fn front_ends_that_come_and_go_leave_nothing_behind() {
    let place = Place::new();
    let device = Served::listen(&place, DeviceConfig::default());
    // For what is made on first use and stays.
    (0..8).for_each(|turn| link(&place, &device, turn));
    (0..8).for_each(|turn| attempt(&place, &device, turn));
    let (before, resident) = (Census::take(), resident_kb());
    for turn in 0..LINKS {
        link(&place, &device, turn);
        if turn % 10 == 0 {
            attempt(&place, &device, turn);
            eventually("nothing more is held than before", || before.compare().is_ok());
        }
    }
    eventually("nothing more is held than before", || before.compare().is_ok());
    let growth = resident_kb().saturating_sub(resident);
    assert!(growth < GROWTH_MAX, "{growth} kB more after {LINKS} links");
}
