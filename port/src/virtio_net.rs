//! The header in front of each packet of a virtio network device, and of a Linux TAP.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | flags: bit 0 checksum not computed yet, bit 1 checksum verified |
//! | 1 | 1 | segmentation: 0 none, 1 TCP over IPv4, 4 TCP over IPv6, 0x80 added: ECN bits in use |
//! | 2 | 2 | bytes of all headers |
//! | 4 | 2 | payload bytes of each segment |
//! | 6 | 2 | where the summed bytes begin, from the start of the packet |
//! | 8 | 2 | where the sum goes, from there |
//! | 10 | 2 | buffers that the packet takes; a device sets it, in a driver's packets it is stale |
//!
//! All little-endian. Ten bytes, without the last field, are for devices older than VIRTIO 1.0,
//! which this is not.
//!
//! Spec: VIRTIO 1.3 §5.1.6 (`struct virtio_net_hdr`).

use crate::offload::{Checksum, Offload, Segmentation};

#[cfg(test)]
mod tests;

/// Bytes of the header.
pub const HEADER_LEN: usize = 12;
/// The same, where lengths of descriptors are counted.
pub const HEADER: u32 = 12;

const NEEDS_CHECKSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const GSO_ECN: u8 = 0x80;

/// A header that makes no sense for its packet: it asks for a sum outside of the packet, for
/// segments of no bytes or without a checksum, or for a segmentation that we do not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("packet header asks for what the packet cannot have")]
pub struct BadHeader;

/// Takes the metadata from the header of a packet of `len` bytes. What it returns lies in the
/// packet: where a checksum starts, where it goes, where the payload begins.
///
/// # Errors
/// [`BadHeader`].
#[inline]
pub fn decode(header: &[u8; HEADER_LEN], len: u32) -> Result<Offload, BadHeader> {
    if header[..6] == [0; 6] {
        return Ok(Offload::default());
    }
    let checksum = checksum(header, len)?;
    let segmentation = segmentation(header, len)?;
    let partial = matches!(checksum, Checksum::Partial { .. });
    if segmentation != Segmentation::None && !partial {
        return Err(BadHeader);
    }
    Ok(Offload { checksum, segmentation, vlan: None })
}

/// The header of a packet that takes `buffers` buffers.
#[must_use]
#[inline]
pub fn encode(offload: &Offload, buffers: u16) -> [u8; HEADER_LEN] {
    let (flags, start, offset) = match offload.checksum {
        Checksum::Unknown => (0, 0, 0),
        Checksum::Verified => (DATA_VALID, 0, 0),
        Checksum::Partial { start, offset } => (NEEDS_CHECKSUM, start, offset),
    };
    let (kind, header_len, segment_size, ecn) = match offload.segmentation {
        Segmentation::None => (GSO_NONE, 0, 0, false),
        Segmentation::Tcp4 { header_len, segment_size, ecn } => {
            (GSO_TCP4, header_len, segment_size, ecn)
        }
        Segmentation::Tcp6 { header_len, segment_size, ecn } => {
            (GSO_TCP6, header_len, segment_size, ecn)
        }
    };
    let mut header = [0; HEADER_LEN];
    header[0] = flags;
    header[1] = kind | if ecn { GSO_ECN } else { 0 };
    let words = [header_len, segment_size, start, offset, buffers];
    for (field, word) in header[2..].chunks_exact_mut(2).zip(words) {
        field.copy_from_slice(&word.to_le_bytes());
    }
    header
}

/// How many buffers a received packet takes, with `VIRTIO_NET_F_MRG_RXBUF`.
#[must_use]
#[inline(always)]
pub fn buffers(header: &[u8; HEADER_LEN]) -> u16 {
    word(header, 10)
}

fn checksum(header: &[u8; HEADER_LEN], len: u32) -> Result<Checksum, BadHeader> {
    if header[0] & NEEDS_CHECKSUM == 0 {
        let verified = header[0] & DATA_VALID != 0;
        return Ok(if verified { Checksum::Verified } else { Checksum::Unknown });
    }
    let [start, offset] = [word(header, 6), word(header, 8)];
    if u32::from(start) + u32::from(offset) + 2 > len {
        return Err(BadHeader);
    }
    Ok(Checksum::Partial { start, offset })
}

fn segmentation(header: &[u8; HEADER_LEN], len: u32) -> Result<Segmentation, BadHeader> {
    let kind = header[1];
    if kind == GSO_NONE {
        return Ok(Segmentation::None);
    }
    let [header_len, segment_size] = [word(header, 2), word(header, 4)];
    if segment_size == 0 || u32::from(header_len) >= len {
        return Err(BadHeader);
    }
    let ecn = kind & GSO_ECN != 0;
    match kind & !GSO_ECN {
        GSO_TCP4 => Ok(Segmentation::Tcp4 { header_len, segment_size, ecn }),
        GSO_TCP6 => Ok(Segmentation::Tcp6 { header_len, segment_size, ecn }),
        _ => Err(BadHeader),
    }
}

fn word(header: &[u8; HEADER_LEN], at: usize) -> u16 {
    u16::from_le_bytes([header[at], header[at + 1]])
}
