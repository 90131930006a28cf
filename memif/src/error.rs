//! What can go wrong, by whose fault it is.
//!
//! [`ConfigError`] is the caller's. [`ControlError`] is what ends a connection or an attempt at one:
//! [`PeerMisbehaved`] when the peer broke the protocol, [`PeerIncompatible`] when it keeps to it but
//! wants what we do not have, [`Refusal`] when we said no, [`ControlError::Rejected`] when the peer
//! did. [`ControlError::disconnect_reason`] is the one place that decides what a peer is told.

pub use crate::control::{Awaited, PeerIncompatible, PeerMisbehaved};

use crate::control::Refusal;
use crate::queue::LayoutError;
use crate::wire::{Disconnect, MESSAGE_LEN, Message, Reason};
use ringport::error::CallError;
use ringport::port_string::ItemError;
use ringport::socket::{AddressError, SocketError};
use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;
use thiserror::Error as ThisError;

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum WireError {
    /// A message has another length than [`MESSAGE_LEN`].
    #[error("message of {len} bytes, not {MESSAGE_LEN}")]
    Length {
        /// Length received, in bytes.
        len: usize,
    },
    /// The number of the message's type means nothing.
    #[error("unknown message type {number}")]
    UnknownType {
        /// Number received.
        number: u16,
    },
}

/// Why a connection ended, or did not come about.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum ControlError {
    /// The operating system refused a call.
    #[error("{operation} failed")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The peer wants or offers something else than we.
    #[error("peer is incompatible: {0}")]
    PeerIncompatible(PeerIncompatible),
    /// The peer broke the protocol.
    #[error("peer misbehaved: {0}")]
    PeerMisbehaved(PeerMisbehaved),
    /// We turned the peer away.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The peer turned us away, or left with a reason.
    #[error("rejected by peer: {text} (code {code})")]
    Rejected {
        /// The peer's code; usually 0.
        code: u32,
        /// The peer's reason.
        text: Reason,
    },
    /// The peer closed the connection without a reason.
    #[error("peer closed the connection")]
    Disconnected,
    /// The shared memory cannot be used.
    #[error("shared memory")]
    Layout(#[from] LayoutError),
    /// The peer did not go on with the handshake in time.
    #[error("handshake timeout: no {awaited} within {waited:?}")]
    Stalled {
        /// What did not come.
        awaited: Awaited,
        /// Time that the whole handshake may take.
        waited: Duration,
    },
    /// Something did not happen in time.
    #[error("timeout after {waited:?}")]
    Timeout {
        /// How long it was waited for.
        waited: Duration,
    },
    /// We are configured in a way that cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A method was called when it means nothing, such as an answer without a question.
    #[error("{call} called out of order")]
    OutOfOrder {
        /// The method.
        call: &'static str,
    },
}

impl ControlError {
    pub(crate) fn io(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, source }
    }

    pub(crate) fn errno(operation: &'static str) -> impl FnOnce(nix::errno::Errno) -> Self {
        move |errno| Self::Io { operation, source: errno.into() }
    }

    /// What the peer is told. Says nothing about our own machine.
    #[must_use]
    pub fn disconnect_reason(&self) -> Reason {
        match self {
            Self::PeerIncompatible(why) => Reason::of(why),
            Self::PeerMisbehaved(why) => Reason::of(why),
            Self::Refused(why) => Reason::of(why),
            Self::Layout(why) => Reason::of(&Chain(why)),
            Self::Stalled { awaited, .. } => {
                Reason::of(&format_args!("handshake timeout: no {awaited}"))
            }
            Self::Io { .. } | Self::Config(_) | Self::OutOfOrder { .. } | Self::Timeout { .. } => {
                Reason::new("internal error")
            }
            Self::Rejected { .. } | Self::Disconnected => Reason::default(),
        }
    }

    pub(crate) fn closing_message(&self) -> Message {
        Message::Disconnect(Disconnect { code: 0, text: self.disconnect_reason() })
    }
}

/// An error with its causes, on one line.
struct Chain<'a>(&'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl From<PeerMisbehaved> for ControlError {
    fn from(why: PeerMisbehaved) -> Self {
        Self::PeerMisbehaved(why)
    }
}

impl From<PeerIncompatible> for ControlError {
    fn from(why: PeerIncompatible) -> Self {
        Self::PeerIncompatible(why)
    }
}

impl From<CallError> for ControlError {
    fn from(CallError { operation, source }: CallError) -> Self {
        Self::Io { operation, source }
    }
}

impl From<AddressError> for ControlError {
    fn from(error: AddressError) -> Self {
        Self::Config(error.into())
    }
}

impl From<SocketError> for ControlError {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::Call(call) => call.into(),
            SocketError::Address(address) => address.into(),
        }
    }
}

impl From<Disconnect> for ControlError {
    fn from(Disconnect { code, text }: Disconnect) -> Self {
        Self::Rejected { code, text }
    }
}

impl From<Refusal> for ControlError {
    fn from(why: Refusal) -> Self {
        Self::Refused(why)
    }
}

/// A configuration that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum ConfigError {
    /// A secret does not fit its field.
    #[error("secret of {len} bytes, at most {limit} fit")]
    SecretTooLong {
        /// Length given, in bytes.
        len: usize,
        /// Longest one, in bytes.
        limit: usize,
    },
    /// A secret contains a NUL byte, at which peers stop comparing.
    #[error("secret contains a NUL byte")]
    SecretWithNul,
    /// A socket address, or a socket given to us, cannot be used.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A port string names another protocol.
    #[error("port string {given:?} does not start with \"memif:\"")]
    NotMemif {
        /// What was given.
        given: String,
    },
    /// An item of a port string, or a number in a configuration, cannot work.
    #[error(transparent)]
    Item(#[from] ItemError),
    /// An interface with this id exists already.
    #[error("interface id {id} exists already")]
    DuplicateId {
        /// The id.
        id: u32,
    },
    /// There is no interface with this id.
    #[error("no interface with id {id}")]
    UnknownId {
        /// The id.
        id: u32,
    },
}
