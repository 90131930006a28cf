//! Packets through both queues.

use super::*;
use ringport::offload::{Checksum, Offload, Segmentation};

/// Lengths from one byte to `longest`, with those around the ends of buffers.
fn lengths(setup: &Setup, longest: usize, count: usize) -> Vec<usize> {
    let buffer = setup.buffer_size as usize;
    let mut lens =
        vec![1, 60, buffer - 1, buffer, buffer + 1, 2 * buffer + 12, 3 * buffer, longest];
    lens.retain(|len| *len <= longest);
    lens.into_iter().cycle().take(count).collect()
}

fn frames(lens: Vec<usize>) -> Vec<Vec<u8>> {
    (0..).zip(lens).map(|(seed, len)| frame(len, seed)).collect()
}

fn exchange(setup: &Setup, count: usize) {
    let mut pair = Pair::new(setup);
    let to_device = frames(lengths(setup, setup.longest_sent(), count));
    let to_driver = frames(lengths(setup, setup.longest_received(), count));
    transfer(&mut pair.tx, &mut pair.device_rx, &to_device);
    transfer(&mut pair.device_tx, &mut pair.rx, &to_driver);
    pair.assert_whole();
    let (rx, tx) = (pair.rx.stats(), pair.tx.stats());
    assert_eq!((rx.packets, tx.packets), (count as u64, count as u64));
    let bytes = |frames: &[Vec<u8>]| frames.iter().map(|frame| frame.len() as u64).sum();
    assert_eq!((rx.bytes, tx.bytes), (bytes(&to_driver), bytes(&to_device)));
}

#[test]
fn packets_arrive_unchanged_with_every_mix_of_features() {
    for size in [2, 8, 64] {
        for setup in Setup::all(size) {
            exchange(&setup, 10 * usize::from(size));
        }
    }
}

#[test]
fn packed_rings_of_odd_sizes_carry_packets_over_many_turns() {
    for size in [1, 3, 7, 57, 257] {
        for setup in Setup::all(size).filter(|setup| setup.layout == RingLayout::Packed) {
            exchange(&setup, 300);
        }
    }
}

#[test]
fn index_of_a_split_ring_wraps_at_16_bits() {
    for setup in Setup::all(4).filter(|setup| setup.layout == RingLayout::Split) {
        let mut pair = Pair::new(&Setup { buffer_size: 64, ..setup });
        let burst: Vec<_> = (0..4).map(|seed| frame(60, seed)).collect();
        for _ in 0..(1 << 16) / 4 + 8 {
            assert_eq!(send(&mut pair.tx, &burst), 4);
            assert_eq!(receive(&mut pair.device_rx, &burst, 8, 0), 4);
            assert_eq!(send(&mut pair.device_tx, &burst), 4);
            assert_eq!(receive(&mut pair.rx, &burst, 8, 0), 4);
        }
        pair.assert_whole();
    }
}

#[test]
fn longest_rings_carry_packets_over_a_turn() {
    for setup in LAYOUTS.map(|layout| Setup { buffer_size: 64, ..Setup::new(layout, 32768) }) {
        let mut pair = Pair::new(&setup);
        let frames = frames(vec![60; 40_000]);
        transfer(&mut pair.tx, &mut pair.device_rx, &frames);
        transfer(&mut pair.device_tx, &mut pair.rx, &frames);
        pair.assert_whole();
    }
}

#[test]
fn packet_in_as_many_buffers_as_allowed_arrives() {
    for setup in Setup::all(2048).filter(|setup| setup.features.mergeable) {
        let mut pair = Pair::new(&Setup { buffer_size: 60, ..setup });
        let longest = frame(60 + 1023 * 72, 1);
        transfer(&mut pair.device_tx, &mut pair.rx, &[longest]);
        let longest = frame(256 * 60, 2);
        transfer(&mut pair.tx, &mut pair.device_rx, &[longest]);
        pair.assert_whole();
    }
}

#[test]
fn burst_has_as_many_packets_as_asked_for_though_each_is_in_several_buffers() {
    for setup in Setup::all(64).filter(|setup| setup.features.mergeable) {
        let mut pair = Pair::new(&setup);
        let frames = frames(vec![700; 16]);
        assert_eq!(send(&mut pair.device_tx, &frames), 16);
        assert_eq!(receive(&mut pair.rx, &frames, 12, 0), 12);
        assert_eq!(receive(&mut pair.rx, &frames[12..], 12, 0), 4);
    }
}

