//! The description of a device that a meta-plugin asks for by `runtimeConfig.CNIDeviceInfoFile`, and
//! shows in the status of the pod.
//!
//! Role and mode are the container's. So is the path when it is known where the container sees its
//! sockets; otherwise it is the host's.
//!
//! Spec: NPWG Device Information Specification 1.1.0, "vhost-user" and "memif".

use crate::conf::IfType;
use crate::error::CniError;
use crate::plan::Plan;
use crate::state::{remove_file, write_atomically};
use nix::fcntl::OFlag;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Version of the specification that the description keeps to.
const VERSION: &str = "1.1.0";
/// Permissions of the file.
const MODE: u32 = 0o444;
/// Most bytes of a description that somebody else has put there.
const EXISTING_MAX: u64 = 64 << 10;

/// Describes the device of a container, by its [data](crate::container::data). `mapped_dir` is where
/// the container sees its sockets.
#[must_use]
pub fn describe(data: &Value, plan: &Plan, mapped_dir: Option<&str>) -> Value {
    let path = match mapped_dir {
        Some(dir) if plan.netns.is_none() => {
            Path::new(dir).join(plan.socket.file_name().unwrap_or_default())
        }
        _ => plan.socket.clone(),
    };
    let path = path.display().to_string();
    let config = &data["config"];
    match plan.iftype {
        IfType::Memif => {
            let (role, mode) = (&config["memif"]["role"], &config["memif"]["mode"]);
            let memif = json!({ "role": role, "path": path, "mode": mode });
            json!({ "type": "memif", "version": VERSION, "memif": memif })
        }
        IfType::Vhostuser => {
            let vhost = json!({ "mode": config["vhost"]["mode"], "path": path });
            json!({ "type": "vhost-user", "version": VERSION, "vhost-user": vhost })
        }
    }
}

/// Writes a description, in the place of one that a device plugin may have left there. Nothing but a
/// description is replaced.
///
/// # Errors
/// Code 5, or 7 when something else is there.
pub fn write(path: &Path, info: &Value) -> Result<(), CniError> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(|e| CniError::io("make", directory, &e))?;
    }
    match is_description(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Ok(true) => {}
        Ok(false) | Err(_) => {
            let reason = "something is there that is no description of a device";
            let key = "runtimeConfig.CNIDeviceInfoFile";
            return Err(CniError::refused(key, path.display(), reason));
        }
    }
    write_atomically(path, info.to_string().as_bytes(), MODE)
}

/// Removes a description, which may be absent. What is none stays.
///
/// # Errors
/// Code 5.
pub fn remove(path: &Path) -> Result<(), CniError> {
    match is_description(path) {
        Ok(false) => Ok(()),
        _ => remove_file(path),
    }
}

/// Whether a file is a description. Anything but a file is none.
fn is_description(path: &Path) -> io::Result<bool> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if !kind.is_file() {
        return Ok(false);
    }
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let mut text = Vec::new();
    file.take(EXISTING_MAX).read_to_end(&mut text)?;
    let found: Value = serde_json::from_slice(&text).unwrap_or_default();
    Ok(found["type"].is_string() && found["version"].is_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn info(path: &str) -> Value {
        json!({"type": "memif", "version": "1.1.0", "memif": {"role": "slave", "path": path, "mode": "ip"}})
    }

    #[test]
    fn description_is_written_for_reading_in_place_of_another_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cni/ns-net-c_net1");
        write(&path, &info("/a")).unwrap();
        write(&path, &info("/b")).unwrap();
        let text = fs::read(&path).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), info("/b"));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o444);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_description_is_neither_replaced_nor_removed() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("shadow"), directory.path().join("link"));
        let subdirectory = directory.path().join("directory");
        fs::write(&file, "root:x").unwrap();
        fs::create_dir(&subdirectory).unwrap();
        write(&directory.path().join("real"), &info("/a")).unwrap();
        symlink(directory.path().join("real"), &link).unwrap();
        for path in [&file, &link, &subdirectory] {
            let error = write(path, &info("/a")).unwrap_err();
            assert_eq!(error.code, 7, "{}", path.display());
            remove(path).unwrap();
            assert!(path.symlink_metadata().is_ok(), "{}", path.display());
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "root:x");
    }
}
