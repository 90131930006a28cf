//! Where rings lie in their regions.

use crate::error::PeerMisbehaved;
use crate::wire::DESCRIPTOR_LEN;

/// Cache-line size that a peer was compiled for; it decides where a ring's tail and descriptors are.
///
/// | | tail | first descriptor |
/// |---|---|---|
/// | `B64` | 64 | 128 |
/// | `B128` | 128 | 256 |
///
/// Nothing on the wire tells which one a peer has, and the cookie is at the same place in both. VPP
/// since 24.02 and DPDK use 128 bytes on most builds for 64-bit Arm, and DPDK on POWER; everything
/// else uses 64.
///
/// Spec: [which cache-line size](crate::protocol#which-cache-line-size).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CacheLine {
    /// Lines of 64 bytes.
    #[default]
    B64,
    /// Lines of 128 bytes.
    B128,
}

impl CacheLine {
    /// Size of the line, in bytes: where a ring's tail is.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::B64 => 64,
            Self::B128 => 128,
        }
    }

    /// Bytes in front of the first descriptor of a ring.
    #[must_use]
    pub const fn header_len(self) -> u64 {
        match self {
            Self::B64 => 128,
            Self::B128 => 256,
        }
    }

    /// Bytes of a ring with `1 << log2_ring_size` descriptors.
    #[must_use]
    pub const fn ring_len(self, log2_ring_size: u8) -> u64 {
        self.header_len().saturating_add(descriptors_len(log2_ring_size))
    }
}

/// Where one ring lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RingPlace {
    /// Index of the region.
    pub region: u16,
    /// Offset in the region, in bytes.
    pub offset: u32,
    /// Base-2 logarithm of the number of descriptors.
    pub log2_ring_size: u8,
}

/// Tells the layout of rings from the distance between neighbours in one region: every known client
/// packs its rings back to back, so the distance less the descriptors is the header.
///
/// A pair too close for 128-byte lines settles it; a pair at exactly their distance speaks for them;
/// without either it is [`CacheLine::B64`], so a lone ring in a region tells nothing.
#[must_use]
pub fn detect_cache_line(rings: &[RingPlace]) -> CacheLine {
    let mut found = CacheLine::B64;
    for (distance, log2_ring_size) in distances(rings) {
        let wide = CacheLine::B128.ring_len(log2_ring_size);
        if distance < wide {
            return CacheLine::B64;
        }
        if distance == wide {
            found = CacheLine::B128;
        }
    }
    found
}

/// Checks that no two rings share memory.
pub(super) fn check_overlap(
    rings: &[RingPlace],
    cache_line: CacheLine,
) -> Result<(), PeerMisbehaved> {
    let sorted = sorted(rings);
    for (ring, next) in neighbours(&sorted) {
        let distance = u64::from(next.offset).saturating_sub(u64::from(ring.offset));
        if distance < cache_line.ring_len(ring.log2_ring_size) {
            return Err(PeerMisbehaved::RingsOverlap {
                region: ring.region,
                first: ring.offset,
                second: next.offset,
            });
        }
    }
    Ok(())
}

/// Checks that a ring ends within its region of `region_len` bytes.
pub(super) fn check_bounds(
    ring: &RingPlace,
    region_len: u64,
    cache_line: CacheLine,
) -> Result<(), PeerMisbehaved> {
    let len = cache_line.ring_len(ring.log2_ring_size);
    if u64::from(ring.offset).saturating_add(len) <= region_len {
        return Ok(());
    }
    Err(PeerMisbehaved::RingOutOfBounds {
        region: ring.region,
        offset: ring.offset,
        len,
        region_len,
    })
}

const fn descriptors_len(log2_ring_size: u8) -> u64 {
    match DESCRIPTOR_LEN.checked_shl(log2_ring_size as u32) {
        Some(len) => len,
        None => u64::MAX,
    }
}

fn distances(rings: &[RingPlace]) -> Vec<(u64, u8)> {
    let sorted = sorted(rings);
    neighbours(&sorted)
        .map(|(ring, next)| {
            let distance = u64::from(next.offset).saturating_sub(u64::from(ring.offset));
            (distance, ring.log2_ring_size)
        })
        .collect()
}

fn sorted(rings: &[RingPlace]) -> Vec<RingPlace> {
    let mut sorted = rings.to_vec();
    sorted.sort_unstable();
    sorted
}

fn neighbours(sorted: &[RingPlace]) -> impl Iterator<Item = (&RingPlace, &RingPlace)> {
    sorted.iter().zip(sorted.iter().skip(1)).filter(|(ring, next)| ring.region == next.region)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(offsets: &[u32], log2_ring_size: u8) -> Vec<RingPlace> {
        offsets.iter().map(|&offset| RingPlace { region: 0, offset, log2_ring_size }).collect()
    }

    #[test]
    fn ring_lengths_match_both_layouts() {
        assert_eq!(CacheLine::B64.ring_len(10), 0x4080);
        assert_eq!(CacheLine::B128.ring_len(10), 0x4100);
        assert_eq!(CacheLine::B64.ring_len(1), 160);
    }

    #[test]
    fn distance_tells_the_cache_line() {
        assert_eq!(detect_cache_line(&places(&[0, 0x4080], 10)), CacheLine::B64);
        assert_eq!(detect_cache_line(&places(&[0, 0x4100], 10)), CacheLine::B128);
        assert_eq!(detect_cache_line(&places(&[0x4100, 0, 0x8200], 10)), CacheLine::B128);
        for log2 in 1..=14 {
            for cache_line in [CacheLine::B64, CacheLine::B128] {
                let second = u32::try_from(cache_line.ring_len(log2)).unwrap();
                assert_eq!(detect_cache_line(&places(&[0, second], log2)), cache_line);
            }
        }
    }

    #[test]
    fn distance_that_tells_nothing_means_64() {
        assert_eq!(detect_cache_line(&[]), CacheLine::B64);
        assert_eq!(detect_cache_line(&places(&[0], 10)), CacheLine::B64);
        assert_eq!(detect_cache_line(&places(&[0, 0x10000], 10)), CacheLine::B64);
        let apart = [
            RingPlace { region: 0, offset: 0, log2_ring_size: 10 },
            RingPlace { region: 1, offset: 0x4100, log2_ring_size: 10 },
        ];
        assert_eq!(detect_cache_line(&apart), CacheLine::B64);
    }

    #[test]
    fn one_pair_too_close_for_128_outweighs_the_rest() {
        assert_eq!(detect_cache_line(&places(&[0, 0x4100, 0x8180], 10)), CacheLine::B64);
    }

    #[test]
    fn unequal_rings_are_measured_by_the_first_of_the_pair() {
        let rings = [
            RingPlace { region: 0, offset: 0, log2_ring_size: 4 },
            RingPlace { region: 0, offset: 512, log2_ring_size: 9 },
        ];
        assert_eq!(detect_cache_line(&rings), CacheLine::B128);
    }

    #[test]
    fn overlap_is_found_in_any_order() {
        let rings = places(&[0x4080, 0x4070], 10);
        assert_eq!(
            check_overlap(&rings, CacheLine::B64),
            Err(PeerMisbehaved::RingsOverlap { region: 0, first: 0x4070, second: 0x4080 })
        );
        assert!(check_overlap(&places(&[0, 0x4080], 10), CacheLine::B64).is_ok());
        assert!(check_overlap(&places(&[16, 16], 1), CacheLine::B64).is_err());
    }
}
