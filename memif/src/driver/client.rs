//! The client role: connects, shares memory, and does so again when the link is gone.

use super::connection::{Connection, Step};
use super::event::{DownReason, Event, Link, LinkParameters, PeerInfo};
use super::reactor::{Interest, Reactor};
use super::turn::{self, Driver, Token};
use crate::address::SocketAddress;
use crate::config::{ClientConfig, Reconnect};
use crate::control::{ClientEvent, ClientIdentity, ClientMachine, RunParameters};
use crate::error::ControlError;
use crate::queue::ClientMemory;
use crate::socket::{check_socket, connect_to};
use crate::wire::{Hello, Name, Reason, VERSION};
use ringport::link::LinkState;
use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One interface taken from a server.
///
/// Each link has its own connection and its own memory; nothing of one that went down is used again.
pub struct Client {
    config: ClientConfig,
    /// `None` when the socket came from the caller: it cannot be had again.
    address: Option<SocketAddress>,
    reactor: Reactor,
    attempt: Option<Attempt>,
    last_key: u64,
    retry: Retry,
    events: VecDeque<Event>,
}

/// One connection.
struct Attempt {
    key: u64,
    connection: Connection<ClientMachine>,
    interest: Interest,
    offered: Option<Offered>,
    up: Option<Up>,
}

/// What the server was offered, until it accepts.
struct Offered {
    memory: ClientMemory,
    parameters: LinkParameters,
    hello: Hello,
}

struct Up {
    state: Arc<LinkState>,
    since: Instant,
}

impl Client {
    /// Starts to connect to the server at `address`. Does not wait: [`poll`](Self::poll) says when
    /// the link is up.
    ///
    /// # Errors
    /// [`ConfigError`](crate::ConfigError), and [`ControlError::Io`] when we lack something that
    /// has nothing to do with the server.
    pub fn connect(address: SocketAddress, config: ClientConfig) -> Result<Self, ControlError> {
        address.check()?;
        let mut client = Self::new(Some(address), config)?;
        client.retry.at = Some(Instant::now());
        client.on_time(Instant::now());
        client.rearm()?;
        Ok(client)
    }

    /// Uses a socket that the caller connected, such as one from another network namespace. There is
    /// one link: the client cannot reconnect.
    ///
    /// # Errors
    /// [`ConfigError`](crate::ConfigError) and [`ControlError::Io`].
    pub fn from_socket(socket: OwnedFd, config: ClientConfig) -> Result<Self, ControlError> {
        check_socket(socket.as_fd())?;
        let mut client = Self::new(None, config)?;
        client.start(socket)?;
        client.rearm()?;
        Ok(client)
    }

    /// Runs the client until something happened, or `timeout` has passed; `None` waits for ever.
    /// Returns `None` at once when nothing can happen any more: the client was closed, or does not
    /// reconnect.
    ///
    /// # Errors
    /// [`ControlError::Io`] when waiting itself fails. What goes wrong with the server is an event.
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, ControlError> {
        turn::poll(self, timeout)
    }

    /// Disconnects for good; `reason` is what the server is told. A link goes down with
    /// [`DownReason::Closed`].
    pub fn close(&mut self, reason: Reason) {
        self.retry.at = None;
        self.address = None;
        let Some(attempt) = self.take() else {
            return;
        };
        if attempt.up.is_some() {
            self.events.push_back(Event::down(self.config.id, DownReason::Closed));
        }
        attempt.connection.farewell(reason);
        // Fails only if the timer does, and then the next poll says so.
        let _ = self.rearm();
    }

