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

mod changes;
mod channel;
mod config;
mod control;
mod kept;
mod prepare;
pub mod queue;
mod session;

pub use crate::device::{Offloads, QUEUE_PAIRS_MAX};
pub use crate::endpoint::{DownReason, LinkParameters, SocketRole};
pub use config::{BUFFER_SIZE_MAX, BUFFER_SIZE_MIN, DriverConfig, ring_features};
pub use queue::{CallMode, RxQueue, TxQueue};

use crate::endpoint::{self, Endpoint};
use crate::error::{ConfigError, ControlError, DeviceError};
use crate::wire::Command;
use ringport::pool::Pool;
use ringport::port_string::check_range;
use ringport::socket::SocketAddress;
use session::{Session, Setup};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    /// [`ConfigError`] for what cannot work: a number out of range, an address
    /// that is too long or taken; and [`DeviceError::Call`].
    pub fn open(
        address: &SocketAddress,
        socket: SocketRole,
        config: DriverConfig,
    ) -> Result<Self, DeviceError> {
        config.check()?;
        Ok(Self(Endpoint::open(address, socket, Setup::new(config))?))
    }

    /// As [`open`](Self::open), with packets in `pool`, which is shared with every device that comes:
    /// it stays theirs after their link has ended. Packets move between ports on one pool without a copy
    /// ([`forward`](ringport::burst::forward)), where none carries offload metadata.
    ///
    /// A link takes two rings' worth of buffers a pair, and needs 12 bytes of headroom in them; without
    /// these it is refused.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on_pool(
        address: &SocketAddress,
        socket: SocketRole,
        config: DriverConfig,
        pool: Arc<Pool>,
    ) -> Result<Self, DeviceError> {
        config.check()?;
        Ok(Self(Endpoint::open(address, socket, Setup::on_pool(config, pool))?))
    }

    /// Uses a connected socket that the caller has, such as one from another network namespace.
    /// There is one link, and no other.
    ///
    /// # Errors
    /// [`ConfigError`] and [`DeviceError::Call`].
    pub fn from_socket(socket: OwnedFd, config: DriverConfig) -> Result<Self, DeviceError> {
        config.check()?;
        Ok(Self(Endpoint::from_socket(socket, Setup::new(config))?))
    }

    /// Runs the driver until something happened, or `timeout` has passed; `None` waits for ever.
    /// Returns `None` at once when nothing can happen any more.
    ///
    /// # Errors
    /// [`DeviceError::Call`] when waiting itself fails. What goes wrong with the device is an event.
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, DeviceError> {
        self.0.poll(timeout)
    }

    /// Has the device use the first `pairs` of the link's pairs of queues, and no others;
    /// [`Event::PairsEnabled`] says when it does. The next link begins with all of its pairs.
    ///
    /// A pair that is disabled keeps its queues. Nothing arrives there. What is sent there is lost, or
    /// stays in the ring until the pair is enabled again: devices of this crate throw it away as
    /// they are polled, those of DPDK leave it where it is. So send nothing there.
    ///
    /// Spec: vhost-user "Ring states", VHOST_USER_SET_VRING_ENABLE.
    ///
    /// # Errors
    /// [`ConfigError`] unless the link has so many pairs, at least one; and
    /// [`ControlError::OutOfOrder`] without a link, or with a device that cannot be told (one without
    /// protocol features).
    pub fn set_queue_pairs(&mut self, pairs: u16) -> Result<(), DeviceError> {
        let max = self.0.ask(|session, _| Ok(session.pairs_max())).flatten();
        let call = "set_queue_pairs";
        let max = max.ok_or(DeviceError::Control(ControlError::OutOfOrder { call }))?;
        check_range("queue pairs", pairs, 1, max).map_err(ConfigError::from)?;
        self.0.ask(|session, _| session.set_pairs(pairs));
        Ok(())
    }

    /// Asks something of the device itself, on the control queue; [`Event::CommandDone`] says what
    /// became of it. One command can be under way at a time. A device that never answers has as long
    /// as for everything else, and is asked nothing more on this link; packets are not affected.
    ///
    /// ```no_run
    /// use ringport_vhost_user::Driver;
    /// use ringport_vhost_user::wire::Command;
    ///
    /// /// Receives what is sent to us and to no others.
    /// fn be_modest(driver: &mut Driver) -> Result<(), ringport_vhost_user::DeviceError> {
    ///     driver.command(&Command::Promiscuous(false))
    /// }
    /// ```
    ///
    /// Spec: VIRTIO 1.3 §5.1.6.5.
    ///
    /// # Errors
    /// [`ControlError::OutOfOrder`] without a link, while another command is under way, or when the
    /// device has no control queue ([`DriverConfig::control`]), not the feature that the command
    /// needs, or has left one unanswered; [`ConfigError`] for too many addresses.
    pub fn command(&mut self, command: &Command) -> Result<(), DeviceError> {
        let given = self.0.ask(|session, _| Ok(session.command(command, Instant::now())));
        given.unwrap_or(Err(DeviceError::Control(ControlError::OutOfOrder { call: "command" })))
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
