//! Whether a device can begin so. The kernel checks little of it: not where rings lie.

use super::open::ACCESS_PLATFORM;
use crate::device::{Capabilities, DeviceError, RingSetup, Setup};
use ringport_vhost_user::backend::RingBase;
use std::ops::RangeInclusive;

/// `VIRTIO_F_RING_PACKED`.
pub(super) const RING_PACKED: u64 = 1 << 34;

/// The bases of rings that begin, as they travel.
const SPLIT_START: u32 = 0;
const PACKED_START: u32 = 0x8000_8000;

/// Whether rings are packed with these features.
pub(super) fn is_packed(features: u64) -> bool {
    features & RING_PACKED != 0
}

/// Checks all that a device is to begin with against what it can do and the memory that it has.
pub(crate) fn setup<'r, I: Iterator<Item = &'r RangeInclusive<u64>>>(
    setup: &Setup,
    capabilities: &Capabilities,
    mapped: impl Fn() -> I,
) -> Result<(), DeviceError> {
    if setup.features & !capabilities.features != 0 {
        return Err(DeviceError::Unable("be given features that it does not offer"));
    }
    if setup.features & ACCESS_PLATFORM == 0 {
        return Err(DeviceError::Unable(
            "be let past the IOMMU: ACCESS_PLATFORM must be among its features",
        ));
    }
    let packed = is_packed(setup.features);
    for (at, ring) in setup.rings.iter().enumerate() {
        let twice = setup.rings[..at].iter().any(|other| other.index == ring.index);
        let wrong = if twice { Some("is there twice") } else { wrong(ring, capabilities, packed) };
        let wrong = wrong.or_else(|| misplaced(ring, packed, &mapped));
        if let Some(why) = wrong {
            return Err(DeviceError::BadRing { ring: ring.index, why });
        }
    }
    Ok(())
}

/// What is wrong with a ring itself.
fn wrong(ring: &RingSetup, capabilities: &Capabilities, packed: bool) -> Option<&'static str> {
    let start = if packed { PACKED_START } else { SPLIT_START };
    let fits = match ring.base {
        RingBase::Split { .. } => !packed,
        RingBase::Packed { avail, used } => {
            packed && avail.index < ring.size && used.index < ring.size
        }
    };
    [
        (ring.index >= capabilities.rings, "is one that the device does not have"),
        (!ring.size.is_power_of_two(), "has a size that is no power of two"),
        (ring.size > capabilities.ring_size_max, "is larger than the device can have it"),
        (!fits, "goes on at a place that it does not have"),
        (
            ring.base.to_wire() != start && !capabilities.starts_midway,
            "was in use before, and the device can only begin at the beginning: reset the driver",
        ),
    ]
    .into_iter()
    .find_map(|(is_so, why)| is_so.then_some(why))
}

/// What is wrong with where a ring is.
fn misplaced<'r, I: Iterator<Item = &'r RangeInclusive<u64>>>(
    ring: &RingSetup,
    packed: bool,
    mapped: impl Fn() -> I,
) -> Option<&'static str> {
    areas(ring, packed).into_iter().find_map(|(first, len, align)| {
        if first % align != 0 {
            return Some("is not aligned (to 16, 2 and 4 bytes)");
        }
        let last = first.checked_add(len - 1);
        let holds = |it: &RangeInclusive<u64>| {
            it.contains(&first) && last.is_some_and(|last| it.contains(&last))
        };
        (!mapped().any(holds)).then_some("is not in memory that the device has")
    })
}

