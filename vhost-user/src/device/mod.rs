//! The device side with sockets and timers: from a configuration to queues.
//!
//! A [`Device`] serves one front-end at a time, over a socket on which it listens or which it
//! connects to. It has no thread of its own: call `poll`, or watch the file descriptor (`AsFd`),
//! which becomes readable when `poll` has work, timers included.
//!
//! The front-end may change a running device: start, stop and enable rings, replace its memory, its
//! doorbells. Queues pick such changes up between bursts, and the front-end is answered once no
//! burst is open that began before. So `poll` has to be called for changes to happen, but never waits
//! for a burst, and both may be on one thread.
//!
//! Spec: vhost-user "Communication", "Starting and stopping rings".

mod config;
mod connection;
mod event;
mod inflight;
mod log;
mod memory;
mod rings;
mod session;
mod space;

pub use config::{DeviceConfig, Offloads, QUEUE_PAIRS_MAX, SocketRole};
pub use event::{DownReason, Event, Link, LinkParameters};

use crate::error::DeviceError;
use memory::Generation;
use ringport::reactor::{self, Driver, Interest, Reactor};
use ringport::retry::Retry;
use ringport::socket::{ListenSocket, SocketAddress, SocketKind, check_socket, connect_to};
use session::Session;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// A network device for one driver behind a vhost-user front-end.
#[derive(Debug)]
pub struct Device {
    config: DeviceConfig,
    reactor: Reactor,
    source: Source,
    session: Option<Attached>,
    last_key: u64,
    events: VecDeque<Event>,
}

/// Where connections come from.
#[derive(Debug)]
enum Source {
    Listen {
        socket: ListenSocket,
        /// When to accept again after the system ran out of something.
        accept_again: Option<Instant>,
    },
    Connect {
        address: SocketAddress,
        retry: Retry,
    },
    /// From the caller; there is no other.
    Given,
}

/// A session in the set of what is waited for.
#[derive(Debug)]
struct Attached {
    key: u64,
    session: Session,
    interest: Interest,
}

impl Device {
    /// Listens or starts to connect. Does not wait for the front-end.
    ///
    /// # Errors
    /// [`ConfigError`](crate::ConfigError) for what cannot work: a number out of range, an address
    /// that is too long or taken; and [`DeviceError::Call`].
    pub fn open(
        address: &SocketAddress,
        socket: SocketRole,
        config: DeviceConfig,
    ) -> Result<Self, DeviceError> {
        config.check()?;
        address.check()?;
        let source = match socket {
            SocketRole::Listen(options) => Source::Listen {
                socket: ListenSocket::bind(address, SocketKind::Stream, &options)?,
                accept_again: None,
            },
            SocketRole::Connect(reconnect) => {
                let mut retry = Retry::new(reconnect);
                retry.at = Some(Instant::now());
                Source::Connect { address: address.clone(), retry }
            }
        };
        let mut device = Self::new(source, config)?;
        if let Source::Listen { socket, .. } = &device.source {
            device.reactor.add(socket.as_fd(), LISTENER, Interest::Read)?;
        }
        device.on_time(Instant::now());
        device.rearm()?;
        Ok(device)
    }

    /// Uses a connected socket that the caller has, such as one from another network namespace.
    /// There is one link, and no other.
    ///
    /// # Errors
    /// [`ConfigError`](crate::ConfigError) and [`DeviceError::Call`].
    pub fn from_socket(socket: OwnedFd, config: DeviceConfig) -> Result<Self, DeviceError> {
        config.check()?;
        check_socket(socket.as_fd(), SocketKind::Stream)?;
        let mut device = Self::new(Source::Given, config)?;
        device.attach(socket)?;
        device.rearm()?;
        Ok(device)
    }

    /// Runs the device until something happened, or `timeout` has passed; `None` waits for ever.
    /// Returns `None` at once when nothing can happen any more.
    ///
    /// # Errors
    /// [`DeviceError::Call`] when waiting itself fails. What goes wrong with the front-end is an
    /// event.
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, DeviceError> {
        Ok(reactor::poll(self, timeout)?)
    }

    /// Disconnects the front-end. A link goes down with [`DownReason::Closed`]. A device that
    /// listens or reconnects goes on to do so.
    pub fn disconnect(&mut self) {
        self.end(DownReason::Closed);
        // Fails only if the timer does, and then the next poll says so.
        let _ = self.rearm();
    }

