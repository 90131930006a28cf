//! A vhost-user socket for one vDPA device.
//!
//! The relay stands for the device towards a front-end, and for the driver towards the device: it takes
//! part in what is agreed on, and in nothing else. Memory tables become mappings of the device, whose
//! IOVAs are guest addresses; rings are started once all of a pair are there; kicks and calls go by the
//! front-end's own eventfds.
//!
//! | what a front-end expects | what a virtio device can | what the relay does |
//! |---|---|---|
//! | rings stop one by one | stop all, by a reset | the first ring that stops stops the device |
//! | rings go on where they stopped | some begin anew only | such a ring is refused, with the reason |
//! | rings are disabled for a while | they cannot be | as if it had stopped |
//! | its writes are logged, for migration | no | not offered |
//!
//! Spec: vhost-user "Starting and stopping rings"; VIRTIO 1.3 §3.1.1 (initialization), §2.1 (status).

mod config;
mod error;
mod memory;
mod ring;
mod serve;
mod session;

pub use config::RelayConfig;
pub use error::RelayError;

use crate::device::VdpaDevice;
use ringport::socket::SocketAddress;
use ringport_vhost_user::device::SocketRole;
use ringport_vhost_user::endpoint::Endpoint;
use ringport_vhost_user::{DeviceError, endpoint};
use session::{Nothing, Session, Setup};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// What happens to a relay. Its links have no queues: packets are between driver and device.
pub type Event = endpoint::Event<Nothing, Nothing>;

/// A device with a vhost-user socket, which serves one front-end at a time. It has no thread of its own:
/// call `poll`, or watch the file descriptor (`AsFd`).
///
/// A device takes its time: while it begins, stops, or maps memory, which may have to be fetched page by page,
/// `poll` takes as long, whatever its timeout. So a relay is best alone in its thread.
///
/// Memory that a device locks is charged to this process, however little the front-end has used of it:
/// [`RelayConfig::limits`] says how much one front-end may have.
#[derive(Debug)]
pub struct Relay(Endpoint<Session>);

impl Relay {
    /// Listens or starts to connect. Does not wait for the front-end.
    ///
    /// # Errors
    /// The device lacks what a relay needs ([`RelayError`]); the address cannot be used.
    pub fn open(
        address: &SocketAddress,
        socket: SocketRole,
        config: RelayConfig,
        device: Box<dyn VdpaDevice>,
    ) -> Result<Self, DeviceError> {
        Ok(Self(Endpoint::open(address, socket, Setup::new(config, device)?)?))
    }

    /// Uses a connected socket. There is one link, and no other.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_socket(
        socket: OwnedFd,
        config: RelayConfig,
        device: Box<dyn VdpaDevice>,
    ) -> Result<Self, DeviceError> {
        Ok(Self(Endpoint::from_socket(socket, Setup::new(config, device)?)?))
    }

    /// Runs the relay until something happened, or `timeout` has passed; `None` waits for ever. Returns
    /// `None` at once when nothing can happen any more.
    ///
    /// # Errors
    /// Waiting itself fails. What goes wrong with front-end or device is an event.
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, DeviceError> {
        self.0.poll(timeout)
    }

    /// Disconnects the front-end. The device is reset, and all memory given back.
    pub fn disconnect(&mut self) {
        self.0.disconnect();
    }

    /// Ends the relay, and returns the device.
    #[must_use]
    pub fn into_device(mut self) -> Option<Box<dyn VdpaDevice>> {
        self.0.disconnect();
        self.0.config().take_device()
    }

    /// Readable when the device is being removed, or has failed, whether or not there is a front-end: then
    /// [`into_device`](Self::into_device), and drop it. Who removes it may wait for that. A device that the
    /// relay itself has closed can be opened anew: [`why_closed`](Self::why_closed).
    #[must_use]
    pub fn gone(&self) -> BorrowedFd<'_> {
        self.0.config().gone.as_fd()
    }

    /// Why kicks of the front-end go through a thread of this process; none when the kernel takes all, or the
    /// device does not run.
    #[must_use]
    pub fn kick_thread(&self) -> Option<String> {
        self.0.config().kick_thread()
    }

    /// Why this relay closed its device, once: the device did not give back the memory of a front-end, and
    /// the next one would have had it in its way.
    #[must_use]
    pub fn why_closed(&self) -> Option<crate::DeviceError> {
        self.0.config().take_kept()
    }

    /// Whether nothing can happen any more: it does not reconnect, and has no connection.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl AsFd for Relay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
