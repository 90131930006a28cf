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
//! In a live migration another device goes on with the driver: what this one knows of it is
//! [saved and loaded](state) through the front-ends.
//!
//! Spec: vhost-user "Communication", "Starting and stopping rings".

mod commands;
mod config;
mod filter;
mod inflight;
mod log;
mod memory;
mod migrate;
mod ring;
mod rings;
mod serve;
mod session;
mod space;
pub mod state;
mod status;
mod transfer;

pub use crate::endpoint::{DownReason, Event, Link, LinkParameters, SocketRole};
pub use config::{DeviceConfig, Offloads, QUEUE_PAIRS_MAX};
pub use filter::{Filter, VLAN_WORDS};

use crate::endpoint::Endpoint;
use crate::error::DeviceError;
use memory::Generation;
use ringport::socket::SocketAddress;
use session::{Session, Setup};
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
        Ok(Self(Endpoint::open(address, socket, Setup::new(config))?))
    }

    /// Uses a connected socket that the caller has, such as one from another network namespace.
    /// There is one link, and no other.
    ///
    /// # Errors
    /// [`ConfigError`](crate::ConfigError) and [`DeviceError::Call`].
    pub fn from_socket(socket: OwnedFd, config: DeviceConfig) -> Result<Self, DeviceError> {
        config.check()?;
        Ok(Self(Endpoint::from_socket(socket, Setup::new(config))?))
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

    /// Takes the device's link to the network down, or up again. At first it is up. It stays as it
    /// is when front-ends come and go.
    ///
    /// While it is down the device loses packets both ways, as a card without a cable does: what
    /// the driver sends is thrown away when its queue is polled, and counted as discarded
    /// ([`RxStats`](ringport::stats::RxStats)), so that the driver's rings do not fill with what
    /// would be old when it is sent; and a transmit queue has no slot free.
    ///
    /// The driver is told where its front-end reads the configuration (protocol feature CONFIG) and
    /// has given a second socket (BACKEND_REQ). QEMU does neither for network devices (the link of
    /// its guests is the connection): for a QEMU that connects again,
    /// [`disconnect`](Self::disconnect) is what its guest sees.
    ///
    /// Spec: VIRTIO 1.3 §5.1.4.2 (`VIRTIO_NET_S_LINK_UP`).
    pub fn set_link(&mut self, up: bool) {
        self.0.config().status.set_up(up);
        self.0.ask(|session, events| {
            session.set_link(up, events);
            Ok(())
        });
    }

    /// Whether the device's link to the network is up.
    #[must_use]
    pub fn link_is_up(&self) -> bool {
        self.0.config().status.is_up()
    }

    /// Asks the driver to announce itself to the network, such as after its packets have found
    /// another way there. It is told as with [`set_link`](Self::set_link). The wish holds until a
    /// driver has read it; with a [control queue](DeviceConfig::control), until a driver has said that
    /// it did so.
    ///
    /// Spec: VIRTIO 1.3 §5.1.6.5.4 (`VIRTIO_NET_S_ANNOUNCE`).
    pub fn announce(&mut self) {
        self.0.config().status.want_announcement(true);
        self.0.ask(|session, events| {
            session.tell_status(events);
            Ok(())
        });
    }

    /// Whether no driver has taken note yet that it is to announce itself.
    #[must_use]
    pub fn wants_announcement(&self) -> bool {
        self.0.config().status.wants_announcement()
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
