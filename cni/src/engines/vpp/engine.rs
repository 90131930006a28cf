//! VPP as the verbs know it.

use super::interface::Address;
use super::port::bridge_of;
use super::{PortSpec, Session, VppError};
use crate::conf::{Attachment, Engine, IfType, Mode, NetConf, NetType};
use crate::container;
use crate::engines::Vswitch;
use crate::env::CallEnv;
use crate::error::CniError;
use crate::plan::{Plan, container_dir, socket_path, vpp_api, vpp_timeout};
use crate::result::CniResult;
use crate::state::{OldRecord, Owner, Step, remove_directory, remove_file};
use std::path::Path;

/// The VPP of a network.
#[derive(Debug)]
pub struct Vpp<'a> {
    conf: &'a NetConf,
}

/// Removes an interface.
///
/// # Errors
/// When VPP cannot be reached or refuses.
pub fn undo(
    api: &Path,
    socket: &Path,
    bridge: Option<u32>,
    owner: &Owner,
    conf: &NetConf,
) -> Result<(), CniError> {
    let mut session = Session::exclusive(api, vpp_timeout(conf))?;
    Ok(session.remove_port(owner, &socket.display().to_string(), bridge)?)
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
        Step::VppPort {
            api: vpp_api(self.conf).to_owned(),
            socket: plan.socket.clone(),
            bridge: bridge_of(plan),
        }
    }

    fn add(&self, plan: &Plan) -> Result<(), CniError> {
        self.exclusive()?.add_port(&PortSpec::of(plan))?;
        if plan.host_mode == Mode::Server {
            container::share_socket(&plan.socket, plan.access)?;
        }
        Ok(())
    }

    fn address(&self, plan: &Plan, result: &CniResult) -> Result<(), CniError> {
        let addresses = host_addresses(plan, result);
        if addresses.is_empty() {
            return Ok(());
        }
        Ok(self.exclusive()?.address_port(&PortSpec::of(plan), &addresses)?)
    }

    fn differences(&self, plan: &Plan, told: &CniResult) -> Result<Vec<String>, CniError> {
        let addresses = host_addresses(plan, told);
        Ok(self.connect()?.differences(&PortSpec::of(plan), &addresses)?)
    }

    fn collect(&self, network: &str, keep: &[Attachment]) -> Result<(), CniError> {
        let owner = |it: &Attachment| Owner::new(network, &it.container_id, &it.if_name);
        let keep: Vec<Owner> = keep.iter().map(owner).collect();
        Ok(self.exclusive()?.collect_ports(network, &keep)?)
    }

    fn status(&self) -> Result<(), CniError> {
        let session = self.connect()?;
        Ok(session.can_make(self.conf.host.iftype.unwrap_or(IfType::Memif))?)
    }

    /// The record's numbers may be anybody's since VPP was restarted: the path of the socket counts.
    fn remove_old(&self, _: &OldRecord, env: &CallEnv) -> Result<(), CniError> {
        let dir = container_dir(self.conf, Engine::Vpp, env)?;
        let socket = socket_path(self.conf, Engine::Vpp, IfType::Memif, env)?;
        let owner = Owner::new(&self.conf.name, &env.container_id, &env.if_name);
        let file = socket.display().to_string();
        self.exclusive()?.remove_port(&owner, &file, None)?;
        remove_file(&socket)?;
        remove_directory(&dir)
    }
}

/// VPP's end of the container's networks: their gateways. A network without one needs none.
fn host_addresses(plan: &Plan, result: &CniResult) -> Vec<Address> {
    if plan.net_type != NetType::Interface {
        return Vec::new();
    }
    let ours = |number: usize| {
        let interface = result.interfaces.get(number);
        interface.is_some_and(|interface| plan.socket == Path::new(&interface.socket_path))
    };
    let addresses = result.ips.iter().filter_map(|ip| {
        ip.interface.filter(|number| ours(*number))?;
        let address: Address = ip.address.parse().ok()?;
        Some(Address { ip: ip.gateway.parse().ok()?, ..address })
    });
    addresses.collect()
}
