//! The bytes and descriptors that machines take and give, and how they become messages.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::fault::PeerMisbehaved;
use crate::wire::{HEADER_LEN, Header, Request};
use std::fmt;
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

/// One message to send. A stream may take it in pieces; descriptors travel with the first byte.
#[derive(Debug)]
pub struct Outgoing {
    /// The message.
    pub bytes: Vec<u8>,
    /// The file descriptors that travel with it; close them after sending.
    pub fds: Vec<OwnedFd>,
}

/// One whole message.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) header: Header,
    pub(crate) payload: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
}

/// The part of a message that is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The first twelve bytes, which say what it is.
    Header,
    /// What belongs to a request of this number.
    PayloadOf(u32),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Header => f.write_str("header of a message"),
            Self::PayloadOf(number) => match Request::from_wire(number) {
                Some(request) => write!(f, "payload of {request}"),
                None => write!(f, "payload of request {number}"),
            },
        }
    }
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
    /// Whole messages so far.
    heard: u64,
}

impl Intake {
    pub(crate) fn new(expect: Expect) -> Self {
        Self { expect, header: None, bytes: Vec::new(), fds: Vec::new(), heard: 0 }
    }

    /// Whole messages so far.
    pub(crate) fn heard(&self) -> u64 {
        self.heard
    }

    /// The part of a message that has begun and is not whole.
    pub(crate) fn unfinished(&self) -> Option<Part> {
        match self.header {
            Some(header) => Some(Part::PayloadOf(header.request)),
            None => (!self.bytes.is_empty()).then_some(Part::Header),
        }
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
        let empty = Self { heard: self.heard.saturating_add(1), ..Self::new(self.expect) };
        let Self { bytes: payload, fds, .. } = std::mem::replace(self, empty);
        Some(Frame { header, payload, fds })
    }
}
