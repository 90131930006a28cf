//! Packets that are not what their metadata says.

use super::finish;
use super::support::wire::{self, Tcp};
use super::support::{Packet, Rx, TxSetup};
use proptest::prelude::*;
use ringport::burst::forward;
use ringport::offload::{Checksum, Offload, Segmentation};
use ringport::software::BadOffload;

/// A good packet over either version, with one thing changed.
fn changed(v6: bool, change: impl Fn(&mut Tcp, &mut Packet)) -> Packet {
    let mut tcp = Tcp::new(v6, 300, 100);
    let mut packet = tcp.packet();
    change(&mut tcp, &mut packet);
    packet
}

/// The packet of a good `tcp`, of which byte `at` is `value`.
fn with_byte(tcp: &Tcp, at: usize, value: u8) -> Packet {
    let (mut bytes, offload) = tcp.packet();
    bytes[at] = value;
    (bytes, offload)
}

#[track_caller]
fn refused(packet: &Packet, expected: BadOffload) {
    assert_eq!(finish(packet), Err(expected));
}

#[test]
fn headers_of_another_kind_are_refused() {
    let (v4, v6) = (Tcp::new(false, 300, 100), Tcp::new(true, 300, 100));
    let mut three_tags = v4.clone();
    three_tags.vlans = vec![[0x81, 0, 0, 1]; 3];
    for (what, packet) in [
        ("type of IPv6", with_byte(&v4, 12, 0x86)),
        ("version 6 in IPv4", with_byte(&v4, 14, 0x65)),
        ("header of 16 bytes", with_byte(&v4, 14, 0x44)),
        ("more fragments", with_byte(&v4, 20, 0x20)),
        ("a later fragment", with_byte(&v4, 21, 1)),
        ("UDP over IPv4", with_byte(&v4, 23, 17)),
        ("TCP header of 16 bytes", with_byte(&v4, 34 + 12, 0x40)),
        ("version 4 in IPv6", with_byte(&v6, 14, 0x40)),
        ("UDP over IPv6", with_byte(&v6, 20, 17)),
        ("fragment header", with_byte(&v6, 20, 44)),
        ("authentication header", with_byte(&v6, 20, 51)),
        ("no next header", with_byte(&v6, 20, 59)),
        ("three tags", three_tags.packet()),
    ] {
        assert_eq!(finish(&packet), Err(BadOffload::NotTcp), "{what}");
    }
    refused(&(v6.bytes(), v4.offload()), BadOffload::NotTcp);
    refused(&(v4.bytes(), v6.offload()), BadOffload::NotTcp);
}

#[test]
fn reserved_bit_and_do_not_fragment_are_no_fragments() {
    let tcp = Tcp::new(false, 300, 100);
    for flags in [0x00, 0x40, 0x80, 0xc0] {
        assert_eq!(finish(&with_byte(&tcp, 20, flags)).unwrap().len(), 3);
    }
}

#[test]
fn packet_that_ends_within_its_headers_is_refused() {
    for v6 in [false, true] {
        let mut tcp = Tcp::new(v6, 0, 100);
        tcp.vlans = vec![[0x81, 0, 0, 1], [0x88, 0xa8, 0, 2]];
        tcp.ip_options = if v6 { vec![6, 0, 0, 0, 0, 0, 0, 0] } else { vec![1; 8] };
        tcp.next = 60;
        let (bytes, offload) = tcp.packet();
        let checksum = Checksum::Unknown;
        for len in 1..bytes.len() {
            let mut cut = bytes[..len].to_vec();
            // A length that fits, so that it is not the reason.
            if let Some(field) =
                cut.get_mut(tcp.ip() + if v6 { 4 } else { 2 }..).filter(|f| f.len() > 1)
            {
                field[..2].fill(0);
            }
            let outcome = finish(&(cut, Offload { checksum, ..offload }));
            assert_eq!(outcome, Err(BadOffload::Truncated), "{len} of {} bytes", bytes.len());
        }
        tcp.check(&finish(&(bytes, offload)).unwrap());
    }
}

#[test]
fn lengths_that_lie_are_refused() {
    for v6 in [false, true] {
        for by in [-1, 1, 256] {
            let tcp = Tcp::new(v6, 300, 100);
            let (mut bytes, offload) = tcp.packet();
            let at = tcp.ip() + if v6 { 4 } else { 2 };
            let right = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            let (said, actual) = (right.checked_add_signed(by).unwrap(), usize::from(right));
            bytes[at..at + 2].copy_from_slice(&said.to_be_bytes());
            refused(&(bytes, offload), BadOffload::WrongLength { said, actual });
        }
    }
}

#[test]
fn trailing_bytes_are_not_sent_as_payload() {
    let mut packet = Tcp::new(false, 300, 100).packet();
    packet.0.push(0);
    refused(&packet, BadOffload::WrongLength { said: 352, actual: 353 });
}

#[test]
fn checksum_of_something_else_is_refused() {
    for v6 in [false, true] {
        for (start, offset) in [(1, 0), (-1, 0), (0, -10), (0, 1)] {
            let packet = changed(v6, |tcp, (_, offload)| {
                let start = u16::try_from(tcp.tcp()).unwrap().checked_add_signed(start).unwrap();
                let offset = 16u16.checked_add_signed(offset).unwrap();
                offload.checksum = Checksum::Partial { start, offset };
            });
            refused(&packet, BadOffload::NotTcp);
        }
    }
}

