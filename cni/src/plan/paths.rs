//! Directories and sockets.

use crate::conf::{Engine, IfType, NetConf};
use crate::env::CallEnv;
use crate::error::CniError;
use std::path::{Component, Path, PathBuf};

/// Longest path of a UNIX socket, in bytes.
pub const SOCKET_PATH_MAX: usize = 107;

/// Directory of one container's sockets and data.
///
/// # Errors
/// Code 7 when the configured one is no absolute path.
pub fn container_dir(conf: &NetConf, engine: Engine, env: &CallEnv) -> Result<PathBuf, CniError> {
    let base = match (conf.shared_dir.as_str(), engine) {
        ("", Engine::Vpp) => "/var/run/vpp",
        ("", Engine::Ovs) => "/usr/local/var/run/openvswitch",
        (given, _) => given,
    };
    let base = Path::new(base);
    let plain = |c: Component<'_>| !matches!(c, Component::ParentDir);
    if !base.is_absolute() || !base.components().all(plain) {
        let reason = "not an absolute path without `..`";
        return Err(CniError::refused("sharedDir", base.display(), reason));
    }
    // The oldest form named its directories by the whole ID.
    let of_container =
        if conf.plugin == "vhostuser" { env.container_id.as_str() } else { env.short_id() };
    Ok(base.join(of_container))
}

/// Path of the socket of an interface.
///
/// # Errors
/// Code 7 when it is too long, or no file in the container's directory.
pub fn socket_path(
    conf: &NetConf,
    engine: Engine,
    iftype: IfType,
    env: &CallEnv,
) -> Result<PathBuf, CniError> {
    let (dir, host, port) = (container_dir(conf, engine, env)?, &conf.host, super::port_name(env));
    let (key, given) = match iftype {
        IfType::Memif => ("host.memif.socketfile", &host.memif.socketfile),
        IfType::Vhostuser => ("host.vhost.socketfile", &host.vhost.socketfile),
    };
    let file = match (given.as_str(), iftype) {
        ("", IfType::Memif) => format!("memif-{port}.sock"),
        ("", IfType::Vhostuser) => port,
        (name, _) => file_name(key, name)?,
    };
    if super::is_abstract(conf) {
        return abstract_name(&file, &env.netns);
    }
    let path = dir.join(file);
    let len = path.as_os_str().len();
    if len > SOCKET_PATH_MAX {
        let reason = format!(
            "the socket's path {} has {len} bytes, {SOCKET_PATH_MAX} are possible",
            path.display()
        );
        let key = if given.is_empty() { "sharedDir" } else { key };
        return Err(CniError::refused(key, dir.display(), reason));
    }
    Ok(path)
}

/// The file that a runtime wants a description of the device in.
///
/// # Errors
/// Code 7 when it is no absolute path.
pub(super) fn device_info(conf: &NetConf) -> Result<Option<PathBuf>, CniError> {
    let given = conf.runtime_config.device_info_file.as_str();
    if given.is_empty() {
        return Ok(None);
    }
    let path = Path::new(given);
    let plain = |c: Component<'_>| matches!(c, Component::RootDir | Component::Normal(_));
    let is_plain = path.is_absolute() && path.components().all(plain) && !given.ends_with('/');
    if !is_plain || path.file_name().is_none() || given.chars().any(char::is_control) {
        let reason = "not the absolute path of a file without `..`";
        return Err(CniError::refused("runtimeConfig.CNIDeviceInfoFile", given, reason));
    }
    Ok(Some(path.to_owned()))
}

/// Name of an abstract socket. VPP takes it with the namespace behind a comma.
fn abstract_name(name: &str, netns: &str) -> Result<PathBuf, CniError> {
    if name.contains(',') || name.len() >= SOCKET_PATH_MAX {
        let reason = "not the name of an abstract socket";
        return Err(CniError::refused("host.memif.socketfile", name, reason));
    }
    if netns.contains(',') {
        let reason = "its path has a comma, and so cannot be given to VPP";
        return Err(CniError::refused("CNI_NETNS", netns, reason));
    }
    Ok(PathBuf::from(format!("@{name}")))
}

fn file_name(key: &str, name: &str) -> Result<String, CniError> {
    let escapes = name.contains('/') || name == "." || name == "..";
    if escapes || name.chars().any(char::is_control) {
        return Err(CniError::refused(key, name, "not the name of a file"));
    }
    Ok(name.to_owned())
}
