//! What a peer can be blamed for.

use crate::wire::{FrameError, Request, WireError};
use thiserror::Error;

/// How a peer broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// The stream cannot be followed any further.
    #[error(transparent)]
    BadFrame(#[from] FrameError),
    /// A payload that does not fit its request.
    #[error(transparent)]
    BadPayload(#[from] WireError),
    /// A reply where a request belongs.
    #[error("reply to request {request} instead of a request")]
    Reply {
        /// Number of the request.
        request: u32,
    },
    /// A request where a reply belongs.
    #[error("request {request} instead of a reply")]
    Request {
        /// Number of the request.
        request: u32,
    },
    /// A reply that wants an answer itself.
    #[error("reply to request {request} that asks for a reply")]
    ReplyFlags {
        /// Number of the request.
        request: u32,
    },
    /// A reply that nobody waits for, or to another request than the last.
    #[error("reply to request {request}, which was not asked")]
    Unasked {
        /// Number of the request.
        request: u32,
    },
    /// A reply that tells of something else than what was asked for.
    #[error("reply to {request} tells of something else")]
    OtherReply {
        /// The request.
        request: Request,
    },
    /// File descriptors were lost on their way: more came than this process may have open.
    #[error("file descriptors lost on their way: more than this process may open")]
    FdsTruncated,
    /// File descriptors came behind the header of their message.
    #[error("{got} file descriptors behind the header")]
    LateFds {
        /// Descriptors received.
        got: usize,
    },
    /// A message carries too many or too few file descriptors.
    #[error("{request} with {got} file descriptors, not {min} to {max}")]
    FdCount {
        /// The request.
        request: Request,
        /// Descriptors received.
        got: usize,
        /// Fewest that belong to it.
        min: usize,
        /// Most that belong to it.
        max: usize,
    },
    /// A ring that does not exist.
    #[error("ring {index}, {count} exist")]
    RingIndex {
        /// Index received.
        index: u32,
        /// Rings that exist.
        count: u16,
    },
    /// A request that a running ring does not allow.
    #[error("{request} for ring {index}, which runs")]
    RingRunning {
        /// The request.
        request: Request,
        /// The ring.
        index: u16,
    },
    /// A ring is started that lacks something.
    #[error("ring {index} started without {missing}")]
    RingIncomplete {
        /// The ring.
        index: u16,
        /// The request that is missing.
        missing: Request,
    },
    /// A ring's size is out of range, or is no power of two and not packed.
    #[error("ring of {size} descriptors, at most {limit} accepted, powers of two unless packed")]
    RingSize {
        /// Size received.
        size: u32,
        /// Largest one accepted.
        limit: u16,
    },
    /// A ring begins outside of itself.
    #[error("ring {index} begins at {base:#x}, outside of it")]
    RingBase {
        /// The ring.
        index: u16,
        /// Base received.
        base: u32,
    },
    /// A ring is enabled with neither 0 nor 1.
    #[error("ring enabled with {value}, 0 and 1 mean something")]
    EnableValue {
        /// Value received.
        value: u32,
    },
    /// Virtio features that we did not offer.
    #[error("features {bits:#x} were not offered")]
    FeaturesNotOffered {
        /// The features.
        bits: u64,
    },
    /// Protocol features that we did not offer.
    #[error("protocol features {bits:#x} were not offered")]
    ProtocolFeaturesNotOffered {
        /// The features.
        bits: u64,
    },
    /// Features changed while rings run, other than LOG_ALL.
    #[error("features {bits:#x} changed while rings run")]
    FeaturesWhileRunning {
        /// The features.
        bits: u64,
    },
    /// A memory region that is empty, or whose end overflows.
    #[error("memory region of {size} bytes is empty or wraps around")]
    RegionExtent {
        /// Length received, in bytes.
        size: u64,
    },
    /// Two memory regions share addresses.
    #[error("memory regions at guest addresses {first:#x} and {second:#x} overlap")]
    RegionsOverlap {
        /// Guest address of one.
        first: u64,
        /// Guest address of the other.
        second: u64,
    },
    /// More memory regions than we take.
    #[error("more than {limit} memory regions")]
    TooManyRegions {
        /// Most regions accepted.
        limit: u16,
    },
    /// The regions together are larger than we map.
    #[error("memory regions of {bytes} bytes, {limit} accepted")]
    TooMuchMemory {
        /// Size of all regions, in bytes.
        bytes: u64,
        /// Most bytes accepted.
        limit: u64,
    },
    /// A memory region is removed that does not exist.
    #[error("no memory region of {size} bytes at guest address {guest_address:#x}")]
    NoSuchRegion {
        /// Guest address received.
        guest_address: u64,
        /// Length received, in bytes.
        size: u64,
    },
    /// A piece of a file that is empty, too large, or whose end overflows.
    #[error("{request} with {size} bytes at offset {offset} of its file, at most {limit} accepted")]
    FileArea {
        /// The request.
        request: Request,
        /// Length received, in bytes.
        size: u64,
        /// Start received, in bytes.
        offset: u64,
        /// Longest one accepted, in bytes.
        limit: u64,
    },
    /// Memory for chains in flight that does not fit our rings.
    #[error("memory for chains in flight of {queues} rings of {queue_size} descriptors")]
    InflightShape {
        /// Rings received.
        queues: u16,
        /// Size of the largest received.
        queue_size: u16,
    },
    /// A request that is only allowed while all rings are stopped.
    #[error("{request} while rings run")]
    WhileRunning {
        /// The request.
        request: Request,
    },
    /// Descriptors on the second socket, where nothing that we take has any.
    #[error("{got} file descriptors on the second socket")]
    ChannelFds {
        /// Descriptors received.
        got: usize,
    },
    /// A value that means nothing.
    #[error("{request} with the value {value:#x}")]
    Value {
        /// The request.
        request: Request,
        /// Value received.
        value: u64,
    },
}

/// A peer keeps to the protocol, but wants something that we do not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PeerIncompatible {
    /// A request that we do not know.
    #[error("unknown request {number}")]
    UnknownRequest {
        /// Number received.
        number: u32,
    },
    /// A request that we know, but did not offer.
    #[error("{request} was not offered")]
    NotOffered {
        /// The request.
        request: Request,
    },
    /// A request on the second socket that we do not serve.
    #[error("request {number} on the second socket is not served")]
    ChannelRequest {
        /// Number received.
        number: u32,
    },
    /// Virtio features are missing that we insist on.
    #[error("features {bits:#x} are required")]
    FeaturesMissing {
        /// The features.
        bits: u64,
    },
    /// The device does not accept a set of features although it offered all of them.
    #[error("the device does not accept features {bits:#x}")]
    FeaturesNotAccepted {
        /// The features.
        bits: u64,
    },
}
