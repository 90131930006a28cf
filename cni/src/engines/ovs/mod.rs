//! Open vSwitch, through its database: no other program is run.
//!
//! | module | what it does |
//! |---|---|
//! | [`address`] | where the database is |
//! | `tls` | encryption, and who is who |
//! | [`rpc`] | JSON-RPC, and a deadline for all of it |
//! | [`rows`] | how the database writes sets, maps and references |
//! | [`database`] | transactions; waiting until the vswitch has applied one |
//! | [`port`] | ports and their bridges: made, removed, checked, listed |
//! | `engine` | what the verbs ask, in these terms |
//!
//! Spec: RFC 7047; ovs-vswitchd.conf.db(5)

pub mod address;
pub mod database;
mod engine;
pub mod port;
pub mod rows;
pub mod rpc;
#[cfg(feature = "ovs-tls")]
mod tls;
#[cfg(not(feature = "ovs-tls"))]
#[path = "no_tls.rs"]
mod tls;

pub use address::Address;
pub use database::Database;
pub use engine::{OpenVswitch, is_lost, make_again, undo};
pub use port::PortSpec;

use crate::error::{CniError, code};
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// Why Open vSwitch does not do what it is asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OvsError {
    /// The address of the database is none.
    #[error(
        "`{given}` is neither unix:PATH nor tcp:HOST:PORT nor ssl:HOST:PORT with its three files"
    )]
    Address {
        /// What was given.
        given: String,
    },
    /// The database cannot be reached.
    #[error("cannot reach the database at {address}")]
    Connect {
        /// Where it should be.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file for TLS is of no use.
    #[error("ovs.{key} = {}: {reason}", path.display())]
    Credentials {
        /// Its key in the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The two ends do not trust each other, or cannot agree on an encryption.
    #[error("no TLS with the database: {reason}")]
    Tls {
        /// Why.
        reason: String,
    },
    /// The connection broke.
    #[error("connection to the database")]
    Io(#[from] io::Error),
    /// The database ended the connection.
    #[error("the database closed the connection")]
    Closed,
    /// The database did not answer in time.
    #[error("the database did not answer within {waited:?}")]
    Silent {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The database has the change, but the vswitch has not taken it up in time.
    #[error("ovs-vswitchd has not applied the change within {waited:?}: is it running?")]
    Unapplied {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The database said something that it should not.
    #[error("the database said something unexpected: {what}")]
    Malformed {
        /// What it was.
        what: String,
    },
    /// The database refused.
    #[error("the database refused: {error}: {details}")]
    Refused {
        /// Kind of error.
        error: String,
        /// Details; may be empty.
        details: String,
    },
    /// The vswitch could not make the port.
    #[error("ovs-vswitchd cannot make port {port}: {reason}")]
    Port {
        /// Name of the port.
        port: String,
        /// The vswitch's reason.
        reason: String,
    },
    /// A port of this name is somebody else's.
    #[error("port {port} exists and is not ours")]
    Foreign {
        /// Name of the port.
        port: String,
    },
    /// The bridge is not one of the userspace datapath.
    #[error("bridge {bridge} has datapath_type `{datapath}`, and not `netdev`")]
    Datapath {
        /// Name of the bridge.
        bridge: String,
        /// Its datapath.
        datapath: String,
    },
    /// Others changed the same rows again and again.
    #[error("bridge {bridge} kept changing: gave up after {attempts} attempts")]
    Contended {
        /// Name of the bridge.
        bridge: String,
        /// How often it was tried.
        attempts: u32,
    },
}

impl OvsError {
    /// Whether others changed what the transaction relied on.
    #[must_use]
    pub fn is_race(&self) -> bool {
        let races = ["timed out", "constraint violation"];
        matches!(self, Self::Refused { error, .. } if races.contains(&error.as_str()))
    }
}

impl From<OvsError> for CniError {
    fn from(error: OvsError) -> Self {
        let code = match error {
            OvsError::Address { .. } | OvsError::Credentials { .. } | OvsError::Datapath { .. } => {
                code::BAD_CONFIG
            }
            OvsError::Connect { .. }
            | OvsError::Io(_)
            | OvsError::Closed
            | OvsError::Silent { .. }
            | OvsError::Unapplied { .. }
            | OvsError::Contended { .. } => code::TRY_AGAIN,
            _ => code::VSWITCH,
        };
        Self::caused(code, "Open vSwitch", &error)
    }
}
