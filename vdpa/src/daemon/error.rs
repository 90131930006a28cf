//! Why the daemon does not do something.

use super::DeviceName;
use crate::files::{DEVICES_MAX, EntryError, FileError};
use std::io;
use thiserror::Error;

/// Why a device cannot be served, or not be given back, or there is no daemon.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// The device has a socket already.
    #[error("{device} is served already, at {socket}: remove it first")]
    AlreadyServed {
        /// The device.
        device: DeviceName,
        /// Its socket.
        socket: String,
    },
    /// There is no such device here.
    #[error("{0} is not served: list shows what is")]
    NotServed(DeviceName),
    /// Another device has that socket.
    #[error("the socket {socket} is that of {device}: choose another")]
    SocketTaken {
        /// The socket.
        socket: String,
        /// Who has it.
        device: DeviceName,
    },
    /// No socket can have that path.
    #[error(transparent)]
    Socket(#[from] EntryError),
    /// There are too many.
    #[error("{DEVICES_MAX} devices are served already, which is the most")]
    TooMany,
    /// The file of numbers cannot be used.
    #[error(transparent)]
    Numbers(#[from] FileError),
    /// The daemon ends.
    #[error("the daemon ends")]
    Ending,
    /// The system has run out of something.
    #[error("no thread can be started for it")]
    System(#[source] io::Error),
}
