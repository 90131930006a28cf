//! TCP and UDP packets, made and checked with arithmetic of their own.

use ringport::offload::{Checksum, Offload, Segmentation};

/// The Internet checksum, as a remainder: 2^16 is 1 modulo 0xffff.
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u64::from(pair[0]) * 256 + u64::from(*pair.get(1).unwrap_or(&0));
    let sum: u64 = bytes.chunks(2).map(word).sum();
    match (sum, sum % 0xffff) {
        (0, _) => 0xffff,
        (_, rest) => u16::try_from(0xffff - rest).unwrap() % 0xffff,
    }
}

/// A packet of TCP.
#[derive(Debug, Clone)]
pub(crate) struct Tcp {
    pub(crate) vlans: Vec<[u8; 4]>,
    pub(crate) v6: bool,
    /// IPv4 options, in whole words, or IPv6 extension headers, each with a length of its own.
    pub(crate) ip_options: Vec<u8>,
    /// Number of the first IPv6 extension header, or TCP's.
    pub(crate) next: u8,
    pub(crate) id: u16,
    pub(crate) sequence: u32,
    pub(crate) flags: u8,
    pub(crate) tcp_options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) segment_size: u16,
}

impl Tcp {
    pub(crate) fn new(v6: bool, payload: usize, segment_size: u16) -> Self {
        Self {
            vlans: Vec::new(),
            v6,
            ip_options: Vec::new(),
            next: 6,
            id: 0xfffe,
            sequence: 0xffff_ff00,
            flags: 0xd9,
            tcp_options: vec![1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8],
            payload: bytes(payload),
            segment_size,
        }
    }

    /// Where the IP header is.
    pub(crate) fn ip(&self) -> usize {
        14 + 4 * self.vlans.len()
    }

    /// Where the TCP header is.
    pub(crate) fn tcp(&self) -> usize {
        self.ip() + if self.v6 { 40 } else { 20 } + self.ip_options.len()
    }

    /// Bytes of all headers.
    pub(crate) fn headers(&self) -> usize {
        self.tcp() + 20 + self.tcp_options.len()
    }

    pub(crate) fn offload(&self) -> Offload {
        let start = u16::try_from(self.tcp()).unwrap();
        // A lie, of which nobody must take notice.
        let (header_len, segment_size, ecn) = (1, self.segment_size, false);
        let segmentation = match self.v6 {
            false => Segmentation::Tcp4 { header_len, segment_size, ecn },
            true => Segmentation::Tcp6 { header_len, segment_size, ecn },
        };
        Offload { checksum: Checksum::Partial { start, offset: 16 }, segmentation, vlan: None }
    }

    /// The packet as a stack hands it to its device, with nonsense for checksums.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let tcp_len = 20 + self.tcp_options.len() + self.payload.len();
        let mut bytes = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &self.vlans.concat()].concat();
        let word = |value: usize| u16::try_from(value).unwrap().to_be_bytes();
        if self.v6 {
            bytes.extend([0x86, 0xdd, 0x60, 1, 2, 3]);
            bytes.extend(word(self.ip_options.len() + tcp_len));
            bytes.extend([self.next, 64]);
            bytes.extend((0..32).map(|n| n * 7 + 1));
        } else {
            let header_len = 20 + self.ip_options.len();
            bytes.extend([8, 0, 0x40 | u8::try_from(header_len / 4).unwrap(), 3]);
            bytes.extend(word(header_len + tcp_len));
            bytes.extend(self.id.to_be_bytes());
            bytes.extend([0x40, 0, 64, 6, 0xba, 0xad, 10, 0, 0, 1, 192, 168, 2, 3]);
        }
        bytes.extend(&self.ip_options);
        bytes.extend([0x12, 0x34, 0, 80]);
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend([9, 8, 7, 6]);
        bytes.extend([u8::try_from(5 + self.tcp_options.len() / 4).unwrap() << 4, self.flags]);
        bytes.extend([1, 0, 0xde, 0xad, 0, 0]);
        bytes.extend(&self.tcp_options);
        bytes.extend(&self.payload);
        bytes
    }

    pub(crate) fn packet(&self) -> super::Packet {
        (self.bytes(), self.offload())
    }

    /// Checks that `segments` are this packet, cut.
    #[track_caller]
    pub(crate) fn check(&self, segments: &[Vec<u8>]) {
        let size = usize::from(self.segment_size);
        let count = self.payload.len().div_ceil(size).max(1);
        assert_eq!(segments.len(), count);
        let headers = self.headers();
        let mut payload = Vec::new();
        for (n, segment) in segments.iter().enumerate() {
            assert!(n + 1 == count || segment.len() == headers + size, "segment {n} is not full");
            payload.extend_from_slice(&segment[headers..]);
            self.check_headers(n, count, segment);
        }
        assert!(payload == self.payload, "payload differs");
    }

    /// Checks segment `n` of `count`: what must be right is, and all else is the packet's.
    #[track_caller]
    fn check_headers(&self, n: usize, count: usize, segment: &[u8]) {
        let (ip, tcp) = (self.ip(), self.tcp());
        let mut expected = self.bytes()[..self.headers()].to_vec();
        let ip_len = segment.len() - ip;
        if self.v6 {
            expected[ip + 4..ip + 6]
                .copy_from_slice(&u16::try_from(ip_len - 40).unwrap().to_be_bytes());
        } else {
            expected[ip + 2..ip + 4].copy_from_slice(&u16::try_from(ip_len).unwrap().to_be_bytes());
            let id = self.id.wrapping_add(u16::try_from(n).unwrap());
            expected[ip + 4..ip + 6].copy_from_slice(&id.to_be_bytes());
            assert_eq!(checksum(&segment[ip..tcp]), 0, "IPv4 header checksum of segment {n}");
            expected[ip + 10..ip + 12].copy_from_slice(&segment[ip + 10..ip + 12]);
        }
        let before = u32::try_from(n * usize::from(self.segment_size)).unwrap();
        expected[tcp + 4..tcp + 8]
            .copy_from_slice(&self.sequence.wrapping_add(before).to_be_bytes());
        let cleared = if n > 0 { 0x80 } else { 0 } | if n + 1 < count { 0x09 } else { 0 };
        expected[tcp + 13] = self.flags & !cleared;
        assert_eq!(tcp_checksum(segment, ip, tcp, self.v6), 0, "TCP checksum of segment {n}");
        expected[tcp + 16..tcp + 18].copy_from_slice(&segment[tcp + 16..tcp + 18]);
        assert_eq!(segment[..self.headers()], expected, "headers of segment {n} of {count}");
    }
}

/// The checksum over the pseudo header and the segment: zero when the one in the segment is right.
fn tcp_checksum(segment: &[u8], ip: usize, tcp: usize, v6: bool) -> u16 {
    let addresses = if v6 { ip + 8..ip + 40 } else { ip + 12..ip + 20 };
    let len = u32::try_from(segment.len() - tcp).unwrap().to_be_bytes();
    checksum(&[&segment[addresses], &len, &[0, 0, 0, 6], &segment[tcp..]].concat())
}

/// Bytes that differ from place to place.
pub(crate) fn bytes(len: usize) -> Vec<u8> {
    (0..u32::try_from(len).unwrap()).map(|n| (n.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect()
}
