//! One port, named by a configuration or a port string.

mod queues;

pub use queues::{AnyRxQueue, AnyTxQueue};

use crate::device::{Device, DeviceConfig, DownReason, SocketRole};
use crate::driver::{Driver, DriverConfig};
use crate::endpoint::{Event, Link};
use crate::error::{ConfigError, DeviceError};
use ringport::socket::SocketAddress;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// What a port string says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortConfig {
    /// Where the socket is.
    pub address: SocketAddress,
    /// Which side of it we are.
    pub socket: SocketRole,
    /// What to be.
    pub role: RoleConfig,
}

/// The configuration of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleConfig {
    /// The device of a driver.
    Device(DeviceConfig),
    /// The driver of a device.
    Driver(DriverConfig),
}

/// What a port reports.
pub type PortEvent = Event<AnyRxQueue, AnyTxQueue>;

/// The queues of a port's link.
pub type PortLink = Link<AnyRxQueue, AnyTxQueue>;

/// One vhost-user port in either role, from a configuration or a port string.
///
/// ```no_run
/// use ringport_vhost_user::Port;
/// use std::time::Duration;
///
/// let mut port = Port::open("vhost:/run/vm.sock,role=device,queues=2")?;
/// let link = port.wait_link_up(Duration::from_secs(10))?;
/// println!("{} queues, features {:#x}", link.rx.len(), link.parameters.features);
/// # Ok::<(), ringport_vhost_user::DeviceError>(())
/// ```
#[derive(Debug)]
pub struct Port(Side);

#[derive(Debug)]
enum Side {
    Device(Box<Device>),
    Driver(Box<Driver>),
}

impl Port {
    /// Opens the port that a port string describes; see [`port_string`](crate::port_string).
    ///
    /// # Errors
    /// As [`Self::new`], and [`ConfigError`] for a string that is none.
    pub fn open(port: &str) -> Result<Self, DeviceError> {
        Self::new(port.parse::<PortConfig>()?)
    }

    /// Listens or starts to connect. Does not wait for the peer.
    ///
    /// # Errors
    /// Those of [`Device::open`] and [`Driver::open`].
    pub fn new(config: PortConfig) -> Result<Self, DeviceError> {
        let PortConfig { address, socket, role } = config;
        Ok(Self(match role {
            RoleConfig::Device(device) => {
                Side::Device(Box::new(Device::open(&address, socket, device)?))
            }
            RoleConfig::Driver(driver) => {
                Side::Driver(Box::new(Driver::open(&address, socket, driver)?))
            }
        }))
    }

    /// Runs the port until something happened, or `timeout` has passed; `None` waits for ever, but
    /// returns at once when nothing can happen any more.
    ///
    /// # Errors
    /// [`DeviceError::Call`] when waiting itself fails. What goes wrong with the peer is an event.
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<Option<PortEvent>, DeviceError> {
        Ok(match &mut self.0 {
            Side::Device(device) => device.poll(timeout)?.map(AnyRxQueue::of_device),
            Side::Driver(driver) => driver.poll(timeout)?.map(AnyRxQueue::of_driver),
        })
    }

    /// The device that the port is, if it is one: for what only devices do.
    pub fn device(&mut self) -> Option<&mut Device> {
        match &mut self.0 {
            Side::Device(device) => Some(device),
            Side::Driver(_) => None,
        }
    }

    /// The driver that the port is, if it is one: for what only drivers do.
    pub fn driver(&mut self) -> Option<&mut Driver> {
        match &mut self.0 {
            Side::Driver(driver) => Some(driver),
            Side::Device(_) => None,
        }
    }

    /// Whether nothing can ever happen again: a port that does not reconnect and has lost its link,
    /// or never got one.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        match &self.0 {
            Side::Device(device) => device.is_finished(),
            Side::Driver(driver) => driver.is_finished(),
        }
    }

    /// Waits until the link is up; what fails is waited out as long as the port tries again.
    ///
    /// # Errors
    /// After `timeout`, or when nothing can happen any more: what went wrong last, else
    /// [`DeviceError::Timeout`].
    pub fn wait_link_up(&mut self, timeout: Duration) -> Result<PortLink, DeviceError> {
        let start = Instant::now();
        let mut last = None;
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            match self.poll(Some(left))? {
                Some(Event::LinkUp(link)) => return Ok(*link),
                Some(
                    Event::Refused(DownReason::Protocol(error)) | Event::RequestRefused(error),
                ) => last = Some(error),
                Some(_) => {}
                None => {
                    let timeout = DeviceError::Timeout { waited: start.elapsed() };
                    return Err(last.unwrap_or(timeout));
                }
            }
        }
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Side::Device(device) => device.as_fd(),
            Side::Driver(driver) => driver.as_fd(),
        }
    }
}

impl From<DeviceConfig> for RoleConfig {
    fn from(device: DeviceConfig) -> Self {
        Self::Device(device)
    }
}

impl From<DriverConfig> for RoleConfig {
    fn from(driver: DriverConfig) -> Self {
        Self::Driver(driver)
    }
}

impl PortConfig {
    pub(crate) fn check(self) -> Result<Self, ConfigError> {
        match &self.role {
            RoleConfig::Device(device) => device.check()?,
            RoleConfig::Driver(driver) => driver.check()?,
        }
        Ok(self)
    }
}
