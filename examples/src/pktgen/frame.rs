//! Frames that can be checked: UDP over IPv4, behind an Ethernet header or not, with this payload.
//!
//! | bytes | what |
//! |---|---|
//! | 0..2 | 0x5250 |
//! | 2..4 | number of the flow; 0xffff: none, it only asks whether frames come back |
//! | 4..10 | number of the frame in its flow, from 0 |
//! | 10..18 | when it was sent: CLOCK_MONOTONIC, in nanoseconds |
//! | 18.. | a pattern: the byte at `n` is `n` modulo 251 |
//!
//! Numbers are in network order. Checksums are right; those that a flow and a length have in common
//! are computed once. Spec: RFC 768, RFC 791, RFC 1071.

use crate::values::Mac;
use nix::time::{ClockId, clock_gettime};
use std::net::SocketAddrV4;

const ETHER: usize = 14;
const IP: usize = 20;
const UDP: usize = 8;
/// Bytes of the payload before the pattern.
const HEAD: usize = 18;
const MAGIC: [u8; 2] = [0x52, 0x50];
const NUMBER_MAX: u64 = (1 << 48) - 1;

/// The flow of frames that only ask whether a peer sends frames back. No other flow has this number.
pub(super) const PROBE: u16 = 0xffff;

/// Longest frame, without an Ethernet header: what IPv4 has a length for.
pub(super) const IP_LEN_MAX: usize = 0xffff;

/// What is in front of the IP header, in bytes.
pub(super) fn link_len(ethernet: bool) -> usize {
    if ethernet { ETHER } else { 0 }
}

/// Shortest frame: 60 bytes with an Ethernet header, which is Ethernet's own minimum.
#[must_use]
pub fn len_min(ethernet: bool) -> usize {
    link_len(ethernet) + IP + UDP + HEAD
}

/// Between whom frames go. Each flow has a source port of its own.
#[derive(Debug, Clone, Copy)]
pub struct Path {
    /// Source and destination; `None` without an Ethernet header.
    pub macs: Option<(Mac, Mac)>,
    /// Source; its port is that of the first flow.
    pub from: SocketAddrV4,
    /// Destination.
    pub to: SocketAddrV4,
}

/// What a frame says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of the flow.
    pub flow: u16,
    /// Number of the frame in its flow, of 48 bits.
    pub number: u64,
    /// When it was sent: CLOCK_MONOTONIC, in nanoseconds.
    pub sent: u64,
}

/// Of frames of one length: the sums over what does not change.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub(super) len: usize,
    ip: u32,
    udp: u32,
}

/// One frame in private memory, stamped anew for each packet.
#[derive(Debug)]
pub struct Frame {
    bytes: Vec<u8>,
    link: usize,
    /// Of the first flow.
    port: u16,
}

