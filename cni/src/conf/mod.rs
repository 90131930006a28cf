//! The network configuration, as its keys are written.
//!
//! These types hold every key of every generation of userspace CNI configurations, and ours. What
//! values may go together is [`plan`](crate::plan)'s matter.

mod parse;
mod side;
mod vhostuser;

pub use parse::{Parsed, parse};
pub use side::{
    Bridge, Engine, IfType, Memif, MemifMode, MemifRole, Mode, NetType, RxMode, Side, SocketAccess,
    Vhost, VppPlacement,
};
pub use vhostuser::OldVhost;

use crate::state::Owner;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

/// Where records and the defaults of older directories are, unless configured otherwise.
pub const DATA_DIR: &str = "/var/lib/cni/usrspcni";

/// A network configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NetConf {
    /// Version of the CNI specification that the configuration keeps to.
    pub cni_version: String,
    /// Name of the network.
    pub name: String,
    /// Name of the plugin: `userspace`, or `vhostuser` for the oldest form.
    #[serde(rename = "type")]
    pub plugin: String,
    /// The interface on the vswitch.
    pub host: Side,
    /// The interface in the container. Whatever is not given follows from `host`.
    pub container: Side,
    /// Credentials for the API server of Kubernetes, by which the container's data goes into its pod's
    /// annotations as well.
    pub kubeconfig: String,
    /// How the API server is reached.
    pub kubernetes: Kubernetes,
    /// Directory below which each container gets one of its own for sockets and data.
    pub shared_dir: String,
    /// Directory of the records. Default `/var/lib/cni/usrspcni`.
    pub data_dir: String,
    /// File that the log is appended to; otherwise it goes to standard error.
    pub log_file: String,
    /// `panic`, `error`, `warning` (default), `info`, `debug` or `verbose`.
    pub log_level: String,
    /// How Open vSwitch is reached.
    pub ovs: Ovs,
    /// How VPP is reached.
    pub vpp: Vpp,
    /// Configuration of the IPAM delegate, which gets it unchanged.
    pub ipam: Option<Ipam>,

    /// Accepted and without effect: the name comes from `CNI_IFNAME`.
    #[serde(rename = "ifName")]
    pub if_name: String,
    /// Accepted and without effect: the name comes from `CNI_IFNAME`.
    #[serde(rename = "if0name")]
    pub if0_name: String,
    /// The oldest form's interface.
    pub vhost: Option<OldVhost>,
    /// The oldest form's `sharedDir`. Default there `/var/lib/cni/vhostuser`.
    pub cni_dir: String,

    /// The standard's: DNS of the network.
    pub dns: Option<Map<String, Value>>,
    /// The standard's: which parts of `runtimeConfig` are wanted.
    pub capabilities: Option<Map<String, Value>>,
    /// The standard's: per-attachment values.
    pub runtime_config: RuntimeConfig,
    /// The standard's: arguments for plugins.
    pub args: Option<Map<String, Value>>,
    /// The standard's: whether the host masquerades; delegates use it.
    pub ip_masq: bool,
    /// The standard's: result of the plugin before this one.
    pub prev_result: Option<Map<String, Value>>,
    /// A meta-plugin's: the device that was allocated.
    #[serde(rename = "deviceID")]
    pub device_id: String,
    /// A meta-plugin's: the same, as an address on the PCI bus.
    #[serde(rename = "pciBusID")]
    pub pci_bus_id: String,
    /// The standard's, in GC: attachments that are to stay.
    #[serde(rename = "cni.dev/valid-attachments")]
    pub valid_attachments: Option<Vec<Attachment>>,
    /// The same under the name that early releases of runtimes use.
    #[serde(rename = "cni.dev/attachments")]
    pub attachments: Option<Vec<Attachment>>,
}

/// An attachment as GC's input names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attachment {
    /// ID of the container.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// Name of the interface.
    #[serde(rename = "ifname")]
    pub if_name: String,
}

/// What the runtime says about one attachment.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RuntimeConfig {
    /// Addresses wanted; the delegate gets them.
    pub ips: Vec<String>,
    /// MAC address wanted for the container's interface.
    pub mac: String,
    /// The device that was allocated.
    #[serde(rename = "deviceID")]
    pub device_id: String,
    /// File that a description of the device is to be written to.
    #[serde(rename = "CNIDeviceInfoFile")]
    pub device_info_file: String,
    /// Whatever else a runtime passes.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// How Open vSwitch is reached.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Ovs {
    /// `unix:PATH`, `tcp:HOST:PORT` or `ssl:HOST:PORT`. Default `unix:/var/run/openvswitch/db.sock`.
    pub db: String,
    /// File with our private key for `ssl:`, in PEM.
    pub private_key: String,
    /// File with our certificate for `ssl:`, in PEM.
    pub certificate: String,
    /// File with the certificates of authorities that the database's one may be of, in PEM.
    pub ca_cert: String,
    /// Where the vswitch makes sockets, as seen from here; otherwise the database says.
    pub run_dir: String,
    /// How long to wait for the database and the vswitch, in milliseconds. Default 10000.
    pub timeout_ms: Option<u64>,
}

/// How VPP is reached.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Vpp {
    /// Socket of the binary API. Default `/run/vpp/api.sock`.
    pub api: String,
    /// How long to wait for an answer, in milliseconds. Default 10000.
    pub timeout_ms: Option<u64>,
}

/// How the API server of Kubernetes is reached.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Kubernetes {
    /// How long to wait each time that a pod is read or changed, in milliseconds. Default 10000.
    pub timeout_ms: Option<u64>,
}

/// The part of the delegate's configuration that we read.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Ipam {
    /// Name of the delegate.
    #[serde(rename = "type")]
    pub plugin: String,
    /// Whatever the delegate reads.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// A text that is not shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Secret(pub String);

impl Attachment {
    /// Whether it is the attachment of `owner`.
    #[must_use]
    pub fn is(&self, owner: &Owner) -> bool {
        self.container_id == owner.container_id && self.if_name == owner.if_name
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "(secret)" })
    }
}

/// The JSON Schema of [`NetConf`].
#[must_use]
pub fn schema() -> Value {
    schemars::schema_for!(NetConf).to_value()
}

#[cfg(test)]
mod tests;
