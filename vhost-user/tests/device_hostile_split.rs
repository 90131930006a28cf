//! What only a split ring can have wrong: indices, heads and chains that lead elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{FEATURES, frame, receive};
use device_support::{
    Front, Hand, INDIRECT, NEXT, Place, SIZE, Served, WRITE, eventually, exchange,
};
use ringport::error::QueueError;
use ringport_vhost_user::{DeviceConfig, Link};

struct Scene {
    device: Served,
    front: Front,
    link: Link,
    hands: [Hand; 2],
}

impl Scene {
    fn new(place: &Place) -> Self {
        let device = Served::listen(place, DeviceConfig::default());
        let front = Front::running_with(place, 1, FEATURES | 1 << 28);
        let link = device.link_up();
        assert_eq!(device.pairs_enabled(), 1);
        let hands = front.hands(0);
        Self { device, front, link, hands }
    }

    /// Polls both queues until one ring is broken, which the driver is told of, and has the other
    /// ring go on, and this one when it was started again.
    #[track_caller]
    fn assert_broken(&mut self, number: usize, error: QueueError) {
        let Self { device, front, link, hands } = self;
        let faults = |link: &Link| {
            let (rx, tx) = (link.rx[0].stats(), link.tx[0].stats());
            rx.bad_index + tx.bad_index + tx.bad_chain
        };
        let before = faults(link);
        eventually("the ring breaks", || {
            assert!(link.rx[0].rx_burst(8).unwrap().is_empty());
            assert_eq!(link.tx[0].tx_burst(8).unwrap().free(), 0);
            faults(link) == before + 1
        });
        let (ring, found) = device.ring_broken();
        assert_eq!((usize::from(ring), found), (number, error));
        eventually("the driver is told", || front.rings[number].err.read().is_ok());
        // The other one goes on.
        let (guest, packet) = (&front.guest, frame(100, 1));
        if number == 0 {
            hands[1].send(guest, &packet);
            assert_eq!(receive(&mut link.rx[0], 1), [&packet[..]]);
        } else {
            hands[0].provide(guest);
            device_support::send(&mut link.tx[0], std::slice::from_ref(&packet));
            assert_eq!(hands[0].receive(guest, 1), [&packet[..]]);
        }
        front.stop_ring(number);
        hands[number].reset(&front.guest);
        front.restart_ring(number, 0);
        exchange(hands, &front.guest, link, 0, 2);
    }
}

#[test]
fn index_that_runs_away_breaks_the_ring() {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    for number in [0, 1] {
        for ahead in [SIZE + 1, 0x8000, 0xffff] {
            // Both rings were used once, or anew.
            scene.front.stop_ring(number);
            scene.hands[number].reset(&scene.front.guest);
            scene.front.restart_ring(number, 0);
            scene.hands[number].publish(&scene.front.guest, ahead);
            let error = QueueError::IndexRunaway { queued: ahead, ring_size: SIZE };
            scene.assert_broken(number, error);
        }
    }
    let stats = (scene.link.rx[0].stats().bad_index, scene.link.tx[0].stats().bad_index);
    assert_eq!(stats, (3, 3));
}

#[test]
fn head_outside_the_ring_breaks_it() {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    for number in [0, 1] {
        for head in [SIZE, 0x7fff, 0xffff] {
            scene.front.stop_ring(number);
            scene.hands[number].reset(&scene.front.guest);
            scene.front.restart_ring(number, 0);
            let available = scene.hands[number].start() + 0x4000;
            scene.front.guest.put(available + 4, &head.to_le_bytes());
            scene.hands[number].publish(&scene.front.guest, 1);
            scene
                .assert_broken(number, QueueError::NoSuchDescriptor { index: head, entries: SIZE });
        }
    }
}

/// Sends what descriptors 20 and 21 say, between good packets; returns what was counted.
#[track_caller]
fn dropped(scene: &mut Scene, name: &str, descriptors: [(u64, u32, [u16; 2]); 2]) {
    let Scene { front, link, hands, .. } = scene;
    // From descriptor 0 on, so that 20 and 21 are free.
    front.stop_ring(1);
    hands[1].reset(&front.guest);
    front.restart_ring(1, 0);
    let (hand, guest) = (&mut hands[1], &front.guest);
    let bad = |link: &Link| {
        let stats = link.rx[0].stats();
        stats.bad_chain + stats.bad_index
    };
    let before = bad(link);
    hand.send(guest, &frame(60, 1));
    for (slot, (address, len, last)) in (20..).zip(descriptors) {
        hand.describe(guest, slot, address, len, last);
    }
    hand.offer_head(guest, 20);
    hand.send(guest, &frame(61, 2));
    assert_eq!(receive(&mut link.rx[0], 2), [frame(60, 1), frame(61, 2)], "{name}");
    assert_eq!(hand.wait_used(guest), [0; 3], "{name}");
    assert_eq!(bad(link), before + 1, "{name}");
}

#[test]
fn chain_that_loops_or_leaves_the_ring_is_dropped() {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    let at = scene.hands[1].start() + 0x1_0000;
    let nothing = (0, 0, [0, 0]);
    for len in [0, 100] {
        for next in [SIZE, 0x7fff, 0xffff] {
            dropped(&mut scene, "leaves", [(at, len, [NEXT, next]), nothing]);
        }
        dropped(&mut scene, "itself", [(at, len, [NEXT, 20]), nothing]);
        dropped(&mut scene, "two", [(at, len, [NEXT, 21]), (at, len, [NEXT, 20])]);
        dropped(&mut scene, "tail", [(at, len, [NEXT, 21]), (at, len, [NEXT, 21])]);
    }
    // In a table: next names an entry of that.
    let table = scene.hands[1].start() + 0xc000;
    for (first, second) in [(0, 0), (1, 0), (1, 1), (4, 0), (0xffff, 0)] {
        for (entry, next) in [(0, first), (1, second)] {
            let words = [NEXT, next].map(u16::to_le_bytes).concat();
            let bytes = [&at.to_le_bytes()[..], &100_u32.to_le_bytes(), &words].concat();
            scene.front.guest.put(table + 16 * entry, &bytes);
        }
        dropped(&mut scene, "table", [(table, 64, [INDIRECT, 0]), nothing]);
    }
    dropped(&mut scene, "table with next", [(table, 64, [INDIRECT | NEXT, 21]), nothing]);
}

#[test]
fn chain_of_receive_buffers_that_loops_breaks_the_ring() {
    let place = Place::new();
    let mut scene = Scene::new(&place);
    let at = scene.hands[0].start() + 0x1_0000;
    for next in [20, 21] {
        for (slot, next) in [(20, next), (21, 20)] {
            let last = [NEXT | WRITE, next];
            scene.hands[0].describe(&scene.front.guest, slot, at, 100, last);
        }
        scene.hands[0].offer_head(&scene.front.guest, 20);
        scene.assert_broken(0, QueueError::ChainTooLong { limit: SIZE });
    }
}
