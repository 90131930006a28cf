//! Addresses of an interface.

use crate::port_string::ItemError;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An IP address with the length of its network's prefix: `10.0.0.1/24`, `fd00::1/64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TapAddress {
    ip: IpAddr,
    prefix: u8,
}

impl TapAddress {
    /// The address.
    #[must_use]
    pub fn ip(self) -> IpAddr {
        self.ip
    }

    /// Leading bits that all addresses of its network have in common.
    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }
}

impl FromStr for TapAddress {
    type Err = ItemError;

    fn from_str(text: &str) -> Result<Self, ItemError> {
        let bad =
            || ItemError::bad("address", text, "an address such as 10.0.0.1/24 or fd00::1/64");
        let (ip, prefix) = text.split_once('/').ok_or_else(bad)?;
        let ip: IpAddr = ip.parse().map_err(|_| bad())?;
        let prefix = prefix.parse().map_err(|_| bad())?;
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        if prefix > bits {
            return Err(bad());
        }
        Ok(Self { ip, prefix })
    }
}

impl fmt::Display for TapAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}
