//! Which features remain of those that both sides have.

use crate::wire::feature as f;

/// Features that mean nothing without one of others. Segments of 64 KiB need several of our receive
/// buffers.
///
/// More than one pair of rings, and announcements, need a control queue by the letter; behind
/// vhost-user that mostly stays with the front-end, which enables rings by messages.
///
/// Spec: VIRTIO 1.3 §5.1.3.1.
const NEEDS: [(u64, u64); 12] = [
    (f::HOST_TSO4, f::CSUM),
    (f::HOST_TSO6, f::CSUM),
    (f::HOST_ECN, f::HOST_TSO4 | f::HOST_TSO6),
    (f::GUEST_TSO4, f::GUEST_CSUM),
    (f::GUEST_TSO6, f::GUEST_CSUM),
    (f::GUEST_TSO4, f::MRG_RXBUF),
    (f::GUEST_TSO6, f::MRG_RXBUF),
    (f::GUEST_ECN, f::GUEST_TSO4 | f::GUEST_TSO6),
    (f::GUEST_ANNOUNCE, f::STATUS),
    (f::CTRL_RX, f::CTRL_VQ),
    (f::CTRL_VLAN, f::CTRL_VQ),
    (f::CTRL_MAC_ADDR, f::CTRL_VQ),
];

/// What of a network device's features a driver can accept that wants some and is offered others: those of
/// both, less what means nothing without one that is missing.
///
/// Spec: VIRTIO 1.3 §5.1.3.1.
#[must_use]
pub fn common_features(wanted: u64, offered: u64) -> u64 {
    NEEDS.iter().fold(wanted & offered, |features, &(bit, needed)| {
        if features & needed == 0 { features & !bit } else { features }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feature_goes_with_the_one_that_it_needs() {
        let all = f::CSUM | f::HOST_TSO4 | f::HOST_TSO6 | f::HOST_ECN;
        assert_eq!(common_features(all, u64::MAX), all);
        assert_eq!(common_features(all, !f::CSUM), 0);
        assert_eq!(common_features(all, !f::HOST_TSO4), all & !f::HOST_TSO4);
        assert_eq!(common_features(all, !(f::HOST_TSO4 | f::HOST_TSO6)), f::CSUM);
        let all = f::GUEST_CSUM | f::GUEST_TSO4 | f::GUEST_TSO6 | f::GUEST_ECN | f::MRG_RXBUF;
        assert_eq!(common_features(u64::MAX, all | f::VERSION_1), all | f::VERSION_1);
        assert_eq!(common_features(all & !f::GUEST_CSUM, u64::MAX), f::MRG_RXBUF);
        assert_eq!(common_features(!f::MRG_RXBUF, all), f::GUEST_CSUM);
        let all = f::STATUS | f::GUEST_ANNOUNCE;
        assert_eq!((common_features(all, u64::MAX), common_features(all, !f::STATUS)), (all, 0));
    }
}
