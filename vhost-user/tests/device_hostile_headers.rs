//! Headers that ask for what their packet cannot have.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{FEATURES, Front, PACKED, Place, Served, eventually, frame};
use ringport::offload::{Checksum, Segmentation};
use ringport_vhost_user::device::Offloads;
use ringport_vhost_user::{DeviceConfig, Link};

/// CSUM, HOST_TSO4, HOST_TSO6.
const OFFLOADS: u64 = 1 | 1 << 11 | 1 << 12;
/// Bytes of the packets here.
const BYTES: u16 = 100;

fn running(place: &Place, features: u64) -> (Served, Front, Link) {
    let offloads = Offloads::Segmentation;
    let device = Served::listen(place, DeviceConfig { offloads, ..DeviceConfig::default() });
    let front = Front::running_with(place, 1, features | OFFLOADS);
    let link = device.link_up();
    (device, front, link)
}

/// flags, kind, header_len, gso_size, csum_start, csum_offset.
fn header(bytes: [u8; 2], words: [u16; 4]) -> Vec<u8> {
    [&bytes[..], &words.map(u16::to_le_bytes).concat(), &[0, 0]].concat()
}

#[test]
fn header_that_makes_no_sense_asks_for_nothing_and_is_counted() {
    for features in [FEATURES, FEATURES | PACKED] {
        let place = Place::new();
        let (_device, front, mut link) = running(&place, features);
        let mut hand = front.hand(1);
        let bad = [
            ("checksum starts behind the packet", header([1, 0], [0, 0, BYTES, 0])),
            ("checksum starts at its last byte", header([1, 0], [0, 0, BYTES - 1, 0])),
            ("checksum goes behind the packet", header([1, 0], [0, 0, 50, 49])),
            ("checksum wraps around", header([1, 0], [0, 0, 0xffff, 0xffff])),
            ("segments of no bytes", header([1, 1], [54, 0, 34, 16])),
            ("segments without a checksum", header([0, 1], [54, 50, 34, 16])),
            ("headers as long as the packet", header([1, 1], [BYTES, 50, 34, 16])),
            ("headers longer than the packet", header([1, 1], [0xffff, 50, 34, 16])),
            ("segmentation of UDP", header([1, 3], [42, 50, 34, 6])),
            ("segmentation of a kind to come", header([1, 0x7f], [54, 50, 34, 16])),
            ("nothing but ones", vec![0xff; 12]),
        ];
        for (count, (name, header)) in (1..).zip(bad) {
            let packet = frame(usize::from(BYTES), count);
            let at = hand.place();
            front.guest.put(at, &[&header[..], &packet].concat());
            hand.offer(&front.guest, &[(at, u32::from(BYTES) + 12, 0)]);
            eventually("the packet arrives", || {
                let burst = link.rx[0].rx_burst(1).unwrap();
                let Some(got) = burst.packets().next() else { return false };
                assert!(got.offload().is_plain(), "{name}: {:?}", got.offload());
                assert_eq!(got.detach().to_vec(), packet, "{name}");
                true
            });
            assert_eq!(link.rx[0].stats().bad_header, u64::from(count), "{name}");
        }
    }
}

#[test]
fn header_of_any_bytes_asks_for_what_lies_in_its_packet() {
    for features in [FEATURES, FEATURES | PACKED] {
        let place = Place::new();
        let (_device, front, mut link) = running(&place, features);
        let mut hand = front.hand(1);
        let (mut dice, mut partial) = (0x1234_5678_9abc_def1_u64, 0);
        for turn in 0..5000_u32 {
            let mut roll = |below: u64| {
                dice ^= dice << 13;
                dice ^= dice >> 7;
                dice ^= dice << 17;
                dice % below
            };
            let len = 1 + u32::try_from(roll(u64::from(BYTES))).unwrap();
            let small = roll(2) == 0;
            let bytes: Vec<u8> = (0..12)
                .map(|at: u8| {
                    let byte = u8::try_from(roll(256)).unwrap();
                    // Mostly numbers of about the packet's length.
                    match at {
                        0 | 1 => byte % 6,
                        _ if small => {
                            if at % 2 == 1 {
                                0
                            } else {
                                byte % 110
                            }
                        }
                        _ => byte,
                    }
                })
                .collect();
            let at = hand.place();
            front.guest.put(at, &[&bytes[..], &frame(len as usize, turn)].concat());
            hand.offer(&front.guest, &[(at, len + 12, 0)]);
            eventually("the packet arrives", || {
                let burst = link.rx[0].rx_burst(1).unwrap();
                let Some(got) = burst.packets().next() else { return false };
                let offload = got.offload();
                if let Checksum::Partial { start, offset } = offload.checksum {
                    assert!(u32::from(start) + u32::from(offset) + 2 <= len, "{bytes:?} of {len}");
                    partial += 1;
                }
                if let Segmentation::Tcp4 { header_len, segment_size, .. }
                | Segmentation::Tcp6 { header_len, segment_size, .. } = offload.segmentation
                {
                    assert!(u32::from(header_len) < len && segment_size > 0, "{bytes:?} of {len}");
                }
                assert_eq!(got.detach().to_vec(), frame(len as usize, turn));
                true
            });
            hand.wait_used(&front.guest);
        }
        assert!(partial > 50, "{partial} headers asked for a checksum");
    }
}
