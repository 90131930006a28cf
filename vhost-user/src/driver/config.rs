//! What a driver wants.

use super::queue::{CallMode, DriverMemoryConfig, RingLayout};
use crate::backend::RING_SIZE_MAX;
use crate::device::{Offloads, QUEUE_PAIRS_MAX};
use crate::error::ConfigError;
use crate::frontend::{Agreed, FrontendConfig};
use crate::virtqueue::RingFeatures;
use crate::wire::{ProtocolFeatures, feature};
use ringport::offload::Accepts;
use ringport::port_string::{ItemError, check_range};
use ringport::shm::{Backing, MemoryPolicy};
use std::time::Duration;

/// Smallest packet buffer, in bytes.
pub const BUFFER_SIZE_MIN: u32 = 64;

/// Largest packet buffer, in bytes.
pub const BUFFER_SIZE_MAX: u32 = 1 << 16;

/// What a driver wants of its device, and the memory that it makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriverConfig {
    /// Pairs of queues, 1 to [`QUEUE_PAIRS_MAX`]. The device may have fewer: then all of those.
    pub queue_pairs: u16,
    /// Entries of each ring, 2 to 32768. Split rings have a power of two: with any other number a
    /// device without packed rings is refused.
    pub ring_size: u16,
    /// Whether packed rings are used where the device has them.
    pub packed: bool,
    /// Whether the device may give back buffers by one element a burst.
    pub in_order: bool,
    /// Whether a packet may take several receive buffers. Without it the device cannot send what is
    /// longer than one.
    pub mergeable: bool,
    /// Whether either side may name the index that it wants to hear of.
    pub event_idx: bool,
    /// What packets may leave to be done. Packets that are received may be segmented only when
    /// several buffers may hold them.
    pub offloads: Offloads,
    /// Bytes of a packet that one buffer holds, [`BUFFER_SIZE_MIN`] to [`BUFFER_SIZE_MAX`].
    pub buffer_size: u32,
    /// What the memory is made of.
    pub backing: Backing,
    /// What to do about memory that the device could take back: huge pages.
    pub policy: MemoryPolicy,
    /// The longest packet that the device is told of, without its Ethernet header: 68 to 65535
    /// bytes.
    pub mtu: Option<u16>,
    /// Whether the device's control queue is used, for [commands](crate::Driver::command). Its device
    /// has to have one of its own, as those of this crate with
    /// [`control`](crate::DeviceConfig::control): others that offer one leave it to their front-ends,
    /// and refuse the ring.
    pub control: bool,
    /// Whether each later device has to have all features that were agreed on with the first one. One
    /// that has fewer is refused, and the reason names them; by default links have what they can.
    pub keep_features: bool,
    /// When the device is asked for calls.
    pub calls: CallMode,
    /// How long the device may take: to negotiate, to start all rings, to stop them.
    pub timeout: Duration,
}

impl Default for DriverConfig {
    fn default() -> Self {
        Self {
            queue_pairs: 1,
            ring_size: 1024,
            packed: true,
            in_order: true,
            mergeable: true,
            event_idx: true,
            offloads: Offloads::None,
            buffer_size: 2048,
            backing: Backing::default(),
            policy: MemoryPolicy::default(),
            mtu: None,
            control: false,
            keep_features: false,
            calls: CallMode::default(),
            timeout: Duration::from_secs(5),
        }
    }
}

impl DriverConfig {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        check_range("queues", self.queue_pairs, 1, QUEUE_PAIRS_MAX)?;
        check_range("ring-size", self.ring_size, 2, RING_SIZE_MAX)?;
        check_range("buffer-size", self.buffer_size, BUFFER_SIZE_MIN, BUFFER_SIZE_MAX)?;
        if let Some(mtu) = self.mtu {
            check_range("mtu", mtu, 68, u16::MAX)?;
        }
        if !self.packed && !self.ring_size.is_power_of_two() {
            let given = self.ring_size.to_string();
            return Err(ItemError::bad("ring-size", &given, "a power of two, or packed=on").into());
        }
        Ok(())
    }

    /// `kept` are features that an earlier link had.
    pub(super) fn frontend(&self, kept: u64) -> FrontendConfig {
        let packed = if self.ring_size.is_power_of_two() { 0 } else { feature::RING_PACKED };
        FrontendConfig {
            features: self.features(),
            required_features: feature::VERSION_1 | packed | kept,
            protocol_features: protocol_features(),
            queue_pairs: self.queue_pairs,
            control_ring: self.control,
            mtu: self.mtu,
            timeout: self.timeout,
        }
    }

    /// The memory for a link with what was agreed on.
    pub(super) fn memory(&self, agreed: &Agreed) -> DriverMemoryConfig {
        let packed = agreed.features & feature::RING_PACKED != 0;
        DriverMemoryConfig {
            pairs: agreed.queue_pairs,
            layout: if packed { RingLayout::Packed } else { RingLayout::Split },
            rx_size: self.ring_size,
            tx_size: self.ring_size,
            buffer_size: self.buffer_size,
            backing: self.backing,
            policy: self.policy,
        }
    }

    fn features(&self) -> u64 {
        use feature as f;
        let checksum = f::CSUM | f::GUEST_CSUM;
        let segmentation = f::HOST_TSO4 | f::HOST_TSO6 | f::HOST_ECN;
        let segmentation = segmentation | f::GUEST_TSO4 | f::GUEST_TSO6 | f::GUEST_ECN;
        let options = [
            // Where the control queue is depends on how many pairs the device has.
            (self.queue_pairs > 1 || self.control, f::MQ),
            (self.control, f::CTRL_VQ | f::CTRL_RX | f::CTRL_VLAN | f::CTRL_MAC_ADDR),
            (self.mergeable, f::MRG_RXBUF),
            (self.event_idx, f::EVENT_IDX),
            (self.packed, f::RING_PACKED),
            (self.in_order, f::IN_ORDER),
            (self.offloads != Offloads::None, checksum),
            (self.offloads == Offloads::Segmentation, segmentation),
        ];
        let always = f::VERSION_1 | f::MAC | f::MTU | f::STATUS | f::GUEST_ANNOUNCE;
        options.iter().fold(always, |all, (on, bits)| if *on { all | bits } else { all })
    }
}

fn protocol_features() -> ProtocolFeatures {
    use ProtocolFeatures as P;
    P::MQ | P::REPLY_ACK | P::NET_MTU | P::BACKEND_REQ | P::CONFIG | P::STATUS
}

/// What the rings of a driver have to know of the features that were agreed on. It never uses tables of
/// descriptors outside the ring.
#[must_use]
pub fn ring_features(features: u64) -> RingFeatures {
    let has = |bit| features & bit != 0;
    RingFeatures {
        mergeable: has(feature::MRG_RXBUF),
        indirect: false,
        event_idx: has(feature::EVENT_IDX),
        in_order: has(feature::IN_ORDER),
        rx_offloads: has(feature::GUEST_CSUM),
        tx_offloads: Accepts {
            checksum: has(feature::CSUM),
            tcp4: has(feature::HOST_TSO4),
            tcp6: has(feature::HOST_TSO6),
            ecn: has(feature::HOST_ECN),
        },
    }
}
