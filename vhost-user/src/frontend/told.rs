//! What the configuration space says.
//!
//! | offset | bytes | field | with |
//! |---|---|---|---|
//! | 0 | 6 | network address | `VIRTIO_NET_F_MAC` |
//! | 6 | 2 | status: bit 0, the link is up; bit 1, the driver is to announce itself | `VIRTIO_NET_F_STATUS` |
//! | 8 | 2 | pairs of queues, 1 to 32768 | `VIRTIO_NET_F_MQ` |
//! | 10 | 2 | longest packet, without its Ethernet header, 68 and more | `VIRTIO_NET_F_MTU` |
//!
//! Spec: VIRTIO 1.3 §5.1.4 (`struct virtio_net_config`).

use crate::wire::{ConfigSpan, feature};
use std::ops::RangeInclusive;

/// The part of the configuration space that is read.
pub(super) const CONFIG: ConfigSpan = ConfigSpan { offset: 0, size: 12, flags: 0 };

/// Features by which it has something for us.
pub(super) const TELLS: u64 = feature::MAC | feature::MTU | feature::STATUS;

const LINK_UP: u16 = 1;
const ANNOUNCE: u16 = 2;

/// Spec: VIRTIO 1.3 §5.1.4.1.
const MTU: RangeInclusive<u16> = 68..=65535;
/// As above.
const PAIRS: RangeInclusive<u16> = 1..=0x8000;

/// What a device says of itself. A field without its feature, or with a value that makes no sense, is
/// as good as none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Told {
    /// The network address of the driver's interface, if any.
    pub mac: Option<[u8; 6]>,
    /// Whether the device's link is up; so it is when the device does not say.
    pub carrier: bool,
    /// Whether the driver is to announce itself to the network.
    pub announce: bool,
    /// Pairs of queues that the device has, if it says.
    pub queue_pairs: Option<u16>,
    /// The longest packet, without its Ethernet header, in bytes, if any.
    pub mtu: Option<u16>,
}

impl Told {
    /// A device that says nothing.
    pub(super) const NOTHING: Self =
        Self { mac: None, carrier: true, announce: false, queue_pairs: None, mtu: None };

    /// Reads the beginning of a configuration space, of a device with these `features`. Bytes that are
    /// missing are zeros.
    #[must_use]
    pub fn read(features: u64, contents: &[u8]) -> Self {
        let has = |bit| features & bit != 0;
        let word = |at: usize| {
            let bytes = contents.get(at..).and_then(|rest| rest.first_chunk());
            u16::from_le_bytes(bytes.copied().unwrap_or_default())
        };
        let mac = contents.first_chunk().copied().filter(|mac: &[u8; 6]| {
            has(feature::MAC) && mac.first().is_some_and(|byte| byte & 1 == 0) && *mac != [0; 6]
        });
        let (status, pairs, mtu) = (word(6), word(8), word(10));
        Self {
            mac,
            carrier: !has(feature::STATUS) || status & LINK_UP != 0,
            announce: has(feature::GUEST_ANNOUNCE) && status & ANNOUNCE != 0,
            queue_pairs: (has(feature::MQ) && PAIRS.contains(&pairs)).then_some(pairs),
            mtu: (has(feature::MTU) && MTU.contains(&mtu)).then_some(mtu),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = TELLS | feature::GUEST_ANNOUNCE | feature::MQ;

    fn space(mac: [u8; 6], words: [u16; 3]) -> Vec<u8> {
        [&mac[..], &words.map(u16::to_le_bytes).concat()].concat()
    }

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

    #[test]
    fn fields_count_with_their_feature_only() {
        let space = space(MAC, [2, 4, 1400]);
        let all = Told {
            mac: Some(MAC),
            carrier: false,
            announce: true,
            queue_pairs: Some(4),
            mtu: Some(1400),
        };
        assert_eq!(Told::read(ALL, &space), all);
        assert_eq!(Told::read(0, &space), Told::NOTHING);
        let without = |bit: u64| Told::read(ALL & !bit, &space);
        assert_eq!(without(feature::STATUS), Told { carrier: true, ..all });
        assert_eq!(without(feature::GUEST_ANNOUNCE), Told { announce: false, ..all });
        assert_eq!(without(feature::MQ), Told { queue_pairs: None, ..all });
        assert_eq!(without(feature::MTU), Told { mtu: None, ..all });
        assert_eq!(without(feature::MAC), Told { mac: None, ..all });
    }

    #[test]
    fn status_bits_that_mean_nothing_are_passed_over() {
        let told = |status| {
            let told = Told::read(ALL, &space(MAC, [status, 1, 1500]));
            (told.carrier, told.announce)
        };
        assert_eq!(told(0xfffc), (false, false));
        assert_eq!(told(0xfffd), (true, false));
        assert_eq!(told(0xffff), (true, true));
    }

    #[test]
    fn mtu_below_68_is_none() {
        let told = |mtu| Told::read(ALL, &space(MAC, [1, 1, mtu])).mtu;
        assert_eq!([0, 1, 67, 68, 65535].map(told), [None, None, None, Some(68), Some(65535)]);
    }

    #[test]
    fn address_of_several_interfaces_or_of_zeros_is_none() {
        let told = |mac| Told::read(ALL, &space(mac, [1, 1, 1500])).mac;
        assert_eq!(told([0; 6]), None);
        assert_eq!(told([0xff; 6]), None);
        assert_eq!(told([3, 0, 0, 0, 0, 7]), None);
    }

    #[test]
    fn pairs_of_which_there_cannot_be_so_many_are_unknown() {
        let told = |pairs| Told::read(ALL, &space(MAC, [1, pairs, 1500])).queue_pairs;
        assert_eq!([0, 1, 0x8000, 0x8001].map(told), [None, Some(1), Some(0x8000), None]);
    }

    #[test]
    fn space_that_is_too_short_says_nothing_that_means_anything() {
        let mut space = space(MAC, [1, 4, 1400]);
        while space.pop().is_some() {
            assert_eq!(Told::read(ALL, &space).mtu, None, "{} bytes", space.len());
        }
    }
}