    /// Whether nothing can happen any more.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.attempt.is_none() && self.retry.at.is_none() && self.events.is_empty()
    }

    fn new(address: Option<SocketAddress>, config: ClientConfig) -> Result<Self, ControlError> {
        config.check()?;
        Ok(Self {
            retry: Retry::new(config.reconnect),
            config,
            address,
            reactor: Reactor::new()?,
            attempt: None,
            last_key: 0,
            events: VecDeque::new(),
        })
    }

    fn rearm(&self) -> Result<(), ControlError> {
        let now = self.has_event().then(Instant::now);
        self.reactor.set_timer(now.or_else(|| self.next_deadline()))
    }

    fn start(&mut self, socket: OwnedFd) -> Result<(), ControlError> {
        let identity = ClientIdentity {
            id: self.config.id,
            mode: self.config.mode,
            secret: self.config.secret.clone(),
            name: self.config.name,
        };
        let timeout = self.config.handshake_timeout;
        let machine = ClientMachine::new(identity, Instant::now(), timeout);
        let connection = Connection::new(socket, machine)?;
        self.last_key += 1;
        let (key, interest) = (self.last_key, Interest::Read);
        self.reactor.add(connection.as_fd(), Token::Socket(key).encode(), interest)?;
        self.attempt = Some(Attempt { key, connection, interest, offered: None, up: None });
        Ok(())
    }

    fn try_connect(&mut self) {
        self.retry.at = None;
        let Some(address) = &self.address else {
            return;
        };
        let started = connect_to(address).and_then(|socket| self.start(socket));
        if let Err(error) = started {
            self.events.push_back(Event::refused(Some(self.config.id), error));
            self.retry.schedule(Instant::now());
        }
    }

    /// Reads and answers what the server sent. The protocol has less messages than one turn takes.
    fn on_socket(&mut self) {
        for _ in 0..MESSAGES_PER_TURN {
            let Some(attempt) = &mut self.attempt else {
                return;
            };
            let handled = match attempt.connection.step() {
                Ok(Step::Idle) => break,
                Ok(Step::Handled) => Ok(()),
                Ok(Step::Event(event)) => self.on_event(event),
                Err(error) => Err(error),
            };
            if let Err(error) = handled {
                return self.end(error);
            }
            self.settle();
        }
        self.settle();
    }

    /// Sends what the server is owed, and waits for what comes next.
    fn settle(&mut self) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        if let Err(error) = attempt.connection.flush() {
            return self.end(error);
        }
        let interest = attempt.connection.interest();
        if interest != attempt.interest {
            attempt.interest = interest;
            let token = Token::Socket(attempt.key).encode();
            self.reactor.modify(attempt.connection.as_fd(), token, interest);
        }
    }

    fn on_event(&mut self, event: ClientEvent) -> Result<(), ControlError> {
        match event {
            ClientEvent::Hello(hello) => self.on_hello(hello),
            ClientEvent::Connected { if_name } => self.on_connected(if_name),
            ClientEvent::Disconnected(goodbye) => Err(goodbye.into()),
        }
    }

    fn on_hello(&mut self, hello: Hello) -> Result<(), ControlError> {
        let Some(attempt) = &mut self.attempt else {
            return Ok(());
        };
        let wanted = RunParameters {
            c2s_rings: self.config.c2s_rings,
            s2c_rings: self.config.s2c_rings,
            log2_ring_size: self.config.log2_ring_size,
            buffer_size: self.config.memory.buffer_size,
        };
        let agreed = wanted.negotiate(&hello)?;
        let memory = ClientMemory::allocate(&agreed, &self.config.memory)?;
        let offer = memory
            .offer(&self.config.if_name.to_string())
            .map_err(ControlError::io("duplicate the shared memory's descriptors"))?;
        let mut parameters = LinkParameters::of(&offer, self.config.memory.cache_line);
        parameters.buffer_size = Some(agreed.buffer_size);
        attempt.offered = Some(Offered { memory, parameters, hello });
        attempt.connection.machine.offer(offer)
    }

    fn on_connected(&mut self, if_name: Name) -> Result<(), ControlError> {
        let Some(attempt) = &mut self.attempt else {
            return Ok(());
        };
        // The machine lets CONNECTED through only after an offer.
        let Some(Offered { memory, parameters, hello }) = attempt.offered.take() else {
            return Err(ControlError::OutOfOrder { call: "offer" });
        };
        let state = Arc::new(LinkState::new().map_err(ControlError::io("eventfd"))?);
        let queues = memory.into_queues(&state, &self.config.data)?;
        self.reactor.add(state.wake_fd(), Token::Wake(attempt.key).encode(), Interest::Read)?;
        let peer = PeerInfo {
            app_name: hello.name,
            if_name,
            credentials: attempt.connection.credentials,
            version: VERSION,
        };
        attempt.up = Some(Up { state, since: Instant::now() });
        let link = Link::new(queues, peer, parameters);
        self.events.push_back(Event::up(self.config.id, link));
        Ok(())
    }

    /// A queue says that its link is broken.
    fn on_wake(&mut self) {
        let Some(up) = self.attempt.as_ref().and_then(|attempt| attempt.up.as_ref()) else {
            return;
        };
        let Some(fault) = up.state.fault() else {
            return self.reactor.remove(up.state.wake_fd());
        };
        let Some(attempt) = self.take() else {
            return;
        };
        self.events.push_back(Event::down(self.config.id, DownReason::Fault(fault)));
        self.retry_after(&attempt);
        attempt.connection.farewell(Reason::of(&fault));
    }

    /// Ends the connection because of `error`.
    fn end(&mut self, error: ControlError) {
        let Some(attempt) = self.take() else {
            return;
        };
        let (id, reason) = (self.config.id, error.disconnect_reason());
        self.events.push_back(match attempt.up {
            Some(_) => Event::down(id, error.into()),
            None => Event::refused(Some(id), error),
        });
        self.retry_after(&attempt);
        attempt.connection.farewell(reason);
    }

    fn retry_after(&mut self, attempt: &Attempt) {
        let now = Instant::now();
        if let Some(up) = &attempt.up {
            self.retry.link_lasted(now.saturating_duration_since(up.since));
        }
        if self.address.is_some() {
            self.retry.schedule(now);
        }
    }

    /// Takes the connection out of everything that knows it; its queues learn that the link is down.
    fn take(&mut self) -> Option<Attempt> {
        let attempt = self.attempt.take()?;
        self.reactor.remove(attempt.connection.as_fd());
        if let Some(up) = &attempt.up {
            self.reactor.remove(up.state.wake_fd());
            up.state.close();
        }
        Some(attempt)
    }
}

