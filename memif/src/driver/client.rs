//! The client role: connects, shares memory, and does so again when the link is gone.

mod attempt;

use super::connection::Connection;
use super::event::{DownReason, Event, LinkParameters};
use super::token::Token;
use crate::config::ClientConfig;
use crate::control::ClientMachine;
use crate::error::ControlError;
use crate::queue::ClientMemory;
use crate::wire::{Hello, Reason};
use ringport::link::LinkState;
use ringport::reactor::{self, Driver, Interest, Reactor};
use ringport::retry::Retry;
use ringport::socket::{SocketAddress, SocketKind, check_socket};
use std::collections::VecDeque;
use std::fmt;
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
        check_socket(socket.as_fd(), SocketKind::SeqPacket)?;
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
        Ok(reactor::poll(self, timeout)?)
    }

    /// Disconnects for good; `reason` is what the server is told. A link goes down with
    /// [`DownReason::Closed`].
    pub fn close(&mut self, reason: Reason) {
        self.retry.at = None;
        self.address = None;
        if let Some(attempt) = self.take() {
            if attempt.up.is_some() {
                self.events.push_back(Event::down(self.config.id, DownReason::Closed));
            }
            attempt.connection.farewell(reason);
        }
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
}

impl Driver for Client {
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
