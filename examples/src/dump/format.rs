//! One line for each packet.

use super::headers::{ARP, Headers, ICMP, ICMPV6, TCP, UDP};
use serde::Serialize;
use std::net::IpAddr;

/// What a capture is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Pcapng,
    Text,
    Json,
}

/// A packet as JSON; what it does not have is left out.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename = "packet")]
struct Packet {
    /// Since 1970.
    time_ns: u64,
    port: &'static str,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_mac: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_mac: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vlan: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ether_type: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_port: Option<u16>,
}

/// One JSON object and a line feed, for a packet of so many bytes that came over `port`.
pub fn json(out: &mut Vec<u8>, port: &'static str, time_ns: u64, bytes: usize, headers: &Headers) {
    let [from_mac, to_mac] = both(headers.macs.map(|macs| macs.map(|mac| mac.to_string())));
    let [from, to] = both(headers.addresses);
    let [from_port, to_port] = both(headers.ports);
    let &Headers { vlan, ether_type, protocol, .. } = headers;
    let packet = Packet {
        time_ns,
        port,
        bytes,
        from_mac,
        to_mac,
        vlan,
        ether_type,
        from,
        to,
        protocol,
        from_port,
        to_port,
    };
    // Such an object can always be written to memory.
    if serde_json::to_writer(&mut *out, &packet).is_ok() {
        out.push(b'\n');
    }
}

fn both<T>(pair: Option<[T; 2]>) -> [Option<T>; 2] {
    pair.map_or([None, None], |pair| pair.map(Some))
}

/// `13:37:00.123456789 a 10.0.0.1 > 10.0.0.2 icmp echo request, 98 bytes`: the time is UTC.
pub fn text(out: &mut Vec<u8>, port: &str, time_ns: u64, bytes: usize, headers: &Headers) {
    let (seconds, nanos) = (time_ns / 1_000_000_000, time_ns % 1_000_000_000);
    let (hours, minutes, seconds) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let vlan = headers.vlan.map(|id| format!("vlan {id} ")).unwrap_or_default();
    let what = describe(headers);
    let line = format!(
        "{hours:02}:{minutes:02}:{seconds:02}.{nanos:09} {port} {vlan}{what}, {bytes} bytes\n"
    );
    out.extend(line.as_bytes());
}

fn describe(headers: &Headers) -> String {
    let Some([from, to]) = headers.addresses else {
        let macs = headers.macs.map(|[from, to]| format!("{from} > {to} ")).unwrap_or_default();
        let kind = headers.ether_type.map(|kind| format!("type {kind:#06x}"));
        let kind = kind.unwrap_or_else(|| "cut off".into());
        return format!("{macs}{kind}");
    };
    if headers.ether_type == Some(ARP) {
        return match headers.arp {
            Some(1) => format!("arp {from} asks for {to}"),
            Some(2) => format!("arp {from} answers {to}"),
            other => format!("arp {from} > {to} operation {}", other.unwrap_or_default()),
        };
    }
    let what = match (headers.protocol, headers.icmp) {
        (Some(ICMP), kind) => format!("icmp {}", message(kind, [0, 8])),
        (Some(ICMPV6), kind) => format!("icmp6 {}", message(kind, [129, 128])),
        (Some(TCP), _) => "tcp".into(),
        (Some(UDP), _) => "udp".into(),
        (protocol, _) => format!("protocol {}", protocol.unwrap_or_default()),
    };
    match headers.ports {
        Some([source, target]) => format!("{from} port {source} > {to} port {target} {what}"),
        None => format!("{from} > {to} {what}"),
    }
}

/// An ICMP message, given the types of echo reply and echo request.
fn message(kind: Option<u8>, [reply, request]: [u8; 2]) -> String {
    match kind {
        Some(kind) if kind == reply => "echo reply".into(),
        Some(kind) if kind == request => "echo request".into(),
        Some(135) => "neighbour solicitation".into(),
        Some(136) => "neighbour advertisement".into(),
        Some(kind) => format!("type {kind}"),
        None => "fragment".into(),
    }
}
