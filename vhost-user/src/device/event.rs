//! What a device reports.

use crate::error::DeviceError;
use crate::virtqueue::{RxQueue, TxQueue};
use crate::wire::ProtocolFeatures;
use ringport::error::QueueError;
use ringport::scm::PeerCredentials;
use std::fmt;

/// Something happened to a device.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The first pair of rings runs: these are the queues of all pairs.
    LinkUp(Box<Link>),
    /// The front-end is gone; the queues report it for ever. A later [`Event::LinkUp`] brings new
    /// ones.
    LinkDown(DownReason),
    /// An attempt to connect failed, or a front-end left before a pair of rings ran.
    Refused(DownReason),
    /// A request of the front-end was refused; the connection goes on.
    RequestRefused(DeviceError),
    /// So many pairs run now, counted from the first; others have no packets and take none.
    PairsEnabled(u16),
    /// The driver broke a ring. Its queue is empty until the driver starts the ring again; the other
    /// queues go on.
    RingBroken {
        /// Number of the ring: twice the pair, and one more for what the driver sends.
        ring: u16,
        /// How.
        error: QueueError,
    },
    /// The driver's interface is to be announced at this address. The next burst of the first
    /// receive queue has a RARP packet that does.
    Announce([u8; 6]),
    /// The driver's longest packet, without its Ethernet header, in bytes.
    Mtu(u16),
}

/// The queues of one link, and with whom.
#[derive(Debug)]
#[non_exhaustive]
pub struct Link {
    /// What the driver sends arrives here. As many as the device has pairs, whether or not the
    /// driver uses them.
    pub rx: Vec<RxQueue>,
    /// What the driver receives leaves here. As many as the device has pairs.
    pub tx: Vec<TxQueue>,
    /// The front-end's process when it connected or listened, as the kernel tells.
    pub peer: PeerCredentials,
    /// What was agreed on.
    pub parameters: LinkParameters,
}

/// What device and driver agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkParameters {
    /// Virtio features acknowledged.
    pub features: u64,
    /// Protocol features acknowledged.
    pub protocol_features: ProtocolFeatures,
    /// Whether rings are packed.
    pub packed: bool,
    /// Entries of the first pair's rings: of what we receive from, and of what we send to.
    pub ring_sizes: [u16; 2],
}

/// Why a link went down.
#[derive(Debug)]
#[non_exhaustive]
pub enum DownReason {
    /// The front-end closed the connection, or died.
    PeerClosed,
    /// The front-end took back memory that it had shared.
    Fault(QueueError),
    /// We closed it.
    Closed,
    /// The conversation failed: the front-end broke the protocol, or the system a call.
    Protocol(DeviceError),
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerClosed => f.write_str("front-end closed the connection"),
            Self::Fault(error) => write!(f, "fault: {error}"),
            Self::Closed => f.write_str("closed"),
            Self::Protocol(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for DownReason {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Its own words are ours already.
            Self::Protocol(error) => error.source(),
            Self::PeerClosed | Self::Fault(_) | Self::Closed => None,
        }
    }
}
