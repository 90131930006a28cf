//! One end of vhost-user connections, of a device or a driver: where connections come from, and the
//! session of the one that there is.
//!
//! A [`Device`](crate::Device) is an [`Endpoint`] whose [`Session`] has queues behind it. Who has something
//! else there, such as a relay to hardware, writes another session: it holds a [`Connection`] to a
//! [`BackendMachine`](crate::backend::BackendMachine), and does what that says.

mod channel;
mod connection;
mod event;
mod half;
mod machine;
mod source;

pub use event::{DownReason, Event, Link, LinkParameters};
pub use source::SocketRole;

pub use channel::Channel;
pub use connection::{Connection, Step};
pub use half::HalfMessage;
pub use machine::Machine;

use crate::error::DeviceError;
use ringport::error::QueueError;
use ringport::reactor::{self, Driver, Interest, Reactor};
use ringport::socket::{SocketAddress, SocketKind, check_socket};
use source::{Source, Wait};
use std::collections::VecDeque;
use std::fmt::Debug;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// One connection to a peer: what is said, and what comes of it.
pub trait Session: Sized + Debug {
    /// What conversations are begun with.
    type Config: Debug;
    /// What packets come from; an uninhabited type where there are no queues.
    type Rx: Debug;
    /// What packets leave by; an uninhabited type where there are no queues.
    type Tx: Debug;

    /// Begins a conversation.
    ///
    /// # Errors
    /// The connection is refused.
    fn new(socket: OwnedFd, config: &Self::Config) -> Result<Self, DeviceError>;

    /// Reads, does what is asked and sends, as far as it goes without waiting.
    ///
    /// # Errors
    /// The connection ends.
    fn on_socket(&mut self, events: &mut Events<Self>) -> Result<(), DownReason>;

    /// [`wake_fd`](Self::wake_fd) is readable.
    ///
    /// # Errors
    /// The connection ends.
    fn on_wake(&mut self, events: &mut Events<Self>) -> Result<(), DownReason>;

    /// [`side_fd`](Self::side_fd) is readable.
    ///
    /// # Errors
    /// The connection ends.
    fn on_side(&mut self, events: &mut Events<Self>) -> Result<(), DownReason>;

    /// A queue found the whole link broken.
    fn fault(&self) -> Option<QueueError>;

    /// Does what is due.
    ///
    /// # Errors
    /// The connection ends.
    fn on_time(&mut self, now: Instant, events: &mut Events<Self>) -> Result<(), DownReason>;
    /// When to call that at the latest.
    fn deadline(&self) -> Option<Instant>;

    /// What to wait for on the socket.
    fn interest(&self) -> Interest;
    /// The socket of the conversation.
    fn socket(&self) -> BorrowedFd<'_>;
    /// What the data side rings.
    fn wake_fd(&self) -> BorrowedFd<'_>;
    /// A set of what comes and goes while the session lasts.
    fn side_fd(&self) -> BorrowedFd<'_>;
    /// Readable when there may be a [`fault`](Self::fault).
    fn link_fd(&self) -> BorrowedFd<'_>;

    /// Since when the link is up.
    fn up(&self) -> Option<Instant>;

    /// Whether the peer has not said a whole message yet.
    fn is_silent(&self) -> bool;

    /// The queues learn that the link is down.
    fn end(&mut self);
}

/// What an endpoint reports.
pub type EventOf<S> = Event<<S as Session>::Rx, <S as Session>::Tx>;

/// What is to be reported, oldest first.
pub type Events<S> = VecDeque<EventOf<S>>;

/// One end: it listens or connects, and has one session at a time.
#[derive(Debug)]
pub struct Endpoint<S: Session> {
    config: S::Config,
    reactor: Reactor,
    source: Source,
    session: Option<Attached<S>>,
    last_key: u64,
    events: Events<S>,
}

/// A session in the set of what is waited for.
#[derive(Debug)]
struct Attached<S> {
    key: u64,
    session: S,
    interest: Interest,
    /// When it has to make room for another, should it be silent until then.
    patience_until: Option<Instant>,
}

impl<S: Session> Endpoint<S> {
    /// Listens or starts to connect. Does not wait for the peer.
    ///
    /// # Errors
    /// The address cannot be used, or the system refuses a call.
    pub fn open(
        address: &SocketAddress,
        socket: SocketRole,
        config: S::Config,
    ) -> Result<Self, DeviceError> {
        address.check()?;
        let mut endpoint = Self::new(Source::open(address, socket)?, config)?;
        if let Some(listener) = endpoint.source.listener() {
            endpoint.reactor.add(listener, LISTENER, Interest::Read)?;
        }
        endpoint.on_time(Instant::now());
        endpoint.rearm()?;
        Ok(endpoint)
    }

