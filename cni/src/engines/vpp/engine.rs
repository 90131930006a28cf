//! VPP as the verbs know it.

use super::port::Needs;
use super::{PortSpec, Session, VppError};
use crate::conf::{Attachment, Engine, IfType, NetConf, NetType};
use crate::container;
use crate::engines::Vswitch;
use crate::env::CallEnv;
use crate::error::{CniError, code};
use crate::plan::{Plan, container_dir, is_abstract, socket_path, vpp_api, vpp_timeout};
use crate::result::CniResult;
use crate::state::{OldRecord, Owner, Step, remove_directory, remove_file};
use serde_json::Value;
use std::net::IpAddr;
use std::path::Path;

/// The VPP of a network.
#[derive(Debug)]
pub struct Vpp<'a> {
    conf: &'a NetConf,
}

/// Removes an interface. One of a VPP that has ended is gone.
///
/// # Errors
/// When VPP cannot be reached or refuses.
pub fn undo(
    api: &Path,
    socket: &Path,
    bridges: &[u32],
    hosts: &[IpAddr],
    owner: &Owner,
    conf: &NetConf,
) -> Result<(), CniError> {
    match Session::exclusive(api, vpp_timeout(conf)) {
        Err(error) if error.is_end() => Ok(()),
        other => Ok(other?.remove_port(owner, &socket.display().to_string(), bridges, hosts)?),
    }
}

/// The container's addresses that VPP routes to, by what the runtime was told.
#[must_use]
pub fn hosts(port: &Value, told: &CniResult) -> Vec<IpAddr> {
    // A record of an interface that nobody could make again has none.
    decode(port).map(|port| port.routes(told).hosts).unwrap_or_default()
}

/// Whether VPP has lost an interface.
///
/// # Errors
/// When VPP cannot be reached; code 102 when the interface is there and not as it was made.
pub fn is_lost(api: &Path, port: &Value, told: &CniResult) -> Result<bool, CniError> {
    let port = decode(port)?;
    let mut session = Session::connect(api, vpp_timeout(&NetConf::default()))?;
    if !session.has_port(&port.owner)? {
        return Ok(true);
    }
    let differences = session.differences(&port, &port.routes(told))?;
    if differences.is_empty() {
        return Ok(false);
    }
    let msg = "the interface is not as it was made";
    Err(CniError::new(code::CHECK_FAILED, msg).with_details(differences.join("; ")))
}

/// Makes an interface again.
///
/// # Errors
/// When VPP cannot be reached or refuses.
pub fn make_again(api: &Path, port: &Value, told: &CniResult) -> Result<(), CniError> {
    let port = decode(port)?;
    let mut session = Session::exclusive(api, vpp_timeout(&NetConf::default()))?;
    make(&mut session, &port)?;
    Ok(session.route_port(&port, &port.routes(told))?)
}

/// Has VPP receive from an interface as it should. Says what it had forgotten.
///
/// # Errors
/// When VPP cannot be reached or refuses; when it lacks a worker.
pub fn put_back(api: &Path, port: &Value) -> Result<Vec<String>, CniError> {
    let port = decode(port)?;
    if port.rx_mode.is_none() && port.rx_placement.is_empty() {
        return Ok(Vec::new());
    }
    let mut session = Session::exclusive(api, vpp_timeout(&NetConf::default()))?;
    Ok(session.set_receiving(&port)?)
}

fn decode(port: &Value) -> Result<PortSpec, CniError> {
    serde_json::from_value(port.clone())
        .map_err(|e| CniError::caused(code::DECODE, "cannot decode the interface", &e))
}

/// Makes an interface, and lets others use its socket.
fn make(session: &mut Session, port: &PortSpec) -> Result<(), CniError> {
    session.add_port(port)?;
    if port.makes_file() {
        container::share_socket(&port.socket, port.access)?;
    }
    Ok(())
}

impl<'a> Vpp<'a> {
    /// The one that a configuration names.
    #[must_use]
    pub const fn new(conf: &'a NetConf) -> Self {
        Self { conf }
    }

    fn connect(&self) -> Result<Session, VppError> {
        Session::connect(vpp_api(self.conf), vpp_timeout(self.conf))
    }

    fn exclusive(&self) -> Result<Session, VppError> {
        Session::exclusive(vpp_api(self.conf), vpp_timeout(self.conf))
    }
}

impl Vswitch for Vpp<'_> {
    fn step(&self, plan: &Plan) -> Step {
        let port = PortSpec::of(plan);
        Step::VppPort {
            api: vpp_api(self.conf).to_owned(),
            socket: port.socket_name().into(),
            bridge: port.bridge,
            trunk: port.trunk.iter().map(|tagged| tagged.bridge).collect(),
            port: serde_json::to_value(port).unwrap_or_default(),
        }
    }

    fn add(&self, plan: &Plan) -> Result<(), CniError> {
        make(&mut self.exclusive()?, &PortSpec::of(plan))
    }

    fn address(&self, plan: &Plan, result: &CniResult) -> Result<(), CniError> {
        let port = PortSpec::of(plan);
        let routes = port.routes(result);
        if routes.gateways.is_empty() {
            return Ok(());
        }
        Ok(self.exclusive()?.route_port(&port, &routes)?)
    }

    fn differences(&self, plan: &Plan, told: &CniResult) -> Result<Vec<String>, CniError> {
        let port = PortSpec::of(plan);
        Ok(self.connect()?.differences(&port, &port.routes(told))?)
    }

    fn collect(&self, network: &str, keep: &[Attachment]) -> Result<(), CniError> {
        let owner = |it: &Attachment| Owner::new(network, &it.container_id, &it.if_name);
        let keep: Vec<Owner> = keep.iter().map(owner).collect();
        match self.exclusive() {
            Err(error) if error.is_end() => Ok(()),
            other => Ok(other?.collect_ports(network, &keep)?),
        }
    }

    fn status(&self) -> Result<(), CniError> {
        let session = self.connect()?;
        let host = &self.conf.host;
        let needs = Needs {
            iftype: host.iftype.unwrap_or(IfType::Memif),
            abstract_socket: is_abstract(self.conf),
            vlans: host.bridge.vlan_id != 0 || !host.bridge.trunk.is_empty(),
            routed: host.net_type == NetType::Interface,
            receiving: host.rx_mode.is_some() || !host.rx_placement.is_empty(),
        };
        Ok(session.can_make(&needs)?)
    }

    /// The record's numbers may be anybody's since VPP was restarted: the path of the socket counts.
    fn remove_old(&self, _: &OldRecord, env: &CallEnv) -> Result<(), CniError> {
        let dir = container_dir(self.conf, Engine::Vpp, env)?;
        let socket = socket_path(self.conf, Engine::Vpp, IfType::Memif, env)?;
        let owner = Owner::new(&self.conf.name, &env.container_id, &env.if_name);
        undo(vpp_api(self.conf), &socket, &[], &[], &owner, self.conf)?;
        remove_file(&socket)?;
        remove_directory(&dir)
    }
}
