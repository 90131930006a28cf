//! From what a socket delivered to a message with the descriptors that belong to it.

use super::PeerMisbehaved;
use crate::wire::{HEADER_LEN, Header};
use std::os::fd::OwnedFd;

/// What one read of the socket delivered.
///
/// An empty read without descriptors is the end of the connection, not a message: do not pass it.
#[derive(Debug, Default)]
pub struct Incoming<'a> {
    /// The bytes; no more than were [`wanted`](super::BackendMachine::wanted).
    pub bytes: &'a [u8],
    /// The file descriptors that came along. The machine closes those that it does not keep.
    pub fds: Vec<OwnedFd>,
    /// Descriptors were lost (`MSG_CTRUNC`).
    pub fds_truncated: bool,
}

/// One whole message.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) header: Header,
    pub(super) payload: Vec<u8>,
    pub(super) fds: Vec<OwnedFd>,
}

/// A message in the making.
#[derive(Debug, Default)]
pub(super) struct Intake {
    header: Option<Header>,
    /// Of the header, then of the payload.
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Intake {
    /// Bytes that are missing from the header, or from the payload. Never 0.
    pub(super) fn wanted(&self) -> usize {
        let whole = self.header.map_or(HEADER_LEN, |header| header.size as usize);
        whole.saturating_sub(self.bytes.len())
    }

    /// Takes at most [`wanted`](Self::wanted) bytes.
    pub(super) fn take(&mut self, incoming: Incoming<'_>) -> Result<Option<Frame>, PeerMisbehaved> {
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
            if header.reply {
                return Err(PeerMisbehaved::Reply { request: header.request });
            }
            self.header = Some(header);
            self.bytes.clear();
        }
        Ok(self.whole())
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn whole(&mut self) -> Option<Frame> {
        let header = self.header.filter(|header| self.bytes.len() == header.size as usize)?;
        let Self { bytes: payload, fds, .. } = std::mem::take(self);
        Some(Frame { header, payload, fds })
    }
}
