//! One end of an interface: `host` and `container` have the same form.

use super::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One end of an interface.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Side {
    /// The vswitch.
    pub engine: Option<Engine>,
    /// Kind of interface.
    pub iftype: Option<IfType>,
    /// What the vswitch does with the interface.
    pub net_type: NetType,
    /// What a memif is to be like.
    pub memif: Memif,
    /// What a vhost-user interface is to be like.
    pub vhost: Vhost,
    /// The bridge that the interface joins.
    pub bridge: Bridge,
    /// MAC address of the container's interface.
    pub mac: String,
    /// Largest packet without its Ethernet header, in bytes.
    pub mtu: Option<u32>,
    /// Most traffic taken from the container, in kbit/s.
    pub ingress_rate: Option<u32>,
    /// How far it may be exceeded for a moment, in kbit.
    pub ingress_burst: Option<u32>,
    /// Who may use the sockets and their directory.
    pub socket: SocketAccess,
    /// How VPP receives from the interface, set by `userspace reconcile`.
    pub rx_mode: Option<RxMode>,
    /// Which of VPP's workers receive from the interface, set by `userspace reconcile`.
    pub rx_placement: Vec<VppPlacement>,
}

/// A vswitch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Engine {
    /// VPP.
    #[serde(rename = "vpp")]
    Vpp,
    /// Open vSwitch with DPDK.
    #[serde(rename = "ovs-dpdk", alias = "ovs")]
    Ovs,
}

/// Kind of interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IfType {
    /// memif.
    Memif,
    /// vhost-user.
    #[serde(alias = "vhost-user")]
    Vhostuser,
}

/// What the vswitch does with an interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NetType {
    /// Not said.
    #[default]
    #[serde(rename = "")]
    Unset,
    /// It joins a bridge.
    Bridge,
    /// It has addresses.
    Interface,
    /// Nothing.
    None,
}

/// What a memif is to be like.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Memif {
    /// Who makes the socket.
    pub role: Option<MemifRole>,
    /// What packets start with. Default `ethernet`.
    pub mode: Option<MemifMode>,
    /// File name of the socket.
    pub socketfile: String,
    /// The socket is an abstract one in the container's network namespace.
    #[serde(rename = "abstract")]
    pub abstract_socket: bool,
    /// What both ends must know.
    pub secret: Secret,
    /// Receive queues of the vswitch. Default 1.
    pub rx_queues: Option<u8>,
    /// Transmit queues of the vswitch. Default 1.
    pub tx_queues: Option<u8>,
    /// Slots of a ring, a power of two. Default 1024.
    pub ring_size: Option<u32>,
    /// Bytes of a buffer. Default 2048.
    pub buffer_size: Option<u16>,
}

/// Role in memif.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MemifRole {
    /// Makes the socket.
    #[serde(rename = "master", alias = "server")]
    Server,
    /// Connects.
    #[serde(rename = "slave", alias = "client")]
    Client,
}

/// What packets of a memif start with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MemifMode {
    /// An Ethernet header.
    Ethernet,
    /// An IP header.
    Ip,
    /// Punt and inject.
    #[serde(alias = "punt")]
    InjectPunt,
}

/// What a vhost-user interface is to be like.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Vhost {
    /// Whether this end makes the socket. Default: the vswitch is the client.
    pub mode: Option<Mode>,
    /// Group that may use the socket.
    pub group: String,
    /// File name of the socket.
    pub socketfile: String,
}

/// Whether an end connects or listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Connects.
    Client,
    /// Listens.
    Server,
}

impl Mode {
    /// What the other end is.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// The bridge that an interface joins.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Bridge {
    /// Name of the bridge; a number for VPP, below 4096 with VLANs. Default on Open vSwitch: `br0`.
    pub bridge_name: String,
    /// Number of the bridge domain of VPP; `bridgeName` wins.
    pub bridge_id: u32,
    /// VLAN of the interface, whose packets are untagged. 0: none.
    pub vlan_id: u16,
    /// VLANs whose packets pass tagged, but for `vlanId`.
    pub trunk: Vec<u16>,
}

/// Who may use sockets and their directory.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SocketAccess {
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Permissions of sockets that we can set, in octal, such as `0660`.
    pub mode: String,
}

/// How VPP receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RxMode {
    /// It polls.
    Polling,
    /// It waits for doorbells.
    Interrupt,
    /// It changes between both.
    Adaptive,
}

/// A queue of VPP and the worker that polls it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VppPlacement {
    /// The queue, from 0.
    pub queue: u32,
    /// The worker, from 0; not the main thread.
    pub worker: u32,
}