    /// Uses a connected socket. There is one link, and no other.
    ///
    /// # Errors
    /// It is none, or the session refuses it.
    pub fn from_socket(socket: OwnedFd, config: S::Config) -> Result<Self, DeviceError> {
        check_socket(socket.as_fd(), SocketKind::Stream)?;
        let mut endpoint = Self::new(Source::None, config)?;
        endpoint.attach(socket)?;
        endpoint.rearm()?;
        Ok(endpoint)
    }

    /// Runs until something happened, or `timeout` has passed; `None` waits for ever. Returns `None` at
    /// once when nothing can happen any more.
    ///
    /// # Errors
    /// Waiting itself fails.
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<EventOf<S>>, DeviceError> {
        Ok(reactor::poll(self, timeout)?)
    }

    /// Ends the connection, if there is one.
    pub fn disconnect(&mut self) {
        self.end(DownReason::Closed);
        // Fails only if the timer does, and then the next poll says so.
        let _ = self.rearm();
    }

    /// From now on no connection is made or taken. `farewell` is what the last session does; where
    /// there is none, or it fails, the connection ends at once.
    pub fn leave(&mut self, farewell: impl FnOnce(&mut S) -> Result<(), DownReason>) {
        if let Some(listener) = self.source.listener() {
            self.reactor.remove(listener);
        }
        self.source = Source::None;
        let left = self.session.as_mut().map(|attached| farewell(&mut attached.session));
        match left {
            Some(Err(reason)) => self.end(reason),
            _ => self.update_interest(),
        }
        // As above.
        let _ = self.rearm();
    }

    /// What connections are made with from now on.
    pub fn config(&self) -> &S::Config {
        &self.config
    }

    /// Has the session do something, if there is one.
    pub fn ask<R>(
        &mut self,
        what: impl FnOnce(&mut S, &mut Events<S>) -> Result<R, DownReason>,
    ) -> Option<R> {
        let asked = what(&mut self.session.as_mut()?.session, &mut self.events);
        let done = match asked {
            Ok(done) => {
                self.update_interest();
                Some(done)
            }
            Err(reason) => {
                self.end(reason);
                None
            }
        };
        // Fails only if the timer does, and then the next poll says so.
        let _ = self.rearm();
        done
    }

    /// Whether nothing can happen any more: no connection, and none to come.
    pub fn is_finished(&self) -> bool {
        self.source.is_finished() && self.session.is_none() && self.events.is_empty()
    }

    fn new(source: Source, config: S::Config) -> Result<Self, DeviceError> {
        let (session, events) = (None, VecDeque::new());
        Ok(Self { config, reactor: Reactor::new()?, source, session, last_key: 0, events })
    }

    /// Takes the next peer that waits, unless there is one that keeps its place.
    fn accept(&mut self) {
        self.make_room();
        if self.session.is_some() {
            return self.set_accepting(Interest::Nothing);
        }
        match self.source.accept() {
            Ok(None) => {}
            Ok(Some(connection)) => {
                if let Err(error) = self.attach(connection) {
                    self.refuse(error);
                }
            }
            Err(Wait(news)) => {
                self.set_accepting(Interest::Nothing);
                if let Some(error) = news {
                    self.refuse(error.into());
                }
            }
        }
    }

    /// Ends the connection of a peer that has been silent for long enough. What it said may wait in
    /// the socket, so that is looked at first.
    fn make_room(&mut self) {
        self.on_session(SOCKET);
        let silent = |attached: &Attached<S>| {
            attached.patience_until.is_none() && attached.session.is_silent()
        };
        if self.session.as_ref().is_some_and(silent) {
            self.end(DownReason::Protocol(DeviceError::Silent { waited: PATIENCE }));
        }
    }

    fn connect(&mut self) {
        let Some(connected) = self.source.connect() else { return };
        if let Err(error) = connected.and_then(|socket| self.attach(socket)) {
            self.refuse(error);
            self.source.retry_after(None);
        }
    }

    fn refuse(&mut self, error: DeviceError) {
        self.events.push_back(Event::Refused(DownReason::Protocol(error)));
    }

