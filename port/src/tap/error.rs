//! Why there is no TAP.

use crate::error::CallError;
use crate::port_string::ItemError;
use crate::shm::RegionError;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why a TAP cannot be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TapError {
    /// The port string is one of another protocol.
    #[error("{given:?} does not start with tap:")]
    NotTap {
        /// What was given.
        given: String,
    },
    /// No interface can have this name.
    #[error("{name:?} cannot be an interface's name: 1 to 15 bytes without / : , and spaces")]
    Name {
        /// The name.
        name: String,
    },
    /// An item of the port string cannot work.
    #[error(transparent)]
    Item(#[from] ItemError),
    /// The network namespace cannot be entered.
    #[error("cannot enter network namespace {}{}", path.display(), namespace_hint(source))]
    Namespace {
        /// Its file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no `/dev/net/tun`, or we must not use it.
    #[error("cannot open /dev/net/tun")]
    NoDevice(#[source] io::Error),
    /// The interface cannot be made, or is of another kind, or in use.
    #[error("cannot make TAP {name}{}", hint(source))]
    Make {
        /// Its name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The interface cannot be made what it is to be.
    #[error("cannot set {what} of {name}")]
    Set {
        /// What was to be set.
        what: &'static str,
        /// Name of the interface.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// There is no memory for packets.
    #[error("packet memory")]
    Memory(#[from] RegionError),
    /// Something else failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// What to do about a refusal.
fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => ": this needs CAP_NET_ADMIN",
        _ => "",
    }
}

fn namespace_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => ": this needs CAP_SYS_ADMIN",
        _ => "",
    }
}
