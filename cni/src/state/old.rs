//! Records of the plugin that this one replaces: `<dataDir>/data/local-<id>-<ifname>.json`.

use super::files::remove;
use crate::conf::Engine;
use crate::env::short_id;
use crate::error::{CniError, code};
use serde::Deserialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What such a record says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum OldRecord {
    /// An interface of VPP.
    Vpp {
        /// Number of the interface.
        #[serde(rename = "swIfIndex")]
        sw_if_index: u32,
        /// Number of its socket.
        #[serde(rename = "memifSocketId", default)]
        memif_socket_id: u32,
    },
    /// A port of Open vSwitch.
    Ovs(OldOvsRecord),
}

/// A port of Open vSwitch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct OldOvsRecord {
    /// Name of the port, and of its socket.
    pub vhostname: String,
    /// MAC address of the vswitch's end.
    #[serde(default)]
    pub vhostmac: String,
    /// MAC address of the container's end.
    #[serde(default)]
    pub ifmac: String,
}

impl OldRecord {
    /// The vswitch that it is about.
    #[must_use]
    pub const fn engine(&self) -> Engine {
        match self {
            Self::Vpp { .. } => Engine::Vpp,
            Self::Ovs(_) => Engine::Ovs,
        }
    }

    /// Reads the record of an attachment. `None`: there is none.
    ///
    /// # Errors
    /// Code 5, or 6 when it is not to be understood.
    pub fn read(
        data_dir: &Path,
        container_id: &str,
        if_name: &str,
    ) -> Result<Option<Self>, CniError> {
        let path = Self::path(data_dir, container_id, if_name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(CniError::io("read", &path, &e)),
        };
        let record = serde_json::from_slice(&bytes).map_err(|e| {
            CniError::caused(code::DECODE, format!("cannot decode {}", path.display()), &e)
        })?;
        Ok(Some(record))
    }

    /// Removes the record of an attachment, once everything it names is gone.
    ///
    /// # Errors
    /// Code 5.
    pub fn remove(data_dir: &Path, container_id: &str, if_name: &str) -> Result<(), CniError> {
        let path = Self::path(data_dir, container_id, if_name);
        remove(&path).map_err(|e| CniError::io("remove", &path, &e))
    }

    fn path(data_dir: &Path, container_id: &str, if_name: &str) -> PathBuf {
        data_dir.join("data").join(format!("local-{}-{if_name}.json", short_id(container_id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, Result<Option<OldRecord>, CniError>) {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("data")).unwrap();
        fs::write(directory.path().join("data/local-0123456789ab-net1.json"), text).unwrap();
        let read = OldRecord::read(directory.path(), "0123456789abcdef", "net1");
        (directory, read)
    }

    #[test]
    fn both_kinds_are_told_apart() {
        let (_directory, read) = written(r#"{"swIfIndex":3,"memifSocketId":1}"#);
        let vpp = OldRecord::Vpp { sw_if_index: 3, memif_socket_id: 1 };
        assert_eq!(read.unwrap(), Some(vpp));
        let (_directory, read) = written(
            r#"{"vhostname":"0123456789ab-net1","vhostmac":"","ifmac":"02:00:00:00:00:01"}"#,
        );
        assert!(
            matches!(read.unwrap(), Some(OldRecord::Ovs(ovs)) if ovs.vhostname.ends_with("net1"))
        );
    }

    #[test]
    fn reading_leaves_the_record_and_removing_twice_is_fine() {
        let (directory, _) = written(r#"{"swIfIndex":3}"#);
        let again = OldRecord::read(directory.path(), "0123456789abcdef", "net1");
        assert!(again.unwrap().is_some());
        OldRecord::remove(directory.path(), "0123456789abcdef", "net1").unwrap();
        OldRecord::remove(directory.path(), "0123456789abcdef", "net1").unwrap();
    }

    #[test]
    fn what_is_neither_kind_is_an_error() {
        assert_eq!(written("{}").1.unwrap_err().code, 6);
    }
}
