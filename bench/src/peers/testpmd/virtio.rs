//! The data paths of DPDK's virtio driver: asking for one, and reading which one it took.

use super::unexpected;
use crate::peers::PeerError;

/// What DPDK's virtio driver can be made to do with its rings: the paths of its test plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataPath {
    /// Split rings, receive buffers that are merged.
    SplitMergeable,
    /// As above, descriptors used in order.
    SplitInOrderMergeable,
    /// Split rings, descriptors used in order, a receive buffer for each packet.
    SplitInOrder,
    /// Split rings, a receive buffer for each packet.
    SplitPlain,
    /// As above, received with vector instructions.
    SplitVector,
    /// Packed rings, receive buffers that are merged.
    PackedMergeable,
    /// As above, descriptors used in order.
    PackedInOrderMergeable,
    /// Packed rings, descriptors used in order, a receive buffer for each packet.
    PackedInOrder,
    /// Packed rings, a receive buffer for each packet.
    PackedPlain,
    /// Packed rings, in order, received and sent with AVX-512.
    PackedVector,
    /// As [`PackedInOrderMergeable`](Self::PackedInOrderMergeable), with rings of 1000: no power
    /// of two.
    PackedOddRing,
}

/// What the driver must be told for a path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wants {
    pub(super) packed: bool,
    pub(super) mergeable: bool,
    pub(super) in_order: bool,
    pub(super) vectorized: bool,
    /// When it matters.
    pub(super) ring_size: Option<u16>,
}

impl DataPath {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::SplitMergeable,
        Self::SplitInOrderMergeable,
        Self::SplitInOrder,
        Self::SplitPlain,
        Self::SplitVector,
        Self::PackedMergeable,
        Self::PackedInOrderMergeable,
        Self::PackedInOrder,
        Self::PackedPlain,
        Self::PackedVector,
        Self::PackedOddRing,
    ];

    /// Whether this machine's CPU has what the path needs. Where it has not, DPDK takes another one.
    #[must_use]
    pub fn runs_here(self) -> bool {
        self != Self::PackedVector || has_avx512()
    }

    /// Whether the rings are packed.
    #[must_use]
    pub fn is_packed(self) -> bool {
        self.wants().packed
    }

    pub(super) fn wants(self) -> Wants {
        //                                       packed, mergeable, in_order, vectorized
        let [packed, mergeable, in_order, vectorized] = match self {
            Self::SplitMergeable => [false, true, false, false],
            Self::SplitInOrderMergeable => [false, true, true, false],
            Self::SplitInOrder => [false, false, true, false],
            Self::SplitPlain => [false, false, false, false],
            Self::SplitVector => [false, false, false, true],
            Self::PackedMergeable => [true, true, false, false],
            Self::PackedInOrderMergeable | Self::PackedOddRing => [true, true, true, false],
            Self::PackedInOrder => [true, false, true, false],
            Self::PackedPlain => [true, false, false, false],
            Self::PackedVector => [true, false, true, true],
        };
        let ring_size = (self == Self::PackedOddRing).then_some(1000);
        Wants { packed, mergeable, in_order, vectorized, ring_size }
    }

    fn is_path_of(self, driver: &VirtioDriver) -> bool {
        let Wants { packed, mergeable, in_order, vectorized, ring_size } = self.wants();
        driver.has(Feature::RingPacked) == packed
            && driver.has(Feature::MergeableBuffers) == mergeable
            && driver.has(Feature::InOrder) == in_order
            && driver.ring_size.is_power_of_two() == ring_size.is_none()
            && driver.rx == RxPath::of(packed, mergeable, in_order, vectorized)
            && driver.tx == TxPath::of(packed, in_order, vectorized)
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512vl")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx512() -> bool {
    false
}

