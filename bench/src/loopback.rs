//! Both ends of a memif link in one thread, for benchmarks that count what one packet costs.

use ringport_memif::{ControlError, EventKind, Link, Port};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use thiserror::Error;

/// How long the two ends may take to find each other.
const DEADLINE: Duration = Duration::from_secs(10);
const TURN: Duration = Duration::from_millis(1);

/// Why there is no link.
#[derive(Debug, Error)]
pub enum LoopbackError {
    /// No directory for the socket.
    #[error("directory for a socket")]
    Directory(#[from] std::io::Error),
    /// A port cannot be opened, or does not connect.
    #[error("link between two ports of ours")]
    Control(#[from] ControlError),
}

/// A server and a client of ours, connected.
#[derive(Debug)]
pub struct Loopback {
    /// The server's queues.
    pub server: Link,
    /// The client's queues.
    pub client: Link,
    _ports: [Port; 2],
    _dir: TempDir,
}

impl Loopback {
    /// Connects a client to a server; both poll. `client_options` go into the client's port string.
    ///
    /// # Errors
    /// When a port cannot be opened, or the link does not come up.
    pub fn connect(client_options: &str) -> Result<Self, LoopbackError> {
        let dir = tempfile::tempdir()?;
        let socket = dir.path().join("m.sock");
        let port = |role: &str, options: &str| {
            Port::open(&format!("memif:{},role={role},rx-mode=polling{options}", socket.display()))
        };
        let mut server_port = port("server", "")?;
        let mut client_port = port("client", client_options)?;
        let (mut server, mut client) = (None, None);
        let start = Instant::now();
        loop {
            server = turn(&mut server_port)?.or(server);
            client = turn(&mut client_port)?.or(client);
            (server, client) = match (server, client) {
                (Some(server), Some(client)) => {
                    return Ok(Self {
                        server,
                        client,
                        _ports: [server_port, client_port],
                        _dir: dir,
                    });
                }
                not_yet => not_yet,
            };
            if start.elapsed() > DEADLINE {
                return Err(ControlError::Timeout { waited: start.elapsed() }.into());
            }
        }
    }
}

fn turn(port: &mut Port) -> Result<Option<Link>, ControlError> {
    match port.poll(Some(TURN))?.map(|event| event.kind) {
        Some(EventKind::LinkUp(link)) => Ok(Some(*link)),
        Some(EventKind::Refused(error)) => Err(error),
        _ => Ok(None),
    }
}
