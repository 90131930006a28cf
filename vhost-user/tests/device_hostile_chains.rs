//! Chains that no driver should make available, to a device over its socket, in rings of both
//! layouts. What a driver sends wrongly is dropped and counted, and the next packet arrives; where
//! it receives, it loses the ring, and the other rings go on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{
    Descriptor, FEATURES, Front, GUEST, Guest, HEADER, Hand, INDIRECT, LEN, NEXT, PACKED, Place,
    Served, WRITE, eventually, exchange, frame, receive,
};
use ringport::stats::RxStats;
use ringport_vhost_user::{DeviceConfig, Link};

const LAYOUTS: [u64; 2] = [FEATURES | 1 << 28, FEATURES | 1 << 28 | PACKED];
const END: u64 = GUEST + LEN;
/// Where a table of descriptors may be, from the ring's first byte.
const TABLE: u64 = 0xc000;

/// What a bad chain counts as.
type Count = fn(&RxStats) -> u64;
const BOUNDS: Count = |stats| stats.bad_bounds;
const LENGTH: Count = |stats| stats.bad_length;
const CHAIN: Count = |stats| stats.bad_chain;
const CHAIN_OR_LENGTH: Count = |stats| stats.bad_chain + stats.bad_length;

struct Scene {
    device: Served,
    front: Front,
    link: Link,
    /// Of the first pair, and of the second.
    hands: [[Hand; 2]; 2],
}

impl Scene {
    fn new(place: &Place, features: u64) -> Self {
        let config = DeviceConfig { queue_pairs: 2, ..DeviceConfig::default() };
        let device = Served::listen(place, config);
        let front = Front::running_with(place, 2, features);
        let link = device.link_up();
        while device.pairs_enabled() < 2 {}
        let hands = [front.hands(0), front.hands(1)];
        Self { device, front, link, hands }
    }

    /// Has the driver send `chain` between good packets.
    #[track_caller]
    fn dropped(&mut self, name: &str, chain: &[Descriptor], count: Count) {
        let (hand, rx) = (&mut self.hands[0][1], &mut self.link.rx[0]);
        let (guest, before) = (&self.front.guest, rx.stats());
        hand.send(guest, &frame(60, 1));
        hand.offer(guest, chain);
        hand.send(guest, &frame(61, 2));
        assert_eq!(receive(rx, 2), [frame(60, 1), frame(61, 2)], "{name}");
        assert_eq!(hand.wait_used(guest), [0; 3], "{name}");
        assert_eq!(count(&rx.stats()), count(&before) + 1, "{name}: {:?}", rx.stats());
        assert_eq!(rx.stats().packets, before.packets + 2, "{name}");
    }

    /// Has the driver provide `chain` for a packet: that ring breaks, and can be started again.
    #[track_caller]
    fn breaks(&mut self, name: &str, chain: &[Descriptor]) {
        let Self { device, front, link, hands } = self;
        let [[to_driver, _], other] = hands;
        to_driver.offer(&front.guest, chain);
        let faults = |link: &Link| {
            let stats = link.tx[0].stats();
            stats.bad_bounds + stats.bad_length + stats.bad_chain + stats.bad_index
        };
        let before = faults(link);
        eventually("the ring breaks", || {
            assert_eq!(link.tx[0].tx_burst(8).unwrap().free(), 0, "{name}");
            faults(link) == before + 1
        });
        let (ring, error) = device.ring_broken();
        assert_eq!(ring, 0, "{name}: {error}");
        assert_eq!(front.rings[0].err.read().unwrap(), 1, "{name}: the driver is told");
        assert!(front.rings[1].err.read().is_err(), "{name}: of this ring only");
        exchange(other, &front.guest, link, 1, 5);
        front.stop_ring(0);
        to_driver.reset(&front.guest);
        front.restart_ring(0, if front.packed { 0x8000 } else { 0 });
        exchange(&mut hands[0], &front.guest, link, 0, 6);
    }

    fn table(&self) -> u64 {
        self.hands[0][1].start() + TABLE
    }

