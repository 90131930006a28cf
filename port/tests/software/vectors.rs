//! Packets whose bytes were worked out elsewhere.

use super::finish;
use ringport::offload::{Checksum, Offload, Segmentation};

fn hex(text: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

fn partial(start: u16, offset: u16) -> Offload {
    Offload { checksum: Checksum::Partial { start, offset }, ..Offload::default() }
}

/// Destination and source.
const MACS: &str = "020000000001020000000002";

#[test]
fn udp_checksum_is_completed() {
    let ip = "08004500002100074000401126c30a0000010a000002";
    let packet = hex(&[MACS, ip, "12340035000d1421", "68656c6c6f"].concat());
    let expected = hex(&[MACS, ip, "12340035000d9596", "68656c6c6f"].concat());
    assert_eq!(finish(&(packet, partial(34, 6))), Ok(vec![expected]));
}

#[test]
fn udp_checksum_of_zero_is_sent_as_ones() {
    let ip = "08004500001e00074000401126c60a0000010a000002";
    let packet = hex(&[MACS, ip, "12340035000a141e", "d96e"].concat());
    let expected = hex(&[MACS, ip, "12340035000affff", "d96e"].concat());
    assert_eq!(finish(&(packet, partial(34, 6))), Ok(vec![expected]));
}

#[test]
fn checksum_of_zero_that_is_not_of_udp_stays_zero() {
    let mut packet = vec![0; 60];
    packet[40..42].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(finish(&(packet.clone(), partial(20, 16))), Ok(vec![packet_with_zero(&packet)]));
}

/// All of the packet but for a zero in the place of the checksum, which is elsewhere.
fn packet_with_zero(packet: &[u8]) -> Vec<u8> {
    let mut expected = packet.to_vec();
    expected[36..38].copy_from_slice(&[0, 0]);
    expected
}

#[test]
fn tcp_over_ipv4_is_cut_with_wrapping_sequence_and_identification() {
    let packet = hex(&[
        MACS,
        "08004500003cffff4000400600000a0000010a000002",
        "12340050fffffff801020304509902000000",
        "0000",
        "6162636465666768696a6b6c6d6e6f7071727374",
    ]
    .concat());
    let segments = [
        [
            "080045000030ffff4000400626c60a0000010a000002",
            "12340050fffffff80102030450900200f1310000",
            "6162636465666768",
        ],
        [
            "08004500003000004000400626c60a0000010a000002",
            "12340050000000000102030450100200d18a0000",
            "696a6b6c6d6e6f70",
        ],
        [
            "08004500002c00014000400626c90a0000010a000002",
            "123400500000000801020304501902009e4c0000",
            "71727374",
        ],
    ];
    let segmentation = Segmentation::Tcp4 { header_len: 54, segment_size: 8, ecn: true };
    let offload = Offload { segmentation, ..partial(34, 16) };
    let expected = segments.map(|parts| hex(&[MACS, &parts.concat()].concat()));
    assert_eq!(finish(&(packet, offload)), Ok(expected.to_vec()));
}

#[test]
fn tcp_over_ipv6_is_cut_and_tagged() {
    let addresses = "20010db800000000000000000000000120010db8000000000000000000000002";
    let packet = hex(&[
        MACS,
        "86dd6000000000210640",
        addresses,
        "1234005000000001010203045018020000000000",
        "6162636465666768696a6b6c6d",
    ]
    .concat());
    let segments = [
        [
            "8100200586dd60000000001c0640",
            addresses,
            "12340050000000010102030450100200aa370000",
            "6162636465666768",
        ],
        [
            "8100200586dd6000000000190640",
            addresses,
            "12340050000000090102030450180200f9e80000",
            "696a6b6c6d",
        ],
    ];
    let segmentation = Segmentation::Tcp6 { header_len: 74, segment_size: 8, ecn: false };
    let offload = Offload { segmentation, vlan: Some(0x2005), ..partial(54, 16) };
    let expected = segments.map(|parts| hex(&[MACS, &parts.concat()].concat()));
    assert_eq!(finish(&(packet, offload)), Ok(expected.to_vec()));
}

#[test]
fn tag_goes_in_front_of_the_type_and_of_other_tags() {
    let packet = hex(&[MACS, "88a80007", "8100", "0008", "0800", "4500"].concat());
    let offload = Offload { vlan: Some(0xe123), ..Offload::default() };
    let expected = hex(&[MACS, "8100e123", "88a80007", "8100", "0008", "0800", "4500"].concat());
    assert_eq!(finish(&(packet, offload)), Ok(vec![expected]));
}

#[test]
fn tagged_packet_has_its_checksum_where_it_went() {
    let ip = "08004500002100074000401126c30a0000010a000002";
    let packet = hex(&[MACS, ip, "12340035000d1421", "68656c6c6f"].concat());
    let expected = hex(&[MACS, "81000001", ip, "12340035000d9596", "68656c6c6f"].concat());
    let offload = Offload { vlan: Some(1), ..partial(34, 6) };
    assert_eq!(finish(&(packet, offload)), Ok(vec![expected]));
}
