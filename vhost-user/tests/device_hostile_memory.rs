//! Memory that is not what was said of it, or does not stay.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{
    FEATURES, FRONT_END, Front, GUEST, Guest, HEADER, Hand, LEN, PACKED, Place, Served, eventually,
    exchange, frame, receive, send,
};
use nix::fcntl::{FallocateFlags, fallocate};
use ringport::error::QueueError;
use ringport::shm::MemoryPolicy;
use ringport_vhost_user::wire::{MemoryRegion, Message, Request};
use ringport_vhost_user::{DeviceConfig, DownReason, Event, Link};
use std::os::fd::AsFd;
use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;

const PAGE: u64 = 4096;

fn running(place: &Place, features: u64) -> (Served, Front, Link, [Hand; 2]) {
    let device = Served::listen(place, DeviceConfig::default());
    let front = Front::running_with(place, 1, features);
    let link = device.link_up();
    assert_eq!(device.pairs_enabled(), 1);
    let hands = front.hands(0);
    (device, front, link, hands)
}

#[test]
fn region_that_cannot_be_is_refused_and_the_memory_before_stays() {
    let place = Place::new();
    let (device, front, mut link, mut hands) = running(&place, FEATURES);
    let file = Guest::new();
    let good = MemoryRegion {
        guest_address: GUEST + (1 << 40),
        user_address: FRONT_END + (1 << 40),
        ..file.said()
    };
    let top = u64::MAX - PAGE + 1;
    let bad = [
        ("empty", MemoryRegion { size: 0, ..good }),
        ("all there is", MemoryRegion { size: u64::MAX, ..good }),
        ("half of it", MemoryRegion { size: 1 << 63, ..good }),
        ("wraps in the guest", MemoryRegion { guest_address: top, ..good }),
        ("wraps in the front-end", MemoryRegion { user_address: top, ..good }),
        ("wraps in its file", MemoryRegion { mmap_offset: top, ..good }),
        ("longer than its file", MemoryRegion { size: LEN + 1, ..good }),
        ("behind its file", MemoryRegion { mmap_offset: LEN, ..good }),
        ("beyond its file's end", MemoryRegion { mmap_offset: PAGE, ..good }),
        ("over another in the guest", MemoryRegion { guest_address: GUEST + PAGE, ..good }),
        ("over another in the front-end", MemoryRegion { user_address: FRONT_END + 1, ..good }),
    ];
    for (name, region) in bad {
        let add = Message::MemRegion(Request::AddMemReg, region);
        let table = Message::MemTable(vec![front.guest.said(), region]);
        let (ours, theirs) = (front.guest.file.as_fd(), file.file.as_fd());
        for (message, fds) in [(add, vec![theirs]), (table, vec![ours, theirs])] {
            assert_ne!(front.raw.ask(&message, &fds).number(), 0, "{name}");
            let event = device.next();
            assert!(matches!(event, Event::RequestRefused(_)), "{name}: {event:?}");
        }
        exchange(&mut hands, &front.guest, &mut link, 0, 3);
    }
    let add = Message::MemRegion(Request::AddMemReg, good);
    assert!(front.raw.ask(&add, &[file.file.as_fd()]).is_yes());
}

#[test]
fn regions_beyond_the_slots_that_were_announced_are_refused() {
    let place = Place::new();
    let (device, front, mut link, mut hands) = running(&place, FEATURES);
    let slots = front.raw.ask(&Message::Plain(Request::GetMaxMemSlots), &[]).number();
    let add = |number: u64| {
        let said = front.guest.said();
        let region = MemoryRegion {
            guest_address: GUEST + (number << 32),
            user_address: FRONT_END + (number << 32),
            ..said
        };
        let message = Message::MemRegion(Request::AddMemReg, region);
        front.raw.ask(&message, &[front.guest.file.as_fd()])
    };
    assert!((1..slots).all(|number| add(number).is_yes()));
    assert!(!add(slots).is_yes());
    assert!(matches!(device.next(), Event::RequestRefused(_)));
    exchange(&mut hands, &front.guest, &mut link, 0, 3);
}

