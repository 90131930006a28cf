//! Interfaces of containers, and the bridge domains that they are on.
//!
//! An interface is known by its tag. That of a memif comes after the memif: what was made and not yet
//! marked is known by its socket, whose path nobody else has.
//!
//! A bridge domain that is missing is made, and removed only if we made it and no interface is on it.
//!
//! A VLAN of a bridge is a bridge domain of its own: see [`crate::plan::vlan_domain`]. An interface is
//! on that of its untagged packets, and has a sub-interface on that of each VLAN that passes tagged,
//! which takes the tag off and puts it on. What sub-interfaces an interface has goes with it.

mod add;
mod check;
mod gateway;
mod receive;
mod remove;
mod view;

pub use gateway::Routes;

use super::memif::{MemifMode, NewMemif};
use crate::conf::{IfType, MemifMode as Mode, Mode as Role, NetType, RxMode, VppPlacement};
use crate::engines::MARK;
use crate::plan::{Access, Plan, vlan_domain};
use crate::state::Owner;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Number of the only interface on a socket.
const MEMIF_ID: u32 = 0;
const RING_SIZE: u32 = 1024;
const BUFFER_SIZE: u16 = 2048;

/// Mark of bridge domains that we made.
const BRIDGE_TAG: &str = MARK;

/// What VPP must be able to do for an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// To make one of this kind.
    pub iftype: IfType,
    /// To have an abstract socket for it.
    pub abstract_socket: bool,
    /// To keep VLANs apart.
    pub vlans: bool,
    /// To be told how to receive.
    pub receiving: bool,
    /// To route.
    pub routed: bool,
}

/// An interface as it is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortSpec {
    /// Whose it is.
    pub owner: Owner,
    /// What it is.
    pub kind: Kind,
    /// Its socket; an abstract one is `@` and its name.
    pub socket: PathBuf,
    /// Network namespace of an abstract socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// Number of the bridge domain of its untagged packets, if they have one.
    pub bridge: Option<u32>,
    /// Whether tagged packets of other VLANs than those of `trunk` are dropped. Where untagged ones have
    /// no bridge domain they are in any case.
    #[serde(default)]
    pub refuses_tags: bool,
    /// VLANs that pass tagged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trunk: Vec<Tagged>,
    /// How VPP receives, once it is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_mode: Option<RxMode>,
    /// Which of VPP's workers receive, once it is connected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rx_placement: Vec<VppPlacement>,
    /// Largest packet, in bytes.
    pub mtu: Option<u32>,
    /// Whether the container's networks are routed: see [`Session::route_port`](super::Session::route_port).
    pub routed: bool,
    /// Who may use the socket, when VPP makes it.
    pub access: Access,
}

/// A VLAN that passes tagged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tagged {
    /// The VLAN.
    pub vlan: u16,
    /// Number of its bridge domain.
    pub bridge: u32,
}

/// What an interface is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// memif.
    Memif(NewMemif),
    /// vhost-user.
    Vhost {
        /// Whether VPP listens.
        server: bool,
    },
}

impl PortSpec {
    /// The interface that a plan asks for.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let server = plan.host_mode == Role::Server;
        let kind = match plan.iftype {
            IfType::Memif => Kind::Memif(memif(plan, server)),
            IfType::Vhostuser => Kind::Vhost { server },
        };
        Self {
            owner: plan.owner.clone(),
            kind,
            socket: plan.socket.clone(),
            netns: plan.netns.clone(),
            bridge: bridge_of(plan),
            refuses_tags: plan.vlan.is_some(),
            trunk: trunk_of(plan),
            rx_mode: plan.rx_mode,
            rx_placement: plan.rx_placement.clone(),
            mtu: plan.mtu,
            routed: plan.net_type == NetType::Interface,
            access: plan.access,
        }
    }

    /// Numbers of all its bridge domains.
    #[must_use]
    pub fn bridges(&self) -> Vec<u32> {
        self.bridge.into_iter().chain(self.trunk.iter().map(|tagged| tagged.bridge)).collect()
    }

    /// Whether VPP makes a file of the socket.
    #[must_use]
    pub const fn makes_file(&self) -> bool {
        match &self.kind {
            Kind::Memif(memif) => memif.server && self.netns.is_none(),
            Kind::Vhost { server } => *server,
        }
    }

    /// What VPP must be able to do.
    fn needs(&self) -> Needs {
        Needs {
            iftype: match self.kind {
                Kind::Memif(_) => IfType::Memif,
                Kind::Vhost { .. } => IfType::Vhostuser,
            },
            abstract_socket: self.netns.is_some(),
            vlans: self.refuses_tags || !self.trunk.is_empty(),
            receiving: self.rx_mode.is_some() || !self.rx_placement.is_empty(),
            routed: self.routed,
        }
    }

    /// The socket in VPP's words.
    #[must_use]
    pub fn socket_name(&self) -> String {
        let path = self.socket.display().to_string();
        match &self.netns {
            Some(netns) => {
                let name = path.strip_prefix('@').unwrap_or(&path);
                format!("abstract:{name},netns_name={netns}")
            }
            None => path,
        }
    }
}

/// Number of the bridge domain of untagged packets. A trunk has none, unless one of its VLANs is that
/// of untagged packets.
fn bridge_of(plan: &Plan) -> Option<u32> {
    let bridge = bridge_id(plan)?;
    match plan.vlan {
        Some(vlan) => vlan_domain(bridge, vlan),
        None => plan.trunk.is_empty().then_some(bridge),
    }
}

/// VLANs that pass tagged, each one once. Packets of the interface's own VLAN are untagged.
fn trunk_of(plan: &Plan) -> Vec<Tagged> {
    let Some(bridge) = bridge_id(plan) else { return Vec::new() };
    let vlans: BTreeSet<u16> = plan.trunk.iter().copied().collect();
    let tagged = vlans.into_iter().filter(|vlan| plan.vlan != Some(*vlan));
    tagged.filter_map(|vlan| Some(Tagged { vlan, bridge: vlan_domain(bridge, vlan)? })).collect()
}

/// Number of the bridge that a plan names.
fn bridge_id(plan: &Plan) -> Option<u32> {
    plan.bridge.parse().ok().filter(|_| plan.net_type == NetType::Bridge)
}

fn memif(plan: &Plan, server: bool) -> NewMemif {
    let given = &plan.memif;
    let mode = match given.mode {
        None | Some(Mode::Ethernet) => MemifMode::Ethernet,
        Some(Mode::Ip) => MemifMode::Ip,
        Some(Mode::InjectPunt) => MemifMode::PuntInject,
    };
    NewMemif {
        server,
        mode,
        rx_queues: given.rx_queues.unwrap_or(1),
        tx_queues: given.tx_queues.unwrap_or(1),
        id: MEMIF_ID,
        ring_size: given.ring_size.unwrap_or(RING_SIZE),
        buffer_size: given.buffer_size.unwrap_or(BUFFER_SIZE),
        secret: given.secret.clone(),
    }
}
