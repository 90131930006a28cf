//! Devices that give back in whatever order, and those that agreed to keep it.

use super::hand::{Chain, HEADER, rx_by_hand, tx_by_hand};
use super::*;
use std::collections::HashSet;

/// Some order of `items`, another in each turn.
fn shuffled<T>(mut items: Vec<T>, turn: u32) -> Vec<T> {
    let mut seed = u64::from(turn) + 1;
    for at in (1..items.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(at, usize::try_from(seed >> 33).unwrap() % (at + 1));
    }
    items
}

fn in_order(setup: Setup) -> Setup {
    Setup { features: RingFeatures { in_order: true, ..setup.features }, ..setup }
}

#[test]
fn received_buffers_may_come_in_any_order() {
    for setup in LAYOUTS.map(|layout| Setup::new(layout, 16)) {
        let (mut rx, mut device, _link) = rx_by_hand(&setup);
        let mut chains = device.offered();
        assert_eq!(chains.len(), 16);
        for turn in 0..50 {
            chains = shuffled(chains, turn);
            let (one, rest) = chains.split_at(1);
            let (three, kept) = rest.split_at(3);
            let packets = [frame(100, turn), frame(256 + 268 + 50, turn + 1)];
            device.send(one, &packets[0]);
            device.send(three, &packets[1]);
            assert_eq!(receive(&mut rx, &packets, 8, 1), 1);
            assert_eq!(receive(&mut rx, &packets[1..], 8, 0), 1);
            chains = kept.to_vec();
            chains.extend(device.offered());
            assert_eq!(chains.len(), 16);
            let places: HashSet<_> = chains.iter().map(|chain| chain.buffers[0].0).collect();
            assert_eq!(places.len(), 16, "a buffer offered twice");
        }
    }
}

