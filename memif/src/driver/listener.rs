//! The server role: one socket, many interfaces, each taken by one client at a time.

mod clients;

use super::connection::Connection;
use super::event::{DownReason, Event};
use super::token::Token;
use crate::config::{InterfaceConfig, ListenerConfig};
use crate::control::{Refusal, ServerMachine};
use crate::error::{ConfigError, ControlError};
use crate::wire::{Name, Reason};
use ringport::link::LinkState;
use ringport::reactor::{self, Driver, Interest, Reactor};
use ringport::socket::{ListenSocket, SocketAddress, SocketKind, check_socket};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Serves any number of interfaces on one socket.
///
/// A client that stalls or misbehaves costs its own connection and nothing else: handshakes have a
/// deadline, there are at most `pending_max` of them, and an interface is reserved only for clients
/// that know its secret.
///
/// ```no_run
/// use ringport_memif::config::{InterfaceConfig, ListenerConfig};
/// use ringport_memif::driver::{EventKind, Listener};
///
/// let address = "/run/memif.sock".parse()?;
/// let mut listener = Listener::bind(&address, ListenerConfig::default())?;
/// listener.add_interface(InterfaceConfig::new(0))?;
/// listener.add_interface(InterfaceConfig::new(1))?;
/// while let Some(event) = listener.poll(None)? {
///     match event.kind {
///         EventKind::LinkUp(link) => println!("{:?} up with {}", event.id, link.peer.app_name),
///         EventKind::LinkDown(reason) => println!("{:?} down: {reason}", event.id),
///         EventKind::Refused(error) => println!("client turned away: {error}"),
///         _ => {}
///     }
/// }
/// # Ok::<(), ringport_memif::ControlError>(())
/// ```
#[derive(Debug)]
pub struct Listener {
    config: ListenerConfig,
    reactor: Reactor,
    socket: Option<ListenSocket>,
    /// When to accept again after the system ran out of something, or many came at once.
    accept_again: Option<Instant>,
    /// Whether the system had run out of something when we accepted last.
    exhausted: bool,
    interfaces: HashMap<u32, Interface>,
    /// By age.
    clients: BTreeMap<u64, ClientConnection>,
    last_key: u64,
    events: VecDeque<Event>,
}

#[derive(Debug)]
struct Interface {
    config: InterfaceConfig,
    taken_by: Option<u64>,
}

#[derive(Debug)]
struct ClientConnection {
    connection: Connection<ServerMachine>,
    interest: Interest,
    /// Interface that the client was admitted to.
    id: Option<u32>,
    app_name: Name,
    version: u16,
    link: Option<Arc<LinkState>>,
}

impl Listener {
    /// Binds `address` and listens. A socket file that nobody listens on is replaced; the new one is
    /// removed again when the listener is dropped.
    ///
    /// # Errors
    /// [`AddressError::Taken`](crate::AddressError::Taken) when a server listens there or a file that is no socket is in
    /// the way, and [`ControlError::Io`].
    pub fn bind(address: &SocketAddress, config: ListenerConfig) -> Result<Self, ControlError> {
        let mut listener = Self::detached(config)?;
        let socket = ListenSocket::bind(address, SocketKind::SeqPacket, &listener.config.socket)?;
        listener.reactor.add(socket.as_fd(), Token::Listener.encode(), Interest::Read)?;
        listener.socket = Some(socket);
        Ok(listener)
    }

    /// Makes a listener without a socket, for connections that come through [`Self::adopt`].
    ///
    /// # Errors
    /// [`ControlError::Io`].
    pub fn detached(config: ListenerConfig) -> Result<Self, ControlError> {
        Ok(Self {
            config,
            reactor: Reactor::new()?,
            socket: None,
            accept_again: None,
            exhausted: false,
            interfaces: HashMap::new(),
            clients: BTreeMap::new(),
            last_key: 0,
            events: VecDeque::new(),
        })
    }

    /// Adds an interface that clients may take.
    ///
    /// # Errors
    /// [`ConfigError::DuplicateId`], and [`ConfigError::Item`] for limits that the protocol
    /// does not have.
    pub fn add_interface(&mut self, config: InterfaceConfig) -> Result<(), ControlError> {
        config.check()?;
        let id = config.id;
        if self.interfaces.contains_key(&id) {
            return Err(ConfigError::DuplicateId { id }.into());
        }
        self.interfaces.insert(id, Interface { config, taken_by: None });
        Ok(())
    }

    /// Takes an interface away. A link that it has goes down with [`DownReason::Closed`].
    ///
    /// # Errors
    /// [`ConfigError::UnknownId`].
    pub fn remove_interface(&mut self, id: u32) -> Result<(), ControlError> {
        self.disconnect(id, Reason::of(&Refusal::Removed))?;
        self.interfaces.remove(&id);
        Ok(self.rearm()?)
    }

    /// Disconnects an interface's client, if it has one; `reason` is what the client is told. The
    /// link goes down with [`DownReason::Closed`] and the interface can be taken again.
    ///
    /// # Errors
    /// [`ConfigError::UnknownId`].
    pub fn disconnect(&mut self, id: u32, reason: Reason) -> Result<(), ControlError> {
        let interface = self.interfaces.get(&id).ok_or(ConfigError::UnknownId { id })?;
        let Some(client) = interface.taken_by.and_then(|key| self.take(key)) else {
            return Ok(());
        };
        if client.link.is_some() {
            self.events.push_back(Event::down(id, DownReason::Closed));
        }
        client.connection.farewell(reason);
        Ok(self.rearm()?)
    }

    /// Takes over a connection that somebody else accepted, such as one from another network
    /// namespace. It counts and is treated like one of our own.
    ///
    /// # Errors
    /// [`AddressError::WrongKind`](crate::AddressError::WrongKind) and [`ControlError::Io`].
    pub fn adopt(&mut self, socket: OwnedFd) -> Result<(), ControlError> {
        check_socket(socket.as_fd(), SocketKind::SeqPacket)?;
        self.start(socket)?;
        Ok(self.rearm()?)
    }

    /// Runs the listener until something happened, or `timeout` has passed; `None` waits for ever.
    ///
    /// # Errors
    /// [`ControlError::Io`] when waiting itself fails. What goes wrong with a client is an event.
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, ControlError> {
        Ok(reactor::poll(self, timeout)?)
    }
}

impl Driver for Listener {
    type Event = Event;

    fn reactor(&self) -> &Reactor {
        &self.reactor
    }

    fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    fn on_ready(&mut self, token: u64) {
        match Token::decode(token) {
            Token::Listener => self.accept(),
            Token::Socket(key) => self.on_socket(key),
            Token::Wake(key) => self.on_wake(key),
        }
    }

    fn on_time(&mut self, now: Instant) {
        if self.accept_again.is_some_and(|again| now >= again) {
            self.accept_again = None;
            self.set_accepting(Interest::Read);
        }
        let late: Vec<_> = self
            .clients
            .iter_mut()
            .filter_map(|(&key, client)| {
                client.connection.machine.on_deadline(now).err().map(|error| (key, error))
            })
            .collect();
        for (key, error) in late {
            self.end(key, error);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.clients
            .values()
            .filter_map(|client| client.connection.machine.deadline())
            .chain(self.accept_again)
            .min()
    }

    fn is_finished(&self) -> bool {
        false
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reactor.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        while let Some((&key, _)) = self.clients.first_key_value() {
            if let Some(client) = self.take(key) {
                client.connection.farewell(Reason::new("closed"));
            }
        }
    }
}
