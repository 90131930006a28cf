//! The look-up: which vhost-user socket belongs to a VF, asked over gRPC at a UNIX socket.
//!
//! ```text
//! CNI plugin, container              Server, a thread of its own       relay, or a file
//!   | vdpadpdk.VdpaDpdk/GetSocketpath  |                                 |
//!   |--------------------------------->| <------- Table::replace --------|
//!   | ringport.vdpa.v1.Devices/Watch   |
//!   |--------------------------------->|
//! ```
//!
//! | service | what it is |
//! |---|---|
//! | `vdpadpdk.VdpaDpdk` | the contract of the first vDPA deployment for Kubernetes, byte for byte: `GetSocketpath` answers an address that is not known with an empty path, and no error |
//! | `ringport.vdpa.v1.Devices` | `List`, and `Watch` for those that come and go |
//! | `grpc.health.v1.Health` | the standard question whether the server serves |
//!
//! HTTP/2 without TLS: who may connect is what the socket's owner and mode say. Whoever does may be hostile,
//! and is [bounded](Limits) in connections, time and bytes; it gets no more than the list.
//!
//! ```
//! use ringport_vdpa::files::Entry;
//! use ringport_vdpa::lookup::{Client, Config, Log, Server, Table};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("vdpa.sock");
//! let table = Table::default();
//! let server = Server::start(&Config::at(&path), &table, &Log::Tracing)?;
//! table.replace(vec![Entry::new("0000:82:00.2".parse()?, "/run/vdpa/82-00-2.sock")?])?;
//!
//! let mut client = Client::connect(&path)?;
//! assert_eq!(client.socket_path("0000:82:00.2")?.as_deref(), Some("/run/vdpa/82-00-2.sock"));
//! assert_eq!(client.socket_path("0000:82:00.3")?, None);
//! server.stop();
//! # Ok(()) }
//! ```

mod accept;
mod change;
mod client;
mod connection;
mod error;
mod example;
mod log;
mod pb;
mod server;
mod services;
mod table;
mod transport;

pub use change::Change;
pub use client::{Client, Watch};
pub use error::{ClientError, LookupError};
pub use example::example;
pub use log::{Line, Log};
pub use server::{Config, Limits, Server};
pub use table::Table;

/// Where the look-up is, unless it is said otherwise.
pub const SOCKET: &str = "/var/run/vdpa/vdpa.sock";
