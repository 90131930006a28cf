//! [`crate::dump`].
//!
//! Input: a byte of flags (bit 0: the packet starts with the Ethernet header; bit 1: the filter is
//! text), where the packet is cut, length of the filter, the filter, the packet.

use super::ETHERNET;
use crate::input::Input;
use ringport_examples::reading::{Filter, Headers, Mac, Side, json, text};
use std::fmt::Write;
use std::net::IpAddr;

const TEXT: u8 = 2;
/// Parts within parts of a filter.
const DEPTH_MAX: u8 = 4;
/// Longest filter, in words.
const WORDS_MAX: usize = 256;

pub(crate) fn run(data: &[u8]) {
    let Some((&[flags, cut, len], rest)) = data.split_first_chunk() else { return };
    let (filter, packet) = rest.split_at(rest.len().min(len.into()));
    let ethernet = flags & ETHERNET != 0;
    let headers = Headers::read(packet, ethernet);
    check_headers(packet, &headers, usize::from(cut), ethernet);
    check_lines(&headers, packet.len());
    let filter = match flags & TEXT {
        0 => Some(tree(&mut Input::new(filter), DEPTH_MAX)),
        _ => String::from_utf8_lossy(filter).parse().ok(),
    };
    if let Some(filter) = filter {
        check_filter(&filter, &headers, packet.len());
    }
}

/// What a packet says as far as it is there, it says as a whole; and what is behind does not count.
fn check_headers(packet: &[u8], whole: &Headers, cut: usize, ethernet: bool) {
    // In memory of its own, whose end a sanitizer watches.
    let short = packet[..cut.min(packet.len())].to_vec();
    let part = Headers::read(&short, ethernet);
    assert!(part.macs.is_none() || part.macs == whole.macs);
    assert!(part.vlan.is_none() || part.vlan == whole.vlan);
    assert!(part.addresses.is_none() || part.addresses == whole.addresses);
    assert!(part.arp.is_none() || part.arp == whole.arp);
    assert!(part.ports.is_none() || part.ports == whole.ports);
    assert!(part.icmp.is_none() || part.icmp == whole.icmp);
    assert_eq!(part.macs.is_some(), ethernet && short.len() >= 12);
    // Nothing behind addresses without addresses.
    assert!(whole.addresses.is_some() || (whole.protocol.is_none() && whole.ports.is_none()));
    assert!(whole.ports.is_none() || whole.icmp.is_none());
    // Where there is nothing in between, everything has its place.
    if let Some(ip) = behind_plain_link(packet, ethernet)
        && ip.len() >= 24
        && ip[0] == 0x45
        && ip[6] & 0x1f == 0
        && ip[7] == 0
    {
        let at = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&ip[at..at + 4]).unwrap());
        let word = |at: usize| u16::from_be_bytes([ip[at], ip[at + 1]]);
        assert_eq!((whole.addresses, whole.protocol), (Some([at(12), at(16)]), Some(ip[9])));
        assert_eq!(whole.ports, [6, 17].contains(&ip[9]).then(|| [word(20), word(22)]));
        assert_eq!(whole.icmp, [1, 58].contains(&ip[9]).then_some(ip[20]));
    }
}

/// What is behind the Ethernet header, if there is one, of IPv4 without tags.
fn behind_plain_link(packet: &[u8], ethernet: bool) -> Option<&[u8]> {
    match ethernet {
        false => Some(packet),
        true if packet.get(12..14) == Some(&[8, 0]) => Some(&packet[14..]),
        true => None,
    }
}

/// Each packet is one line, without control characters.
fn check_lines(headers: &Headers, len: usize) {
    let (mut line, mut object) = (Vec::new(), Vec::new());
    text(&mut line, "a", 1_234_567_890, len, headers);
    json(&mut object, "a", 1_234_567_890, len, headers);
    for line in [&line, &object] {
        let line = std::str::from_utf8(line).unwrap().strip_suffix('\n').unwrap();
        assert!(!line.contains(char::is_control), "{line:?}");
    }
    let object: serde_json::Value = serde_json::from_slice(&object).unwrap();
    assert_eq!((&object["event"], &object["bytes"]), (&"packet".into(), &len.into()));
    assert_eq!(object.get("from_port").is_some(), headers.ports.is_some());
}

/// A filter is read as it is written, and holds for the packet when it should.
fn check_filter(filter: &Filter, headers: &Headers, len: usize) {
    assert_eq!(filter.holds(headers, len), holds(filter, headers, len), "{filter:?}");
    let mut text = String::new();
    write(filter, &mut text);
    let words = text.replace('(', " ( ").replace(')', " ) ").split_whitespace().count();
    match text.parse::<Filter>() {
        Ok(again) => assert_eq!(&again, filter, "{text}"),
        Err(error) => assert!(words > WORDS_MAX, "{text}: {error}"),
    }
}

