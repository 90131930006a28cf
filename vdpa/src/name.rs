//! What devices are called.

use crate::pci::{PciAddress, PciAddressError};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// A device, as an operator names it. As text: `0000:82:00.2`, or `/dev/vhost-vdpa-0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceName {
    /// The PCI function that it is, or is a part of. Only such a device is in a list of sockets.
    Pci(PciAddress),
    /// Its node: an absolute path. Nodes are numbered as devices come, so that another device may have
    /// it after a restart of the machine.
    Node(String),
}

/// What names no device.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DeviceNameError {
    /// It is no PCI address, and does not begin with `/`.
    #[error("{0}, or a node, such as /dev/vhost-vdpa-0")]
    Pci(PciAddressError),
    /// It is a path that no device is at.
    #[error("the path of a device has {0}")]
    Node(&'static str),
}

/// Most bytes of a path.
const PATH_MAX: usize = 255;

impl DeviceName {
    /// The address, if it is named by that.
    #[must_use]
    pub fn pci_address(&self) -> Option<PciAddress> {
        match self {
            Self::Pci(address) => Some(*address),
            Self::Node(_) => None,
        }
    }
}

impl FromStr for DeviceName {
    type Err = DeviceNameError;

    fn from_str(text: &str) -> Result<Self, DeviceNameError> {
        if !text.starts_with('/') {
            return text.parse().map(Self::Pci).map_err(DeviceNameError::Pci);
        }
        if text.len() > PATH_MAX {
            return Err(DeviceNameError::Node("more than 255 bytes"));
        }
        if text.chars().any(char::is_control) {
            return Err(DeviceNameError::Node("a control character"));
        }
        Ok(Self::Node(text.to_owned()))
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci(address) => address.fmt(f),
            Self::Node(path) => f.pad(path),
        }
    }
}

impl Serialize for DeviceName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DeviceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_and_node_are_told_apart_and_shown_in_one_form() {
        let name = |text: &str| text.parse::<DeviceName>().unwrap();
        assert_eq!(name("82:00.2").to_string(), "0000:82:00.2");
        assert_eq!(name("82:00.2"), name("0000:82:00.2"));
        let node = name("/dev/vhost-vdpa-0");
        assert_eq!((node.to_string().as_str(), node.pci_address()), ("/dev/vhost-vdpa-0", None));
    }

    #[test]
    fn what_names_no_device_is_refused_with_the_reason() {
        let why = |text: &str| text.parse::<DeviceName>().unwrap_err().to_string();
        assert!(why("vdpa0").contains("is no PCI address") && why("vdpa0").contains("or a node"));
        assert!(why("/dev/a\nb").contains("control character"));
        assert!(why(&format!("/{}", "d".repeat(255))).contains("255 bytes"));
    }
}
