//! The header in front of every message.

use super::field::{Reader, Writer};
use thiserror::Error;

/// Length of the header, in bytes.
pub const HEADER_LEN: usize = 12;

/// Longest payload taken, in bytes: many times that of the longest message known (268), so that
/// requests of the future can be skipped.
pub const PAYLOAD_MAX: u32 = 4096;

/// Version spoken here, in bits 0 and 1 of the flags.
pub const VERSION: u32 = 1;

const VERSION_MASK: u32 = 0b11;
const FLAG_REPLY: u32 = 1 << 2;
const FLAG_NEED_REPLY: u32 = 1 << 3;

/// The header of a message.
///
/// Spec: vhost-user "Header".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Number of the request, known or not.
    pub request: u32,
    /// Whether this answers a request; bit 2 of the flags.
    pub reply: bool,
    /// Whether the sender waits for an answer; bit 3 of the flags.
    pub need_reply: bool,
    /// Bytes of the payload.
    pub size: u32,
}

/// Bytes after which a stream cannot be followed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Another protocol version.
    #[error("message of protocol version {got}, {VERSION} is spoken here")]
    Version {
        /// Version received.
        got: u32,
    },
    /// Flags that mean nothing.
    #[error("message with reserved flags {bits:#x}")]
    Flags {
        /// The flags.
        bits: u32,
    },
    /// A payload longer than [`PAYLOAD_MAX`].
    #[error("request {request} with a payload of {size} bytes, at most {PAYLOAD_MAX} are taken")]
    PayloadTooLong {
        /// Number of the request.
        request: u32,
        /// Length announced, in bytes.
        size: u32,
    },
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, FrameError> {
        let mut fields = Reader::new(bytes);
        let (request, flags, size) = (fields.u32(), fields.u32(), fields.u32());
        let version = flags & VERSION_MASK;
        if version != VERSION {
            return Err(FrameError::Version { got: version });
        }
        let bits = flags & !(VERSION_MASK | FLAG_REPLY | FLAG_NEED_REPLY);
        if bits != 0 {
            return Err(FrameError::Flags { bits });
        }
        if size > PAYLOAD_MAX {
            return Err(FrameError::PayloadTooLong { request, size });
        }
        let (reply, need_reply) = (flags & FLAG_REPLY != 0, flags & FLAG_NEED_REPLY != 0);
        Ok(Self { request, reply, need_reply, size })
    }

    /// Writes a message: this header, with the size of `payload`, and `payload`.
    pub(super) fn frame(self, payload: &[u8]) -> Vec<u8> {
        let mut fields = Writer::default();
        fields.u32(self.request);
        let reply = if self.reply { FLAG_REPLY } else { 0 };
        let need_reply = if self.need_reply { FLAG_NEED_REPLY } else { 0 };
        fields.u32(VERSION | reply | need_reply);
        fields.u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
        fields.bytes(payload);
        fields.into_payload()
    }

    /// The header of a request.
    pub(super) fn of_request(request: u32, need_reply: bool) -> Self {
        Self { request, reply: false, need_reply, size: 0 }
    }

    /// The header of a reply. QEMU and DPDK take no other flags than these.
    pub(super) fn of_reply(request: u32) -> Self {
        Self { request, reply: true, need_reply: false, size: 0 }
    }
}
