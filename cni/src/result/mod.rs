//! Results, in every version of the specification.
//!
//! [`CniResult`] holds what the newest version can say. [`CniResult::to_json`] words it in an older
//! one, leaving out what that has no words for; [`CniResult::from_json`] reads any.

mod convert;

use crate::error::CniError;
use crate::version::CniVersion;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What an ADD made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CniResult {
    /// The interfaces.
    pub interfaces: Vec<Interface>,
    /// Their addresses.
    pub ips: Vec<Ip>,
    /// Routes.
    pub routes: Vec<Route>,
    /// DNS.
    pub dns: Map<String, Value>,
}

/// One interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its MAC address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Size of its packets, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The namespace that it is in; empty on the host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
    /// The socket by which it is reached.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub socket_path: String,
    /// Its device on the PCI bus.
    #[serde(rename = "pciID", skip_serializing_if = "String::is_empty")]
    pub pci_id: String,
}

/// One address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ip {
    /// Which of the interfaces has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<usize>,
    /// The address, with its prefix.
    pub address: String,
    /// The gateway.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gateway: String,
}

/// One route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Route {
    /// Where to.
    pub dst: String,
    /// By whom.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gw: String,
    /// What the newest version adds: `mtu`, `advmss`, `priority`, `table`, `scope`.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

impl CniResult {
    /// Reads a result of any version that we speak.
    ///
    /// # Errors
    /// Code 1 for another version, 6 when it is no result.
    pub fn from_json(value: &Value) -> Result<Self, CniError> {
        convert::read(value)
    }

    /// Words the result in `version`.
    #[must_use]
    pub fn to_json(&self, version: CniVersion) -> Value {
        convert::write(self, version)
    }

    /// Adds another plugin's result: its addresses belong to our interface number `interface`.
    pub fn add_addresses(&mut self, delegate: Self, interface: usize) {
        let ips = delegate.ips.into_iter();
        self.ips.extend(ips.map(|ip| Ip { interface: Some(interface), ..ip }));
        self.routes.extend(delegate.routes);
        if self.dns.is_empty() {
            self.dns = delegate.dns;
        }
    }
}

#[cfg(test)]
mod tests;