    /// Whether nothing can happen any more: it does not reconnect, and has no connection.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let over = match &self.source {
            Source::Listen { .. } => false,
            Source::Connect { retry, .. } => retry.at.is_none(),
            Source::Given => true,
        };
        over && self.session.is_none() && self.events.is_empty()
    }

    fn new(source: Source, config: DeviceConfig) -> Result<Self, DeviceError> {
        let (session, events) = (None, VecDeque::new());
        Ok(Self { config, reactor: Reactor::new()?, source, session, last_key: 0, events })
    }

    /// Takes the next front-end that waits, unless there is one.
    fn accept(&mut self) {
        let Source::Listen { socket, accept_again } = &mut self.source else { return };
        if self.session.is_some() {
            return;
        }
        match socket.accept() {
            Ok(None) => {}
            Ok(Some(connection)) => {
                if let Err(error) = self.attach(connection) {
                    self.events.push_back(Event::Refused(DownReason::Protocol(error)));
                }
            }
            // Out of descriptors or memory: level-triggered, it would be reported without end.
            Err(_) => {
                *accept_again = Instant::now().checked_add(ACCEPT_PAUSE);
                self.set_accepting(Interest::Nothing);
            }
        }
    }

    fn connect(&mut self) {
        let Source::Connect { address, retry } = &mut self.source else { return };
        retry.at = None;
        let connected = connect_to(address, SocketKind::Stream).map_err(DeviceError::from);
        if let Err(error) = connected.and_then(|socket| self.attach(socket)) {
            self.events.push_back(Event::Refused(DownReason::Protocol(error)));
            self.retry_after(None);
        }
    }

    /// Begins a conversation. While there is one no other is accepted.
    fn attach(&mut self, socket: OwnedFd) -> Result<(), DeviceError> {
        let session = Session::new(socket, &self.config)?;
        self.last_key += 1;
        let (key, interest) = (self.last_key, Interest::Read);
        self.reactor.add(session.socket(), token(key, SOCKET), interest)?;
        self.reactor.add(session.wake_fd(), token(key, WAKE), interest)?;
        self.reactor.add(session.link_fd(), token(key, LINK), interest)?;
        self.session = Some(Attached { key, session, interest });
        self.set_accepting(Interest::Nothing);
        Ok(())
    }

    /// Ends the connection, if there is one.
    fn end(&mut self, reason: DownReason) {
        let Some(Attached { mut session, .. }) = self.session.take() else { return };
        for fd in [session.socket(), session.wake_fd(), session.link_fd()] {
            self.reactor.remove(fd);
        }
        session.end();
        self.events.push_back(match session.up {
            Some(_) => Event::LinkDown(reason),
            None => Event::Refused(reason),
        });
        self.retry_after(session.up);
        self.set_accepting(Interest::Read);
    }

    /// Plans the next attempt to connect after a link that was up since then, or none.
    fn retry_after(&mut self, up: Option<Instant>) {
        let Source::Connect { retry, .. } = &mut self.source else { return };
        let now = Instant::now();
        if let Some(up) = up {
            retry.link_lasted(now.saturating_duration_since(up));
        }
        retry.schedule(now);
    }

    fn set_accepting(&self, interest: Interest) {
        if let Source::Listen { socket, .. } = &self.source {
            self.reactor.modify(socket.as_fd(), LISTENER, interest);
        }
    }

    fn on_session(&mut self, what: u64) {
        let Some(Attached { key, session, interest }) = &mut self.session else { return };
        let done = match what {
            SOCKET => session.on_socket(&mut self.events),
            WAKE => session.on_wake(&mut self.events),
            _ => Ok(()),
        };
        let done = match session.fault() {
            Some(fault) => Err(DownReason::Fault(fault)),
            None => done,
        };
        if let Err(reason) = done {
            return self.end(reason);
        }
        let wanted = session.interest();
        if wanted != *interest {
            *interest = wanted;
            self.reactor.modify(session.socket(), token(*key, SOCKET), wanted);
        }
    }
}

impl Driver for Device {
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

    fn on_ready(&mut self, ready: u64) {
        let current = self.session.as_ref().map(|attached| attached.key);
        match (ready / KINDS, ready % KINDS) {
            (0, _) => self.accept(),
            (key, what) if Some(key) == current => self.on_session(what),
            // Ready, but gone before its turn came.
            _ => {}
        }
    }

    fn on_time(&mut self, now: Instant) {
        match &mut self.source {
            Source::Listen { accept_again, .. } => {
                if accept_again.take_if(|again| now >= *again).is_some() && self.session.is_none() {
                    self.set_accepting(Interest::Read);
                }
            }
            Source::Connect { retry, .. } if retry.at.is_some_and(|at| now >= at) => self.connect(),
            Source::Connect { .. } | Source::Given => {}
        }
        let late = self.session.as_mut().map(|attached| attached.session.on_time(now));
        if let Some(Err(reason)) = late {
            self.end(reason);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let again = match &self.source {
            Source::Listen { accept_again, .. } => *accept_again,
            Source::Connect { retry, .. } => retry.at,
            Source::Given => None,
        };
        let answer = self.session.as_ref().and_then(|attached| attached.session.deadline());
        again.into_iter().chain(answer).min()
    }

    fn is_finished(&self) -> bool {
        Self::is_finished(self)
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reactor.as_fd()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.end(DownReason::Closed);
    }
}

const LISTENER: u64 = 0;

/// What the descriptors of a session are.
const SOCKET: u64 = 0;
const WAKE: u64 = 1;
const LINK: u64 = 2;
const KINDS: u64 = 3;

fn token(key: u64, what: u64) -> u64 {
    key.wrapping_mul(KINDS).wrapping_add(what)
}

/// How long to wait when no connection can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
