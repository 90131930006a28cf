//! What a container finds in its directory.

use crate::conf::{IfType, MemifMode, MemifRole, NetConf, NetType};
use crate::error::CniError;
use crate::plan::{Access, Plan};
use crate::result::CniResult;
use crate::state::{Pinned, write_atomically};
use crate::version::CniVersion;
use nix::fcntl::OFlag;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{
    DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt, chown, lchown,
};
use std::path::Path;

/// Permissions of a container's directory unless configured otherwise.
const DIRECTORY_MODE: u32 = 0o750;
/// Permissions of the file with its data.
const DATA_MODE: u32 = 0o644;

/// Makes the directory of a container, or takes the one that is there.
///
/// # Errors
/// Code 5.
pub fn make_directory(path: &Path, access: Access) -> Result<(), CniError> {
    let made = || -> io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        // Whoever may use the socket may enter the directory.
        let mode = access.mode.map_or(DIRECTORY_MODE, |mode| mode | ((mode & 0o444) >> 2));
        match DirBuilder::new().mode(mode).create(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                if !path.symlink_metadata()?.is_dir() {
                    return Err(io::Error::other("something else is in its place"));
                }
            }
            other => {
                other?;
                // The process's mask has no say.
                fs::set_permissions(path, Permissions::from_mode(mode))?;
            }
        }
        lchown(path, access.uid, access.gid)
    };
    made().map_err(|e| CniError::io("make", path, &e))
}

/// Moves a socket that the vswitch made to where the container sees it.
///
/// # Errors
/// Code 5.
pub fn move_socket(from: &Path, to: &Path, access: Access) -> Result<(), CniError> {
    let moved = || -> io::Result<()> {
        // Before the move: the container can put a link in its place afterwards.
        lchown(from, access.uid, access.gid)?;
        if let Some(mode) = access.mode {
            fs::set_permissions(from, Permissions::from_mode(mode))?;
        }
        fs::rename(from, Pinned::new(to)?.path())
    };
    moved().map_err(|e| {
        let what = format!("move the socket to {} from", to.display());
        CniError::io(&what, from, &e)
    })
}

/// Lets others use a socket that the vswitch made where the container sees it. Whatever the container
/// puts there instead is not touched.
///
/// # Errors
/// Code 5.
pub fn share_socket(path: &Path, access: Access) -> Result<(), CniError> {
    let shared = || -> io::Result<()> {
        let flags = (OFlag::O_PATH | OFlag::O_NOFOLLOW).bits();
        let pinned = Pinned::new(path)?;
        let socket = File::options().read(true).custom_flags(flags).open(pinned.path())?;
        if !socket.metadata()?.file_type().is_socket() {
            return Err(io::Error::other("it is no socket"));
        }
        // The socket itself, whatever its path means by now.
        let itself = format!("/proc/self/fd/{}", socket.as_raw_fd());
        chown(&itself, access.uid, access.gid)?;
        access
            .mode
            .map_or(Ok(()), |mode| fs::set_permissions(&itself, Permissions::from_mode(mode)))
    };
    if access == Access::default() {
        return Ok(());
    }
    shared().map_err(|e| CniError::io("share", path, &e))
}

/// Writes the file by which the application in the container learns about its interface.
///
/// # Errors
/// Code 5.
pub fn write_data(path: &Path, data: &Value) -> Result<(), CniError> {
    let pinned = Pinned::new(path).map_err(|e| CniError::io("write", path, &e))?;
    let written = write_atomically(pinned.path(), data.to_string().as_bytes(), DATA_MODE);
    written.map_err(|e| CniError { msg: format!("cannot write {}", path.display()), ..e })
}

/// The data: the container's end in the words of the configuration, and the result.
#[must_use]
pub fn data(conf: &NetConf, plan: &Plan, result: &CniResult) -> Value {
    let side = &conf.container;
    let net_type = match side.net_type {
        NetType::Unset => NetType::Interface,
        given => given,
    };
    let mut config = Map::new();
    // As everywhere in the data, what is not said is not there.
    config.extend(side.engine.map(|engine| ("engine".to_owned(), word(&engine))));
    config.insert("iftype".to_owned(), word(&side.iftype.unwrap_or(plan.iftype)));
    config.insert("netType".to_owned(), word(&net_type));
    config.insert("memif".to_owned(), memif(conf, plan));
    config.insert("vhost".to_owned(), vhost(conf, plan));
    config.insert("bridge".to_owned(), bridge(conf));
    json!({
        "containerId": plan.owner.container_id,
        "ifName": plan.owner.if_name,
        "name": plan.owner.network,
        "config": config,
        "ipResult": result.to_json(CniVersion::NEWEST),
    })
}

fn memif(conf: &NetConf, plan: &Plan) -> Value {
    if plan.iftype != IfType::Memif {
        return json!({});
    }
    let role = conf.container.memif.role.unwrap_or(match conf.host.memif.role {
        Some(MemifRole::Client) => MemifRole::Server,
        _ => MemifRole::Client,
    });
    let mode = conf.container.memif.mode.or(conf.host.memif.mode);
    let mode = mode.unwrap_or(MemifMode::Ethernet);
    let mut data =
        json!({ "role": word(&role), "mode": word(&mode), "socketfile": socket_file(plan) });
    let (ours, theirs) = (&conf.container.memif, &conf.host.memif);
    // The client decides on sizes, so whoever is in the container must know them. The vswitch receives
    // what the container transmits.
    let more = [
        ("rxQueues", ours.rx_queues.or(theirs.tx_queues).map(u32::from)),
        ("txQueues", ours.tx_queues.or(theirs.rx_queues).map(u32::from)),
        ("ringSize", ours.ring_size.or(theirs.ring_size)),
        ("bufferSize", ours.buffer_size.or(theirs.buffer_size).map(u32::from)),
    ];
    for (key, value) in more {
        if let Some(value) = value {
            data[key] = Value::from(value);
        }
    }
    data
}

fn vhost(conf: &NetConf, plan: &Plan) -> Value {
    if plan.iftype != IfType::Vhostuser {
        return json!({});
    }
    let mode = conf.container.vhost.mode.unwrap_or_else(|| plan.host_mode.opposite());
    json!({ "mode": word(&mode), "socketfile": socket_file(plan) })
}

fn bridge(conf: &NetConf) -> Value {
    let bridge = &conf.container.bridge;
    let mut members = Map::new();
    if !bridge.bridge_name.is_empty() {
        members.insert("bridgeName".to_owned(), Value::from(bridge.bridge_name.clone()));
    }
    if bridge.bridge_id != 0 {
        members.insert("bridgeId".to_owned(), Value::from(bridge.bridge_id));
    }
    if bridge.vlan_id != 0 {
        members.insert("vlanId".to_owned(), Value::from(bridge.vlan_id));
    }
    Value::Object(members)
}

fn socket_file(plan: &Plan) -> String {
    plan.socket.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn word(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}
