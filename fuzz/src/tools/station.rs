//! [`crate::station`].
//!
//! Input: a byte of flags (bit 0: packets start with the Ethernet header; bit 1: lengths and checksums
//! of IP and ICMP are made right), and the packet.

use super::ETHERNET;
use crate::sum;
use ringport_examples::reading::{Heard, Mac, Station};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const MEND: u8 = 2;

/// Bytes of a neighbour advertisement with an Ethernet header: the longest answer to what is shorter.
const ADVERT: usize = 86;
const FRAME_MIN: usize = 60;

const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);
const V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);

pub(crate) fn run(data: &[u8]) {
    let Some((&flags, packet)) = data.split_first() else { return };
    let ethernet = flags & ETHERNET != 0;
    let mut packet = packet.to_vec();
    if flags & MEND != 0 {
        let ip = if ethernet { 14.min(packet.len()) } else { 0 };
        sum::mend(&mut packet[ip..]);
    }
    let us = Station { mac: OURS, addresses: vec![V4.into(), V6.into()], ethernet };
    let before = vec![0x5a; 7];
    let mut answer = before.clone();
    let heard = us.hear(&packet, &mut answer);
    if heard != Heard::Question {
        assert_eq!(answer, before, "an answer to {heard:?}");
    }
    let expected = echo_kind(&packet, ethernet);
    match heard {
        Heard::Nothing => assert_eq!(expected, None, "an echo for us is not heard"),
        Heard::Reply { from, .. } => {
            let ip = &packet[if ethernet { 14 } else { 0 }..];
            assert!(expected == Some(Kind::Reply) || has_options(ip));
            assert_eq!(ends_of(ip).0, from);
        }
        Heard::Neighbour { address, mac } => {
            assert!(ethernet && mac == source_mac(&packet) && mac.is_unicast());
            assert!(!address.is_ipv4() || packet[12..14] == [8, 6]);
        }
        Heard::Question => check_answer(&packet, &answer, ethernet, expected),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Request,
    Reply,
}

/// Whether a packet is an echo message for us, without options or extensions, that nothing is wrong
/// with.
fn echo_kind(packet: &[u8], ethernet: bool) -> Option<Kind> {
    let (kind, ip) = match ethernet {
        true if packet.len() < 14 => return None,
        true => (Some(&packet[12..14]), &packet[14..]),
        false => (None, packet),
    };
    if ethernet {
        let to_group = packet[0] & 1 != 0 && packet[12..14] == [0x86, 0xdd];
        if (packet[..6] != OURS.0 && !to_group) || !source_mac(packet).is_unicast() {
            return None;
        }
    }
    let is = |wanted: [u8; 2]| kind.is_none_or(|kind| kind == wanted);
    let (ip, icmp, request, reply) = match ip.first()? {
        0x45 if is([8, 0]) && ip.len() >= 28 => {
            let len = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
            let ip = ip.get(..len).filter(|ip| ip.len() >= 28)?;
            let whole = ip[6] & 0x3f == 0 && ip[7] == 0 && ip[9] == 1;
            let right = is_right(sum::ipv4(ip)) && is_right(sum::sum(&[&ip[20..]]));
            if !whole || !right || ip[16..20] != V4.octets() {
                return None;
            }
            (ip, &ip[20..], 8, 0)
        }
        0x60..=0x6f if is([0x86, 0xdd]) && ip.len() >= 48 => {
            let len = 40 + usize::from(u16::from_be_bytes([ip[4], ip[5]]));
            let ip = ip.get(..len).filter(|ip| ip.len() >= 48 && ip[6] == 58)?;
            if !is_right(sum::ipv6(ip, 58)) || ip[24..40] != V6.octets() {
                return None;
            }
            (ip, &ip[40..], 128, 129)
        }
        _ => return None,
    };
    if !can_be_answered(ends_of(ip).0) || icmp[1] != 0 {
        return None;
    }
    match icmp[0] {
        kind if kind == request => Some(Kind::Request),
        kind if kind == reply => Some(Kind::Reply),
        _ => None,
    }
}

/// Under libFuzzer smoltcp takes any checksum.
fn is_right(sum: u16) -> bool {
    cfg!(fuzzing) || sum == 0xffff
}

fn has_options(ip: &[u8]) -> bool {
    ip[0] >> 4 == 4 && sum::header_len(ip) > 20
}

fn can_be_answered(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, ..] = v4.octets();
            first != 127 && !(224..=239).contains(&first) && ![0, u32::MAX].contains(&v4.to_bits())
        }
        IpAddr::V6(v6) => v6.octets()[0] != 0xff && v6.to_bits() > 1,
    }
}