#[test]
fn ring_that_is_not_all_in_one_region_does_not_start() {
    let place = Place::new();
    let device = Served::listen(&place, DeviceConfig::default());
    let mut front = Front::connect(&place, 1);
    // The descriptors of ring 1 go on in another region, which is its neighbour.
    let whole = front.guest.region();
    let cut = 0x20_0000 + 512;
    let mut regions = [whole, whole];
    regions[0].memory_size = cut;
    regions[1].memory_size -= cut;
    regions[1].guest_phys_addr += cut;
    regions[1].userspace_addr += cut;
    regions[1].mmap_offset += cut;
    front.vhost.set_mem_table(&regions).unwrap();
    front.start_ring(0, 0).unwrap();
    assert!(front.start_ring(1, 0).is_err());
    assert!(matches!(device.next(), Event::RequestRefused(_)));
}

#[test]
fn ring_started_again_elsewhere_or_of_another_size_is_looked_for_anew() {
    // With buffers given back by bursts: what was left of one must not be given back later.
    const IN_ORDER: u64 = 1 << 35;
    for features in [FEATURES, FEATURES | PACKED, FEATURES | IN_ORDER, FEATURES | IN_ORDER | PACKED]
    {
        let place = Place::new();
        let (_device, mut front, mut link, mut hands) = running(&place, features);
        let start = if front.packed { 0x8000 } else { 0 };
        for (turn, size) in [64, 8, 32, 4, 64, 2].into_iter().enumerate() {
            for seed in 0..100 {
                exchange(&mut hands, &front.guest, &mut link, 0, seed);
            }
            for (number, hand) in hands.iter_mut().enumerate() {
                front.stop_ring(number);
                // Two rings have four places.
                let place = 2 * (turn % 2) + number;
                *hand = Hand::of(front.packed, place, size);
                hand.reset(&front.guest);
                front.start_ring_at(number, start, place, size);
            }
        }
        exchange(&mut hands, &front.guest, &mut link, 0, 1);
    }
}

#[test]
fn buffer_at_the_end_of_a_region_goes_on_in_its_neighbour_or_is_dropped() {
    for features in [FEATURES, FEATURES | PACKED] {
        let place = Place::new();
        let (_device, mut front, mut link, mut hands) = running(&place, features);
        let more = Guest::new();
        let mut region = more.region();
        region.guest_phys_addr += LEN;
        region.userspace_addr += LEN;
        front.vhost.add_mem_region(&region).unwrap();
        let (end, packet) = (GUEST + LEN, frame(200, 1));
        let whole = [&[0; HEADER], &packet[..]].concat();
        for behind in [1, 5, 12, 13, 100, 211] {
            let at = end - behind;
            let (first, second) = whole.split_at(usize::try_from(behind).unwrap());
            front.guest.put(at, first);
            more.put(GUEST, second);
            hands[1].offer(&front.guest, &[(at, 212, 0)]);
            assert_eq!(receive(&mut link.rx[0], 1), [&packet[..]], "{behind}");
            hands[0].offer(&front.guest, &[(at, 212, 2)]);
            send(&mut link.tx[0], std::slice::from_ref(&packet));
            assert_eq!(hands[0].wait_used(&front.guest), [212]);
            let got = [front.guest.get(at, first.len()), more.get(GUEST, second.len())].concat();
            assert_eq!(got[HEADER..], packet, "{behind}");
        }
        // Behind the neighbour is nothing.
        for (at, len) in [(end + LEN - 1, 100), (end + LEN - 99, 100), (end + LEN, 100)] {
            let before = link.rx[0].stats().bad_bounds;
            hands[1].offer(&front.guest, &[(at, len, 0)]);
            eventually("it is dropped", || {
                assert!(link.rx[0].rx_burst(8).unwrap().is_empty());
                link.rx[0].stats().bad_bounds == before + 1
            });
        }
        exchange(&mut hands, &front.guest, &mut link, 0, 3);
    }
}

/// A link whose memory the front-end can take back.
fn on_unsealed_memory(place: &Place, device: &Served, features: u64) -> (Front, Link) {
    let mut front = Front::connect_with(place, 1, features);
    front.guest = Guest::unsealed();
    front.share();
    front.start_pair(0);
    (front, device.link_up())
}

#[test]
fn memory_taken_back_under_traffic_ends_the_link_and_not_the_process() {
    for features in [FEATURES, FEATURES | PACKED] {
        let place = Place::new();
        let device = Served::listen(&place, DeviceConfig::default());
        let (front, mut link) = on_unsealed_memory(&place, &device, features);
        let mut hands = front.hands(0);
        exchange(&mut hands, &front.guest, &mut link, 0, 3);
        front.guest.file.set_len(0).unwrap();
        eventually("the queues notice", || {
            let lost = link.rx[0].rx_burst(8).map(drop);
            lost == Err(QueueError::MemoryLost)
        });
        assert_eq!(link.tx[0].tx_burst(8).map(drop), Err(QueueError::MemoryLost));
        let reason = device.link_down();
        assert!(matches!(reason, DownReason::Fault(QueueError::MemoryLost)), "{reason:?}");
        // For the next one all is as before.
        let front = Front::running_with(&place, 1, features);
        let mut link = device.link_up();
        exchange(&mut front.hands(0), &front.guest, &mut link, 0, 3);
    }
}