    /// Begins a conversation. While there is one no other is accepted.
    fn attach(&mut self, socket: OwnedFd) -> Result<(), DeviceError> {
        let session = S::new(socket, &self.config)?;
        self.last_key += 1;
        let (key, interest) = (self.last_key, session.interest());
        self.reactor.add(session.socket(), token(key, SOCKET), interest)?;
        self.reactor.add(session.wake_fd(), token(key, WAKE), Interest::Read)?;
        self.reactor.add(session.link_fd(), token(key, LINK), Interest::Read)?;
        self.reactor.add(session.side_fd(), token(key, SIDE), Interest::Read)?;
        let patience_until = Instant::now().checked_add(PATIENCE);
        self.session = Some(Attached { key, session, interest, patience_until });
        self.set_accepting(Interest::Nothing);
        Ok(())
    }

    /// Ends the connection, if there is one.
    fn end(&mut self, reason: DownReason) {
        let Some(Attached { mut session, .. }) = self.session.take() else { return };
        let fds = [session.socket(), session.wake_fd(), session.link_fd(), session.side_fd()];
        fds.into_iter().for_each(|fd| self.reactor.remove(fd));
        session.end();
        self.events.push_back(match session.up() {
            Some(_) => Event::LinkDown(reason),
            None => Event::Refused(reason),
        });
        self.source.retry_after(session.up());
        self.source.pause();
    }

    /// From now on the next peer that waits may take the place of a silent one.
    fn end_patience(&mut self, now: Instant) {
        let Some(attached) = &mut self.session else { return };
        if attached.patience_until.take_if(|until| now >= *until).is_some()
            && attached.session.is_silent()
        {
            self.set_accepting(Interest::Read);
        }
    }

    fn set_accepting(&self, interest: Interest) {
        if let Some(listener) = self.source.listener() {
            self.reactor.modify(listener, LISTENER, interest);
        }
    }

    fn on_session(&mut self, what: u64) {
        let Some(Attached { session, .. }) = &mut self.session else { return };
        let done = match what {
            SOCKET => session.on_socket(&mut self.events),
            WAKE => session.on_wake(&mut self.events),
            SIDE => session.on_side(&mut self.events),
            _ => Ok(()),
        };
        let done = match session.fault() {
            Some(fault) => Err(DownReason::Fault(fault)),
            None => done,
        };
        match done {
            Ok(()) => self.update_interest(),
            Err(reason) => self.end(reason),
        }
    }

    fn update_interest(&mut self) {
        let Some(Attached { key, session, interest, .. }) = &mut self.session else { return };
        let wanted = session.interest();
        if wanted != *interest {
            *interest = wanted;
            self.reactor.modify(session.socket(), token(*key, SOCKET), wanted);
        }
    }
}

impl<S: Session> Driver for Endpoint<S> {
    type Event = EventOf<S>;

    fn reactor(&self) -> &Reactor {
        &self.reactor
    }

    fn next_event(&mut self) -> Option<Self::Event> {
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
        if self.source.may_accept_again(now) && self.session.is_none() {
            self.set_accepting(Interest::Read);
        }
        if self.source.may_connect(now) {
            self.connect();
        }
        self.end_patience(now);
        let events = &mut self.events;
        let late = self.session.as_mut().map(|attached| attached.session.on_time(now, events));
        match late {
            Some(Err(reason)) => self.end(reason),
            // It may have answered what it was asked.
            _ => self.update_interest(),
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let attached = self.session.as_ref();
        let answer = attached.and_then(|attached| attached.session.deadline());
        let patience = attached.and_then(|attached| attached.patience_until);
        self.source.deadline().into_iter().chain(answer).chain(patience).min()
    }

    fn is_finished(&self) -> bool {
        Self::is_finished(self)
    }
}

impl<S: Session> AsFd for Endpoint<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reactor.as_fd()
    }
}

impl<S: Session> Drop for Endpoint<S> {
    fn drop(&mut self) {
        self.end(DownReason::Closed);
    }
}

/// How long a peer that others wait behind may be silent. Peers that mean it speak as they connect.
const PATIENCE: Duration = Duration::from_millis(250);

const LISTENER: u64 = 0;

/// What the descriptors of a session are.
const SOCKET: u64 = 0;
const WAKE: u64 = 1;
const LINK: u64 = 2;
const SIDE: u64 = 3;
const KINDS: u64 = 4;

fn token(key: u64, what: u64) -> u64 {
    key.wrapping_mul(KINDS).wrapping_add(what)
}
