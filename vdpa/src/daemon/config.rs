//! How a daemon is set up, and what it is to serve.

use super::DeviceName;
use crate::relay::RelayConfig;
use ringport::socket::SocketOptions;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How a daemon is set up.
#[derive(Debug, Clone)]
pub struct DaemonConfig {
    /// Where sockets are: `vdpa-0`, `vdpa-1` and so on.
    pub socket_dir: PathBuf,
    /// Where the [list](crate::files::socket_list) of devices with their sockets is written.
    pub socket_list: Option<PathBuf>,
    /// Where the sockets' numbers are kept from one start to the next.
    pub numbers: Option<PathBuf>,
    /// Mode, owner and group of sockets that are listened on; whoever may write one may connect.
    pub access: SocketOptions,
    /// What is accepted of front-ends.
    pub relay: RelayConfig,
    /// Whether the list has devices that are not there as well.
    pub keep_listed: bool,
    /// How long until a device that could not be opened is tried again.
    pub retry: Duration,
}

impl DaemonConfig {
    /// Sockets in this directory, which only their own user may enter; no files; a device that is not there
    /// is looked for every second.
    pub fn at(socket_dir: impl Into<PathBuf>) -> Self {
        Self {
            socket_dir: socket_dir.into(),
            socket_list: None,
            numbers: None,
            access: SocketOptions { mode: Some(0o600), ..SocketOptions::default() },
            relay: RelayConfig::default(),
            keep_listed: false,
            retry: Duration::from_secs(1),
        }
    }
}

/// A device that is to be served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Which one.
    pub device: DeviceName,
    /// Its socket, an absolute path; without, one with the device's number.
    pub socket: Option<String>,
    /// Who makes the socket.
    #[serde(default)]
    pub side: Side,
}

impl Wanted {
    /// A device with a socket by its number, which we listen on.
    #[must_use]
    pub fn new(device: DeviceName) -> Self {
        Self { device, socket: None, side: Side::Server }
    }
}

/// Which side of a socket we are. In either case we are the device, and the front-end the driver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// We listen, the front-end connects.
    #[default]
    Server,
    /// The front-end listens, we connect, again and again: it survives a restart of ours.
    Client,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Server => "server",
            Self::Client => "client",
        })
    }
}