fn holds(filter: &Filter, headers: &Headers, len: usize) -> bool {
    match filter {
        Filter::Or(parts) => parts.iter().filter(|part| holds(part, headers, len)).count() > 0,
        Filter::And(parts) => !parts.iter().any(|part| !holds(part, headers, len)),
        Filter::Not(part) => !holds(part, headers, len),
        Filter::EtherType(kind) => headers.ether_type == Some(*kind),
        Filter::Protocol(number) => headers.protocol == Some(*number),
        Filter::Vlan(None) => headers.vlan.is_some(),
        Filter::Vlan(Some(id)) => headers.vlan == Some(*id),
        Filter::Net(side, net, bits) => any(*side, headers.addresses, |address| {
            bits_of(address).starts_with(&bits_of(*net)[..=*bits as usize])
        }),
        Filter::Port(side, port) => any(*side, headers.ports, |found| found == *port),
        Filter::Ether(side, mac) => any(*side, headers.macs, |found| found.0 == mac.0),
        Filter::Less(most) => len <= *most,
        Filter::Greater(least) => len >= *least,
    }
}

/// The version, and each bit.
fn bits_of(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("4{:032b}", v4.to_bits()),
        IpAddr::V6(v6) => format!("6{:0128b}", v6.to_bits()),
    }
}

fn any<T: Copy>(side: Side, pair: Option<[T; 2]>, test: impl Fn(T) -> bool) -> bool {
    pair.is_some_and(|[from, to]| match side {
        Side::Source => test(from),
        Side::Destination => test(to),
        Side::Either => test(from) | test(to),
    })
}

/// A filter from the input.
fn tree(input: &mut Input<'_>, depth: u8) -> Filter {
    let kind = input.u8() % 12;
    let mut parts = || {
        let count = 2 + input.u8() % 2;
        (0..count).map(|_| tree(input, depth - 1)).collect()
    };
    match kind {
        0 if depth > 0 => return Filter::Or(parts()),
        1 if depth > 0 => return Filter::And(parts()),
        2 if depth > 0 => return Filter::Not(Box::new(tree(input, depth - 1))),
        _ => {}
    }
    let side = |input: &mut Input<'_>| {
        [Side::Source, Side::Destination, Side::Either][usize::from(input.u8() % 3)]
    };
    match kind {
        0..=3 => Filter::EtherType([0x0806, 0x0800, 0x86dd][usize::from(input.u8() % 3)]),
        4 => Filter::Protocol([1, 6, 17, 58][usize::from(input.u8() % 4)]),
        5 => Filter::Vlan((input.u8() & 1 != 0).then(|| input.u16() & 0xfff)),
        6 => {
            let bits = u32::from(input.u8());
            Filter::Net(side(input), IpAddr::from(input.take::<4>()), bits % 33)
        }
        7 => {
            let bits = u32::from(input.u8());
            Filter::Net(side(input), IpAddr::from(input.take::<16>()), bits % 129)
        }
        8 => Filter::Port(side(input), input.u16()),
        9 => Filter::Ether(side(input), Mac(input.take())),
        10 => Filter::Less(input.u32() as usize),
        _ => Filter::Greater(usize::from(input.u8())),
    }
}

/// Writes a filter by the grammar.
fn write(filter: &Filter, out: &mut String) {
    let side = |side: &Side| match side {
        Side::Source => "src ",
        Side::Destination => "dst ",
        Side::Either => "",
    };
    match filter {
        Filter::Or(parts) => join(parts, " or ", out),
        Filter::And(parts) => join(parts, " and ", out),
        Filter::Not(part) => {
            out.push_str("not ");
            enclosed(part, out);
        }
        Filter::EtherType(kind) => out.push_str(match kind {
            0x0806 => "arp",
            0x0800 => "ip",
            _ => "ip6",
        }),
        Filter::Protocol(number) => out.push_str(match number {
            1 => "icmp",
            6 => "tcp",
            17 => "udp",
            _ => "icmp6",
        }),
        Filter::Vlan(None) => out.push_str("vlan"),
        Filter::Vlan(Some(id)) => write!(out, "vlan {id}").unwrap(),
        Filter::Net(at, net, bits) => write!(out, "{}net {net}/{bits}", side(at)).unwrap(),
        Filter::Port(at, port) => write!(out, "{}port {port}", side(at)).unwrap(),
        Filter::Ether(at, mac) => write!(out, "{}ether {mac}", side(at)).unwrap(),
        Filter::Less(most) => write!(out, "less {most}").unwrap(),
        Filter::Greater(least) => write!(out, "greater {least}").unwrap(),
    }
}

fn join(parts: &[Filter], between: &str, out: &mut String) {
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            out.push_str(between);
        }
        enclosed(part, out);
    }
}

/// In parentheses, where they may mean something.
fn enclosed(part: &Filter, out: &mut String) {
    let several = matches!(part, Filter::Or(_) | Filter::And(_));
    out.push_str(if several { "(" } else { "" });
    write(part, out);
    out.push_str(if several { ")" } else { "" });
}
