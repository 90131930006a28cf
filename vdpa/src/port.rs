//! A vDPA device as a packet port: we are its driver, with rings and buffers of our own, and no socket and
//! no relay is in between.
//!
//! ```text
//! RxQueue, TxQueue <-> rings and buffers, mapped at an IOVA <-> the device
//!            |  kick, call: eventfds, between us and the kernel  |
//! ```
//!
//! ```no_run
//! use ringport_vdpa::Port;
//! use std::time::Duration;
//!
//! let mut port = Port::open("vdpa:0000:83:00.2,ring-size=256")?;
//! let link = port.wait_link_up(Duration::from_secs(10))?;
//! println!("{:02x?}, features {:#x}", link.parameters.mac, link.parameters.features);
//! # Ok::<(), ringport_vdpa::port::PortError>(())
//! ```
//!
//! A port has one pair of queues, and uses no control queue: the device receives what it does by itself,
//! mostly what is sent to its own address and to groups.
//!
//! Each link has memory, rings and eventfds of its own. It ends when the device is removed, fails, or breaks
//! a ring; the queues report that for ever, and the device is closed. [`Port::poll`] does that: who removes a
//! device whose port nobody polls waits for it in the kernel. Then, and when there is no device at first, the
//! port tries again, as [`PortConfig::reconnect`] says.
//!
//! # How long a poll may take
//! The device is opened, told of the memory, started and closed within [`Port::poll`]. Mostly that is a
//! matter of milliseconds; drivers that talk to firmware may take a second. A device that does not answer
//! is given up after 10 s for each of: opening, starting, closing. To map memory takes as long as it takes to
//! lock its pages.
//!
//! # What a device may say
//! All of it is checked before it is used. A device that is no network device, has too few rings, too
//! small ones, no virtio 1, no address range for our memory, or a shorter configuration than its features need is
//! [refused](PortEvent::Refused). What it can do to rings that run is in
//! [`queue`](ringport_vhost_user::driver::queue).

mod config;
mod error;
mod features;
mod link;
mod session;

pub use config::PortConfig;
pub use error::{ConfigError, DownReason, PortError};
pub use link::{LinkParameters, PortEvent, PortLink};

use crate::opener::{Opener, SystemOpener};
use ringport::reactor::{self, Driver, Interest, Reactor};
use ringport::retry::Retry;
use session::Session;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// One device as a port, from a configuration or a port string.
#[derive(Debug)]
pub struct Port {
    config: PortConfig,
    opener: Box<dyn Opener>,
    reactor: Reactor,
    retry: Retry,
    session: Option<Session>,
    events: VecDeque<PortEvent>,
}

/// What is waited for.
const GONE: u64 = 0;
const CHANGED: u64 = 1;
const FAULT: u64 = 2;

impl Port {
    /// Makes the port that a port string describes; see [`port_string`](crate::port_string).
    ///
    /// # Errors
    /// As [`Self::new`], and [`ConfigError`] for a string that is none.
    pub fn open(port: &str) -> Result<Self, PortError> {
        Self::new(port.parse()?)
    }

    /// Makes a port. [`poll`](Self::poll) opens its device.
    ///
    /// # Errors
    /// [`ConfigError`] for what cannot work, and [`PortError::Call`].
    pub fn new(config: PortConfig) -> Result<Self, PortError> {
        Self::with_opener(config, SystemOpener::default())
    }

    /// As [`new`](Self::new), with a device that comes from elsewhere.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_opener(
        config: PortConfig,
        opener: impl Opener + 'static,
    ) -> Result<Self, PortError> {
        config.check()?;
        let mut retry = Retry::new(config.reconnect);
        retry.at = Some(Instant::now());
        let reactor = Reactor::new()?;
        let opener = Box::new(opener);
        let port = Self { config, opener, reactor, retry, session: None, events: VecDeque::new() };
        port.rearm()?;
        Ok(port)
    }

    /// Runs the port until something happened, or `timeout` has passed; `None` waits for ever, but returns
    /// at once when nothing can happen any more. It may take [longer](self#how-long-a-poll-may-take) when a
    /// device is opened or closed.
    ///
    /// # Errors
    /// [`PortError::Call`] when waiting itself fails. What goes wrong with the device is an event.
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<PortEvent>, PortError> {
        Ok(reactor::poll(self, timeout)?)
    }

    /// Whether nothing can ever happen again: a port that does not reconnect and has lost its link, or
    /// never got one.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.retry.at.is_none() && self.session.is_none() && self.events.is_empty()
    }

    /// Waits until the link is up; what fails is waited out as long as the port tries again.
    ///
    /// # Errors
    /// After `timeout`, or when nothing can happen any more: what went wrong last, else
    /// [`PortError::Timeout`].
    pub fn wait_link_up(&mut self, timeout: Duration) -> Result<PortLink, PortError> {
        let start = Instant::now();
        let mut last = None;
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            match self.poll(Some(left))? {
                Some(PortEvent::LinkUp(link)) => return Ok(*link),
                Some(PortEvent::Refused(DownReason::Failed(error))) => last = Some(error),
                Some(_) => {}
                None => {
                    let timeout = PortError::Timeout { waited: start.elapsed() };
                    return Err(last.unwrap_or(timeout));
                }
            }
        }
    }

    /// Opens the device and has it begin.
    fn connect(&mut self) {
        match self.bring_up() {
            Ok((session, link)) => {
                self.session = Some(session);
                self.events.push_back(PortEvent::LinkUp(Box::new(link)));
            }
            Err(error) => {
                self.events.push_back(PortEvent::Refused(DownReason::Failed(error)));
                self.retry.schedule(Instant::now());
            }
        }
    }

    fn bring_up(&mut self) -> Result<(Session, PortLink), PortError> {
        let device = self.opener.open(&self.config.device)?;
        let (session, link) = Session::begin(device, &self.config)?;
        let fds = session.fds();
        for (fd, token) in fds.into_iter().zip([GONE, CHANGED, FAULT]) {
            self.reactor.add(fd, token, Interest::Read)?;
        }
        Ok((session, link))
    }

    /// Ends the link, if there is one, and closes its device.
    fn end(&mut self, reason: DownReason) {
        let Some(session) = self.session.take() else { return };
        session.fds().into_iter().for_each(|fd| self.reactor.remove(fd));
        self.retry.link_lasted(session.up.elapsed());
        // The queues learn of it before the device is closed, which may take its time.
        drop(session);
        self.events.push_back(PortEvent::LinkDown(reason));
        self.retry.schedule(Instant::now());
    }
}

impl Driver for Port {
    type Event = PortEvent;

    fn reactor(&self) -> &Reactor {
        &self.reactor
    }

    fn next_event(&mut self) -> Option<PortEvent> {
        self.events.pop_front()
    }

    fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    fn on_ready(&mut self, token: u64) {
        // Of a link that has ended meanwhile.
        let Some(session) = &mut self.session else { return };
        let done = match token {
            GONE => Err(DownReason::Gone),
            CHANGED => session.on_change(&mut self.events),
            _ => session.on_fault(),
        };
        if let Err(reason) = done {
            self.end(reason);
        }
    }

    fn on_time(&mut self, now: Instant) {
        if self.retry.at.take_if(|at| now >= *at).is_some() {
            self.connect();
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.retry.at
    }

    fn is_finished(&self) -> bool {
        Self::is_finished(self)
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reactor.as_fd()
    }
}
