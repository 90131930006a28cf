//! What is known of a device that is served.

use super::{DeviceName, Side};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A device that is served, or would be if it were there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// Which one.
    pub device: DeviceName,
    /// Its socket.
    pub socket: String,
    /// Who makes the socket.
    pub side: Side,
    /// How far it is.
    pub state: State,
    /// By what it is open: `vhost-vdpa`, or `vfio-pci`; none while it is not there.
    pub kind: Option<String>,
    /// How kicks of its front-end reach it; none while there is no link.
    pub kicks: Option<Kicks>,
    /// What was wrong last, with what would help; none since it was last well.
    pub trouble: Option<String>,
    /// What has happened since it was added.
    pub statistics: Statistics,
}

/// How far a device is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is not there, or could not be opened. It is tried again.
    #[default]
    Absent,
    /// It is open, and no front-end has begun with its rings.
    Ready,
    /// A front-end has, and is still there.
    Linked,
}

/// How kicks reach a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kicks {
    /// The kernel takes them, and no thread of ours is woken.
    Kernel,
    /// A thread of ours takes those of some rings at least, which the kernel refused to.
    Thread,
}

/// What has happened to a device. Packets are not counted: they do not pass here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// How often it was opened.
    pub opened: u64,
    /// How often it was given up: removed, or failed.
    pub given_up: u64,
    /// Links that came up.
    pub links: u64,
    /// Links that went down.
    pub links_lost: u64,
    /// Connections that ended before there was a link.
    pub connections_refused: u64,
    /// Requests of front-ends that were refused.
    pub requests_refused: u64,
}

impl fmt::Display for Kicks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kernel => "kernel",
            Self::Thread => "thread",
        })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Absent => "absent",
            Self::Ready => "ready",
            Self::Linked => "linked",
        })
    }
}
