//! Where a ring begins or stopped.

/// Where a ring begins, or where it stopped.
///
/// Spec: vhost-user "A vring state description", "Ring states".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RingBase {
    /// A split ring: the next available index, free-running.
    Split {
        /// The index.
        avail: u16,
    },
    /// A packed ring.
    Packed {
        /// The next available descriptor.
        avail: PackedIndex,
        /// The next used descriptor.
        used: PackedIndex,
    },
}

/// A place in a packed ring, in 16 bits: index in bits 0 to 14, wrap counter in bit 15.
///
/// Spec: VIRTIO 1.3 §2.8.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedIndex {
    /// Number of the descriptor, less than the size of the ring.
    pub index: u16,
    /// Wrap counter; begins as true.
    pub wrap: bool,
}

const WRAP: u16 = 1 << 15;

/// The base of a packed ring that nobody set.
const PACKED_START: u32 = 0x8000_8000;

impl RingBase {
    /// The base of a ring that nobody set, as it travels.
    pub(crate) fn start(packed: bool) -> u32 {
        if packed { PACKED_START } else { 0 }
    }

    /// Reads what travels; `None` when it lies outside of a ring of `size` descriptors.
    ///
    /// DPDK's driver leaves the upper half of a packed base zero, and means that nothing is in
    /// flight.
    #[must_use]
    pub fn from_wire(packed: bool, word: u32, size: u16) -> Option<Self> {
        let [low, high] = [word & 0xFFFF, word >> 16].map(|half| u16::try_from(half).unwrap_or(0));
        if !packed {
            return (high == 0).then_some(Self::Split { avail: low });
        }
        let avail = PackedIndex::from_bits(low);
        let used = if high == 0 { avail } else { PackedIndex::from_bits(high) };
        (avail.index < size && used.index < size).then_some(Self::Packed { avail, used })
    }

    /// As it travels: 16 bits, or available and used in 16 bits each.
    #[must_use]
    pub fn to_wire(self) -> u32 {
        match self {
            Self::Split { avail } => u32::from(avail),
            Self::Packed { avail, used } => {
                u32::from(avail.to_bits()) | u32::from(used.to_bits()) << 16
            }
        }
    }
}

impl PackedIndex {
    fn from_bits(bits: u16) -> Self {
        Self { index: bits & !WRAP, wrap: bits & WRAP != 0 }
    }

    fn to_bits(self) -> u16 {
        self.index & !WRAP | if self.wrap { WRAP } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(avail: (u16, bool), used: (u16, bool)) -> Option<RingBase> {
        let place = |(index, wrap)| PackedIndex { index, wrap };
        Some(RingBase::Packed { avail: place(avail), used: place(used) })
    }

    #[test]
    fn packed_base_without_used_half_means_nothing_in_flight() {
        assert_eq!(RingBase::from_wire(true, 0x8000, 256), packed((0, true), (0, true)));
        assert_eq!(RingBase::from_wire(true, 7, 256), packed((7, false), (7, false)));
    }

    #[test]
    fn packed_base_keeps_both_halves_of_32_bits() {
        let base = RingBase::from_wire(true, 0x8003_0005, 256);
        assert_eq!(base, packed((5, false), (3, true)));
        assert_eq!(base.unwrap().to_wire(), 0x8003_0005);
    }

    #[test]
    fn packed_base_outside_of_the_ring_is_none() {
        assert_eq!(RingBase::from_wire(true, 0x8000_8100, 256), None);
        assert_eq!(RingBase::from_wire(true, 0x8100_8000, 256), None);
    }

    #[test]
    fn split_base_has_16_bits() {
        assert_eq!(RingBase::from_wire(false, 0xFFFF, 4), Some(RingBase::Split { avail: 0xFFFF }));
        assert_eq!(RingBase::from_wire(false, 0x1_0000, 4), None);
        assert_eq!(RingBase::Split { avail: 0xFFFF }.to_wire(), 0xFFFF);
    }
}
