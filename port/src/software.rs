//! Offloads in software: what a packet's metadata asks for is done here when the queue that it
//! goes to cannot pass it on.
//!
//! | asked for | done |
//! |---|---|
//! | [`Checksum::Partial`] | the Internet checksum is computed and stored |
//! | [`Segmentation`] | the packet is cut into segments, each with lengths, sequence number, flags and checksums of its own |
//! | a VLAN tag | a tag of type 0x8100 is inserted in front of the Ethernet type |
//!
//! [`TxBurst::push_packet`](crate::burst::TxBurst::push_packet) and
//! [`forward`](crate::burst::forward()) come here by themselves; who reads packets and wants plain
//! ones calls [`RxPacket::finished`].
//!
//! The peer can write a packet's memory at any time, and its metadata may lie. So the headers are
//! copied to private memory once and parsed there, the payload passes through a private buffer in
//! which it is summed, and a packet that is not what its metadata says is a [`BadOffload`] before
//! anything of it is sent. Nothing here allocates, except for the owned packets of [`Finished`].
//!
//! Spec: VIRTIO 1.3 §5.1.6.2, RFC 768, RFC 1071, RFC 3168, RFC 9293.

mod checked;
mod chunks;
mod finished;
mod headers;
mod segments;
mod sum;
mod tag;
mod whole;

pub(crate) use checked::checked;
pub use finished::Finished;

use crate::burst::RxPacket;
use crate::offload::{Checksum, Offload, Segmentation};
use chunks::Chunks;
use headers::Ip;
use segments::Segments;
use tag::{behind_tag, tag};
use thiserror::Error;
use whole::Whole;

/// Why a packet cannot be what its offload metadata says. It comes from the peer, and is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadOffload {
    /// The checksum is not in the packet, or cannot be told from the Ethernet header.
    #[error("checksum at {offset} bytes behind {start} in a packet of {len}")]
    ChecksumOutside {
        /// Where the summed bytes begin, in bytes from the start of the packet.
        start: u16,
        /// Where the sum goes, in bytes from `start`.
        offset: u16,
        /// Length of the packet, in bytes.
        len: usize,
    },
    /// Headers end beyond the packet, or are longer than any that are accepted (508 bytes in all).
    #[error("headers are cut off")]
    Truncated,
    /// The packet is not TCP over the named version of IP: it is something else, a fragment, has
    /// impossible headers, or its checksum is not TCP's.
    #[error("packet is not the TCP that it is said to be")]
    NotTcp,
    /// The length in the IP header is neither the packet's nor zero.
    #[error("IP header says {said} bytes, the packet has {actual}")]
    WrongLength {
        /// What the header says, in bytes.
        said: u16,
        /// What there is, in bytes.
        actual: usize,
    },
    /// The packet is longer than an IP packet can be.
    #[error("packet of {len} bytes to be cut")]
    TooLong {
        /// Length of the packet, in bytes.
        len: usize,
    },
    /// Segments of hardly any payload.
    #[error("segments of {segment_size} bytes, at least {min} make sense")]
    SegmentTooShort {
        /// Payload bytes of each segment, as asked for.
        segment_size: u16,
        /// The least that is accepted, in bytes.
        min: u16,
    },
}

/// Where finished packets are written.
pub(crate) trait Sink {
    type Error;

    /// Appends bytes to the packet.
    fn append(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Overwrites bytes that were appended before.
    fn overwrite(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Self::Error>;
}

/// What is sent in place of one packet: one or more.
#[derive(Debug)]
pub(crate) struct Finish<'b> {
    packet: RxPacket<'b>,
    how: How,
    /// The metadata that is left for the queue to pass on.
    left: Offload,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "on the stack, and must not allocate")]
enum How {
    Whole(Whole),
    Segments(Segments),
}

impl<'b> Finish<'b> {
    /// Finds out what is to be done for `packet` when metadata that `carries` is passed on.
    pub(crate) fn new(
        packet: RxPacket<'b>,
        carries: impl FnOnce(&Offload) -> bool,
    ) -> Result<Self, BadOffload> {
        let offload = packet.offload();
        let tag = offload.vlan.map(tag);
        let rest = Offload { vlan: None, ..offload };
        let (version, segment_size) = match offload.segmentation {
            _ if tag.is_some() && carries(&rest) => {
                let whole = Whole::new(packet.len(), Checksum::Unknown, tag)?;
                let left = behind_tag(rest, packet.len())?;
                return Ok(Self { packet, how: How::Whole(whole), left });
            }
            Segmentation::None => {
                let whole = Whole::new(packet.len(), offload.checksum, tag)?;
                return Ok(Self { packet, how: How::Whole(whole), left: Offload::default() });
            }
            Segmentation::Tcp4 { segment_size, .. } => (Ip::V4, segment_size),
            Segmentation::Tcp6 { segment_size, .. } => (Ip::V6, segment_size),
        };
        let segments = Segments::new(&packet, version, segment_size, offload.checksum, tag)?;
        Ok(Self { packet, how: How::Segments(segments), left: Offload::default() })
    }

    /// The metadata that is left for the queue to pass on.
    pub(crate) fn left(&self) -> Offload {
        self.left
    }

    /// How many packets there are: at least one.
    pub(crate) fn count(&self) -> usize {
        match &self.how {
            How::Whole(_) => 1,
            How::Segments(segments) => segments.count(),
        }
    }

    /// Bytes of packet number `n`.
    fn len(&self, n: usize) -> usize {
        match &self.how {
            How::Whole(whole) => whole.len(),
            How::Segments(segments) => segments.len(n),
        }
    }

    /// Writes packet number `n`.
    pub(crate) fn write<S: Sink>(&self, n: usize, to: &mut S) -> Result<(), S::Error> {
        let mut chunks = Chunks::of(self.packet);
        match &self.how {
            How::Whole(whole) => whole.write(&mut chunks, to),
            How::Segments(segments) => segments.write(n, &mut chunks, to),
        }
    }
}
