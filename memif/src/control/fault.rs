//! What a peer can be blamed for.

use super::Direction;
use crate::error::WireError;
use crate::wire::{MESSAGE_LEN, MessageType, VERSION};
use thiserror::Error;

/// How a peer broke the protocol. Each one ends its connection.
///
/// Spec: [what a receiver must check](crate::protocol#what-a-receiver-must-check).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// Bytes that are no message.
    #[error(transparent)]
    BadMessage(#[from] WireError),
    /// A message was longer than our buffer of [`MESSAGE_LEN`] bytes.
    #[error("message longer than {MESSAGE_LEN} bytes")]
    MessageTruncated,
    /// File descriptors were lost on their way: more came than this process may have open.
    #[error("file descriptors lost on their way: more than the receiver may open")]
    FdsTruncated,
    /// A message carries too many or too few file descriptors.
    #[error("{message} with {got} file descriptors, not {expected}")]
    FdCount {
        /// Kind of message.
        message: MessageType,
        /// Descriptors received.
        got: usize,
        /// Descriptors that such a message carries.
        expected: usize,
    },
    /// A message that only the other role sends.
    #[error("{message} from the wrong side")]
    WrongRole {
        /// Kind of message.
        message: MessageType,
    },
    /// A message before the INIT that must open the conversation.
    #[error("{message} before INIT")]
    BeforeInit {
        /// Kind of message.
        message: MessageType,
    },
    /// A second INIT on one connection.
    #[error("second INIT")]
    SecondInit,
    /// A second HELLO on one connection.
    #[error("second HELLO")]
    SecondHello,
    /// Regions or rings announced after CONNECT.
    #[error("{message} after CONNECT")]
    AfterConnect {
        /// Kind of message.
        message: MessageType,
    },
    /// A message that answers nothing, or that does not wait for our answer.
    #[error("unexpected {message}")]
    Unexpected {
        /// Kind of message.
        message: MessageType,
    },
    /// Region indices must be 0, 1, 2, ...
    #[error("region index {got}, expected {expected}")]
    RegionIndex {
        /// Index received.
        got: u16,
        /// Index that comes next.
        expected: u16,
    },
    /// More regions than we announced.
    #[error("more than {limit} regions")]
    TooManyRegions {
        /// Most regions accepted.
        limit: u16,
    },
    /// A region of no bytes.
    #[error("region {index} is empty")]
    EmptyRegion {
        /// Index of the region.
        index: u16,
    },
    /// The regions together are larger than we map.
    #[error("regions of {bytes} bytes, {limit} accepted")]
    TooMuchMemory {
        /// Size of all regions so far, in bytes.
        bytes: u64,
        /// Most bytes accepted.
        limit: u64,
    },
    /// Ring indices must be 0, 1, 2, ... in each direction.
    #[error("{direction} ring index {got}, expected {expected}")]
    RingIndex {
        /// Direction of the ring.
        direction: Direction,
        /// Index received.
        got: u16,
        /// Index that comes next.
        expected: u16,
    },
    /// More rings than we announced.
    #[error("more than {limit} {direction} rings")]
    TooManyRings {
        /// Direction of the rings.
        direction: Direction,
        /// Most rings accepted.
        limit: u16,
    },
    /// A direction has no ring.
    #[error("no {direction} ring")]
    NoRings {
        /// Direction without a ring.
        direction: Direction,
    },
    /// A ring lies in a region that was not announced.
    #[error("ring in region {region}, {count} exist")]
    RingRegion {
        /// Region named.
        region: u16,
        /// Regions announced.
        count: u16,
    },
    /// A ring does not start at a multiple of 16 bytes.
    #[error("ring offset {offset} is not a multiple of 16")]
    RingAlignment {
        /// Offset received, in bytes.
        offset: u32,
    },
    /// A ring's size is out of range.
    #[error("log2 ring size {log2}, 1 to {limit} accepted")]
    RingSize {
        /// Base-2 logarithm received.
        log2: u8,
        /// Largest one accepted.
        limit: u8,
    },
    /// A ring leaves its region.
    #[error("ring at offset {offset} of {len} bytes in region {region} of {region_len} bytes")]
    RingOutOfBounds {
        /// Region of the ring.
        region: u16,
        /// Start of the ring, in bytes.
        offset: u32,
        /// Length of the ring, in bytes.
        len: u64,
        /// Length of the region, in bytes.
        region_len: u64,
    },
    /// Two rings share memory.
    #[error("rings at offsets {first} and {second} of region {region} overlap")]
    RingsOverlap {
        /// Region of both rings.
        region: u16,
        /// Start of one, in bytes.
        first: u32,
        /// Start of the other, in bytes.
        second: u32,
    },
    /// A ring with private data in front of packets, which the protocol reserves.
    #[error("private header of {size} bytes, must be 0")]
    PrivateHeader {
        /// Size received, in bytes.
        size: u16,
    },
}

/// A peer keeps to the protocol, but wants or offers something else than we.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PeerIncompatible {
    /// Another protocol version.
    #[error("protocol versions {min:#06x} to {max:#06x}, {VERSION:#06x} spoken here")]
    Version {
        /// Lowest version of the peer.
        min: u16,
        /// Highest version of the peer.
        max: u16,
    },
    /// A mode that is neither Ethernet nor IP.
    #[error("interface mode {got}, 0 and 1 supported")]
    Mode {
        /// Mode number received.
        got: u8,
    },
    /// The server accepts no ring of at least two descriptors.
    #[error("largest log2 ring size {max}, {wanted} wanted")]
    RingSize {
        /// The server's largest.
        max: u8,
        /// What we offered.
        wanted: u8,
    },
    /// The server accepts fewer regions than we have.
    #[error("{wanted} regions, {max} accepted")]
    Regions {
        /// Regions that we have.
        wanted: usize,
        /// Regions that the server accepts.
        max: u32,
    },
    /// The server accepts fewer rings than we offer.
    #[error("{wanted} {direction} rings, {max} accepted")]
    Rings {
        /// Direction of the rings.
        direction: Direction,
        /// Rings that we offer.
        wanted: usize,
        /// Rings that the server accepts.
        max: u32,
    },
}
