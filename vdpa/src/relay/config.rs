//! What a relay offers to front-ends, given what its device can.

use super::RelayError;
use crate::device::Capabilities;
use ringport::shm::MemoryPolicy;
use ringport_vhost_user::backend::{BackendConfig, Limits};
use ringport_vhost_user::wire::{ProtocolFeatures, feature};
use std::time::Duration;

/// Bit 33: what the device puts on the bus is translated by an IOMMU.
///
/// Spec: VIRTIO 1.3 §6 (`VIRTIO_F_ACCESS_PLATFORM`).
pub(super) const ACCESS_PLATFORM: u64 = 1 << 33;

/// Features that front-ends may agree on with the device, if it has them.
///
/// Not among them: the control queue and what needs it, for a front-end has no ring of the device for
/// that; and what neither the relay nor, without it, a front-end can pass on (resets of single rings,
/// notification data, SR-IOV).
const PASSED: u64 = feature::CSUM
    | feature::GUEST_CSUM
    | feature::MTU
    | feature::MAC
    | feature::GUEST_TSO4
    | feature::GUEST_TSO6
    | feature::GUEST_ECN
    | 1 << 10 // GUEST_UFO
    | feature::HOST_TSO4
    | feature::HOST_TSO6
    | feature::HOST_ECN
    | 1 << 14 // HOST_UFO
    | feature::MRG_RXBUF
    | feature::STATUS
    | feature::INDIRECT_DESC
    | feature::EVENT_IDX
    | feature::VERSION_1
    | feature::IN_ORDER
    | 1 << 36 // ORDER_PLATFORM
    | 1 << 54 // GUEST_USO4
    | 1 << 55 // GUEST_USO6
    | 1 << 56; // HOST_USO

/// What a relay accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayConfig {
    /// What memory is accepted of front-ends.
    pub policy: MemoryPolicy,
    /// Most memory regions, and most bytes of memory.
    pub limits: Limits,
    /// How long a front-end may take for the rest of a message that it has begun.
    pub answer_timeout: Duration,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            policy: MemoryPolicy::default(),
            limits: Limits::default(),
            answer_timeout: Duration::from_secs(5),
        }
    }
}

impl RelayConfig {
    /// What front-ends are offered.
    pub(super) fn backend(&self, device: &Capabilities) -> Result<BackendConfig, RelayError> {
        check(device)?;
        // Nobody else could say where a packed ring stands, once the device is reset.
        let goes_on = device.tells_base && device.starts_midway;
        let packed = if goes_on { feature::RING_PACKED } else { 0 };
        let ring_size = self.limits.ring_size.min(device.ring_size_max);
        Ok(BackendConfig {
            features: device.features & (PASSED | packed),
            required_features: feature::VERSION_1,
            protocol_features: protocol_features(),
            queue_pairs: 1,
            control_ring: false,
            limits: Limits { ring_size, ..self.limits },
            answer_timeout: self.answer_timeout,
        })
    }
}

fn check(device: &Capabilities) -> Result<(), RelayError> {
    let Capabilities { device_id, features, rings, .. } = *device;
    if device_id != NETWORK {
        return Err(RelayError::NotNetwork { device_id });
    }
    if rings < 2 {
        return Err(RelayError::TooFewRings { rings });
    }
    if features & feature::VERSION_1 == 0 {
        return Err(RelayError::Legacy);
    }
    if device.translated && features & ACCESS_PLATFORM == 0 {
        return Err(RelayError::GoesPastIommu);
    }
    Ok(())
}

/// Virtio's number for network devices.
///
/// Spec: VIRTIO 1.3 §5.1.1.
const NETWORK: u32 = 1;

fn protocol_features() -> ProtocolFeatures {
    use ProtocolFeatures as P;
    let always = P::MQ | P::REPLY_ACK | P::NET_MTU | P::BACKEND_REQ | P::CONFIG | P::STATUS;
    always | P::CONFIGURE_MEM_SLOTS | P::BACKEND_SEND_FD | P::RESET_DEVICE
}

/// With which features the device begins, when the front-end agreed on `features`.
pub(super) fn device_features(features: u64, device: &Capabilities) -> u64 {
    features & !feature::PROTOCOL_FEATURES | device.features & ACCESS_PLATFORM
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(features: u64) -> Capabilities {
        Capabilities {
            device_id: 1,
            features: feature::VERSION_1 | features,
            rings: 3,
            ring_size_max: 256,
            config_len: 12,
            iova: Vec::from([0..=u64::MAX]),
            mappings_max: None,
            locks_memory: false,
            translated: false,
            starts_midway: false,
            tells_base: false,
        }
    }

    #[test]
    fn control_queue_log_and_iommu_are_not_offered_whatever_the_device_has() {
        let offered = RelayConfig::default().backend(&device(u64::MAX)).unwrap().features;
        let not = feature::CTRL_VQ | feature::CTRL_RX | feature::MQ | feature::LOG_ALL;
        assert_eq!(offered & (not | ACCESS_PLATFORM | feature::RING_PACKED), 0, "{offered:#x}");
        assert_eq!(offered & feature::MRG_RXBUF, feature::MRG_RXBUF);
    }

    #[test]
    fn packed_rings_are_offered_where_a_device_says_how_far_it_is_and_can_go_on_there() {
        let offered = |starts_midway, tells_base| {
            let device = device(feature::RING_PACKED);
            let device = Capabilities { starts_midway, tells_base, ..device };
            let offered = RelayConfig::default().backend(&device).unwrap().features;
            offered & feature::RING_PACKED != 0
        };
        assert!(offered(true, true));
        assert!(!offered(true, false) && !offered(false, true) && !offered(false, false));
    }

    #[test]
    fn device_behind_an_iommu_has_to_heed_it_and_is_told_to() {
        let mut behind = device(0);
        behind.translated = true;
        let refused = RelayConfig::default().backend(&behind);
        assert_eq!(refused.unwrap_err(), RelayError::GoesPastIommu);
        behind.features |= ACCESS_PLATFORM;
        RelayConfig::default().backend(&behind).unwrap();
        let agreed = feature::VERSION_1 | feature::PROTOCOL_FEATURES;
        assert_eq!(device_features(agreed, &behind), feature::VERSION_1 | ACCESS_PLATFORM);
    }

    #[test]
    fn device_that_is_none_for_a_relay_is_refused_by_name() {
        let refused = |change: fn(&mut Capabilities)| {
            let mut device = device(0);
            change(&mut device);
            RelayConfig::default().backend(&device).unwrap_err()
        };
        assert_eq!(refused(|it| it.device_id = 2), RelayError::NotNetwork { device_id: 2 });
        assert_eq!(refused(|it| it.rings = 1), RelayError::TooFewRings { rings: 1 });
        assert_eq!(refused(|it| it.features = 0), RelayError::Legacy);
    }

    #[test]
    fn rings_are_no_longer_than_the_device_takes() {
        assert_eq!(RelayConfig::default().backend(&device(0)).unwrap().limits.ring_size, 256);
    }
}
