//! The oldest form: plugin `vhostuser`, before there were `host` and `container`.

use super::{Engine, IfType, Mode, NetConf, NetType, Side, Vhost};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where that form puts sockets unless configured otherwise.
const CNI_DIR: &str = "/var/lib/cni/vhostuser";

/// The oldest form's `vhost`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OldVhost {
    /// Program that made the port. Only its name is looked at, for the vswitch that it served.
    pub vhost_tool: String,
    /// Accepted and without effect.
    pub vhostname: String,
    /// Accepted and without effect.
    pub vhostmac: String,
    /// Accepted and without effect.
    pub ifname: String,
    /// MAC address of the container's interface.
    pub ifmac: String,
}

impl NetConf {
    /// Whether this is the oldest form.
    #[must_use]
    pub fn is_oldest_form(&self) -> bool {
        self.plugin == "vhostuser" && self.host.engine.is_none()
    }

    /// Says in today's words what the oldest form meant: a socket made by the vswitch, on the
    /// bridge `br0`.
    pub(super) fn modernise(&mut self) {
        if !self.is_oldest_form() {
            return;
        }
        let old = self.vhost.clone().unwrap_or_default();
        let tool = old.vhost_tool.rsplit('/').next().unwrap_or_default();
        let engine = if tool.starts_with("vpp") { Engine::Vpp } else { Engine::Ovs };
        self.host = Side {
            engine: Some(engine),
            iftype: Some(IfType::Vhostuser),
            net_type: NetType::Bridge,
            vhost: Vhost { mode: Some(Mode::Server), ..Vhost::default() },
            mac: old.ifmac,
            ..Side::default()
        };
        if self.shared_dir.is_empty() {
            self.shared_dir =
                if self.cni_dir.is_empty() { CNI_DIR.to_owned() } else { self.cni_dir.clone() };
        }
    }
}