    /// Writes a table, to be named by the next chain.
    fn put_table(&self, table: u64, chain: &[Descriptor]) {
        let last = chain.len() - 1;
        for (at, &(address, len, flags)) in chain.iter().enumerate() {
            let flags = flags | if at < last && !self.front.packed { NEXT } else { 0 };
            let next = u16::try_from(at + 1).unwrap();
            let words = if self.front.packed { [0, flags] } else { [flags, next] };
            put_descriptor(&self.front.guest, table + 16 * at as u64, address, len, words);
        }
    }
}

fn put_descriptor(guest: &Guest, at: u64, address: u64, len: u32, words: [u16; 2]) {
    let words = words.map(u16::to_le_bytes).concat();
    guest.put(at, &[&address.to_le_bytes()[..], &len.to_le_bytes(), &words].concat());
}

#[test]
fn bad_buffer_is_dropped_between_packets_that_arrive() {
    for features in LAYOUTS {
        let place = Place::new();
        let mut scene = Scene::new(&place, features);
        let at = scene.hands[0][1].start() + 0x1_0000;
        for (address, len) in [
            (END - 1, 100),
            (END - 99, 100),
            (END, 100),
            (GUEST - 1, 100),
            (0, 100),
            (u64::MAX, 100),
            (u64::MAX - 50, 100),
            (GUEST, u32::MAX - 200),
        ] {
            let name = format!("{len} bytes at {address:#x}");
            scene.dropped(&name, &[(address, len, 0)], BOUNDS);
            scene.dropped(&name, &[(at, 100, 0), (address, len, 0)], BOUNDS);
            scene.dropped(&name, &[(address, len, 0), (at, 100, 0)], BOUNDS);
        }
        for len in 0..=12 {
            scene.dropped(&format!("runt of {len}"), &[(at, len, 0)], LENGTH);
            let cut: Vec<_> = (0..len.max(1)).map(|_| (at, 1, 0)).collect();
            scene.dropped(&format!("runt in {len} pieces"), &cut, LENGTH);
        }
        scene.dropped("nothing in several", &[(at, 0, 0), (at, 0, 0), (at, 0, 0)], LENGTH);
        scene.dropped("for the other direction", &[(at, 100, WRITE)], CHAIN);
        scene.dropped("both directions", &[(at, 100, 0), (at, 100, WRITE)], CHAIN);
        scene.dropped("more than 32 bits count", &[(at, 0x10_0000, 0), (at, u32::MAX, 0)], LENGTH);
        let long = vec![(GUEST, 0x40_0000, 0); 60];
        scene.dropped(
            "a packet longer than any",
            &[&long[..], &[(at, u32::MAX, 0)]].concat(),
            LENGTH,
        );
    }
}

#[test]
fn bad_table_is_dropped_between_packets_that_arrive() {
    for features in LAYOUTS {
        let place = Place::new();
        let mut scene = Scene::new(&place, features);
        let (table, at) = (scene.table(), scene.hands[0][1].start() + 0x1_0000);
        scene.put_table(table, &[(at, 100, 0); 4]);
        for len in [0, 1, 15, 17, 63, u32::MAX, 16 * 65536] {
            let name = format!("table of {len}");
            scene.dropped(&name, &[(table, len, INDIRECT)], CHAIN_OR_LENGTH);
        }
        for address in [0, GUEST - 8, END - 8, u64::MAX, u64::MAX - 15] {
            let name = format!("table at {address:#x}");
            scene.dropped(&name, &[(address, 32, INDIRECT)], BOUNDS);
        }
        scene.put_table(table, &[(table, 16, INDIRECT)]);
        scene.dropped("table in a table", &[(table, 16, INDIRECT)], CHAIN);
        scene.put_table(table, &[(at, 100, 0), (END - 1, 100, 0)]);
        scene.dropped("bad buffer in a table", &[(table, 32, INDIRECT)], BOUNDS);
        scene.put_table(table, &[(at, 5, 0), (at, 7, 0)]);
        scene.dropped("runt in a table", &[(table, 32, INDIRECT)], LENGTH);
        scene.put_table(table, &[(at, 0x10_0000, 0), (at, u32::MAX, 0)]);
        scene.dropped("more than 32 bits count", &[(table, 32, INDIRECT)], LENGTH);
        if !scene.front.packed {
            scene.put_table(table, &[(at, 100, 0), (at, 100, 0)]);
            scene.dropped("a table of a chain", &[(at, 10, 0), (table, 15, INDIRECT)], LENGTH);
            // In a packed table a driver may leave that flag set (DPDK does) where it sends.
            scene.put_table(table, &[(at, 100, 0), (at, 100, WRITE)]);
            scene.dropped("both directions", &[(table, 32, INDIRECT)], CHAIN);
        } else {
            let chain = [(at, 10, 0), (table, 32, INDIRECT)];
            scene.dropped("a table behind another descriptor", &chain, CHAIN);
        }
    }
}

