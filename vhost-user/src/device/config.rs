//! What a device offers.

use crate::backend::{BackendConfig, Limits, RING_SIZE_MAX};
use crate::error::ConfigError;
use crate::virtqueue::{KickMode, RingFeatures};
use crate::wire::{ProtocolFeatures, feature};
use ringport::offload::Accepts;
use ringport::port_string::check_range;
use ringport::shm::MemoryPolicy;
use std::time::Duration;

/// Most queue pairs of a device.
pub const QUEUE_PAIRS_MAX: u16 = 128;

/// Which work a driver may leave to the receiver of its packets, and the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Offloads {
    /// None: every packet has its checksums, and fits the MTU.
    #[default]
    None,
    /// Checksums: packets say in [`Offload`](ringport::offload::Offload) when one is missing.
    Checksum,
    /// Checksums, and TCP segmentation: packets may be up to 64 KiB long.
    Segmentation,
}

/// What a device offers to its driver, and what it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceConfig {
    /// Pairs of queues, 1 to [`QUEUE_PAIRS_MAX`]. The driver may use fewer.
    pub queue_pairs: u16,
    /// Whether packed rings are offered; the driver chooses.
    pub packed: bool,
    /// Whether buffers may be given back by one element a burst.
    pub in_order: bool,
    /// Whether a packet may take several of the driver's receive buffers.
    pub mergeable: bool,
    /// Whether descriptors may be in tables outside the ring.
    pub indirect: bool,
    /// Whether either side may name the index that it wants to hear of.
    pub event_idx: bool,
    /// What packets may leave to be done.
    pub offloads: Offloads,
    /// The network address that the driver is told.
    pub mac: Option<[u8; 6]>,
    /// The longest packet that the driver is told, without its Ethernet header: 68 to 65535 bytes.
    pub mtu: Option<u16>,
    /// Whether the device has a control queue of its own: one ring more behind all pairs, of which
    /// there are 127 at most then. Front-ends such as QEMU keep the control queue themselves, and
    /// expect none here.
    pub control: bool,
    /// When the driver is asked for kicks.
    pub kicks: KickMode,
    /// What memory is accepted.
    pub policy: MemoryPolicy,
    /// How much of everything is accepted.
    pub limits: Limits,
    /// How long a change may wait for a burst that is open, and a message for its end: then the
    /// connection ends.
    pub answer_timeout: Duration,
}

impl Default for DeviceConfig {
    fn default() -> Self {
        Self {
            queue_pairs: 1,
            packed: true,
            in_order: true,
            mergeable: true,
            indirect: true,
            event_idx: true,
            offloads: Offloads::None,
            mac: None,
            mtu: None,
            control: false,
            kicks: KickMode::default(),
            policy: MemoryPolicy::default(),
            limits: Limits::default(),
            answer_timeout: Duration::from_secs(5),
        }
    }
}

impl DeviceConfig {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let pairs_max = QUEUE_PAIRS_MAX - u16::from(self.control);
        check_range("queues", self.queue_pairs, 1, pairs_max)?;
        check_range("ring-size", self.limits.ring_size, 2, RING_SIZE_MAX)?;
        if let Some(mtu) = self.mtu {
            check_range("mtu", mtu, 68, u16::MAX)?;
        }
        Ok(())
    }

    pub(super) fn backend(&self) -> BackendConfig {
        BackendConfig {
            features: self.features(),
            required_features: feature::VERSION_1,
            protocol_features: self.protocol_features(),
            queue_pairs: self.queue_pairs,
            control_ring: self.control,
            limits: self.limits,
            answer_timeout: self.answer_timeout,
        }
    }

    fn features(&self) -> u64 {
        use feature as f;
        // The front-end mostly keeps the control queue, and the status of the link; drivers insist on
        // the bits for more than one pair and for announcing themselves.
        let always = f::VERSION_1 | f::CTRL_VQ | f::GUEST_ANNOUNCE | f::STATUS | f::MQ | f::LOG_ALL;
        let checksum = f::CSUM | f::GUEST_CSUM;
        let segmentation = f::HOST_TSO4 | f::HOST_TSO6 | f::HOST_ECN;
        let segmentation = segmentation | f::GUEST_TSO4 | f::GUEST_TSO6 | f::GUEST_ECN;
        let options = [
            (self.mergeable, f::MRG_RXBUF),
            (self.indirect, f::INDIRECT_DESC),
            (self.event_idx, f::EVENT_IDX),
            (self.packed, f::RING_PACKED),
            (self.in_order, f::IN_ORDER),
            (self.control, f::CTRL_RX | f::CTRL_VLAN | f::CTRL_MAC_ADDR),
            (self.mac.is_some(), f::MAC),
            (self.mtu.is_some(), f::MTU),
            (self.offloads != Offloads::None, checksum),
            (self.offloads == Offloads::Segmentation, segmentation),
        ];
        options.iter().fold(always, |all, (on, bits)| if *on { all | bits } else { all })
    }

    fn protocol_features(&self) -> ProtocolFeatures {
        use ProtocolFeatures as P;
        let always = P::MQ | P::RARP | P::REPLY_ACK | P::NET_MTU | P::BACKEND_REQ | P::CONFIG;
        let memory = P::CONFIGURE_MEM_SLOTS | P::LOG_SHMFD | P::INFLIGHT_SHMFD;
        always | memory | P::BACKEND_SEND_FD | P::RESET_DEVICE | P::STATUS | P::DEVICE_STATE
    }
}

/// What the rings have to know of the features that were acknowledged.
pub(super) fn ring_features(features: u64) -> RingFeatures {
    let has = |bit| features & bit != 0;
    RingFeatures {
        mergeable: has(feature::MRG_RXBUF),
        indirect: has(feature::INDIRECT_DESC),
        event_idx: has(feature::EVENT_IDX),
        in_order: has(feature::IN_ORDER),
        rx_offloads: has(feature::CSUM),
        tx_offloads: Accepts {
            checksum: has(feature::GUEST_CSUM),
            tcp4: has(feature::GUEST_TSO4),
            tcp6: has(feature::GUEST_TSO6),
            ecn: has(feature::GUEST_ECN),
        },
    }
}
