//! What can go wrong with a port.

use crate::device::DeviceError;
use crate::name::DeviceNameError;
use crate::opener::OpenError;
use ringport::error::{CallError, QueueError};
use ringport::port_string::ItemError;
use ringport_vhost_user::driver::queue::LayoutError;
use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// A configuration that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// An item of a port string, or a number in a configuration, cannot work.
    #[error(transparent)]
    Item(#[from] ItemError),
    /// What is to name a device does not.
    #[error(transparent)]
    Name(#[from] DeviceNameError),
    /// A port string names another protocol.
    #[error("port string {given:?} does not start with \"vdpa:\"")]
    NotVdpa {
        /// What was given.
        given: String,
    },
}

/// Why a port has no link.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PortError {
    /// It is configured in a way that cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The device cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The device cannot be used so.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The device is none for a port.
    #[error("the device cannot be a port: {0}")]
    Unfit(String),
    /// There is no memory for rings and buffers.
    #[error("memory of the port")]
    Layout(#[from] LayoutError),
    /// The operating system refused a call.
    #[error(transparent)]
    Call(#[from] CallError),
    /// There was no link in time.
    #[error("timeout after {waited:?}")]
    Timeout {
        /// How long it was waited for.
        waited: Duration,
    },
}

/// Why a link went down, or did not come up.
#[derive(Debug)]
#[non_exhaustive]
pub enum DownReason {
    /// The device is being removed, or has been given up because it did not answer.
    Gone,
    /// The device broke a ring, or took memory back.
    Fault(QueueError),
    /// The device cannot be used, or cannot be asked any more.
    Failed(PortError),
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the device is gone"),
            Self::Fault(error) => write!(f, "fault: {error}"),
            Self::Failed(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for DownReason {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Its own words are ours already.
            Self::Failed(error) => error.source(),
            Self::Gone | Self::Fault(_) => None,
        }
    }
}