#[test]
fn sent_chains_may_come_back_in_any_order() {
    for setup in LAYOUTS.map(|layout| Setup::new(layout, 16)) {
        let (mut tx, mut device, _link) = tx_by_hand(&setup);
        let (mut held, mut expected): (Vec<Chain>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
        for turn in 0..200u32 {
            let frames: Vec<_> =
                [60, 700, 256, 300].into_iter().map(|len| frame(len, turn)).collect();
            let sent = send(&mut tx, &frames);
            assert!(turn > 0 || sent == 4);
            expected.extend(frames.into_iter().take(sent));
            held.extend(device.offered());
            let places: Vec<_> = held.iter().flat_map(|chain| &chain.buffers).collect();
            assert_eq!(places.iter().collect::<HashSet<_>>().len(), places.len());
            assert!(places.len() <= 16, "more than the ring holds");
            let pairs = shuffled(held.drain(..).zip(expected.drain(..)).collect(), turn);
            for (chain, frame) in pairs {
                assert_eq!(device.packet(&chain), (vec![0; HEADER], frame.clone()));
                if held.len() < usize::try_from(turn % 4).unwrap() {
                    held.push(chain);
                    expected.push(frame);
                } else {
                    device.give_back(&chain, 0);
                }
            }
        }
        assert!(tx.stats().packets > 400, "{}", tx.stats().packets);
    }
}

#[test]
fn ring_kept_in_order_is_offered_in_order() {
    for setup in LAYOUTS.map(|layout| in_order(Setup::new(layout, 8))) {
        let (mut tx, mut device, _link) = tx_by_hand(&setup);
        let mut next = 0;
        for turn in 0..40 {
            let sent = send(&mut tx, &[frame(60 + 290 * (turn % 3), 1), frame(60, 2)]);
            assert_eq!(sent, 2);
            for chain in device.offered() {
                assert_eq!(chain.id, next);
                for at in 0..chain.buffers.len() {
                    let slot = (usize::from(next) + at) % 8;
                    let (buffer, [_, link]) = device.entry(u16::try_from(slot).unwrap());
                    assert_eq!(buffer, chain.buffers[at], "not in the order of the table");
                    if setup.layout == RingLayout::Split && at + 1 < chain.buffers.len() {
                        assert_eq!(usize::from(link), (slot + 1) % 8);
                    }
                }
                next = (next + u16::try_from(chain.buffers.len()).unwrap()) % 8;
                device.give_back(&chain, 0);
            }
        }
    }
}

#[test]
fn one_element_gives_back_a_batch_that_was_sent() {
    for setup in LAYOUTS.map(|layout| in_order(Setup::new(layout, 16))) {
        let (mut tx, mut device, _link) = tx_by_hand(&setup);
        for turn in 0..30 {
            let frames: Vec<_> = [60, 700, 256, 300].map(|len| frame(len, turn)).into();
            assert_eq!(send(&mut tx, &frames), 4, "turn {turn}");
            let chains = device.offered();
            let entries = chains.iter().map(|chain| chain.buffers.len()).sum::<usize>();
            let last = chains.last().unwrap();
            device.give(last.id.into(), 0, 4, u16::try_from(entries).unwrap());
            assert_eq!(tx.tx_burst(16).unwrap().free(), 16);
        }
    }
}

#[test]
fn one_element_gives_back_a_packet_in_several_buffers() {
    for setup in LAYOUTS.map(|layout| in_order(Setup::new(layout, 16))) {
        let (mut rx, mut device, _link) = rx_by_hand(&setup);
        let mut chains = device.offered();
        for turn in 0..30 {
            let packet = frame(256 + 2 * 268 + 40, turn);
            let lens = device.fill(&chains[..4], 4, &packet);
            assert_eq!(lens, [268, 268, 268, 40]);
            device.give(chains[3].id.into(), 40, 4, 4);
            assert_eq!(receive(&mut rx, &[packet], 8, 0), 1);
            chains.drain(..4);
            chains.extend(device.offered());
            assert_eq!(chains.len(), 16);
        }
    }
}

#[test]
fn buffers_passed_over_are_full() {
    for setup in LAYOUTS.map(|layout| in_order(Setup::new(layout, 8))) {
        let (mut rx, mut device, _link) = rx_by_hand(&setup);
        let mut chains = device.offered();
        for turn in 0..20u32 {
            let packets = [frame(256, turn), frame(256, turn + 1), frame(33, turn + 2)];
            for (chain, packet) in chains.iter().zip(&packets) {
                device.fill(std::slice::from_ref(chain), 1, packet);
            }
            device.give(chains[2].id.into(), 45, 3, 3);
            // Kept for later, and not counted twice.
            assert_eq!(receive(&mut rx, &packets, 1, 1), 0);
            assert_eq!(receive(&mut rx, &packets, 2, 1), 1);
            assert_eq!(receive(&mut rx, &packets[1..], 8, 0), 2);
            chains.drain(..3);
            chains.extend(device.offered());
        }
    }
}

#[test]
fn batch_as_long_as_the_ring_is_taken() {
    for setup in LAYOUTS.map(|layout| in_order(Setup::new(layout, 1024))) {
        let (mut rx, mut device, _link) = rx_by_hand(&setup);
        let frames: Vec<_> = (0..1024).map(|seed| frame(256, seed)).collect();
        for _ in 0..3 {
            let chains = device.offered();
            for (chain, frame) in chains.iter().zip(&frames) {
                device.fill(std::slice::from_ref(chain), 1, frame);
            }
            device.give(chains[1023].id.into(), 268, 1024, 1024);
            let mut received = 0;
            while received < 1024 {
                let taken = receive(&mut rx, &frames[received..], 100, received % 7);
                assert!(taken > 0);
                received += taken;
            }
        }
    }
}

#[test]
fn sent_header_asks_for_nothing() {
    for setup in LAYOUTS.map(|layout| Setup::new(layout, 8)) {
        let (mut tx, mut device, _link) = tx_by_hand(&setup);
        let descriptor = device.descriptor;
        for turn in 0..20 {
            let packets = [frame(60, turn), frame(300, turn)];
            assert_eq!(send(&mut tx, &packets), 2);
            for (chain, packet) in device.offered().iter().zip(&packets) {
                assert_eq!(device.packet(chain), (vec![0; HEADER], packet.clone()));
                device.give_back(chain, 0);
            }
        }
        assert_eq!(device.descriptor, descriptor);
    }
}

#[test]
fn device_that_writes_to_what_was_sent_misleads_itself_only() {
    for setup in LAYOUTS.map(|layout| Setup::new(layout, 8)) {
        let (mut tx, mut device, link) = tx_by_hand(&setup);
        for turn in 0..20 {
            let packets = [frame(60, turn), frame(300, turn)];
            assert_eq!(send(&mut tx, &packets), 2);
            for (chain, packet) in device.offered().iter().zip(&packets) {
                assert_eq!(device.packet(chain).1, *packet, "what it wrote is overwritten");
                device.fill(std::slice::from_ref(chain), 0xffff, &[0xff; 10]);
                device.give_back(chain, 0);
            }
        }
        assert!(link.is_up());
    }
}
