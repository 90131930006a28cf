//! The rings of a virtio device, from the device's side.
//!
//! A queue lives as long as its link. Rings come and go behind it, each split or packed, and change
//! while they run: [`rx_ring`] and [`tx_ring`] make a queue for the thread that moves packets, and a
//! [`RingControl`] for the one that talks to the front-end.
//!
//! ```text
//! data thread                                  control
//!   RxQueue                                      RingControl
//!     engine: ring, position, memory  <- mail -    the next engine, or none
//!     each burst: enter ... leave     <- seat ->   has the change settled?
//!     one descriptor to sleep on      <- bells -   which kick belongs to it
//! ```
//!
//! A packet may outlive its burst, and its ring: see [`HeldPacket`].
//!
//! Spec: VIRTIO 1.3 §2.6 to §2.8.

mod announce;
mod area;
mod buffer;
mod command;
mod control;
pub(crate) mod descriptor;
pub(crate) mod header;
mod held;
mod layout;
mod ledger;
mod line;
mod notes;
pub(crate) mod packed;
mod receiver;
mod rx;
mod seat;
mod sender;
pub(crate) mod split;
mod tx;

#[cfg(test)]
mod tests;

pub use command::{CommandQueue, CommandStats};
pub use control::{Prepared, RingControl, command_ring, rx_ring, tx_ring};
pub use held::HeldPacket;
pub use rx::RxQueue;
pub use tx::TxQueue;

use crate::backend::RingBase;
use crate::inflight::{InflightError, InflightRing};
use crate::log::RingLog;
use ringport::doorbell::Doorbell;
use ringport::offload::Accepts;
use ringport::shm::OutOfRange;
use std::sync::Arc;
use thiserror::Error;

/// When a queue asks the driver for kicks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KickMode {
    /// Never: the caller polls. Arming always says that there may be work.
    Polling,
    /// For every buffer that the driver makes available.
    Interrupt,
    /// Only between arming and the next buffer.
    #[default]
    Adaptive,
}

/// What device and driver agreed on, as far as rings see it. The default is nothing. Rx and tx are
/// from our side, whichever that is.
///
/// Spec: VIRTIO 1.3 §5.1.3, §6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RingFeatures {
    /// `VIRTIO_NET_F_MRG_RXBUF` (15): a packet may take several receive buffers.
    pub mergeable: bool,
    /// `VIRTIO_RING_F_INDIRECT_DESC` (28): descriptors may be in tables outside the ring.
    pub indirect: bool,
    /// `VIRTIO_RING_F_EVENT_IDX` (29): either side names the index that it wants to hear of.
    pub event_idx: bool,
    /// `VIRTIO_F_IN_ORDER` (35): one used element may stand for a whole burst.
    pub in_order: bool,
    /// `VIRTIO_NET_F_CSUM` (0): the driver's headers may ask for checksums, and with
    /// `VIRTIO_NET_F_HOST_TSO4`, `6` (11, 12) for segmentation. Without it they are not looked at.
    /// For a driver: `VIRTIO_NET_F_GUEST_CSUM` (1), and what goes with it.
    pub rx_offloads: bool,
    /// `VIRTIO_NET_F_GUEST_CSUM` (1), `VIRTIO_NET_F_GUEST_TSO4`, `6` (7, 8),
    /// `VIRTIO_NET_F_GUEST_ECN` (9): what our headers may ask of the driver. For a driver:
    /// `VIRTIO_NET_F_CSUM` (0) and `VIRTIO_NET_F_HOST_*`, what they may ask of the device.
    pub tx_offloads: Accepts,
}

/// Where a ring is: front-end addresses of its areas, and how many entries it has.
///
/// Spec: vhost-user "A vring address description", VHOST_USER_SET_VRING_ADDR, _NUM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingAddresses {
    /// Entries.
    pub size: u16,
    /// Descriptor area (descriptor table), in bytes.
    pub descriptor: u64,
    /// Driver area (available ring), in bytes.
    pub driver: u64,
    /// Device area (used ring), in bytes.
    pub device: u64,
}

/// Everything about a ring that starts.
#[derive(Debug, Clone)]
pub struct RingStart {
    /// Where it is.
    pub addresses: RingAddresses,
    /// Where it begins; tells split from packed.
    pub base: RingBase,
    /// What was agreed on.
    pub features: RingFeatures,
    /// When to ask for kicks.
    pub kicks: KickMode,
    /// Rung by the driver; `None` when the ring is to be polled.
    pub kick: Option<Arc<Doorbell>>,
    /// Rings the driver; `None` when it polls.
    pub call: Option<Arc<Doorbell>>,
    /// Whether packets may flow.
    pub enabled: bool,
    /// Where to note what is written to, while the front-end migrates.
    pub log: Option<RingLog>,
    /// Where to keep how far the ring is, for the next back-end.
    pub inflight: Option<InflightRing>,
}

/// Why there is no ring at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RingError {
    /// A size that no ring has.
    #[error("ring of {size} entries, a power of two up to 32768 is possible")]
    Size {
        /// Entries announced.
        size: u16,
    },
    /// An area is not all in one region of the front-end's memory.
    #[error("{area} of {len} bytes at {address:#x} is not all in one region of the memory")]
    NotShared {
        /// Which area.
        area: &'static str,
        /// Front-end address.
        address: u64,
        /// Length, in bytes.
        len: u64,
    },
    /// An area is misaligned.
    #[error("{area} cannot be used")]
    Misaligned {
        /// Which area.
        area: &'static str,
        /// What does not fit.
        source: OutOfRange,
    },
    /// A ring does not begin within itself.
    #[error("ring of {size} entries begins at {index}")]
    Base {
        /// Where it is to begin.
        index: u16,
        /// Its entries.
        size: u16,
    },
    /// What the memory for chains in flight says is no place to go on at.
    #[error(transparent)]
    Inflight(#[from] InflightError),
    /// The kick cannot be waited for: the kernel has no room.
    #[error("kick cannot be waited for: {0}")]
    Kick(std::io::ErrorKind),
}

/// Most descriptors of a chain: what the longest packets need, many times over. It bounds the work
/// that one chain can make.
pub(crate) const CHAIN_MAX: u16 = 1024;

/// Descriptors that a burst reads, other than those of packets in one buffer each: once it has read
/// so many, it ends with what it has, which is at least one chain. It bounds the work that one burst
/// can make.
const BURST_DESCRIPTORS: usize = 4096;

/// What became of a doorbell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Called {
    Yes,
    Suppressed,
    /// The driver polls, or the doorbell cannot be rung.
    Never,
}
