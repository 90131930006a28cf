//! The headers of a packet that is to be cut, read from a private copy.
//!
//! | from | header | accepted |
//! |---|---|---|
//! | 0 | Ethernet | up to two VLAN tags (0x8100, 0x88a8) |
//! | `ip` | IPv4 | with options; no fragments |
//! | `ip` | IPv6 | hop-by-hop, destination and routing headers, at most [`EXTENSIONS_MAX`]; no fragments |
//! | `tcp` | TCP | with options |
//! | `len` | payload | |
//!
//! The lengths in the packet decide where headers end. What its metadata says of that is no more
//! than a hint (VIRTIO 1.3 §5.1.6.2), and never looked at.
#![deny(clippy::indexing_slicing)]

use super::BadOffload;
use super::tag::{TAG_LEN, TYPE_AT};

/// Most bytes of all headers of one packet, as it arrives.
pub(super) const HEADERS_MAX: usize = 508;
/// Most extension headers of IPv6.
const EXTENSIONS_MAX: usize = 8;

const VLAN: [u16; 2] = [0x8100, 0x88a8];
const VLANS_MAX: usize = 2;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TCP: u8 = 6;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION: u8 = 60;
/// More fragments, and the offset of this one.
const FRAGMENT: u16 = 0x3fff;

/// Version of the Internet protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ip {
    V4,
    V6,
}

/// Where the headers of TCP over IP are, in bytes from the start of the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Headers {
    pub(super) version: Ip,
    pub(super) ip: usize,
    pub(super) tcp: usize,
    /// Bytes of all headers.
    pub(super) len: usize,
}

/// Reads numbers from the packet's first bytes.
#[derive(Debug, Clone, Copy)]
struct Head<'a>(&'a [u8]);

impl Head<'_> {
    fn byte(self, at: usize) -> Result<usize, BadOffload> {
        self.0.get(at).copied().map(usize::from).ok_or(BadOffload::Truncated)
    }

    fn word(self, at: usize) -> Result<u16, BadOffload> {
        let bytes = self.0.get(at..).and_then(<[u8]>::first_chunk);
        bytes.copied().map(u16::from_be_bytes).ok_or(BadOffload::Truncated)
    }
}

impl Headers {
    /// Finds the headers in `head`, the first bytes of a packet of `packet_len` bytes.
    pub(super) fn find(head: &[u8], packet_len: usize, version: Ip) -> Result<Self, BadOffload> {
        let head = Head(head);
        let ip = find_ip(head, version)?;
        let ip_len = packet_len - ip;
        if ip_len > usize::from(u16::MAX) {
            return Err(BadOffload::TooLong { len: packet_len });
        }
        let tcp = match version {
            Ip::V4 => behind_ipv4(head, ip, ip_len)?,
            Ip::V6 => behind_ipv6(head, ip, ip_len)?,
        };
        let tcp_len = head.byte(tcp + 12)? / 16 * 4;
        if tcp_len < 20 {
            return Err(BadOffload::NotTcp);
        }
        let len = tcp + tcp_len;
        head.byte(len - 1)?;
        Ok(Self { version, ip, tcp, len })
    }
}

/// Where the header of the right version starts.
fn find_ip(head: Head<'_>, version: Ip) -> Result<usize, BadOffload> {
    let mut at = TYPE_AT;
    let mut tags = 0;
    while VLAN.contains(&head.word(at)?) && tags < VLANS_MAX {
        (at, tags) = (at + TAG_LEN, tags + 1);
    }
    let (ethertype, nibble) = match version {
        Ip::V4 => (IPV4, 4),
        Ip::V6 => (IPV6, 6),
    };
    if head.word(at)? != ethertype || head.byte(at + 2)? >> 4 != nibble {
        return Err(BadOffload::NotTcp);
    }
    Ok(at + 2)
}

/// Where TCP starts, behind the IPv4 header at `ip`.
///
/// Spec: RFC 791 §3.1.
fn behind_ipv4(head: Head<'_>, ip: usize, ip_len: usize) -> Result<usize, BadOffload> {
    let header_len = head.byte(ip)? % 16 * 4;
    let fragment = head.word(ip + 6)? & FRAGMENT != 0;
    if header_len < 20 || fragment || head.byte(ip + 9)? != usize::from(TCP) {
        return Err(BadOffload::NotTcp);
    }
    check_len(head.word(ip + 2)?, ip_len)?;
    Ok(ip + header_len)
}

/// Where TCP starts, behind the IPv6 header at `ip` and its extensions.
///
/// Spec: RFC 8200 §3, §4.
fn behind_ipv6(head: Head<'_>, ip: usize, ip_len: usize) -> Result<usize, BadOffload> {
    check_len(head.word(ip + 4)?, ip_len.checked_sub(40).ok_or(BadOffload::Truncated)?)?;
    let (mut next, mut at) = (head.byte(ip + 6)?, ip + 40);
    for _ in 0..=EXTENSIONS_MAX {
        match u8::try_from(next) {
            Ok(TCP) => return Ok(at),
            // TCP's checksum covers the last destination, which is not in the IPv6 header while
            // there are hops left (RFC 8200 §8.1).
            Ok(ROUTING) if head.byte(at + 3)? != 0 => return Err(BadOffload::NotTcp),
            Ok(HOP_BY_HOP | ROUTING | DESTINATION) => {
                (next, at) = (head.byte(at)?, at + 8 + 8 * head.byte(at + 1)?);
            }
            _ => return Err(BadOffload::NotTcp),
        }
    }
    Err(BadOffload::NotTcp)
}

/// Checks a length field of the packet: drivers that leave it to the device write zero.
fn check_len(said: u16, actual: usize) -> Result<(), BadOffload> {
    if said == 0 || usize::from(said) == actual {
        return Ok(());
    }
    Err(BadOffload::WrongLength { said, actual })
}
