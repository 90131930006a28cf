//! What a driver reports.

use crate::control::{CacheLine, Direction, Offer};
use crate::error::ControlError;
use crate::queue::{Queues, RxQueue, TxQueue};
use crate::wire::{Name, Reason};
use ringport::error::QueueError;
use ringport::scm::PeerCredentials;
use std::fmt;

/// Something happened to an interface.
#[derive(Debug)]
#[non_exhaustive]
pub struct Event {
    /// The interface; `None` when a connection ended before it named one.
    pub id: Option<u32>,
    /// What happened.
    pub kind: EventKind,
}

/// What happened to an interface.
#[derive(Debug)]
#[non_exhaustive]
pub enum EventKind {
    /// A link is up: these are its queues.
    LinkUp(Box<Link>),
    /// The link is down; its queues report it for ever. A later [`EventKind::LinkUp`] brings new ones.
    LinkDown(DownReason),
    /// An attempt ended before the link was up. For a server that is a client turned away; a client
    /// that reconnects tries again.
    Refused(ControlError),
}

/// The queues of one link, and with whom.
#[derive(Debug)]
#[non_exhaustive]
pub struct Link {
    /// What the peer sends arrives here. One queue for each ring, by index.
    pub rx: Vec<RxQueue>,
    /// What we send leaves here. One queue for each ring, by index.
    pub tx: Vec<TxQueue>,
    /// The other side.
    pub peer: PeerInfo,
    /// What was agreed on.
    pub parameters: LinkParameters,
}

/// What is known about the other side of a link.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PeerInfo {
    /// Name of its application.
    pub app_name: Name,
    /// Its name of the interface.
    pub if_name: Name,
    /// Its process when it connected or listened, as the kernel tells.
    pub credentials: PeerCredentials,
    /// Protocol version: major in the high byte, minor in the low one.
    pub version: u16,
}

/// What the two sides of a link agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkParameters {
    /// Rings from client to server.
    pub c2s_rings: u16,
    /// Rings from server to client.
    pub s2c_rings: u16,
    /// Base-2 logarithm of the ring size; of the largest ring when they differ.
    pub log2_ring_size: u8,
    /// Layout of the rings.
    pub cache_line: CacheLine,
    /// Bytes of each buffer. A server does not know it: each descriptor says how much it holds.
    pub buffer_size: Option<u32>,
}

impl LinkParameters {
    pub(super) fn of(offer: &Offer, cache_line: CacheLine) -> Self {
        // Both machines hold counts to what fits 16 bits.
        let count = |direction| u16::try_from(offer.ring_count(direction)).unwrap_or(u16::MAX);
        Self {
            c2s_rings: count(Direction::C2s),
            s2c_rings: count(Direction::S2c),
            log2_ring_size: offer.rings.iter().map(|ring| ring.log2_ring_size).max().unwrap_or(0),
            cache_line,
            buffer_size: None,
        }
    }
}

/// Why a link went down.
#[derive(Debug)]
#[non_exhaustive]
pub enum DownReason {
    /// The peer said goodbye.
    PeerDisconnected {
        /// The peer's code; usually 0.
        code: u32,
        /// The peer's reason.
        text: Reason,
    },
    /// The peer closed the connection without a word, or died.
    PeerClosed,
    /// A queue found the peer breaking the ring contract.
    Fault(QueueError),
    /// We closed it.
    Closed,
    /// The control connection failed: the peer broke the protocol, or the system a call.
    Protocol(ControlError),
}

impl From<ControlError> for DownReason {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Rejected { code, text } => Self::PeerDisconnected { code, text },
            ControlError::Disconnected => Self::PeerClosed,
            other => Self::Protocol(other),
        }
    }
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerDisconnected { code, text } => {
                write!(f, "peer disconnected: {text} (code {code})")
            }
            Self::PeerClosed => f.write_str("peer closed the connection"),
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
            Self::PeerDisconnected { .. } | Self::PeerClosed | Self::Fault(_) | Self::Closed => {
                None
            }
        }
    }
}

impl Event {
    pub(super) fn up(id: u32, link: Link) -> Self {
        Self { id: Some(id), kind: EventKind::LinkUp(Box::new(link)) }
    }

    pub(super) fn down(id: u32, reason: DownReason) -> Self {
        Self { id: Some(id), kind: EventKind::LinkDown(reason) }
    }

    pub(super) fn refused(id: Option<u32>, error: ControlError) -> Self {
        Self { id, kind: EventKind::Refused(error) }
    }
}

impl Link {
    pub(super) fn new(queues: Queues, peer: PeerInfo, parameters: LinkParameters) -> Self {
        Self { rx: queues.rx, tx: queues.tx, peer, parameters }
    }
}
