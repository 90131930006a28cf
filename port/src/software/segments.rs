//! Cutting TCP into segments.
//!
//! What changes from segment to segment, of which the first has number 0:
//!
//! | field | in segment n |
//! |---|---|
//! | IPv4 total length, IPv6 payload length | its own |
//! | IPv4 identification | the packet's, plus n |
//! | IPv4 header checksum | computed |
//! | sequence number | the packet's, plus n times the segment size |
//! | FIN, PSH | only in the last |
//! | CWR | only in the first (RFC 3168 §6.1.2) |
//! | TCP checksum | computed |

use super::headers::{HEADERS_MAX, Headers, Ip};
use super::sum::InternetSum;
use super::tag::{TAG_LEN, TYPE_AT, Tag};
use super::{BadOffload, Chunks, Sink};
use crate::burst::RxPacket;
use crate::offload::Checksum;
use std::ops::Range;

/// Least payload of a segment, in bytes. TCP goes no lower: that is what is left of a least segment
/// of 48 bytes behind a full set of options.
pub(super) const SEGMENT_MIN: u16 = 8;

/// Offset of the checksum in TCP's header.
pub(super) const CHECKSUM_AT: usize = 16;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;
const TCP: u8 = 6;

/// The headers of a packet, with room for a tag.
type HeaderBytes = [u8; HEADERS_MAX + TAG_LEN];

/// One packet of TCP, to be cut.
#[derive(Debug)]
pub(super) struct Segments {
    bytes: HeaderBytes,
    headers: Headers,
    /// Where the payload is in the packet, in bytes.
    payload: Range<usize>,
    size: usize,
}

impl Segments {
    /// Reads the headers of `packet`. Its segments get `tag` in front of the Ethernet type.
    pub(super) fn new(
        packet: &RxPacket<'_>,
        version: Ip,
        segment_size: u16,
        checksum: Checksum,
        tag: Option<Tag>,
    ) -> Result<Self, BadOffload> {
        if segment_size < SEGMENT_MIN {
            return Err(BadOffload::SegmentTooShort { segment_size, min: SEGMENT_MIN });
        }
        let mut bytes = [0; HEADERS_MAX + TAG_LEN];
        let copied = packet.copy_to(&mut bytes[..HEADERS_MAX]);
        let headers = Headers::find(&bytes[..copied], packet.len(), version)?;
        if let Checksum::Partial { start, offset } = checksum
            && (usize::from(start), usize::from(offset)) != (headers.tcp, CHECKSUM_AT)
        {
            return Err(BadOffload::NotTcp);
        }
        let payload = headers.len..packet.len();
        let mut segments = Self { bytes, headers, payload, size: segment_size.into() };
        if let Some(tag) = tag {
            segments.insert(tag);
        }
        Ok(segments)
    }

    fn insert(&mut self, tag: Tag) {
        let Headers { ip, tcp, len, .. } = &mut self.headers;
        self.bytes.copy_within(TYPE_AT..*len, TYPE_AT + TAG_LEN);
        self.bytes[TYPE_AT..TYPE_AT + TAG_LEN].copy_from_slice(&tag);
        [ip, tcp, len].into_iter().for_each(|at| *at += TAG_LEN);
    }

    /// How many there are: at least one.
    pub(super) fn count(&self) -> usize {
        self.payload.len().div_ceil(self.size).max(1)
    }

    /// Bytes of segment number `n`.
    pub(super) fn len(&self, n: usize) -> usize {
        self.headers.len + self.payload_of(n).len()
    }

    /// Where the payload of segment number `n` is in the packet.
    fn payload_of(&self, n: usize) -> Range<usize> {
        let start = (self.payload.start + n * self.size).min(self.payload.end);
        start..(start + self.size).min(self.payload.end)
    }

    /// Writes segment number `n`.
    pub(super) fn write<S: Sink>(
        &self,
        n: usize,
        packet: &mut Chunks<'_>,
        to: &mut S,
    ) -> Result<(), S::Error> {
        let payload = self.payload_of(n);
        let mut header = self.header(n, payload.len());
        let mut sum = self.pseudo_header(payload.len());
        sum.add(&header[self.headers.tcp..self.headers.len]);
        to.append(&header[..self.headers.len])?;
        packet.copy(payload, to, |chunk| sum.add(chunk))?;
        let at = self.headers.tcp + CHECKSUM_AT;
        put(&mut header, at, sum.checksum().to_be_bytes());
        to.overwrite(at, &header[at..at + 2])
    }

    /// The headers of segment number `n` with `payload_len` bytes behind them. TCP's checksum is
    /// zero.
    fn header(&self, n: usize, payload_len: usize) -> HeaderBytes {
        let Headers { version, ip, tcp, len } = self.headers;
        let mut bytes = self.bytes;
        match version {
            Ip::V4 => {
                put(&mut bytes, ip + 2, low_word(len - ip + payload_len));
                let id = u16::from_be_bytes([bytes[ip + 4], bytes[ip + 5]]);
                put(&mut bytes, ip + 4, low_word(usize::from(id) + n));
                put(&mut bytes, ip + 10, [0; 2]);
                let mut sum = InternetSum::default();
                sum.add(&bytes[ip..tcp]);
                put(&mut bytes, ip + 10, sum.checksum().to_be_bytes());
            }
            Ip::V6 => put(&mut bytes, ip + 4, low_word(len - (ip + 40) + payload_len)),
        }
        let [a, b, c, d] = [4, 5, 6, 7].map(|at| bytes[tcp + at]);
        let sequence = u32::from_be_bytes([a, b, c, d]).wrapping_add(low_long(n * self.size));
        put(&mut bytes, tcp + 4, sequence.to_be_bytes());
        if n > 0 {
            bytes[tcp + 13] &= !CWR;
        }
        if n + 1 < self.count() {
            bytes[tcp + 13] &= !(FIN | PSH);
        }
        put(&mut bytes, tcp + CHECKSUM_AT, [0; 2]);
        bytes
    }

    /// The sum of what TCP's checksum covers beside the segment.
    ///
    /// Spec: RFC 9293 §3.1, RFC 8200 §8.1.
    fn pseudo_header(&self, payload_len: usize) -> InternetSum {
        let Headers { version, ip, tcp, len } = self.headers;
        let addresses = match version {
            Ip::V4 => ip + 12..ip + 20,
            Ip::V6 => ip + 8..ip + 40,
        };
        let mut sum = InternetSum::default();
        sum.add(&self.bytes[addresses]);
        sum.add(&[0, TCP]);
        sum.add(&low_word(len - tcp + payload_len));
        sum
    }
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

/// The low 16 bits of `value`, as they are sent.
#[expect(clippy::cast_possible_truncation, reason = "lengths fit, identifications wrap")]
fn low_word(value: usize) -> [u8; 2] {
    (value as u16).to_be_bytes()
}

#[expect(clippy::cast_possible_truncation, reason = "offsets in a packet fit")]
fn low_long(value: usize) -> u32 {
    value as u32
}
