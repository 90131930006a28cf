//! What may be there because of us: one record for each attachment, written before anything is
//! changed.
//!
//! A record names its [`Step`]s, all of them, in the order in which ADD takes them. A step that was
//! never taken is undone like one that was: undoing checks what is there, and takes away only what
//! is ours. So ADD that fails, DEL, and GC after a kill are one and the same walk from the last step
//! to the first, and need nothing but the record.

mod files;
mod old;
mod store;

pub use files::{Pinned, read_file, remove_directory, remove_file, write_atomically};
pub use old::{OldOvsRecord, OldRecord};
pub use store::{Exclusive, Store};

use crate::kubernetes::PodName;
use crate::plan::{Access, OvsDb};
use crate::result::CniResult;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;

/// Layout of records that this release writes.
const LAYOUT: u32 = 2;

/// Whose an interface is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Name of the network.
    pub network: String,
    /// ID of the container.
    pub container_id: String,
    /// Name of the interface.
    pub if_name: String,
}

impl Owner {
    /// An interface of a container on a network.
    #[must_use]
    pub fn new(network: &str, container_id: &str, if_name: &str) -> Self {
        Self {
            network: network.to_owned(),
            container_id: container_id.to_owned(),
            if_name: if_name.to_owned(),
        }
    }
}

/// What is known of one attachment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Layout of the record.
    pub layout: u32,
    /// Whose it is.
    pub owner: Owner,
    /// How far it came.
    pub phase: Phase,
    /// What is to be undone, the last one first.
    pub steps: Vec<Step>,
    /// What the runtime was told, once it was; what it is to be told, as soon as a vswitch is to know
    /// addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<CniResult>,
}

impl Record {
    /// An intent.
    #[must_use]
    pub const fn intent(owner: Owner, steps: Vec<Step>) -> Self {
        Self { layout: LAYOUT, owner, phase: Phase::Adding, steps, result: None }
    }

    /// Notes what the runtime is told, and how far it came by then.
    pub(crate) fn has_result(&mut self, result: &CniResult, phase: Phase) -> &Self {
        self.phase = phase;
        self.result = Some(result.clone());
        self
    }
}

/// How far an attachment came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// ADD has begun.
    Adding,
    /// ADD has ended well.
    Ready,
    /// Something is being taken away.
    Deleting,
    /// What the vswitch has lost is being made again.
    Restoring,
}

/// Something that may have to be undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Step {
    /// A directory of a container; removed when it is empty.
    Directory {
        /// Where.
        path: PathBuf,
    },
    /// A file or socket.
    File {
        /// Where.
        path: PathBuf,
    },
    /// A port on Open vSwitch, and its bridge when it is ours and empty.
    OvsPort {
        /// The database.
        #[serde(flatten)]
        db: OvsDb,
        /// Name of the bridge.
        bridge: String,
        /// Name of the port.
        port: String,
        /// The port's socket, when Open vSwitch makes it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        socket: Option<ServerSocket>,
    },
    /// An interface on VPP with its sub-interfaces, its memif socket, and those of its bridge domains
    /// that are ours and empty.
    VppPort {
        /// Socket of the API.
        api: PathBuf,
        /// Path of the interface's socket.
        socket: PathBuf,
        /// Number of the bridge domain of untagged packets, if they have one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bridge: Option<u32>,
        /// Numbers of the bridge domains of VLANs that pass tagged.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        trunk: Vec<u32>,
        /// The interface as it is made, in the engine's words; to make it again.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        port: Value,
    },
    /// Addresses from a delegate.
    Ipam {
        /// Name of the delegate.
        plugin: String,
        /// What it was given, in a version that it speaks.
        config: Value,
        /// `CNI_NETNS` that it was given.
        netns: String,
        /// `CNI_ARGS` that it was given.
        args: String,
    },
    /// A description of the device, for the runtime.
    DeviceInfo {
        /// Where.
        path: PathBuf,
    },
    /// An entry in the annotations of a pod.
    PodAnnotation {
        /// Credentials for the API server.
        kubeconfig: PathBuf,
        /// The pod, with its UID.
        pod: PodName,
        /// What the annotation of the pod's directory says because of us.
        mapped_dir: String,
    },
}

/// A socket that Open vSwitch makes anew whenever it starts, and that is moved to the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSocket {
    /// Directory in which it appears; empty for the one that Open vSwitch names.
    pub run_dir: String,
    /// Where the container finds it.
    pub path: PathBuf,
    /// Who may use it.
    pub access: Access,
}
