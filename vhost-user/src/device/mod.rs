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
mod inflight;
mod log;
mod memory;
mod rings;
mod session;
mod space;

pub use crate::endpoint::{DownReason, Event, Link, LinkParameters, SocketRole};
pub use config::{DeviceConfig, Offloads, QUEUE_PAIRS_MAX};

use crate::endpoint::Endpoint;
use crate::error::DeviceError;
use memory::Generation;
use ringport::socket::SocketAddress;
use session::Session;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// A network device for one driver behind a vhost-user front-end.
#[derive(Debug)]
pub struct Device(Endpoint<Session>);

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
        Ok(Self(Endpoint::open(address, socket, config)?))
    }

    /// Uses a connected socket that the caller has, such as one from another network namespace.
    /// There is one link, and no other.
    ///
    /// # Errors
    /// [`ConfigError`](crate::ConfigError) and [`DeviceError::Call`].
    pub fn from_socket(socket: OwnedFd, config: DeviceConfig) -> Result<Self, DeviceError> {
        config.check()?;
        Ok(Self(Endpoint::from_socket(socket, config)?))
    }

    /// Runs the device until something happened, or `timeout` has passed; `None` waits for ever.
    /// Returns `None` at once when nothing can happen any more.
    ///
    /// # Errors
    /// [`DeviceError::Call`] when waiting itself fails. What goes wrong with the front-end is an
    /// event.
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, DeviceError> {
        self.0.poll(timeout)
    }

    /// Disconnects the front-end. A link goes down with [`DownReason::Closed`]. A device that
    /// listens or reconnects goes on to do so.
    pub fn disconnect(&mut self) {
        self.0.disconnect();
    }

    /// Whether nothing can happen any more: it does not reconnect, and has no connection.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
