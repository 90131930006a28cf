//! What can go wrong, by whose fault it is.
//!
//! [`PeerMisbehaved`] when the peer broke the protocol, [`PeerIncompatible`] when it keeps to it but
//! wants what we do not have, [`ControlError::Failed`] when we could not do what it asked.

pub use crate::backend::{PeerIncompatible, PeerMisbehaved};
pub use crate::wire::{FrameError, WireError};

use crate::wire::Request;
use std::time::Duration;
use thiserror::Error;

/// Why a request was refused, or a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The peer wants something that we do not have.
    #[error("peer is incompatible: {0}")]
    PeerIncompatible(#[from] PeerIncompatible),
    /// The peer broke the protocol.
    #[error("peer misbehaved: {0}")]
    PeerMisbehaved(#[from] PeerMisbehaved),
    /// We could not do what the peer asked, and there is no way to tell it.
    #[error("{request} failed here, and the peer does not wait for an answer")]
    Failed {
        /// What was asked.
        request: Request,
    },
    /// An answer of ours did not come in time.
    #[error("no answer to {request} after {waited:?}")]
    Timeout {
        /// What was asked.
        request: Request,
        /// How long it was waited for.
        waited: Duration,
    },
    /// A method was called when it means nothing, such as an answer without a question.
    #[error("{call} called out of order")]
    OutOfOrder {
        /// The method.
        call: &'static str,
    },
    /// More bytes were passed than were asked for.
    #[error("{got} bytes passed, {wanted} wanted")]
    Overfed {
        /// Bytes passed.
        got: usize,
        /// Bytes asked for.
        wanted: usize,
    },
}

impl ControlError {
    /// Whether the peer asked for what we never offered: a link works without.
    pub(crate) fn is_about_unoffered(&self) -> bool {
        use PeerIncompatible::{NotOffered, UnknownRequest};
        matches!(self, Self::PeerIncompatible(UnknownRequest { .. } | NotOffered { .. }))
    }
}

impl From<WireError> for ControlError {
    fn from(why: WireError) -> Self {
        Self::PeerMisbehaved(why.into())
    }
}