impl Frame {
    /// Frames of up to `len_max` bytes.
    #[must_use]
    pub fn new(path: Path, len_max: usize) -> Self {
        let mut bytes = Vec::with_capacity(len_max);
        if let Some((from, to)) = path.macs {
            bytes.extend([to.0, from.0].concat());
            bytes.extend([8, 0]);
        }
        let link = bytes.len();
        // No options, whole, 64 hops, UDP.
        bytes.extend([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0]);
        bytes.extend([path.from.ip().octets(), path.to.ip().octets()].concat());
        bytes.extend([0; 2]);
        bytes.extend(path.to.port().to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(MAGIC);
        bytes.extend([0; HEAD - MAGIC.len()]);
        bytes.extend(pattern(len_max.saturating_sub(bytes.len())));
        Self { bytes, link, port: path.from.port() }
    }

    /// Sums for frames of `len` bytes, at least [`len_min`] and at most as many as the frame has.
    #[must_use]
    pub fn shape(&self, len: usize) -> Shape {
        let ip = &self.bytes[self.link..len];
        let total = low16(ip.len());
        let udp_len = low16(ip.len() - IP);
        // The pseudo header: addresses, protocol, length; then the header, which has it again.
        let pseudo = sum(&ip[12..20]) + 17 + 2 * udp_len;
        let fixed = sum(&ip[IP + 2..IP + 4]) + sum(&MAGIC) + sum(&ip[IP + UDP + HEAD..]);
        Shape {
            len,
            ip: sum(&ip[..2]) + sum(&ip[4..10]) + sum(&ip[12..20]) + total,
            udp: pseudo + fixed,
        }
    }

    /// The frame of this shape that says this of itself.
    pub fn stamp(&mut self, shape: Shape, head: Head) -> &[u8] {
        let frame = &mut self.bytes[..shape.len];
        let ip = &mut frame[self.link..];
        let total = ip.len();
        let port = self.port.wrapping_add(head.flow);
        let (number, sent) = (head.number & NUMBER_MAX, head.sent.to_be_bytes());
        let number = number.to_be_bytes();
        put(ip, 2, total);
        put(ip, 10, usize::from(checksum(shape.ip)));
        put(ip, IP, usize::from(port));
        put(ip, IP + 4, total - IP);
        let head_sum = u32::from(port) + u32::from(head.flow) + sum(&number) + sum(&sent);
        // Zero would mean that there is none.
        let udp = checksum(shape.udp + head_sum);
        put(ip, IP + 6, usize::from(if udp == 0 { 0xffff } else { udp }));
        let payload = &mut ip[IP + UDP..];
        put(payload, 2, head.flow.into());
        payload[4..10].copy_from_slice(&number[2..]);
        payload[10..18].copy_from_slice(&sent);
        frame
    }
}

/// What a received frame is.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// None of ours.
    Other,
    /// One of ours, of a length that it should not have.
    WrongLength,
    /// One of ours.
    Ours {
        /// What it says of itself.
        head: Head,
        /// Whether its pattern is whole.
        whole: bool,
    },
}

/// Reads frames, with or without an Ethernet header.
#[derive(Debug)]
pub struct Reader {
    link: usize,
    pattern: Vec<u8>,
}

impl Reader {
    /// Of packets that start with the Ethernet header, or else with that of IP.
    #[must_use]
    pub fn new(ethernet: bool) -> Self {
        Self { link: link_len(ethernet), pattern: pattern(IP_LEN_MAX) }
    }

    /// Looks at a packet.
    #[must_use]
    pub fn read(&self, frame: &[u8]) -> Read {
        let (link, ip) = frame.split_at(self.link.min(frame.len()));
        let ours = matches!(link, [] | [.., 8, 0])
            && matches!(ip, [0x45, _, _, _, _, _, _, _, _, 17, ..])
            && ip.get(IP + UDP..IP + UDP + 2) == Some(&MAGIC);
        if !ours {
            return Read::Other;
        }
        let (total, udp) = (word(ip, 2), word(ip, IP + 4));
        let payload = ip.get(IP + UDP..).unwrap_or_default();
        let (Some((head, rest)), true) =
            (payload.split_first_chunk::<HEAD>(), total == ip.len() && udp + IP == total)
        else {
            return Read::WrongLength;
        };
        let whole = self.pattern.get(..rest.len()) == Some(rest);
        Read::Ours { head: Head::parse(head), whole }
    }
}

impl Head {
    fn parse(bytes: &[u8; HEAD]) -> Self {
        let &[_, _, f, g, a, b, c, d, e, h, ref sent @ ..] = bytes;
        Self {
            flow: u16::from_be_bytes([f, g]),
            number: u64::from_be_bytes([0, 0, a, b, c, d, e, h]),
            sent: u64::from_be_bytes(*sent),
        }
    }
}

/// Nanoseconds of CLOCK_MONOTONIC, which all processes of a machine see alike; 0 if there is none.
pub(super) fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(std::time::Duration::from);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

fn pattern(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

/// Sum of 16-bit words; an odd byte at the end is the high one of a word. Of up to 64 KiB.
fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks_exact(2);
    let odd = words.remainder().first().map_or(0, |&byte| u32::from(byte) << 8);
    words.map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum::<u32>() % 0xffff + odd
}

fn checksum(sum: u32) -> u16 {
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    #[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits")]
    let folded = folded as u16;
    !folded
}