#[test]
fn memory_taken_back_is_noticed_before_a_thread_sleeps() {
    for features in [FEATURES, FEATURES | PACKED] {
        let place = Place::new();
        let device = Served::listen(&place, DeviceConfig::default());
        let (front, mut link) = on_unsealed_memory(&place, &device, features);
        assert_eq!(link.rx[0].arm(), Ok(false));
        front.guest.file.set_len(0).unwrap();
        assert_eq!(link.rx[0].arm(), Err(QueueError::MemoryLost));
        let reason = device.link_down();
        assert!(matches!(reason, DownReason::Fault(QueueError::MemoryLost)), "{reason:?}");
    }
}

#[test]
fn memory_taken_back_while_a_burst_is_open_ends_the_link_and_not_the_process() {
    let place = Place::new();
    let device = Served::listen(&place, DeviceConfig::default());
    let mut front = Front::connect(&place, 1);
    front.guest = Guest::unsealed();
    front.share();
    front.start_pair(0);
    let mut link = device.link_up();
    let [to_driver, from_driver] = &mut front.hands(0);
    from_driver.send(&front.guest, &frame(1000, 1));
    to_driver.provide(&front.guest);
    let mut received = link.rx[0].rx_burst(1).unwrap();
    while received.is_empty() {
        drop(received);
        received = link.rx[0].rx_burst(1).unwrap();
    }
    let mut sending = link.tx[0].tx_burst(1).unwrap();
    front.guest.file.set_len(0).unwrap();
    // Whatever is read now; it is not looked at.
    let mut bytes = [1; 1000];
    let copied: usize = received.packets().map(|packet| packet.copy_to(&mut bytes)).sum();
    assert_eq!((copied, bytes), (1000, [0; 1000]));
    sending.push(&frame(1000, 1)).unwrap();
    sending.commit();
    drop(received);
    assert_eq!(link.rx[0].rx_burst(8).map(drop), Err(QueueError::MemoryLost));
    let reason = device.link_down();
    assert!(matches!(reason, DownReason::Fault(QueueError::MemoryLost)), "{reason:?}");
}

#[test]
fn hole_punched_into_running_rings_breaks_them_at_most() {
    for features in [FEATURES, FEATURES | PACKED] {
        let place = Place::new();
        let (_device, mut front, mut link, mut hands) = running(&place, features);
        exchange(&mut hands, &front.guest, &mut link, 0, 3);
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(&front.guest.file, hole, 0, i64::try_from(LEN).unwrap()).unwrap();
        for _ in 0..100 {
            assert!(link.rx[0].rx_burst(8).unwrap().is_empty());
            link.tx[0].tx_burst(8).unwrap();
        }
        for (number, hand) in hands.iter_mut().enumerate() {
            front.stop_ring(number);
            hand.reset(&front.guest);
            front.restart_ring(number, if front.packed { 0x8000 } else { 0 });
        }
        exchange(&mut hands, &front.guest, &mut link, 0, 4);
    }
}

#[test]
fn memory_that_can_be_sealed_cannot_be_taken_back_and_other_memory_may_be_refused() {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let place = Place::new();
    let policy = MemoryPolicy::Sealed;
    let config = DeviceConfig { policy, ..DeviceConfig::default() };
    let device = Served::listen(&place, config);
    let mut front = Front::connect(&place, 1);
    front.guest = Guest::unsealed();
    let unsealed = front.guest.region();
    assert!(front.vhost.set_mem_table(&[unsealed]).is_err());
    assert!(matches!(device.next(), Event::RequestRefused(_)));
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    front.guest.file = memfd_create("sealable", flags).unwrap().into();
    front.guest.file.set_len(LEN).unwrap();
    front.share();
    assert!(front.guest.file.set_len(0).is_err(), "sealed by the device");
    front.start_pair(0);
    let mut link = device.link_up();
    exchange(&mut front.hands(0), &front.guest, &mut link, 0, 3);
}