#[test]
fn table_that_was_not_agreed_on_is_dropped() {
    for features in LAYOUTS {
        let place = Place::new();
        let mut scene = Scene::new(&place, features & !(1 << 28));
        let (table, at) = (scene.table(), scene.hands[0][1].start() + 0x1_0000);
        scene.put_table(table, &[(at, 100, 0)]);
        scene.dropped("not agreed on", &[(table, 16, INDIRECT)], CHAIN);
    }
}

#[test]
fn bad_receive_buffer_costs_the_driver_its_ring_and_no_other() {
    for features in LAYOUTS {
        let place = Place::new();
        let mut scene = Scene::new(&place, features);
        let at = GUEST + 0x1_0000;
        for len in 0..=12 {
            scene.breaks(&format!("runt of {len}"), &[(at, len, WRITE)]);
        }
        scene.breaks("runt in pieces", &[(at, 5, WRITE), (at, 0, WRITE), (at, 7, WRITE)]);
        for address in [END - 1, END, GUEST - 1, 0, u64::MAX] {
            scene.breaks(&format!("buffer at {address:#x}"), &[(address, 100, WRITE)]);
        }
        scene.breaks("for the other direction", &[(at, 100, 0)]);
        scene.breaks("both directions", &[(at, 100, WRITE), (at, 100, 0)]);
        scene.breaks("both directions", &[(at, 100, 0), (at, 100, WRITE)]);
        scene.breaks("more than 32 bits count", &[(at, 0x10_0000, WRITE), (at, u32::MAX, WRITE)]);
        let table = scene.table();
        scene.put_table(table, &[(at, 100, WRITE)]);
        scene.breaks("table with an odd length", &[(table, 15, INDIRECT)]);
        scene.put_table(table, &[(table, 16, INDIRECT | WRITE)]);
        scene.breaks("table in a table", &[(table, 16, INDIRECT)]);
    }
}

#[test]
fn header_that_is_cut_anywhere_is_taken_off() {
    for features in LAYOUTS {
        let place = Place::new();
        let mut scene = Scene::new(&place, features);
        let Scene { front, link, hands, .. } = &mut scene;
        let (hand, guest) = (&mut hands[0][1], &front.guest);
        let packet = frame(300, 4);
        let whole = [&[0; HEADER], &packet[..]].concat();
        let mut cuts: Vec<Vec<u32>> = (0..=13).map(|cut| vec![cut, 312 - cut]).collect();
        cuts.extend((0..=12).map(|cut| vec![cut, 0, 12 - cut, 1, 0, 299]));
        // Bytes one by one, as many as make up the header, and more.
        cuts.push([vec![1; 12], vec![300]].concat());
        cuts.push([vec![1; 40], vec![272]].concat());
        for lens in cuts {
            let mut at = hand.start() + 0x1_0000;
            let mut rest = &whole[..];
            let mut chain: Vec<Descriptor> = Vec::new();
            for len in &lens {
                let (now, later) = rest.split_at(*len as usize);
                guest.put(at, now);
                chain.push((at, *len, 0));
                (at, rest) = (at + u64::from(*len) + 3, later);
            }
            hand.offer(guest, &chain);
            assert_eq!(receive(&mut link.rx[0], 1), [&packet[..]], "{lens:?}");
            hand.wait_used(guest);
        }
    }
}