fn low16(number: usize) -> u32 {
    u32::try_from(number & 0xffff).unwrap_or_default()
}

/// Writes the low 16 bits of `number` at `at`.
fn put(bytes: &mut [u8], at: usize, number: usize) {
    #[expect(clippy::cast_possible_truncation, reason = "lengths are at most 65535")]
    let number = number as u16;
    bytes[at..at + 2].copy_from_slice(&number.to_be_bytes());
}

/// The 16 bits at `at`; 0 where there are none.
fn word(bytes: &[u8], at: usize) -> usize {
    let word = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    word.map_or(0, |&word| usize::from(u16::from_be_bytes(word)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr};

    fn path(ethernet: bool) -> Path {
        Path {
            macs: ethernet.then_some((Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]))),
            from: "10.1.2.3:60000".parse().unwrap(),
            to: "10.4.5.6:9".parse().unwrap(),
        }
    }

    const HEADS: [Head; 3] = [
        Head { flow: 0, number: 0, sent: 0 },
        Head { flow: 700, number: 0x1234_5678_9abc, sent: 0xfedc_ba98_7654_3210 },
        Head { flow: 0xffff, number: NUMBER_MAX, sent: u64::MAX },
    ];

    #[test]
    fn frames_are_right_by_the_book_and_read_back() {
        for ethernet in [true, false] {
            let min = len_min(ethernet);
            for len in [min, min + 1, 64, 65, 1514, 9001, link_len(ethernet) + IP_LEN_MAX] {
                let mut frame = Frame::new(path(ethernet), len);
                let (shape, reader) = (frame.shape(len), Reader::new(ethernet));
                for head in HEADS {
                    let bytes = frame.stamp(shape, head);
                    assert_eq!(bytes.len(), len);
                    assert_eq!(reader.read(bytes), Read::Ours { head, whole: true });
                    let packet = Ipv4Packet::new_checked(&bytes[link_len(ethernet)..]).unwrap();
                    let all = ChecksumCapabilities::default();
                    let ip = Ipv4Repr::parse(&packet, &all).unwrap();
                    let udp = UdpPacket::new_checked(packet.payload()).unwrap();
                    let (from, to) = (ip.src_addr.into(), ip.dst_addr.into());
                    assert!(udp.verify_checksum(&from, &to), "{len} {head:?}");
                    let udp = UdpRepr::parse(&udp, &from, &to, &all).unwrap();
                    assert_eq!(udp.src_port, 60000_u16.wrapping_add(head.flow));
                }
            }
        }
    }

    #[test]
    fn shape_is_the_same_before_and_after_frames_of_another_length() {
        let mut frame = Frame::new(path(false), 100);
        let (short, long) = (frame.shape(60), frame.shape(100));
        let first = frame.stamp(long, HEADS[1]).to_vec();
        frame.stamp(short, HEADS[0]);
        let again = frame.shape(100);
        assert_eq!(frame.stamp(again, HEADS[1]), first);
    }

    #[test]
    fn changed_lengths_patterns_and_kinds_are_seen() {
        let mut frame = Frame::new(path(true), 200);
        let (shape, reader) = (frame.shape(200), Reader::new(true));
        let good = frame.stamp(shape, HEADS[1]).to_vec();
        for (at, expected) in [(12, Read::Other), (14, Read::Other), (23, Read::Other)] {
            let mut odd = good.clone();
            odd[at] ^= 1;
            assert_eq!(reader.read(&odd), expected, "{at}");
        }
        for at in [16, 17, 38, 39] {
            let mut odd = good.clone();
            odd[at] ^= 1;
            assert_eq!(reader.read(&odd), Read::WrongLength, "{at}");
        }
        for at in 60..200 {
            let mut odd = good.clone();
            odd[at] ^= 0x10;
            assert_eq!(reader.read(&odd), Read::Ours { head: HEADS[1], whole: false }, "{at}");
        }
        for len in 0..200 {
            let expected = if len < 44 { Read::Other } else { Read::WrongLength };
            assert_eq!(reader.read(&good[..len]), expected, "{len}");
        }
    }
}
