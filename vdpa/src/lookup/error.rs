//! What can go wrong with the look-up.

use ringport::error::CallError;
use ringport::socket::SocketError;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why there is no server.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LookupError {
    /// The directory of its socket is not there.
    #[error("{}: the directory is not there: make it, or choose another socket", .0.display())]
    NoDirectory(PathBuf),
    /// Its socket cannot be had.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The system refused a call.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Why a question has no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens, nobody has come to listen in time, or who did has left at once.
    #[error(
        "no look-up can be asked at {}: is the server running, and may we write its socket?",
        path.display()
    )]
    NoServer {
        /// Where it was to be.
        path: PathBuf,
        /// What the system said in the end.
        source: io::Error,
    },
    /// No answer in time.
    #[error("the look-up did not answer within {seconds} s")]
    Late {
        /// How long it had.
        seconds: u64,
    },
    /// The server, or the way to it, failed.
    #[error("the look-up failed: {code}: {message}")]
    Failed {
        /// The status code's description.
        code: String,
        /// What the server said.
        message: String,
    },
    /// The server says something that cannot be.
    #[error("the look-up says what cannot be: {0}")]
    Absurd(String),
    /// The server does not tell of changes any more.
    #[error("the look-up tells no more of changes")]
    Ended,
    /// The system refused a call.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl From<tonic::Status> for ClientError {
    fn from(status: tonic::Status) -> Self {
        let code = status.code().description().to_owned();
        // Somebody else's text, on its way to a terminal.
        let message = super::log::Printable(status.message()).to_string();
        Self::Failed { code, message }
    }
}
