//! VPP, through its binary API: no other program is run, and nothing is built for one release.
//!
//! | module | what it does |
//! |---|---|
//! | [`wire`] | fields of messages: big-endian, packed |
//! | [`frame`] | messages on a stream, and a deadline for all of them |
//! | [`message`] | the messages that we know, and where a VPP has them |
//! | [`session`] | connecting, asking, dumping, leaving |
//! | [`memif`], [`vhost`], [`interface`], [`bridge`], [`vlan`], [`receive`], [`route`] | one function for each message |
//! | [`tag`] | how an interface says whose it is |
//! | [`port`] | interfaces on their bridge domains: made, removed, checked, collected |
//! | [`lock`] | one plugin at a time |
//! | `engine` | what the verbs ask, in these terms |
//!
//! A message has a number that differs from build to build, and a name with a CRC of its layout. VPP
//! sends the table of both when a client connects; we look up what we need, so one build serves
//! VPP 20.05 to 26.06 and whatever comes after it with the same layouts. Releases before 23.06 lack
//! the second versions of some messages and get the first ones.
//!
//! Run against: VPP 26.10-rc0. Follows the definitions alone: 20.05 to 26.06.
//!
//! ```no_run
//! use ringport_cni::engines::vpp::{Session, VppError};
//! use std::path::Path;
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), VppError> {
//! let mut vpp = Session::connect(Path::new("/run/vpp/api.sock"), Duration::from_secs(5))?;
//! let release = vpp.version().to_owned();
//! for interface in vpp.interfaces()? {
//!     println!("{release}: {} {}", interface.name, interface.tag);
//! }
//! # Ok(()) }
//! ```

pub mod bridge;
mod engine;
pub mod frame;
pub mod interface;
pub mod lock;
pub mod memif;
pub mod message;
pub mod port;
pub mod receive;
pub mod route;
pub mod session;
pub mod tag;
pub mod vhost;
pub mod vlan;
pub mod wire;

pub use engine::{Vpp, hosts, is_lost, make_again, put_back, undo};
pub use port::PortSpec;
pub use session::Session;

use crate::error::{CniError, code};
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// Why VPP does not do what it is asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VppError {
    /// The API cannot be reached.
    #[error("cannot reach the API at {}", path.display())]
    Connect {
        /// Its socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another plugin is at work on this VPP, and does not end.
    #[error("others kept {} locked for {waited:?}", path.display())]
    Locked {
        /// What is locked.
        path: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The connection broke.
    #[error("connection to the API")]
    Io(#[from] io::Error),
    /// VPP ended the connection.
    #[error("VPP closed the connection")]
    Closed,
    /// VPP did not answer in time. It drops in silence what it does not understand.
    #[error("VPP did not answer {message} within {waited:?}")]
    Silent {
        /// What was asked.
        message: &'static str,
        /// How long it was waited for.
        waited: Duration,
    },
    /// VPP said something that it should not.
    #[error("VPP said something unexpected: {what}")]
    Malformed {
        /// What it was.
        what: String,
    },
    /// VPP refuses a connection.
    #[error("VPP refuses the connection: {response}")]
    Unwelcome {
        /// Its reason, a number.
        response: i32,
    },
    /// The release is too old.
    #[error("VPP {version} is too old: 20.05 is the oldest that works")]
    TooOld {
        /// The release.
        version: String,
    },
    /// The release, or the set of its plugins, lacks a message.
    #[error("VPP {version} has no message {message}: is the plugin loaded, the release too old?")]
    Missing {
        /// Name of the message.
        message: &'static str,
        /// The release.
        version: String,
    },
    /// The layout of a message is none that we know.
    #[error("message {message} of VPP {version} has CRC {found:08x}, known are {}", hex(wanted))]
    UnknownCrc {
        /// Name of the message.
        message: &'static str,
        /// CRCs of the layouts that we know.
        wanted: &'static [u32],
        /// CRC that VPP has.
        found: u32,
        /// The release.
        version: String,
    },
    /// VPP refused.
    #[error("VPP refused {message}: {retval} ({})", meaning(*retval))]
    Refused {
        /// What was asked.
        message: &'static str,
        /// VPP's reason: see [`retval`].
        retval: i32,
    },
    /// The socket is in use by somebody else's interface.
    #[error("interface {name} uses the socket and is not ours")]
    Foreign {
        /// Name of the interface.
        name: String,
    },
    /// A worker is to receive that VPP does not have.
    #[error("queue {queue} cannot be received by worker {worker}: VPP has no such worker")]
    NoWorker {
        /// Number of the queue.
        queue: u32,
        /// Number of the worker, from 0.
        worker: u32,
    },
    /// VPP lost what it had just made.
    #[error("{what} vanished")]
    Vanished {
        /// What it was.
        what: String,
    },
}

/// What VPP answers when it refuses: numbers that have not changed from 20.05 to 26.06.
#[allow(missing_docs, reason = "the names are VPP's")]
pub mod retval {
    pub const INVALID_SW_IF_INDEX: i32 = -2;
    pub const NO_SUCH_ENTRY: i32 = -6;
    pub const UNIMPLEMENTED: i32 = -9;
    pub const INVALID_INTERFACE: i32 = -71;
    pub const INVALID_ARGUMENT: i32 = -73;
    pub const UNEXPECTED_INTF_STATE: i32 = -74;
    pub const VALUE_EXISTS: i32 = -81;
    pub const INVALID_SUB_SW_IF_INDEX: i32 = -98;
    pub const ENTRY_ALREADY_EXISTS: i32 = -116;
    pub const BD_ALREADY_EXISTS: i32 = -119;
    pub const BD_IN_USE: i32 = -120;
}

const fn meaning(number: i32) -> &'static str {
    match number {
        -2 => "no such interface",
        -6 => "no such entry",
        -7 => "invalid value",
        -9 => "not implemented for it",
        -20..=-11 => "system call failed",
        -56 => "VLAN is there already",
        -60 => "no such address",
        -68 => "interface, or the socket's other role, is there already",
        -71 => "wrong kind of interface",
        -73 => "invalid argument",
        -72 => "wrong number of VLAN tags",
        -74 => "in use",
        -79 => "a vhost-user interface has this socket already",
        -81 => "value is there already",
        -105 => "address is in use",
        -116 => "entry is there already",
        -119 => "bridge domain is there already",
        -120 => "bridge domain is in use",
        -121 => "bridge domain 0 cannot be changed",
        -126 => "not supported",
        -127 => "address is there already",
        -151 => "not Ethernet",
        _ => "see VPP's vnet/error.h",
    }
}

fn hex(crcs: &[u32]) -> String {
    crcs.iter().map(|crc| format!("{crc:08x}")).collect::<Vec<_>>().join(", ")
}

impl VppError {
    /// Whether nobody listens on the API's socket: VPP has ended, and whatever it had is gone.
    #[must_use]
    pub fn is_end(&self) -> bool {
        let Self::Connect { source, .. } = self else { return false };
        source.kind() == io::ErrorKind::ConnectionRefused
    }

    /// Whether VPP refused for one of these reasons.
    #[must_use]
    pub fn is_refusal(&self, reasons: &[i32]) -> bool {
        matches!(self, Self::Refused { retval, .. } if reasons.contains(retval))
    }
}

/// Takes a refusal for one of these reasons as success: what was to be is so already.
///
/// # Errors
/// The other errors.
pub fn accept<T>(result: Result<T, VppError>, reasons: &[i32]) -> Result<Option<T>, VppError> {
    match result {
        Err(error) if error.is_refusal(reasons) => Ok(None),
        other => other.map(Some),
    }
}

impl From<VppError> for CniError {
    fn from(error: VppError) -> Self {
        let code = match error {
            VppError::Connect { .. }
            | VppError::Locked { .. }
            | VppError::Io(_)
            | VppError::Closed
            | VppError::Silent { .. } => code::TRY_AGAIN,
            VppError::TooOld { .. } | VppError::Missing { .. } | VppError::UnknownCrc { .. } => {
                code::NOT_AVAILABLE
            }
            _ => code::VSWITCH,
        };
        Self::caused(code, "VPP", &error)
    }
}
