//! What is agreed on with a device.

use super::{PortConfig, PortError};
use crate::device::Capabilities;
use ringport_vhost_user::driver::Offloads;
use ringport_vhost_user::frontend::common_features;
use ringport_vhost_user::wire::feature;

/// Bit 33: what the device puts on the bus is translated by an IOMMU.
///
/// Spec: VIRTIO 1.3 §6 (`VIRTIO_F_ACCESS_PLATFORM`).
const ACCESS_PLATFORM: u64 = 1 << 33;

/// Bit 36: the device is on a bus, and wants memory ordered as for that. On x86 all ordinary memory is.
///
/// Spec: VIRTIO 1.3 §6 (`VIRTIO_F_ORDER_PLATFORM`).
const ORDER_PLATFORM: u64 = if cfg!(target_arch = "x86_64") { 1 << 36 } else { 0 };

/// Virtio's number for network devices.
///
/// Spec: VIRTIO 1.3 §5.1.1.
const NETWORK: u32 = 1;

/// Rings of a pair.
const PAIR: u16 = 2;

/// The shortest ring that is of use.
const RING_SIZE_MIN: u16 = 2;

/// The features to agree on with a device.
///
/// # Errors
/// [`PortError::Unfit`]: it is none for a port.
pub(super) fn agree(config: &PortConfig, device: &Capabilities) -> Result<u64, PortError> {
    let Capabilities { device_id, features, rings, ring_size_max, translated, .. } = *device;
    let unfit = |why: String| Err(PortError::Unfit(why));
    if device_id != NETWORK {
        return unfit(format!(
            "it is a virtio device of kind {device_id}, and {NETWORK} is a network device"
        ));
    }
    if rings < PAIR {
        return unfit(format!("a port takes {PAIR} rings, and it has {rings}"));
    }
    if ring_size_max < RING_SIZE_MIN {
        return unfit(format!(
            "its rings have {ring_size_max} entries, and {RING_SIZE_MIN} are needed"
        ));
    }
    if features & feature::VERSION_1 == 0 {
        return unfit("it is of the time before virtio 1".to_owned());
    }
    if translated && features & ACCESS_PLATFORM == 0 {
        return unfit(
            "it goes past the IOMMU in front of it: it does not offer ACCESS_PLATFORM".to_owned(),
        );
    }
    Ok(common_features(wanted(config), features))
}

/// Entries of each ring: no more than are wanted, nor than the device can have.
pub(super) fn ring_size(config: &PortConfig, device: &Capabilities) -> u16 {
    let most = device.ring_size_max.max(RING_SIZE_MIN);
    // What a device says is its most may be any number; rings have powers of two.
    config.ring_size.min(1 << most.ilog2())
}

/// Bytes at the beginning of the configuration that a device with these features has.
///
/// Spec: VIRTIO 1.3 §5.1.4.
pub(super) fn config_len(features: u64) -> usize {
    let ends = [(feature::MAC, 6), (feature::STATUS, 8), (feature::MTU, 12)];
    let has = |(bit, end): (u64, usize)| (features & bit != 0).then_some(end);
    ends.into_iter().filter_map(has).max().unwrap_or(0)
}

