//! What a back-end offers and accepts.

use crate::wire::{ProtocolFeatures, Request, feature};
use std::time::Duration;

/// Most rings; doorbells name them with eight bits.
pub const RINGS_MAX: u16 = 256;

/// Most descriptors of any ring.
///
/// Spec: VIRTIO 1.3 §2.7, §2.8.10.1.
pub const RING_SIZE_MAX: u16 = 1 << 15;

/// What a back-end offers, and what it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackendConfig {
    /// Virtio features offered. Bit 30 is added when there are protocol features.
    pub features: u64,
    /// Virtio features without which a front-end is refused.
    pub required_features: u64,
    /// Protocol features offered.
    pub protocol_features: ProtocolFeatures,
    /// Pairs of rings, 1 to 128; what GET_QUEUE_NUM says, as every network front-end expects.
    pub queue_pairs: u16,
    /// Whether one more ring follows the pairs.
    pub control_ring: bool,
    /// What is accepted.
    pub limits: Limits,
    /// How long the answer to an [`Event`](super::Event) may take.
    pub answer_timeout: Duration,
}

/// What a back-end accepts from a front-end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most descriptors in a ring, 1 to [`RING_SIZE_MAX`].
    pub ring_size: u16,
    /// Most memory regions at a time. Must not shrink from one connection to the next: QEMU then
    /// gives up.
    pub regions: u16,
    /// Most bytes in all regions together.
    pub total_bytes: u64,
    /// Most bytes of a dirty log, one bit for each 4 KiB of guest memory.
    pub log_bytes: u64,
}

impl Default for Limits {
    /// Rings of 32768, 32 regions, 1 TiB of memory and the dirty log of 16 TiB.
    fn default() -> Self {
        Self { ring_size: RING_SIZE_MAX, regions: 32, total_bytes: 1 << 40, log_bytes: 1 << 29 }
    }
}

impl BackendConfig {
    /// How many rings there are: their indices run from 0 to one less.
    #[must_use]
    pub fn ring_count(&self) -> u16 {
        let pairs = self.queue_pairs.saturating_mul(2);
        pairs.saturating_add(u16::from(self.control_ring)).min(RINGS_MAX)
    }

    pub(super) fn ring_size_limit(&self) -> u16 {
        self.limits.ring_size.min(RING_SIZE_MAX)
    }

    /// What GET_FEATURES says.
    pub(super) fn offered_features(&self) -> u64 {
        if self.protocol_features.is_empty() {
            return self.features & !feature::PROTOCOL_FEATURES;
        }
        self.features | feature::PROTOCOL_FEATURES
    }

    /// Whether a request may be asked of us.
    pub(super) fn offers(&self, request: Request) -> bool {
        use ProtocolFeatures as P;
        use Request as R;
        let needed = match request {
            R::GetProtocolFeatures | R::SetProtocolFeatures => {
                return !self.protocol_features.is_empty();
            }
            R::GetQueueNum => P::MQ,
            R::SetLogBase | R::SetLogFd => P::LOG_SHMFD,
            R::SendRarp => P::RARP,
            R::NetSetMtu => P::NET_MTU,
            R::SetBackendReqFd => P::BACKEND_REQ,
            R::GetConfig | R::SetConfig => P::CONFIG,
            R::GetInflightFd | R::SetInflightFd => P::INFLIGHT_SHMFD,
            R::ResetDevice => P::RESET_DEVICE,
            R::GetMaxMemSlots | R::AddMemReg | R::RemMemReg => P::CONFIGURE_MEM_SLOTS,
            R::GetStatus | R::SetStatus => P::STATUS,
            R::SetDeviceStateFd | R::CheckDeviceState => P::DEVICE_STATE,
            _ => P::NONE,
        };
        self.protocol_features.contains(needed)
    }
}
