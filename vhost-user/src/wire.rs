//! The messages: a header of 12 bytes and a payload, both in the byte order of the machine.
//!
//! | offset:size | field of the header |
//! |---|---|
//! | 0:4 | request |
//! | 4:4 | flags: version in bits 0 and 1, reply in bit 2, need_reply in bit 3, the rest is zero |
//! | 8:4 | bytes of the payload |
//!
//! File descriptors travel with the first byte of the header. [`Header::decode`] says whether the
//! stream can be followed, [`Message::decode`] checks a payload against the one size that its
//! request has, and [`Message::fd_count`] says how many descriptors belong to it. All are total: any
//! bytes give a value or an error, never a panic.
//!
//! The numbers are this crate's own table: the `vhost` crate has no names for the requests that it
//! does not serve itself, and brings four more crates along.
//!
//! Spec: vhost-user "Message Specification".
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod channel;
pub mod feature;
mod field;
mod header;
mod message;
mod payload;
mod reply;
mod request;
#[cfg(test)]
mod tests;

pub use channel::{ChannelMessage, ChannelRequest, decode_channel_ack};
pub use feature::ProtocolFeatures;
pub use header::{FrameError, HEADER_LEN, Header, PAYLOAD_MAX, VERSION};
pub use message::Message;
pub use payload::{
    CONFIG_MAX, ConfigSpan, DeviceState, Inflight, LogArea, MemoryRegion, REGIONS_PER_MESSAGE_MAX,
    VringAddress, VringFd, VringState,
};
pub use reply::Reply;
pub use request::Request;

use thiserror::Error;

/// A payload that does not fit its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WireError {
    /// The payload has another length than the request has.
    #[error("{request} with a payload of {len} bytes, not {expected}")]
    Length {
        /// The request.
        request: Request,
        /// Length received, in bytes.
        len: usize,
        /// Length of such a payload, in bytes.
        expected: usize,
    },
    /// The payload announces more memory regions, or fewer, than a message may carry.
    #[error("{count} memory regions in one message, 1 to {limit} accepted")]
    RegionCount {
        /// Regions announced.
        count: u32,
        /// Most regions in one message.
        limit: u32,
    },
    /// A part of the configuration that leaves its space.
    #[error("configuration of {size} bytes at offset {offset}, {limit} bytes exist")]
    ConfigSpan {
        /// Start, in bytes.
        offset: u32,
        /// Length, in bytes.
        size: u32,
        /// Length of the whole space, in bytes.
        limit: u32,
    },
    /// Bits are set that mean nothing.
    #[error("{request} with reserved bits {bits:#x}")]
    Reserved {
        /// The request.
        request: Request,
        /// The bits.
        bits: u64,
    },
}
