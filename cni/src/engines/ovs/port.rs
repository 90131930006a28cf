//! Ports, and the bridges that they are on.
//!
//! A bridge that is missing is made in the same transaction as its first port, and removed only if
//! we made it and nobody has a port on it, in a transaction that fails when somebody adds one.

mod add;
mod check;
mod remove;

use super::rows::map;
use crate::conf::Mode;
use crate::engines::MARK;
use crate::plan::Plan;
use crate::state::Owner;
use serde_json::Value;
use std::path::PathBuf;

const KEY_OWNER: &str = "ringport-owner";
const KEY_NETWORK: &str = "ringport-network";
const KEY_CONTAINER: &str = "ringport-container";
const KEY_IF_NAME: &str = "ringport-ifname";

/// A port as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSpec {
    /// Whose it is.
    pub owner: Owner,
    /// Its name.
    pub name: String,
    /// Its bridge.
    pub bridge: String,
    /// Whether the vswitch connects to the socket or makes it.
    pub mode: Mode,
    /// The socket, when the vswitch connects to it.
    pub socket: PathBuf,
    /// VLAN of untagged packets.
    pub vlan: Option<u16>,
    /// VLANs that pass tagged.
    pub trunk: Vec<u16>,
    /// Size of packets.
    pub mtu: Option<u32>,
    /// Limit on what the container sends, in kbit/s.
    pub ingress_rate: Option<u32>,
    /// Burst over that limit, in kbit.
    pub ingress_burst: Option<u32>,
}

impl PortSpec {
    /// The port that a plan asks for.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        Self {
            owner: plan.owner.clone(),
            name: plan.port.clone(),
            bridge: plan.bridge.clone(),
            mode: plan.host_mode,
            socket: plan.socket.clone(),
            vlan: plan.vlan,
            trunk: plan.trunk.clone(),
            mtu: plan.mtu,
            ingress_rate: plan.ingress_rate,
            ingress_burst: plan.ingress_burst,
        }
    }

    /// Type of the interface.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        kind(self.mode)
    }

    const fn vlan_mode(&self) -> Option<&'static str> {
        match (self.vlan, self.trunk.is_empty()) {
            (None, true) => None,
            (Some(_), true) => Some("access"),
            (None, false) => Some("trunk"),
            (Some(_), false) => Some("native-untagged"),
        }
    }
}

/// Type of an interface whose vswitch connects, or listens.
#[must_use]
pub const fn kind(mode: Mode) -> &'static str {
    match mode {
        Mode::Client => "dpdkvhostuserclient",
        Mode::Server => "dpdkvhostuser",
    }
}

/// What the column external_ids says of a port of ours.
fn marks(owner: &Owner) -> [(&str, &str); 4] {
    [
        (KEY_OWNER, MARK),
        (KEY_NETWORK, &owner.network),
        (KEY_CONTAINER, &owner.container_id),
        (KEY_IF_NAME, &owner.if_name),
    ]
}

/// Whose a port is, if it is ours.
fn owner_of(external_ids: &Value) -> Option<Owner> {
    let ids = map(external_ids);
    (ids.get(KEY_OWNER) == Some(&MARK)).then_some(())?;
    Some(Owner::new(ids.get(KEY_NETWORK)?, ids.get(KEY_CONTAINER)?, ids.get(KEY_IF_NAME)?))
}

fn is_our_bridge(external_ids: &Value) -> bool {
    map(external_ids).get(KEY_OWNER) == Some(&MARK)
}
