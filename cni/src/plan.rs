//! A configuration and a call, checked, with every default filled in.
//!
//! Whatever cannot work is refused here, before anything is touched.

mod check;
mod paths;

use crate::conf::{
    Engine, IfType, Memif, MemifRole, Mode, NetConf, NetType, Parsed, RxMode, Side, VppPlacement,
};
use crate::env::{CallEnv, short_id};
use crate::error::CniError;
use crate::state::Owner;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use paths::{SOCKET_PATH_MAX, container_dir, socket_path};

/// Bridge of Open vSwitch that is used when none is named.
const OVS_BRIDGE: &str = "br0";
/// Where Open vSwitch's database listens when nothing else is said.
const OVS_DB: &str = "unix:/var/run/openvswitch/db.sock";
/// Where VPP's API listens when nothing else is said.
const VPP_API: &str = "/run/vpp/api.sock";
/// Largest number of a bridge of VPP that has VLANs: numbers of bridge domains have 24 bits.
const BRIDGE_WITH_VLANS_MAX: u32 = 4095;
const TIMEOUT: Duration = Duration::from_secs(10);

/// What an ADD is to make.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whose interface it is.
    pub owner: Owner,
    /// The vswitch.
    pub engine: Engine,
    /// Kind of interface.
    pub iftype: IfType,
    /// What the vswitch does with it.
    pub net_type: NetType,
    /// Who listens, seen from the vswitch.
    pub host_mode: Mode,
    /// Directory of the container's sockets and data.
    pub dir: PathBuf,
    /// The socket; an abstract one is `@` and its name.
    pub socket: PathBuf,
    /// Network namespace of an abstract socket.
    pub netns: Option<String>,
    /// File for a description of the device, if the runtime wants one.
    pub device_info: Option<PathBuf>,
    /// Who may use both.
    pub access: Access,
    /// Name of the port on the vswitch.
    pub port: String,
    /// Name of the bridge.
    pub bridge: String,
    /// VLAN of the port.
    pub vlan: Option<u16>,
    /// VLANs that pass tagged.
    pub trunk: Vec<u16>,
    /// Size of packets.
    pub mtu: Option<u32>,
    /// What a memif is like on the vswitch.
    pub memif: Memif,
    /// MAC address of the container's interface.
    pub mac: Option<String>,
    /// Limit on what the container sends, in kbit/s.
    pub ingress_rate: Option<u32>,
    /// Burst over that limit, in kbit.
    pub ingress_burst: Option<u32>,
    /// How VPP receives.
    pub rx_mode: Option<RxMode>,
    /// Which of VPP's workers receive.
    pub rx_placement: Vec<VppPlacement>,
}

/// Owner, group and permissions of sockets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Access {
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Permissions.
    pub mode: Option<u32>,
}

impl Plan {
    /// Checks a configuration for the attachment that `env` names.
    ///
    /// # Errors
    /// Code 7 with key, value and reason.
    pub fn new(parsed: &Parsed, env: &CallEnv) -> Result<Self, CniError> {
        let conf = &parsed.conf;
        let (engine, iftype) = check::all(conf)?;
        let host = &conf.host;
        let port = port_name(env);
        let dir = container_dir(conf, engine, env)?;
        let socket = socket_path(conf, engine, iftype, env)?;
        Ok(Self {
            owner: Owner::new(&conf.name, &env.container_id, &env.if_name),
            engine,
            iftype,
            net_type: host.net_type,
            host_mode: host_mode(host, iftype),
            dir,
            socket,
            netns: is_abstract(conf).then(|| env.netns.clone()),
            device_info: paths::device_info(conf)?,
            access: check::access(host)?,
            port,
            bridge: bridge(host, engine),
            vlan: (host.bridge.vlan_id != 0).then_some(host.bridge.vlan_id),
            trunk: host.bridge.trunk.clone(),
            mtu: host.mtu,
            memif: host.memif.clone(),
            mac: mac(conf, env)?,
            ingress_rate: host.ingress_rate,
            ingress_burst: host.ingress_burst,
            rx_mode: host.rx_mode,
            rx_placement: host.rx_placement.clone(),
        })
    }
}

/// Where Open vSwitch's database is, and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OvsDb {
    /// `unix:PATH`, `tcp:HOST:PORT` or `ssl:HOST:PORT`.
    pub db: String,
    /// What the last of them needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
}