/// The function with which the driver receives, as its log names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RxPath {
    /// "standard"
    Split,
    /// "mergeable buffer"
    SplitMergeable,
    /// "inorder", with mergeable buffers or without
    SplitInOrder,
    /// "vectorized"
    SplitVector,
    /// "packed ring standard", in order or not
    Packed,
    /// "packed ring mergeable buffer", in order or not
    PackedMergeable,
    /// "packed ring vectorized"
    PackedVector,
}

impl RxPath {
    const NAMES: [(&str, Self); 7] = [
        ("standard", Self::Split),
        ("mergeable buffer", Self::SplitMergeable),
        ("inorder", Self::SplitInOrder),
        ("vectorized", Self::SplitVector),
        ("packed ring standard", Self::Packed),
        ("packed ring mergeable buffer", Self::PackedMergeable),
        ("packed ring vectorized", Self::PackedVector),
    ];

    fn of(packed: bool, mergeable: bool, in_order: bool, vectorized: bool) -> Self {
        match (packed, vectorized) {
            (true, true) => Self::PackedVector,
            (true, false) if mergeable => Self::PackedMergeable,
            (true, false) => Self::Packed,
            (false, true) => Self::SplitVector,
            (false, false) if in_order => Self::SplitInOrder,
            (false, false) if mergeable => Self::SplitMergeable,
            (false, false) => Self::Split,
        }
    }
}

/// The function with which the driver sends, as its log names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxPath {
    /// "standard"
    Split,
    /// "inorder"
    SplitInOrder,
    /// "packed ring standard", in order or not
    Packed,
    /// "packed ring vectorized"
    PackedVector,
}

impl TxPath {
    const NAMES: [(&str, Self); 4] = [
        ("standard", Self::Split),
        ("inorder", Self::SplitInOrder),
        ("packed ring standard", Self::Packed),
        ("packed ring vectorized", Self::PackedVector),
    ];

    fn of(packed: bool, in_order: bool, vectorized: bool) -> Self {
        match (packed, vectorized) {
            (true, true) => Self::PackedVector,
            (true, false) => Self::Packed,
            (false, _) if in_order => Self::SplitInOrder,
            (false, _) => Self::Split,
        }
    }
}

/// Features that choose a data path. Spec: VIRTIO 1.3 §5.1.3, §6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// `VIRTIO_NET_F_MRG_RXBUF`
    MergeableBuffers = 15,
    /// `VIRTIO_F_RING_PACKED`
    RingPacked = 34,
    /// `VIRTIO_F_IN_ORDER`
    InOrder = 35,
}

/// What a virtio driver and its device agreed upon, and what the driver made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VirtioDriver {
    /// How it receives.
    pub rx: RxPath,
    /// How it sends.
    pub tx: TxPath,
    /// The features that both sides have, as virtio numbers them.
    pub features: u64,
    /// Descriptors in each ring.
    pub ring_size: u16,
}

impl VirtioDriver {
    /// Whether both sides have a feature.
    #[must_use]
    pub fn has(&self, feature: Feature) -> bool {
        self.features >> feature as u32 & 1 == 1
    }

    /// The data path that this is; `None` when it is none of [`DataPath::ALL`].
    #[must_use]
    pub fn data_path(&self) -> Option<DataPath> {
        DataPath::ALL.into_iter().find(|path| path.is_path_of(self))
    }
}

/// What `log` says last about the driver of `port`; of features and ring size it does not say to
/// which port they belong.
pub(super) fn parse_driver(log: &str, port: u16) -> Result<VirtioDriver, PeerError> {
    let missing = |what: &str| unexpected(format!("no {what} of a virtio driver in its log"));
    let rx = path_in(log, &format!(" Rx path on port {port}"))
        .and_then(|name| find(&RxPath::NAMES, name));
    let tx = path_in(log, &format!(" Tx path on port {port}"))
        .and_then(|name| find(&TxPath::NAMES, name));
    let features = last_after(log, "features after negotiate = ");
    let ring_size = last_after(log, "vq_size: ");
    Ok(VirtioDriver {
        rx: rx.ok_or_else(|| missing("known receive path"))?,
        tx: tx.ok_or_else(|| missing("known transmit path"))?,
        features: features
            .and_then(|hex| u64::from_str_radix(hex, 16).ok())
            .ok_or_else(|| missing("features"))?,
        ring_size: ring_size.and_then(|n| n.parse().ok()).ok_or_else(|| missing("ring size"))?,
    })
}

