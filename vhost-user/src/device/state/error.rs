//! What can be wrong with a state.

use super::{STATE_MAX, VERSION};
use thiserror::Error;

/// Why a state cannot be loaded, or was not saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StateError {
    /// It does not begin as one.
    #[error("no state of a device of this kind")]
    Magic,
    /// It is of another version.
    #[error("state of version {got}, {VERSION} is known")]
    Version {
        /// The version.
        got: u16,
    },
    /// It ends too early, or goes on behind its end.
    #[error("state of {got} bytes instead of {expected}")]
    Length {
        /// Bytes received.
        got: usize,
        /// Bytes announced.
        expected: usize,
    },
    /// It is longer than any.
    #[error("state of more than {STATE_MAX} bytes")]
    TooLong,
    /// A section is unknown, and cannot be passed over.
    #[error("section {tag} of the state is unknown, and must not be passed over")]
    Unknown {
        /// Its tag.
        tag: u16,
    },
    /// A section is there twice, or is missing.
    #[error("section {tag} of the state is there {count} times")]
    Count {
        /// Its tag.
        tag: u16,
        /// How often it is there.
        count: u8,
    },
    /// A section says what cannot be.
    #[error("section {tag} of the state says what cannot be")]
    Contents {
        /// Its tag.
        tag: u16,
    },
    /// The driver has features that this device does not offer.
    #[error("the driver has features {bits:#x}, which this device does not offer")]
    Features {
        /// The features.
        bits: u64,
    },
    /// What the front-end gave is no pipe.
    #[error("no pipe")]
    NotAPipe,
    /// The pipe cannot be used.
    #[error("pipe: {0}")]
    Pipe(std::io::ErrorKind),
    /// The front-end did not read, or write, all of it in time.
    #[error("the front-end did not take or give the state in time")]
    Late,
    /// There is no state to be asked about.
    #[error("no state was moved")]
    None,
}