/// IOVA, bytes and alignment of each area.
///
/// Spec: VIRTIO 1.3 §2.7, §2.8.
fn areas(ring: &RingSetup, packed: bool) -> [(u64, u64, u64); 3] {
    let size = u64::from(ring.size);
    let descriptors = (ring.descriptor_area, 16 * size, 16);
    if packed {
        [descriptors, (ring.driver_area, 4, 4), (ring.device_area, 4, 4)]
    } else {
        [descriptors, (ring.driver_area, 6 + 2 * size, 2), (ring.device_area, 6 + 8 * size, 4)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringport_vhost_user::backend::PackedIndex;
    use std::sync::Arc;

    const OFFERED: u64 = ACCESS_PLATFORM | RING_PACKED | 1 << 32;

    fn capabilities() -> Capabilities {
        Capabilities {
            device_id: 1,
            features: OFFERED,
            rings: 3,
            ring_size_max: 256,
            config_len: 24,
            iova: vec![0..=u64::MAX],
            mappings_max: None,
            locks_memory: true,
            translated: true,
            starts_midway: true,
            tells_base: true,
        }
    }

    fn ring(index: u16) -> RingSetup {
        let eventfd = || Arc::new(super::super::watch::eventfd().unwrap().into());
        RingSetup {
            index,
            size: 256,
            descriptor_area: 0x1000,
            driver_area: 0x2000,
            device_area: 0x3000,
            base: RingBase::Split { avail: 0 },
            kick: eventfd(),
            call: eventfd(),
        }
    }

    /// Checks rings on memory that ends with their last byte.
    fn check(features: u64, rings: Vec<RingSetup>, capabilities: &Capabilities) -> String {
        let mapped = [0x1000..=0x1fff, 0x2000..=0x3000 + 6 + 8 * 256 - 1];
        let done = setup(&Setup { features, rings }, capabilities, || mapped.iter());
        done.err().map(|error| error.to_string()).unwrap_or_default()
    }

    fn refused(change: impl FnOnce(&mut RingSetup)) -> String {
        let mut ring = ring(1);
        change(&mut ring);
        check(ACCESS_PLATFORM, vec![ring], &capabilities())
    }

    #[test]
    fn rings_that_end_with_their_memory_are_fit() {
        assert_eq!(check(ACCESS_PLATFORM, vec![ring(0), ring(2)], &capabilities()), "");
        let at = |index, wrap| PackedIndex { index, wrap };
        let packed = RingBase::Packed { avail: at(255, false), used: at(3, true) };
        let packed = RingSetup { base: packed, size: 256, driver_area: 0x3804, ..ring(0) };
        let features = ACCESS_PLATFORM | RING_PACKED;
        let fit = check(
            features,
            vec![RingSetup { device_area: 0x3800, ..packed.clone() }],
            &capabilities(),
        );
        assert_eq!(fit, "ring 0 is not in memory that the device has");
        let fit = RingSetup { driver_area: 0x3800, device_area: 0x37fc, ..packed };
        assert_eq!(check(features, vec![fit], &capabilities()), "");
    }

    #[test]
    fn features_past_the_iommu_or_not_offered_are_refused() {
        assert!(check(1 << 32, vec![], &capabilities()).contains("ACCESS_PLATFORM"));
        let more = check(ACCESS_PLATFORM | 1, vec![], &capabilities());
        assert!(more.contains("does not offer"), "{more}");
    }

    #[test]
    fn ring_that_the_device_cannot_have_is_refused_by_its_number() {
        let cases = [
            (refused(|it| it.index = 3), "ring 3 is one that the device does not have"),
            (refused(|it| it.size = 0), "no power of two"),
            (refused(|it| it.size = 255), "no power of two"),
            (refused(|it| it.size = 512), "larger"),
            (refused(|it| it.descriptor_area = 0x1008), "aligned"),
            (refused(|it| it.driver_area = 0x2001), "aligned"),
            (refused(|it| it.device_area = 0x3002), "aligned"),
            (refused(|it| it.device_area = 0x3004), "ring 1 is not in memory"),
            (refused(|it| it.descriptor_area = 0x1010), "ring 1 is not in memory"),
            (refused(|it| it.driver_area = u64::MAX - 1), "ring 1 is not in memory"),
            (
                check(ACCESS_PLATFORM, vec![ring(1), ring(1)], &capabilities()),
                "ring 1 is there twice",
            ),
        ];
        for (said, wanted) in cases {
            assert!(said.contains(wanted), "{said:?} {wanted:?}");
        }
    }

    #[test]
    fn ring_that_goes_on_is_refused_where_the_device_can_only_begin() {
        let bare = Capabilities { starts_midway: false, ..capabilities() };
        let used = RingSetup { base: RingBase::Split { avail: 1 }, ..ring(0) };
        assert!(check(ACCESS_PLATFORM, vec![used.clone()], &bare).contains("at the beginning"));
        assert_eq!(check(ACCESS_PLATFORM, vec![ring(0)], &bare), "");
        assert_eq!(check(ACCESS_PLATFORM, vec![used], &capabilities()), "");
    }

    #[test]
    fn base_of_the_other_layout_is_refused() {
        let split = check(ACCESS_PLATFORM | RING_PACKED, vec![ring(0)], &capabilities());
        assert!(split.contains("place that it does not have"), "{split}");
        let at = PackedIndex { index: 256, wrap: true };
        let beyond = RingSetup { base: RingBase::Packed { avail: at, used: at }, ..ring(0) };
        for features in [ACCESS_PLATFORM, ACCESS_PLATFORM | RING_PACKED] {
            let said = check(features, vec![beyond.clone()], &capabilities());
            assert!(said.contains("place that it does not have"), "{said}");
        }
    }
}
