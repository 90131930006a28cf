//! The messages: a header of 12 bytes and a payload, both in the byte order of the machine.
//!
//! | offset:size | field of the header |
//! |---|---|
//! | 0:4 | request |
//! | 4:4 | flags: version in bits 0 and 1, reply in bit 2, need_reply in bit 3, the rest is zero |
//! | 8:4 | bytes of the payload |
//!
//! | request | descriptors | payload | reply |
//! |---|---|---|---|
//! | 1 GET_FEATURES, 15 GET_PROTOCOL_FEATURES, 17 GET_QUEUE_NUM, 36 GET_MAX_MEM_SLOTS, 40 GET_STATUS | | | number |
//! | 2 SET_FEATURES, 16 SET_PROTOCOL_FEATURES, 20 NET_SET_MTU, 39 SET_STATUS | | number, 8 bytes | ack |
//! | 3 SET_OWNER, 4 RESET_OWNER, 34 RESET_DEVICE | | | ack |
//! | 5 SET_MEM_TABLE | one for each region | count 0:4, [`MemoryRegion`]s from 8 on | ack |
//! | 6 SET_LOG_BASE | 1 | [`LogArea`] | number |
//! | 7 SET_LOG_FD, 21 SET_BACKEND_REQ_FD | 1 | | ack |
//! | 8 SET_VRING_NUM, 10 SET_VRING_BASE, 18 SET_VRING_ENABLE | | [`VringState`] | ack |
//! | 9 SET_VRING_ADDR | | [`VringAddress`] | ack |
//! | 11 GET_VRING_BASE | | [`VringState`] | [`VringState`] |
//! | 12 SET_VRING_KICK, 13 SET_VRING_CALL, 14 SET_VRING_ERR | 1, or none if bit 8 is set | [`VringFd`] | ack |
//! | 19 SEND_RARP | | address, 6 of 8 bytes | ack |
//! | 24 GET_CONFIG | | [`ConfigSpan`], contents from 12 on | the same, or nothing |
//! | 25 SET_CONFIG | | [`ConfigSpan`], contents from 12 on | ack |
//! | 31 GET_INFLIGHT_FD | | [`Inflight`] | [`Inflight`], 1 descriptor |
//! | 32 SET_INFLIGHT_FD | 1 | [`Inflight`] | ack |
//! | 37 ADD_MEM_REG | 1 | [`MemoryRegion`] from 8 on | ack |
//! | 38 REM_MEM_REG | 0 or 1 | [`MemoryRegion`] from 8 on | ack |
//! | 42 SET_DEVICE_STATE_FD | 1 | [`DeviceState`] | number, 1 descriptor unless bit 8 is set |
//! | 43 CHECK_DEVICE_STATE | | | number |
//!
//! An ack is a number, 0 for success, and is sent only to those who ask for it. All other requests
//! ([`Request`]) have names here, and no payload.
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
mod command;
pub mod feature;
mod field;
mod header;
mod message;
mod payload;
mod reply;
mod request;
#[cfg(test)]
mod tests;

pub use channel::{ChannelMessage, ChannelRequest, decode_channel_ack, encode_channel_ack};
pub use command::{ADDRESSES_MAX, COMMAND_MAX, Command, VLANS};
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