#[test]
fn ring_that_nobody_empties_fills_up_and_goes_on_afterwards() {
    for setup in Setup::all(8) {
        let mut pair = Pair::new(&setup);
        let frames: Vec<_> = (0..20).map(|seed| frame(100, seed)).collect();
        assert_eq!(send(&mut pair.tx, &frames), 8);
        assert_eq!(pair.tx.tx_burst(8).unwrap().free(), 0);
        assert_eq!(pair.tx.stats().ring_full, 1);
        assert_eq!(receive(&mut pair.device_rx, &frames, 5, 2), 3);
        // A device that keeps the order may give back what it has used as one.
        assert_eq!(pair.tx.tx_burst(8).unwrap().free(), 3);
        assert_eq!(send(&mut pair.tx, &frames[8..]), 3);
        assert_eq!(receive(&mut pair.device_rx, &frames[3..11], 20, 0), 8);
        assert_eq!(send(&mut pair.device_tx, &frames), 8);
        assert_eq!(pair.device_tx.tx_burst(8).unwrap().free(), 0);
        assert_eq!(receive(&mut pair.rx, &frames, 3, 0), 3);
        assert_eq!(pair.device_tx.tx_burst(8).unwrap().free(), 3);
        assert_eq!(receive(&mut pair.rx, &frames[3..8], 20, 0), 5);
        pair.assert_whole();
    }
}

#[test]
fn burst_that_is_dropped_sends_nothing() {
    for setup in Setup::all(8) {
        let mut pair = Pair::new(&setup);
        for turn in 0..20 {
            let mut burst = pair.tx.tx_burst(8).unwrap();
            burst.push(&frame(600, 1)).unwrap();
            burst.push(&frame(60, 2)).unwrap();
            drop(burst);
            assert!(pair.device_rx.rx_burst(8).unwrap().is_empty());
            transfer(&mut pair.tx, &mut pair.device_rx, &[frame(60, turn)]);
        }
    }
}

#[test]
fn offloads_arrive_in_both_directions() {
    let accepts = Accepts { checksum: true, tcp4: true, tcp6: true, ecn: true };
    let checksum = Checksum::Partial { start: 34, offset: 16 };
    let tcp = Segmentation::Tcp4 { header_len: 54, segment_size: 100, ecn: true };
    let asks = [
        Offload::default(),
        Offload { checksum, ..Offload::default() },
        Offload { checksum, segmentation: tcp, vlan: None },
    ];
    for mut setup in Setup::all(16) {
        (setup.features.rx_offloads, setup.features.tx_offloads) = (true, accepts);
        let mut pair = Pair::new(&setup);
        let ends: [(&mut dyn PacketTx, &mut dyn PacketRx); 2] =
            [(&mut pair.tx, &mut pair.device_rx), (&mut pair.device_tx, &mut pair.rx)];
        for (tx, rx) in ends {
            for len in [200, 256] {
                let mut burst = tx.tx_burst(16).unwrap();
                for offload in asks {
                    burst.set_offload(offload).unwrap();
                    burst.push(&frame(len, 1)).unwrap();
                }
                assert_eq!(burst.commit(), 3);
                let burst = rx.rx_burst(16).unwrap();
                let found: Vec<_> = burst.packets().map(|packet| packet.offload()).collect();
                assert_eq!(found, asks);
            }
        }
        assert_eq!(pair.rx.stats().bad_header, 0);
    }
}

#[test]
fn only_devices_say_that_a_packet_was_verified() {
    let accepts = Accepts { checksum: true, ..Accepts::default() };
    for mut setup in Setup::all(16) {
        (setup.features.rx_offloads, setup.features.tx_offloads) = (true, accepts);
        let mut pair = Pair::new(&setup);
        let verified = Offload { checksum: Checksum::Verified, ..Offload::default() };
        let ends: [(&mut dyn PacketTx, &mut dyn PacketRx, _); 2] = [
            (&mut pair.tx, &mut pair.device_rx, Offload::default()),
            (&mut pair.device_tx, &mut pair.rx, verified),
        ];
        for (tx, rx, expected) in ends {
            let mut burst = tx.tx_burst(16).unwrap();
            burst.set_offload(verified).unwrap();
            burst.push(&frame(60, 1)).unwrap();
            burst.commit();
            let burst = rx.rx_burst(16).unwrap();
            assert_eq!(burst.packets().next().unwrap().offload(), expected);
        }
    }
}

#[test]
fn header_of_a_buffer_that_packets_go_on_in_stays_as_it_is() {
    for layout in LAYOUTS {
        let (mut tx, mut device, _link) = hand::tx_by_hand(&Setup::new(layout, 8));
        for turn in 0..20 {
            // Nobody sends this one.
            tx.tx_burst(8).unwrap().push(&frame(700, turn)).unwrap();
            let frames = [frame(60, turn), frame(700, turn), frame(60, turn), frame(60, turn)];
            assert_eq!(send(&mut tx, &frames), 4);
            for (chain, frame) in device.offered().iter().zip(frames) {
                assert_eq!(device.packet(chain), (vec![0; hand::HEADER], frame), "turn {turn}");
                device.give_back(chain, 0);
            }
        }
    }
}