/// Source and destination in the header of IP.
fn ends_of(ip: &[u8]) -> (IpAddr, IpAddr) {
    if ip[0] >> 4 == 4 {
        let at = |start: usize| -> [u8; 4] { ip[start..start + 4].try_into().unwrap() };
        (at(12).into(), at(16).into())
    } else {
        let at = |start: usize| -> [u8; 16] { ip[start..start + 16].try_into().unwrap() };
        (at(8).into(), at(24).into())
    }
}

fn source_mac(frame: &[u8]) -> Mac {
    Mac(frame[6..12].try_into().unwrap())
}

fn check_answer(question: &[u8], answer: &[u8], ethernet: bool, echo: Option<Kind>) {
    assert!(answer.len() <= question.len().max(ADVERT), "{} bytes", answer.len());
    if !ethernet {
        return check_ip(question, answer, None, echo);
    }
    assert!(answer.len() >= FRAME_MIN && source_mac(answer) == OURS);
    let asker = source_mac(question);
    assert!(asker.is_unicast());
    assert_eq!(answer[12..14], question[12..14], "another protocol");
    let to_all = answer[..6] == [0x33, 0x33, 0, 0, 0, 1];
    assert!(answer[..6] == asker.0 || to_all, "to neither the asker nor all");
    if answer[12..14] == [8, 6] {
        // An ARP reply: the asker's place and ours, exchanged.
        assert_eq!(answer[14..22], [0, 1, 8, 0, 6, 4, 0, 2]);
        assert_eq!(answer[22..28], OURS.0);
        assert_eq!(answer[28..32], V4.octets());
        assert_eq!(answer[32..42], question[22..32]);
        assert!(answer[42..].iter().all(|&byte| byte == 0));
        return;
    }
    check_ip(&question[14..], &answer[14..], Some((asker, to_all)), echo);
}

fn check_ip(question: &[u8], answer: &[u8], asker: Option<(Mac, bool)>, echo: Option<Kind>) {
    let ((from, to), (_, asked)) = (ends_of(answer), ends_of(question));
    assert!([IpAddr::from(V4), V6.into()].contains(&from));
    let is_v4 = answer[0] == 0x45;
    let len = match is_v4 {
        true => usize::from(u16::from_be_bytes([answer[2], answer[3]])),
        false => 40 + usize::from(u16::from_be_bytes([answer[4], answer[5]])),
    };
    let (answer, padding) = answer.split_at(len);
    assert!(padding.iter().all(|&byte| byte == 0));
    let icmp = if is_v4 {
        assert_eq!((sum::ipv4(answer), sum::sum(&[&answer[20..]])), (0xffff, 0xffff));
        &answer[20..]
    } else {
        assert_eq!(sum::ipv6(answer, 58), 0xffff);
        &answer[40..]
    };
    if icmp[0] == 136 {
        let (_, to_all) = asker.expect("an Ethernet address was asked for");
        assert_eq!(icmp[8..24], V6.octets());
        assert_eq!(icmp[24..32], [&[2, 1][..], &OURS.0].concat());
        let unspecified = ends_of(question).0.is_unspecified();
        assert!(answer[7] == 255 && unspecified == to_all);
        assert_eq!(icmp[4], if unspecified { 0x20 } else { 0x60 });
        return assert!(if to_all { to.is_multicast() } else { to == ends_of(question).0 });
    }
    assert!(echo == Some(Kind::Request) || has_options(question), "{echo:?}");
    // An echo reply: identifier, number and data come back, from where they went to.
    assert_eq!((from, to), (asked, ends_of(question).0));
    assert_eq!([icmp[0], icmp[1]], [if is_v4 { 0 } else { 129 }, 0]);
    let start = if is_v4 { sum::header_len(question) } else { 40 };
    assert_eq!(icmp[4..], question[start + 4..][..icmp.len() - 4]);
    let them =
        Station { mac: asker.map_or(OURS, |(mac, _)| mac), addresses: vec![to], ethernet: false };
    let heard = them.hear(answer, &mut Vec::new());
    assert!(matches!(heard, Heard::Reply { from: us, .. } if us == from), "{heard:?}");
}
