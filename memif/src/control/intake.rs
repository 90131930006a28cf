//! From what a socket delivered to a message with the descriptor that belongs to it.

use crate::error::PeerMisbehaved;
use crate::wire::Message;
use std::os::fd::OwnedFd;

/// What one read of the socket delivered.
///
/// An empty read without descriptors is the end of the connection, not a message: do not pass it.
#[derive(Debug, Default)]
pub struct Incoming<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// The file descriptors that came along. The machine closes those that it does not keep.
    pub fds: Vec<OwnedFd>,
    /// The message was longer than the buffer (`MSG_TRUNC`).
    pub truncated: bool,
    /// Descriptors were lost (`MSG_CTRUNC`).
    pub fds_truncated: bool,
}

impl Incoming<'_> {
    /// Checks everything that does not depend on the state of the conversation.
    pub(super) fn parse(self) -> Result<(Message, Option<OwnedFd>), PeerMisbehaved> {
        if self.truncated {
            return Err(PeerMisbehaved::MessageTruncated);
        }
        if self.fds_truncated {
            return Err(PeerMisbehaved::FdsTruncated);
        }
        let message = Message::decode(self.bytes)?;
        let message_type = message.message_type();
        let (got, expected) = (self.fds.len(), message_type.fd_count());
        if got != expected {
            return Err(PeerMisbehaved::FdCount { message: message_type, got, expected });
        }
        Ok((message, self.fds.into_iter().next()))
    }
}
