//! The driver side with sockets and timers: from a configuration to queues.
//!
//! A [`Driver`] uses one device at a time, over a socket on which it listens or which it connects to.
//! It owns the memory that rings and packets lie in. It has no thread of its own: call `poll`, or
//! watch the file descriptor (`AsFd`), which becomes readable when `poll` has work, timers included.
//!
//! Each link has memory, rings and doorbells of its own, made when the device has said what it can
//! do. Nothing of a link that went down is used again: features are agreed on anew, and the queues of
//! the old link report for ever that it is down.
//!
//! Spec: vhost-user "Communication", "Starting and stopping rings".

mod config;
pub mod queue;
mod session;

pub use crate::device::{Offloads, QUEUE_PAIRS_MAX};
pub use crate::endpoint::{DownReason, LinkParameters, SocketRole};
pub use config::{BUFFER_SIZE_MAX, BUFFER_SIZE_MIN, DriverConfig};
pub use queue::{CallMode, RxQueue, TxQueue};

use crate::endpoint::{self, Endpoint};
use crate::error::DeviceError;
use ringport::socket::SocketAddress;
use session::Session;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// What a driver reports.
pub type Event = endpoint::Event<RxQueue, TxQueue>;

/// The queues of a driver's link.
pub type Link = endpoint::Link<RxQueue, TxQueue>;

/// The driver of a network device behind a vhost-user back-end.
///
/// ```no_run
/// use ringport_vhost_user::driver::{Driver, DriverConfig, Event, SocketRole};
///
/// let address = "/run/switch.sock".parse()?;
/// let config = DriverConfig { queue_pairs: 2, ..DriverConfig::default() };
/// let mut driver = Driver::open(&address, SocketRole::default(), config)?;
/// while let Some(event) = driver.poll(None)? {
///     match event {
///         Event::LinkUp(link) => println!("{} queues", link.rx.len()),
///         Event::LinkDown(reason) | Event::Refused(reason) => println!("{reason}"),
///         _ => {}
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Driver(Endpoint<Session>);

impl Driver {
    /// Listens or starts to connect. Does not wait for the device.
    ///
    /// # Errors
    /// [`ConfigError`](crate::ConfigError) for what cannot work: a number out of range, an address
    /// that is too long or taken; and [`DeviceError::Call`].
    pub fn open(
        address: &SocketAddress,
        socket: SocketRole,
        config: DriverConfig,
    ) -> Result<Self, DeviceError> {
        config.check()?;
        Ok(Self(Endpoint::open(address, socket, config)?))
    }

    /// Uses a connected socket that the caller has, such as one from another network namespace.
    /// There is one link, and no other.
    ///
    /// # Errors
    /// [`ConfigError`](crate::ConfigError) and [`DeviceError::Call`].
    pub fn from_socket(socket: OwnedFd, config: DriverConfig) -> Result<Self, DeviceError> {
        config.check()?;
        Ok(Self(Endpoint::from_socket(socket, config)?))
    }

    /// Runs the driver until something happened, or `timeout` has passed; `None` waits for ever.
    /// Returns `None` at once when nothing can happen any more.
    ///
    /// # Errors
    /// [`DeviceError::Call`] when waiting itself fails. What goes wrong with the device is an event.
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, DeviceError> {
        self.0.poll(timeout)
    }

    /// Disconnects the device. A link goes down with [`DownReason::Closed`]. A driver that listens or
    /// reconnects goes on to do so.
    pub fn disconnect(&mut self) {
        self.0.disconnect();
    }

    /// Leaves for good, and in order: the queues report at once that the link is down, the device is
    /// asked to stop each ring, and when it has, the link goes down with [`DownReason::Closed`].
    /// Goes on in [`poll`](Self::poll).
    pub fn stop(&mut self) {
        self.0.leave(Session::stop);
    }

    /// Whether nothing can happen any more: it does not reconnect, and has no connection.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl AsFd for Driver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