#[test]
fn checksum_outside_the_packet_is_refused() {
    let len = 100;
    for (start, offset) in [(98, 1), (99, 0), (0, 99), (100, 0), (u16::MAX, u16::MAX)] {
        let offload =
            Offload { checksum: Checksum::Partial { start, offset }, ..Offload::default() };
        let expected = BadOffload::ChecksumOutside { start, offset, len };
        refused(&(wire::bytes(len), offload), expected);
        // Nor with a tag in front of it.
        refused(&(wire::bytes(len), Offload { vlan: Some(1), ..offload }), expected);
    }
}

#[test]
fn tag_does_not_fit_a_packet_without_an_ethernet_header() {
    let offload = Offload { vlan: Some(1), ..Offload::default() };
    for len in 1..14 {
        refused(&(wire::bytes(len), offload), BadOffload::Truncated);
    }
    assert_eq!(finish(&(wire::bytes(14), offload)).unwrap()[0].len(), 18);
    let checksum = Checksum::Partial { start: 13, offset: 0 };
    let expected = BadOffload::ChecksumOutside { start: 13, offset: 0, len: 60 };
    refused(&(wire::bytes(60), Offload { checksum, ..offload }), expected);
}

#[test]
fn segments_of_hardly_anything_are_refused() {
    for segment_size in 0..8 {
        let tcp = Tcp::new(false, 300, segment_size);
        refused(&tcp.packet(), BadOffload::SegmentTooShort { segment_size, min: 8 });
    }
}

#[test]
fn packet_beyond_the_longest_of_ip_is_refused() {
    for v6 in [false, true] {
        let tcp = Tcp::new(v6, 65_535 - if v6 { 72 } else { 52 }, 1000);
        assert!(finish(&tcp.packet()).is_ok());
        let (mut bytes, offload) = tcp.packet();
        bytes.push(0);
        bytes[tcp.ip() + if v6 { 4 } else { 2 }..][..2].fill(0);
        refused(&(bytes, offload), BadOffload::TooLong { len: 14 + 65_536 });
    }
}

#[test]
fn extension_headers_have_a_limit() {
    let header = |next: u8| [next, 0, 0, 0, 0, 0, 0, 0];
    for count in [8usize, 9] {
        let mut tcp = Tcp::new(true, 300, 100);
        tcp.next = 60;
        tcp.ip_options =
            (1..=count).flat_map(|n| header(if n == count { 6 } else { 60 })).collect();
        match finish(&tcp.packet()) {
            Ok(segments) if count == 8 => tcp.check(&segments),
            outcome => assert_eq!((count, outcome), (9, Err(BadOffload::NotTcp))),
        }
    }
    let mut long = Tcp::new(true, 3000, 100);
    (long.next, long.ip_options) = (60, vec![0; 8 * 60]);
    (long.ip_options[0], long.ip_options[1]) = (6, 59);
    refused(&long.packet(), BadOffload::Truncated);
    // One that would end beyond anything.
    long.ip_options[1] = 255;
    refused(&long.packet(), BadOffload::Truncated);
}

#[test]
fn route_with_hops_left_is_refused_and_one_that_is_done_is_not() {
    for (hops, accepted) in [(0, true), (1, false), (255, false)] {
        let mut tcp = Tcp::new(true, 300, 100);
        (tcp.next, tcp.ip_options) = (43, vec![6, 0, 2, hops, 0, 0, 0, 0]);
        assert_eq!(finish(&tcp.packet()).is_ok(), accepted, "{hops} hops left");
    }
}

proptest! {
    #[test]
    fn any_bytes_with_any_metadata_are_sent_whole_or_dropped(
        bytes in proptest::collection::vec(any::<u8>(), 1..200),
        checksum in proptest::option::of((0..250u16, 0..250u16)),
        (kind, header_len, segment_size) in (0..3, any::<u16>(), prop_oneof![0..20u16, any::<u16>()]),
        vlan in any::<Option<u16>>(),
        good in any::<Option<bool>>(),
        scribbles in proptest::collection::vec((0..80usize, any::<u8>()), 0..4),
    ) {
        let mut bytes = good.map_or(bytes, |v6| Tcp::new(v6, 100, 9).bytes());
        for (at, value) in scribbles {
            let len = bytes.len();
            bytes[at % len] = value;
        }
        let segmentation = match kind {
            0 => Segmentation::None,
            1 => Segmentation::Tcp4 { header_len, segment_size, ecn: true },
            _ => Segmentation::Tcp6 { header_len, segment_size, ecn: false },
        };
        let checksum = checksum.map_or(Checksum::Unknown, |(start, offset)| {
            Checksum::Partial { start, offset }
        });
        let packets = [(bytes, Offload { checksum, segmentation, vlan })];
        let mut tx = TxSetup::new(64, 4096).tx();
        let done = forward(&mut Rx::new(50, packets), &mut tx, 1).unwrap();
        prop_assert_eq!(done.packets + done.malformed, 1);
        prop_assert_eq!(tx.take_plain().len(), done.sent);
    }
}
