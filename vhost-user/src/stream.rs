//! The bytes and descriptors that machines take and give, and how they become messages.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::fault::PeerMisbehaved;
use crate::wire::{HEADER_LEN, Header};
use std::os::fd::OwnedFd;

/// What one read of the socket delivered.
///
/// An empty read without descriptors is the end of the connection, not a message: do not pass it.
#[derive(Debug, Default)]
pub struct Incoming<'a> {
    /// The bytes; no more than the machine wanted.
    pub bytes: &'a [u8],
    /// The file descriptors that came along. The machine closes those that it does not keep.
    pub fds: Vec<OwnedFd>,
    /// Descriptors were lost (`MSG_CTRUNC`).
    pub fds_truncated: bool,
}

/// One message to send. A stream may take it in pieces; the descriptor travels with the first byte.
#[derive(Debug)]
pub struct Outgoing {
    /// The message.
    pub bytes: Vec<u8>,
    /// The file descriptor that travels with it; close it after sending.
    pub fd: Option<OwnedFd>,
}

/// One whole message.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) header: Header,
    pub(crate) payload: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
}

/// What the peer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    Requests,
    Replies,
}

/// A message in the making.
#[derive(Debug)]
pub(crate) struct Intake {
    expect: Expect,
    header: Option<Header>,
    /// Of the header, then of the payload.
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Intake {
    pub(crate) fn new(expect: Expect) -> Self {
        Self { expect, header: None, bytes: Vec::new(), fds: Vec::new() }
    }

    /// Bytes that are missing from the header, or from the payload. Never 0.
    pub(crate) fn wanted(&self) -> usize {
        let whole = self.header.map_or(HEADER_LEN, |header| header.size as usize);
        whole.saturating_sub(self.bytes.len())
    }

    /// Takes at most [`wanted`](Self::wanted) bytes.
    pub(crate) fn take(&mut self, incoming: Incoming<'_>) -> Result<Option<Frame>, PeerMisbehaved> {
        if incoming.fds_truncated {
            return Err(PeerMisbehaved::FdsTruncated);
        }
        let late = self.header.is_some() || incoming.bytes.is_empty();
        if late && !incoming.fds.is_empty() {
            return Err(PeerMisbehaved::LateFds { got: incoming.fds.len() });
        }
        self.fds.extend(incoming.fds);
        self.bytes.extend_from_slice(incoming.bytes);
        if self.header.is_none() {
            let Ok(bytes) = <&[u8; HEADER_LEN]>::try_from(self.bytes.as_slice()) else {
                return Ok(None);
            };
            let header = Header::decode(bytes)?;
            self.check_kind(&header)?;
            self.header = Some(header);
            self.bytes.clear();
        }
        Ok(self.whole())
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.expect);
    }

    fn check_kind(&self, header: &Header) -> Result<(), PeerMisbehaved> {
        let request = header.request;
        match (self.expect, header.reply) {
            (Expect::Requests, true) => Err(PeerMisbehaved::Reply { request }),
            (Expect::Replies, false) => Err(PeerMisbehaved::Request { request }),
            (Expect::Replies, true) if header.need_reply => {
                Err(PeerMisbehaved::ReplyFlags { request })
            }
            _ => Ok(()),
        }
    }

    fn whole(&mut self) -> Option<Frame> {
        let header = self.header.filter(|header| self.bytes.len() == header.size as usize)?;
        let empty = Self::new(self.expect);
        let Self { bytes: payload, fds, .. } = std::mem::replace(self, empty);
        Some(Frame { header, payload, fds })
    }
}