impl Driver for Client {
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
        let current = self.attempt.as_ref().map(|attempt| attempt.key);
        match Token::decode(token) {
            Token::Socket(key) if Some(key) == current => self.on_socket(),
            Token::Wake(key) if Some(key) == current => self.on_wake(),
            // Ready, but gone before its turn came.
            Token::Listener | Token::Socket(_) | Token::Wake(_) => {}
        }
    }

    fn on_time(&mut self, now: Instant) {
        if self.retry.at.is_some_and(|at| now >= at) {
            self.try_connect();
        }
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        if let Err(error) = attempt.connection.machine.on_deadline(now) {
            self.end(error);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let handshake =
            self.attempt.as_ref().and_then(|attempt| attempt.connection.machine.deadline());
        handshake.into_iter().chain(self.retry.at).min()
    }

    fn is_finished(&self) -> bool {
        Self::is_finished(self)
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reactor.as_fd()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.close(Reason::new("closed"));
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("config", &self.config)
            .field("address", &self.address)
            .field("up", &self.attempt.as_ref().is_some_and(|attempt| attempt.up.is_some()))
            .finish_non_exhaustive()
    }
}

/// When to try again.
#[derive(Debug)]
struct Retry {
    policy: Reconnect,
    /// The next wait.
    wait: Duration,
    at: Option<Instant>,
}

impl Retry {
    fn new(policy: Reconnect) -> Self {
        let wait = match policy {
            Reconnect::Never => Duration::ZERO,
            Reconnect::Backoff { initial, .. } => initial,
        };
        Self { policy, wait, at: None }
    }

    /// Forgets past failures, unless the link failed as fast as it came.
    fn link_lasted(&mut self, time: Duration) {
        if let Reconnect::Backoff { initial, max } = self.policy
            && time > max
        {
            self.wait = initial;
        }
    }

    fn schedule(&mut self, now: Instant) {
        if let Reconnect::Backoff { max, .. } = self.policy {
            self.at = now.checked_add(jitter(self.wait));
            self.wait = self.wait.saturating_mul(2).min(max);
        }
    }
}

/// A random time from half of `wait` to all of it.
fn jitter(wait: Duration) -> Duration {
    // The standard library's only source of randomness; far better than needed here.
    let random = RandomState::new().hash_one(0) % 1024;
    let part = u32::try_from(random).unwrap_or(0);
    wait / 2 + wait / 2 * part / 1024
}

const MESSAGES_PER_TURN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_over_after_a_lasting_link() {
        let (initial, max) = (Duration::from_millis(100), Duration::from_millis(350));
        let mut retry = Retry::new(Reconnect::Backoff { initial, max });
        let now = Instant::now();
        for longest in [100, 200, 350, 350].map(Duration::from_millis) {
            retry.schedule(now);
            let wait = retry.at.unwrap() - now;
            assert!(wait >= longest / 2 && wait <= longest, "{wait:?} of {longest:?}");
        }
        retry.link_lasted(Duration::from_millis(10));
        assert_eq!(retry.wait, max);
        retry.link_lasted(max * 2);
        assert_eq!(retry.wait, initial);
    }

    #[test]
    fn never_means_never() {
        let mut retry = Retry::new(Reconnect::Never);
        retry.schedule(Instant::now());
        assert_eq!(retry.at, None);
    }
}