fn wanted(config: &PortConfig) -> u64 {
    use feature as f;
    let checksum = f::CSUM | f::GUEST_CSUM;
    let segmentation = f::HOST_TSO4 | f::HOST_TSO6 | f::HOST_ECN;
    let segmentation = segmentation | f::GUEST_TSO4 | f::GUEST_TSO6 | f::GUEST_ECN;
    let options = [
        (config.mergeable, f::MRG_RXBUF),
        (config.event_idx, f::EVENT_IDX),
        (config.packed, f::RING_PACKED),
        (config.in_order, f::IN_ORDER),
        (config.offloads != Offloads::None, checksum),
        (config.offloads == Offloads::Segmentation, segmentation),
    ];
    let always = f::VERSION_1 | ACCESS_PLATFORM | ORDER_PLATFORM | f::MAC | f::MTU | f::STATUS;
    options.iter().fold(always, |all, (on, bits)| if *on { all | bits } else { all })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(features: u64) -> Capabilities {
        Capabilities {
            device_id: 1,
            features: feature::VERSION_1 | ACCESS_PLATFORM | features,
            rings: 3,
            ring_size_max: 256,
            config_len: 12,
            iova: Vec::from([0..=u64::MAX]),
            mappings_max: None,
            locks_memory: true,
            translated: true,
            starts_midway: false,
            tells_base: false,
        }
    }

    fn port(items: &str) -> PortConfig {
        format!("vdpa:/dev/x{items}").parse().unwrap()
    }

    #[test]
    fn control_queue_and_what_nobody_knows_are_never_agreed_on() {
        let agreed = agree(&port(",offload=segmentation"), &device(u64::MAX)).unwrap();
        let not = feature::CTRL_VQ | feature::CTRL_RX | feature::MQ | feature::GUEST_ANNOUNCE;
        let not = not | feature::INDIRECT_DESC | feature::LOG_ALL | 1 << 63;
        assert_eq!(agreed & not, 0, "{agreed:#x}");
        let wanted = feature::VERSION_1 | ACCESS_PLATFORM | feature::RING_PACKED;
        let wanted = wanted | feature::GUEST_TSO4 | feature::HOST_ECN | feature::MRG_RXBUF;
        assert_eq!(agreed & wanted, wanted, "{agreed:#x}");
    }

    #[test]
    fn what_is_switched_off_or_not_offered_is_not_agreed_on() {
        let agreed = agree(&port(",packed=off,in-order=off"), &device(u64::MAX)).unwrap();
        assert_eq!(agreed & (feature::RING_PACKED | feature::IN_ORDER | feature::CSUM), 0);
        assert_ne!(agreed & feature::EVENT_IDX, 0);
        let agreed = agree(&port(""), &device(0)).unwrap();
        assert_eq!(agreed, feature::VERSION_1 | ACCESS_PLATFORM);
        let sim = Capabilities { features: feature::VERSION_1, translated: false, ..device(0) };
        assert_eq!(agree(&port(""), &sim).unwrap(), feature::VERSION_1);
    }

    #[test]
    fn segments_are_not_taken_without_buffers_that_hold_them_nor_without_checksums() {
        let segments = feature::GUEST_TSO4 | feature::GUEST_TSO6 | feature::GUEST_ECN;
        let port = port(",offload=segmentation");
        let small = device(!feature::MRG_RXBUF & !feature::VERSION_1);
        assert_eq!(agree(&port, &small).unwrap() & segments, 0);
        let odd = agree(&port, &device(!feature::CSUM)).unwrap();
        assert_eq!(odd & (feature::HOST_TSO4 | feature::HOST_ECN), 0);
        assert_eq!(odd & segments, segments);
    }

    #[test]
    fn device_that_is_none_for_a_port_is_refused_with_the_reason() {
        let refused = |change: fn(&mut Capabilities)| {
            let mut device = device(0);
            change(&mut device);
            agree(&port(""), &device).unwrap_err().to_string()
        };
        assert!(refused(|it| it.device_id = 2).contains("of kind 2"));
        assert!(refused(|it| it.rings = 1).contains("takes 2 rings, and it has 1"));
        assert!(refused(|it| it.ring_size_max = 1).contains("have 1 entries"));
        assert!(refused(|it| it.features = ACCESS_PLATFORM).contains("virtio 1"));
        assert!(refused(|it| it.features = feature::VERSION_1).contains("ACCESS_PLATFORM"));
    }

    #[test]
    fn rings_are_no_longer_than_the_device_takes_and_have_powers_of_two() {
        let size = |items, most| {
            ring_size(&port(items), &Capabilities { ring_size_max: most, ..device(0) })
        };
        assert_eq!(size("", 256), 256);
        assert_eq!(size("", 300), 256);
        assert_eq!(size("", u16::MAX), 1024);
        assert_eq!(size(",ring-size=64", 256), 64);
        assert_eq!(size("", 2), 2);
    }

    #[test]
    fn configuration_is_as_long_as_the_last_field_that_it_has() {
        assert_eq!(config_len(0), 0);
        assert_eq!(config_len(feature::MAC), 6);
        assert_eq!(config_len(feature::MAC | feature::STATUS), 8);
        assert_eq!(config_len(u64::MAX), 12);
    }
}