/// Files in PEM by which we and the database know each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsFiles {
    /// Our private key.
    pub private_key: PathBuf,
    /// Our certificate.
    pub certificate: PathBuf,
    /// Certificates of the authorities that the database's certificate may be of.
    pub ca_cert: PathBuf,
}

/// Checks what can be checked without a container, and says what interfaces are to be made.
///
/// # Errors
/// Code 7 with key, value and reason.
pub fn kind_of_interface(conf: &NetConf) -> Result<(Engine, IfType), CniError> {
    check::all(conf)
}

/// Open vSwitch's database.
#[must_use]
pub fn ovs_db(conf: &NetConf) -> OvsDb {
    let given = &conf.ovs;
    OvsDb {
        db: if given.db.is_empty() { OVS_DB.to_owned() } else { given.db.clone() },
        tls: given.db.starts_with("ssl:").then(|| TlsFiles {
            private_key: PathBuf::from(&given.private_key),
            certificate: PathBuf::from(&given.certificate),
            ca_cert: PathBuf::from(&given.ca_cert),
        }),
    }
}

/// How long Open vSwitch may take.
#[must_use]
pub fn ovs_timeout(conf: &NetConf) -> Duration {
    conf.ovs.timeout_ms.map_or(TIMEOUT, Duration::from_millis)
}

/// The socket of VPP's API.
#[must_use]
pub fn vpp_api(conf: &NetConf) -> &Path {
    Path::new(if conf.vpp.api.is_empty() { VPP_API } else { &conf.vpp.api })
}

/// Number of VPP's bridge domain for a VLAN of a bridge: 4096 times the bridge's number, and the VLAN.
/// Only bridges 1 to 4095 have VLANs.
#[must_use]
pub const fn vlan_domain(bridge: u32, vlan: u16) -> Option<u32> {
    if bridge == 0 || bridge > BRIDGE_WITH_VLANS_MAX {
        return None;
    }
    Some((bridge << 12) + vlan as u32)
}

/// How long VPP may take.
#[must_use]
pub fn vpp_timeout(conf: &NetConf) -> Duration {
    conf.vpp.timeout_ms.map_or(TIMEOUT, Duration::from_millis)
}

/// How long the API server of Kubernetes may take.
#[must_use]
pub fn kubernetes_timeout(conf: &NetConf) -> Duration {
    conf.kubernetes.timeout_ms.map_or(TIMEOUT, Duration::from_millis)
}

/// The file that tells the application in the container about its interface.
#[must_use]
pub fn data_file_name(container_id: &str, if_name: &str) -> String {
    format!("configData-{}-{if_name}.json", short_id(container_id))
}

/// Whether sockets are abstract ones.
#[must_use]
pub fn is_abstract(conf: &NetConf) -> bool {
    conf.host.iftype == Some(IfType::Memif) && conf.host.memif.abstract_socket
}

fn port_name(env: &CallEnv) -> String {
    format!("{}-{}", env.short_id(), env.if_name)
}

fn host_mode(host: &Side, iftype: IfType) -> Mode {
    match (iftype, host.memif.role) {
        (IfType::Vhostuser, _) => host.vhost.mode.unwrap_or(Mode::Client),
        (IfType::Memif, Some(MemifRole::Client)) => Mode::Client,
        (IfType::Memif, _) => Mode::Server,
    }
}

fn bridge(host: &Side, engine: Engine) -> String {
    match engine {
        _ if !host.bridge.bridge_name.is_empty() => host.bridge.bridge_name.clone(),
        Engine::Ovs => OVS_BRIDGE.to_owned(),
        Engine::Vpp => host.bridge.bridge_id.to_string(),
    }
}

/// What the runtime says goes before the configuration. Runtimes without `runtimeConfig.mac` say it in
/// `CNI_ARGS`.
fn mac(conf: &NetConf, env: &CallEnv) -> Result<Option<String>, CniError> {
    let argument = env.arg("MAC").unwrap_or_default();
    check::check_mac("CNI_ARGS.MAC", argument)?;
    let wanted = [&conf.runtime_config.mac, argument, &conf.container.mac, &conf.host.mac];
    Ok(wanted.into_iter().find(|mac| !mac.is_empty()).map(str::to_ascii_lowercase))
}

#[cfg(test)]
mod tests;
