//! Any packet of TCP, cut.

use super::finish;
use super::support::wire::{self, Tcp};
use super::support::{Rx, TxSetup};
use proptest::collection::vec;
use proptest::prelude::*;
use ringport::burst::forward;
use ringport::offload::{Checksum, Offload};

/// Most segments of a packet that is drawn.
const SEGMENTS_MAX: usize = 1000;

/// Packets that can be cut, of all shapes of headers, into no more segments than there are slots
/// for in `finish`: each takes up to three.
fn packets() -> impl Strategy<Value = Tcp> {
    let vlan = prop_oneof![Just([0x81, 0, 0, 5]), Just([0x88, 0xa8, 0x20, 9])];
    let lengths = (0..40_000usize, prop_oneof![8..64u16, 64..2000u16, Just(u16::MAX)]);
    let options = (0..=10usize, 0..=10usize);
    let extensions = vec((prop_oneof![Just(0u8), Just(43), Just(60)], 0..4u8), 0..=6);
    let numbers = (any::<bool>(), any::<u16>(), any::<u32>(), any::<u8>());
    (vec(vlan, 0..=2), lengths, options, extensions, numbers).prop_map(
        |(vlans, (payload, size), (ip_words, tcp_words), extensions, numbers)| {
            let (v6, id, sequence, flags) = numbers;
            let (next, ip_options) = match v6 {
                true => chain(&extensions),
                false => (6, vec![1; ip_words * 4]),
            };
            let tcp_options = vec![1; tcp_words * 4];
            let new = Tcp::new(v6, payload.min(usize::from(size) * SEGMENTS_MAX), size);
            Tcp { vlans, ip_options, next, id, sequence, flags, tcp_options, ..new }
        },
    )
}

/// IPv6 extension headers of these kinds and lengths, and the first one's number.
fn chain(extensions: &[(u8, u8)]) -> (u8, Vec<u8>) {
    let kinds = extensions.iter().map(|(kind, _)| *kind).chain([6]);
    let kinds: Vec<u8> = kinds.collect();
    let headers = extensions.iter().zip(&kinds[1..]).flat_map(|((_, len), next)| {
        // No segments left, where it is a routing header.
        let rest = vec![0; 8 * usize::from(*len) + 6];
        [vec![*next, *len], rest].concat()
    });
    (kinds[0], headers.collect())
}

proptest! {
    #[test]
    fn segments_add_up_to_the_packet_and_have_right_headers(tcp in packets()) {
        tcp.check(&finish(&tcp.packet()).unwrap());
    }

    #[test]
    fn checksum_is_right_wherever_it_is(
        len in 60..3000usize,
        start in 0..40u16,
        offset in 0..=18u16,
        pieces in 1..500usize,
    ) {
        let bytes = wire::bytes(len);
        let checksum = Checksum::Partial { start, offset };
        let offload = Offload { checksum, ..Offload::default() };
        let mut tx = TxSetup::new(100, 64).tx();
        forward(&mut Rx::new(pieces, [(bytes.clone(), offload)]), &mut tx, 1).unwrap();
        let sent = tx.take_plain().remove(0);
        let at = usize::from(start + offset);
        let expected = match wire::checksum(&bytes[start.into()..]) {
            0 if offset == 6 => 0xffff,
            sum => sum,
        };
        prop_assert_eq!(&sent[at..at + 2], &expected.to_be_bytes());
        prop_assert_eq!(&sent[..at], &bytes[..at]);
        prop_assert_eq!(&sent[at + 2..], &bytes[at + 2..]);
    }
}

#[test]
fn longest_packet_is_cut() {
    for v6 in [false, true] {
        let room = 65_535 - if v6 { 40 } else { 20 } - 32;
        for size in [8, 1448, 9000, 65_535] {
            let tcp = Tcp::new(v6, room, size);
            let count = room.div_ceil(size.into());
            if count <= 4096 {
                tcp.check(&finish(&tcp.packet()).unwrap());
            } else {
                let mut rx = Rx::new(4096, [tcp.packet()]);
                let done = forward(&mut rx, &mut TxSetup::new(2048, 256).tx(), 1).unwrap();
                assert_eq!((done.dropped, done.malformed), (1, 0), "{count} segments in 256 slots");
            }
        }
    }
}

#[test]
fn packet_that_is_no_longer_than_a_segment_is_completed() {
    for payload in [0, 1, 99, 100] {
        let tcp = Tcp::new(false, payload, 100);
        tcp.check(&finish(&tcp.packet()).unwrap());
    }
}

#[test]
fn lengths_that_a_driver_leaves_to_the_device_are_filled_in() {
    for v6 in [false, true] {
        let tcp = Tcp::new(v6, 500, 200);
        let mut packet = tcp.packet();
        let at = tcp.ip() + if v6 { 4 } else { 2 };
        packet.0[at..at + 2].fill(0);
        tcp.check(&finish(&packet).unwrap());
    }
}

#[test]
fn segments_have_checksums_even_if_nobody_asked_for_them() {
    for checksum in [Checksum::Unknown, Checksum::Verified] {
        let tcp = Tcp::new(true, 500, 200);
        let (bytes, offload) = tcp.packet();
        tcp.check(&finish(&(bytes, Offload { checksum, ..offload })).unwrap());
    }
}
