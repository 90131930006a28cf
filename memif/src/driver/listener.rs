//! The server role: one socket, many interfaces, each taken by one client at a time.

use super::connection::{Connection, Step};
use super::event::{DownReason, Event, Link, LinkParameters, PeerInfo};
use super::reactor::{Interest, Reactor};
use super::turn::{self, Driver, Token};
use crate::address::SocketAddress;
use crate::config::{InterfaceConfig, ListenerConfig};
use crate::control::{
    Admission, CacheLine, InitRequest, Limits, Offer, Refusal, ServerEvent, ServerMachine,
};
use crate::error::{ConfigError, ControlError};
use crate::queue::server_queues;
use crate::socket::{ListenSocket, check_socket};
use crate::wire::{Name, Reason};
use ringport::link::LinkState;
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
    /// When to accept again after the system ran out of something.
    accept_again: Option<Instant>,
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
    /// [`ConfigError::AddressTaken`] when a server listens there or a file that is no socket is in
    /// the way, and [`ControlError::Io`].
    pub fn bind(address: &SocketAddress, config: ListenerConfig) -> Result<Self, ControlError> {
        let mut listener = Self::detached(config)?;
        let socket = ListenSocket::bind(address, &listener.config.socket)?;
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
            interfaces: HashMap::new(),
            clients: BTreeMap::new(),
            last_key: 0,
            events: VecDeque::new(),
        })
    }

    /// Adds an interface that clients may take.
    ///
    /// # Errors
    /// [`ConfigError::DuplicateId`], and [`ConfigError::OutOfRange`] for limits that the protocol
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
        self.rearm()
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
        self.rearm()
    }

    /// Takes over a connection that somebody else accepted, such as one from another network
    /// namespace. It counts and is treated like one of our own.
    ///
    /// # Errors
    /// [`ConfigError::NotSeqpacket`] and [`ControlError::Io`].
    pub fn adopt(&mut self, socket: OwnedFd) -> Result<(), ControlError> {
        check_socket(socket.as_fd())?;
        self.start(socket)?;
        self.rearm()
    }

    /// Runs the listener until something happened, or `timeout` has passed; `None` waits for ever.
    ///
    /// # Errors
    /// [`ControlError::Io`] when waiting itself fails. What goes wrong with a client is an event.
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, ControlError> {
        turn::poll(self, timeout)
    }

    fn rearm(&self) -> Result<(), ControlError> {
        let now = self.has_event().then(Instant::now);
        self.reactor.set_timer(now.or_else(|| self.next_deadline()))
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.socket.as_ref().map(ListenSocket::accept) {
                Some(Ok(Some(socket))) => {
                    if let Err(error) = self.start(socket) {
                        self.events.push_back(Event::refused(None, error));
                    }
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "cannot accept memif connections for a moment");
                    self.accept_again = Instant::now().checked_add(ACCEPT_PAUSE);
                    self.set_accepting(Interest::Nothing);
                    return;
                }
                Some(Ok(None)) | None => return,
            }
        }
    }

    fn set_accepting(&self, interest: Interest) {
        if let Some(socket) = &self.socket {
            self.reactor.modify(socket.as_fd(), Token::Listener.encode(), interest);
        }
    }

    /// Greets a new client.
    fn start(&mut self, socket: OwnedFd) -> Result<(), ControlError> {
        let hello = self.limits().hello(self.config.name);
        let machine = ServerMachine::new(hello, Instant::now(), self.config.handshake_timeout);
        let connection = Connection::new(socket, machine)?;
        self.last_key += 1;
        let key = self.last_key;
        let interest = Interest::Read;
        self.reactor.add(connection.as_fd(), Token::Socket(key).encode(), interest)?;
        let client = ClientConnection {
            connection,
            interest,
            id: None,
            app_name: Name::default(),
            version: 0,
            link: None,
        };
        let admitted = self.check_newcomer(&client);
        self.clients.insert(key, client);
        match admitted {
            Ok(()) => self.settle(key),
            Err(refusal) => self.end(key, refusal.into()),
        }
        Ok(())
    }

    /// Decides whether there is a place for a new client, and makes one if need be.
    fn check_newcomer(&mut self, client: &ClientConnection) -> Result<(), Refusal> {
        if !self.config.peers.admits(&client.connection.credentials) {
            return Err(Refusal::NotPermitted);
        }
        let pending = self.clients.values().filter(|client| client.link.is_none()).count();
        if pending < self.config.pending_max {
            return Ok(());
        }
        let silent = self.clients.iter().find(|(_, client)| client.id.is_none());
        let Some((&key, _)) = silent else {
            return Err(Refusal::TooManyPending);
        };
        self.end(key, Refusal::TooManyPending.into());
        Ok(())
    }

    /// What HELLO announces: it comes before the client says which interface it wants.
    fn limits(&self) -> Limits {
        self.interfaces
            .values()
            .map(|interface| interface.config.limits)
            .reduce(|widest, limits| widest.widest(&limits))
            .unwrap_or_default()
    }

    /// Reads and answers what a client sent.
    fn on_socket(&mut self, key: u64) {
        for _ in 0..MESSAGES_PER_TURN {
            let Some(client) = self.clients.get_mut(&key) else {
                return;
            };
            let handled = match client.connection.step() {
                Ok(Step::Idle) => break,
                Ok(Step::Handled) => Ok(()),
                Ok(Step::Event(event)) => self.on_event(key, event),
                Err(error) => Err(error),
            };
            if let Err(error) = handled {
                return self.end(key, error);
            }
            self.settle(key);
        }
        self.settle(key);
    }

    /// Sends what a client is owed, and waits for what comes next.
    fn settle(&mut self, key: u64) {
        let Some(client) = self.clients.get_mut(&key) else {
            return;
        };
        if let Err(error) = client.connection.flush() {
            return self.end(key, error);
        }
        let interest = client.connection.interest();
        if interest != client.interest {
            client.interest = interest;
            let token = Token::Socket(key).encode();
            self.reactor.modify(client.connection.as_fd(), token, interest);
        }
    }

    fn on_event(&mut self, key: u64, event: ServerEvent) -> Result<(), ControlError> {
        match event {
            ServerEvent::Init(request) => self.on_init(key, &request),
            ServerEvent::Offer { offer, cache_line } => self.on_offer(key, offer, cache_line),
            ServerEvent::Disconnected(goodbye) => Err(goodbye.into()),
        }
    }

    fn on_init(&mut self, key: u64, request: &InitRequest) -> Result<(), ControlError> {
        if let Some(holder) = self.interfaces.get(&request.id).and_then(|taken| taken.taken_by) {
            // A client that died and came back at once: its end may wait behind this very message.
            self.on_socket(holder);
        }
        let interface = self.interfaces.get_mut(&request.id).ok_or(Refusal::UnknownId)?;
        let admission = Admission {
            mode: interface.config.mode,
            secret: &interface.config.secret,
            connected: interface.taken_by.is_some(),
        };
        admission.check(request)?;
        let Some(client) = self.clients.get_mut(&key) else {
            return Ok(());
        };
        client.connection.machine.admit(interface.config.limits)?;
        client.id = Some(request.id);
        client.app_name = request.name;
        client.version = request.version;
        interface.taken_by = Some(key);
        Ok(())
    }

    fn on_offer(
        &mut self,
        key: u64,
        offer: Offer,
        cache_line: CacheLine,
    ) -> Result<(), ControlError> {
        let Some(client) = self.clients.get_mut(&key) else {
            return Ok(());
        };
        let Some((id, interface)) = client.id.and_then(|id| Some((id, self.interfaces.get(&id)?)))
        else {
            return Err(Refusal::Removed.into());
        };
        let state = Arc::new(LinkState::new().map_err(ControlError::io("eventfd"))?);
        let peer = PeerInfo {
            app_name: client.app_name,
            if_name: offer.if_name,
            credentials: client.connection.credentials,
            version: client.version,
        };
        let parameters = LinkParameters::of(&offer, cache_line);
        let queues = server_queues(offer, cache_line, &state, &interface.config.data)?;
        self.reactor.add(state.wake_fd(), Token::Wake(key).encode(), Interest::Read)?;
        client.connection.machine.accept(interface.config.if_name)?;
        client.link = Some(state);
        self.events.push_back(Event::up(id, Link::new(queues, peer, parameters)));
        Ok(())
    }

    /// A queue says that its link is broken.
    fn on_wake(&mut self, key: u64) {
        let Some(state) = self.clients.get(&key).and_then(|client| client.link.clone()) else {
            return;
        };
        let Some(fault) = state.fault() else {
            return self.reactor.remove(state.wake_fd());
        };
        let Some(client) = self.take(key) else {
            return;
        };
        if let Some(id) = client.id {
            self.events.push_back(Event::down(id, DownReason::Fault(fault)));
        }
        client.connection.farewell(Reason::of(&fault));
    }

    /// Ends a connection because of `error`.
    fn end(&mut self, key: u64, error: ControlError) {
        let Some(client) = self.take(key) else {
            return;
        };
        let reason = error.disconnect_reason();
        self.events.push_back(match (client.id, &client.link) {
            (Some(id), Some(_)) => Event::down(id, error.into()),
            (id, _) => Event::refused(id, error),
        });
        client.connection.farewell(reason);
    }

    /// Takes a connection out of everything that knows it; its queues learn that the link is down.
    fn take(&mut self, key: u64) -> Option<ClientConnection> {
        let client = self.clients.remove(&key)?;
        self.reactor.remove(client.connection.as_fd());
        if let Some(state) = &client.link {
            self.reactor.remove(state.wake_fd());
            state.close();
        }
        if let Some(interface) = client.id.and_then(|id| self.interfaces.get_mut(&id)) {
            interface.taken_by = None;
        }
        Some(client)
    }
}

impl Driver for Listener {
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

/// Bounds what one peer gets done before the others have their turn.
const MESSAGES_PER_TURN: usize = 64;
const ACCEPTS_PER_TURN: usize = 16;

/// How long to leave connections waiting when the system is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
