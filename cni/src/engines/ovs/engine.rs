//! Open vSwitch as the verbs know it.

use super::port::kind;
use super::{Address, Database, OvsError, PortSpec};
use crate::conf::{Attachment, Engine, Mode, NetConf};
use crate::container;
use crate::engines::Vswitch;
use crate::env::{CallEnv, is_identifier};
use crate::error::{CniError, code};
use crate::plan::{OvsDb, Plan, container_dir, ovs_db, ovs_timeout};
use crate::result::CniResult;
use crate::state::{OldRecord, Owner, ServerSocket, Step, remove_directory, remove_file};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

/// The Open vSwitch of a network.
#[derive(Debug)]
pub struct OpenVswitch<'a> {
    conf: &'a NetConf,
    address: Address,
}

/// Removes a port.
///
/// # Errors
/// When the database cannot be reached or refuses.
pub fn undo(
    db: &OvsDb,
    bridge: &str,
    port: &str,
    owner: &Owner,
    conf: &NetConf,
) -> Result<(), CniError> {
    // Files may be elsewhere by now. Those of then are for whoever has no configuration any more.
    let current = Some(ovs_db(conf)).filter(|current| current.db == db.db);
    let address = current.as_ref().unwrap_or(db).try_into()?;
    let mut database = Database::at(&address, ovs_timeout(conf))?;
    Ok(database.remove_port(port, bridge, Some(owner))?)
}

/// Whether Open vSwitch, restarted, has made the socket of a port that listens anew: the container's
/// one is nobody's then.
///
/// # Errors
/// When the database cannot be reached.
pub fn is_lost(db: &OvsDb, port: &str, socket: &ServerSocket) -> Result<bool, CniError> {
    let mut database = Database::at(&db.try_into()?, ovs_timeout(&NetConf::default()))?;
    let made = made_socket(&mut database, &socket.run_dir, port)?;
    Ok(made.symlink_metadata().is_ok_and(|it| it.file_type().is_socket()))
}

/// Moves such a socket to the container, if that was not done yet.
///
/// # Errors
/// When the database cannot be reached; code 5.
pub fn make_again(db: &OvsDb, port: &str, socket: &ServerSocket) -> Result<(), CniError> {
    let mut database = Database::at(&db.try_into()?, ovs_timeout(&NetConf::default()))?;
    let made = made_socket(&mut database, &socket.run_dir, port)?;
    if made.symlink_metadata().is_err() {
        return Ok(());
    }
    container::move_socket(&made, &socket.path, socket.access)
}

/// Where Open vSwitch makes the socket of a port that listens.
fn made_socket(database: &mut Database, run_dir: &str, port: &str) -> Result<PathBuf, OvsError> {
    let directory = match run_dir {
        "" => database.vswitch()?.socket_dir,
        given => PathBuf::from(given),
    };
    Ok(directory.join(port))
}

impl<'a> OpenVswitch<'a> {
    /// The one that a configuration names.
    ///
    /// # Errors
    /// When its address is none.
    pub fn new(conf: &'a NetConf) -> Result<Self, CniError> {
        Ok(Self { conf, address: (&ovs_db(conf)).try_into()? })
    }

    fn connect(&self) -> Result<Database, OvsError> {
        Database::at(&self.address, ovs_timeout(self.conf))
    }
}

impl Vswitch for OpenVswitch<'_> {
    fn step(&self, plan: &Plan) -> Step {
        Step::OvsPort {
            db: ovs_db(self.conf),
            bridge: plan.bridge.clone(),
            port: plan.port.clone(),
            socket: (plan.host_mode == Mode::Server).then(|| ServerSocket {
                run_dir: self.conf.ovs.run_dir.clone(),
                path: plan.socket.clone(),
                access: plan.access,
            }),
        }
    }

    fn add(&self, plan: &Plan) -> Result<(), CniError> {
        let mut database = self.connect()?;
        let number = database.add_port(&PortSpec::of(plan))?;
        tracing::info!(port = plan.port, bridge = plan.bridge, number, "port made");
        if plan.host_mode == Mode::Server {
            let made = made_socket(&mut database, &self.conf.ovs.run_dir, &plan.port)?;
            container::move_socket(&made, &plan.socket, plan.access)?;
        }
        Ok(())
    }

    /// A port is always on a bridge, and has no addresses.
    fn address(&self, _: &Plan, _: &CniResult) -> Result<(), CniError> {
        Ok(())
    }

    fn differences(&self, plan: &Plan, _: &CniResult) -> Result<Vec<String>, CniError> {
        Ok(self.connect()?.differences(&PortSpec::of(plan))?)
    }

    fn collect(&self, network: &str, keep: &[Attachment]) -> Result<(), CniError> {
        let mut database = self.connect()?;
        for port in database.ports_of(network)? {
            if !keep.iter().any(|it| it.is(&port.owner)) {
                database.remove_port(&port.name, &port.bridge, Some(&port.owner))?;
            }
        }
        Ok(())
    }

    fn status(&self) -> Result<(), CniError> {
        let mut database = self.connect()?;
        // A vswitch that has gone leaves its last words in the database: have it answer.
        database.apply(Vec::new(), Vec::new())?;
        let vswitch = database.vswitch()?;
        let needed = kind(self.conf.host.vhost.mode.unwrap_or(Mode::Client));
        let reason = if !vswitch.dpdk {
            "DPDK is not initialised (other_config:dpdk-init)".to_owned()
        } else if !vswitch.iface_types.iter().any(|it| it == needed) {
            format!("ovs-vswitchd {} has no interfaces of type {needed}", vswitch.release)
        } else {
            return Ok(());
        };
        Err(CniError::new(code::NOT_AVAILABLE, "Open vSwitch").with_details(reason))
    }

    fn remove_old(&self, old: &OldRecord, env: &CallEnv) -> Result<(), CniError> {
        let OldRecord::Ovs(old) = old else { return Ok(()) };
        let bridge = &self.conf.host.bridge.bridge_name;
        self.connect()?.remove_port(&old.vhostname, bridge, None)?;
        let dir = container_dir(self.conf, Engine::Ovs, env)?;
        if is_identifier(&old.vhostname) {
            remove_file(&dir.join(&old.vhostname))?;
        }
        remove_directory(&dir)
    }
}
