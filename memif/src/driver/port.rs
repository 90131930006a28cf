//! One interface in either role.

use super::client::Client;
use super::event::{Event, EventKind, Link};
use super::shared::ServerPort;
use crate::config::{PortConfig, RoleConfig};
use crate::control::Role;
use crate::error::ControlError;
use crate::wire::Reason;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// One interface, in either role, from a configuration or a port string.
///
/// Server ports of one process may share a socket, each with an interface of its own: they need the
/// same mode and owner, and whoever is polled serves the handshakes of all of them.
///
/// ```no_run
/// use ringport_memif::Port;
/// use std::time::Duration;
///
/// let mut port = Port::open("memif:/run/vpp/memif.sock,role=client,id=0")?;
/// let link = port.wait_link_up(Duration::from_secs(10))?;
/// println!("{} rings to {}", link.tx.len(), link.peer.app_name);
/// # Ok::<(), ringport_memif::ControlError>(())
/// ```
#[derive(Debug)]
pub struct Port {
    id: u32,
    side: Side,
}

#[derive(Debug)]
enum Side {
    Server(Box<ServerPort>),
    Client(Box<Client>),
}

impl Port {
    /// Opens the port that a port string describes; see [`port_string`](crate::port_string).
    ///
    /// # Errors
    /// As [`Self::new`], and [`ConfigError`](crate::ConfigError) for a string that is none.
    pub fn open(port: &str) -> Result<Self, ControlError> {
        Self::new(port.parse()?)
    }

    /// Listens or starts to connect. Does not wait for the peer.
    ///
    /// # Errors
    /// Those of [`Listener::bind`](super::Listener::bind) and [`Client::connect`].
    pub fn new(config: PortConfig) -> Result<Self, ControlError> {
        let id = config.id();
        let side = match config.role {
            RoleConfig::Server(listener, interface) => {
                // First, so that a bad configuration leaves no socket file.
                interface.check()?;
                Side::Server(Box::new(ServerPort::open(&config.address, listener, interface)?))
            }
            RoleConfig::Client(client) => {
                Side::Client(Box::new(Client::connect(config.address, client)?))
            }
        };
        Ok(Self { id, side })
    }

    /// The interface's number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Which side of the link we are.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.side {
            Side::Server(_) => Role::Server,
            Side::Client(_) => Role::Client,
        }
    }

    /// Runs the port until something happened, or `timeout` has passed; `None` waits for ever, but
    /// returns at once for a client that does not reconnect and has nothing left to do.
    ///
    /// # Errors
    /// [`ControlError::Io`] when waiting itself fails. What goes wrong with the peer is an event.
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, ControlError> {
        match &mut self.side {
            Side::Server(server) => server.poll(timeout),
            Side::Client(client) => client.poll(timeout),
        }
    }

    /// Whether nothing can ever happen again: a client that does not reconnect and has lost its
    /// link, or never got one.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        match &self.side {
            Side::Server(_) => false,
            Side::Client(client) => client.is_finished(),
        }
    }

    /// Waits until the link is up; refusals are waited out as long as the port tries again.
    ///
    /// # Errors
    /// After `timeout`, or when a client has given up: what went wrong last, else
    /// [`ControlError::Timeout`].
    pub fn wait_link_up(&mut self, timeout: Duration) -> Result<Link, ControlError> {
        let start = Instant::now();
        let mut last = None;
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            match self.poll(Some(left))?.map(|event| event.kind) {
                Some(EventKind::LinkUp(link)) => return Ok(*link),
                Some(EventKind::Refused(error)) => last = Some(error),
                Some(EventKind::LinkDown(_)) => {}
                None => {
                    let timeout = ControlError::Timeout { waited: start.elapsed() };
                    return Err(last.unwrap_or(timeout));
                }
            }
        }
    }

    /// Disconnects for good; `reason` is what the peer is told. A server's socket file is removed
    /// with the last port on it.
    pub fn close(mut self, reason: &str) {
        let reason = Reason::new(reason);
        match &mut self.side {
            Side::Server(server) => server.close(reason),
            Side::Client(client) => client.close(reason),
        }
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.side {
            Side::Server(server) => server.as_fd(),
            Side::Client(client) => client.as_fd(),
        }
    }
}