/// The name in the last line `... virtio: using NAME` that ends with `end`.
fn path_in<'a>(log: &'a str, end: &str) -> Option<&'a str> {
    let line = log.lines().rev().find_map(|line| line.strip_suffix(end))?;
    Some(line.split_once("virtio: using ")?.1)
}

fn find<T: Copy>(names: &[(&str, T)], name: &str) -> Option<T> {
    names.iter().find(|(known, _)| *known == name).map(|(_, path)| *path)
}

/// The word behind the last `name` in `log`.
fn last_after<'a>(log: &'a str, name: &str) -> Option<&'a str> {
    log.rsplit_once(name)?.1.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by testpmd 22.11.11 for a driver that was set up twice: the first time the device had
    /// neither packed rings nor merged buffers.
    const LOG: &str = "\
virtio_ethdev_negotiate_features(): features after negotiate = 910010000
virtio_init_queue(): vq_size: 1024
set_rxtx_funcs(): virtio: using inorder Tx path on port 0
set_rxtx_funcs(): virtio: using inorder Rx path on port 0
virtio_ethdev_negotiate_features(): features after negotiate = d10018000
virtio_init_queue(): setting up queue: 0 on NUMA node -1
virtio_init_queue(): vq_size: 1000
virtio_init_queue(): vring_size: 20004, rounded_vring_size: 20480
set_rxtx_funcs(): virtio: using packed ring standard Tx path on port 0
set_rxtx_funcs(): virtio: using packed ring mergeable buffer Rx path on port 0
set_rxtx_funcs(): virtio: using standard Tx path on port 1
";

    #[test]
    fn last_paths_of_a_port_are_read_from_its_log() {
        let driver = parse_driver(LOG, 0).unwrap();
        assert_eq!((driver.rx, driver.tx), (RxPath::PackedMergeable, TxPath::Packed));
        assert_eq!((driver.features, driver.ring_size), (0xd_1001_8000, 1000));
        assert_eq!(driver.data_path(), Some(DataPath::PackedOddRing));
        let usual = VirtioDriver { ring_size: 1024, ..driver };
        assert_eq!(usual.data_path(), Some(DataPath::PackedInOrderMergeable));
        let other = VirtioDriver { rx: RxPath::PackedVector, ..usual };
        assert_eq!(other.data_path(), None, "vector instructions with merged buffers");
    }

    #[test]
    fn port_without_a_known_path_is_an_error() {
        assert!(parse_driver(LOG, 1).unwrap_err().to_string().contains("known receive path"));
        let renamed = LOG.replace("using packed ring mergeable buffer", "using something new");
        assert!(parse_driver(&renamed, 0).is_err());
        assert!(parse_driver("", 0).is_err());
    }

    #[test]
    fn every_data_path_is_told_from_every_other() {
        for path in DataPath::ALL {
            let Wants { packed, mergeable, in_order, vectorized, ring_size } = path.wants();
            let bits = [
                (packed, Feature::RingPacked),
                (mergeable, Feature::MergeableBuffers),
                (in_order, Feature::InOrder),
            ];
            let driver = VirtioDriver {
                rx: RxPath::of(packed, mergeable, in_order, vectorized),
                tx: TxPath::of(packed, in_order, vectorized),
                features: bits.iter().map(|(on, bit)| u64::from(*on) << *bit as u32).sum(),
                ring_size: ring_size.unwrap_or(1024),
            };
            assert_eq!(driver.data_path(), Some(path));
        }
    }
}
