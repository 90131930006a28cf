//! What an IOMMU lets a function reach: a chain of capabilities behind `struct vfio_iommu_type1_info`.

use super::sys::CHAIN_AT;
use std::ops::RangeInclusive;

/// Bytes of a capability's head: id (2), version (2), place of the next one (4).
const HEAD: usize = 8;
/// `VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE`: number of ranges (4), reserved (4), first and last of each (16).
const IOVA_RANGE: u16 = 1;
/// `VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL`: number (4).
const DMA_AVAIL: u16 = 3;
/// Most capabilities that are looked at: more than there are kinds.
const CAPABILITIES_MAX: usize = 16;

/// What a function can reach, and how it can be told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reach {
    /// IOVAs that can be mapped, in order; none when the kernel does not say (before 5.4).
    pub iova: Vec<RangeInclusive<u64>>,
    /// How many more mappings there may be, if the kernel says so (since 5.10).
    pub mappings_left: Option<u32>,
}

/// Reads the chain that begins at `first`, in bytes from [`CHAIN_AT`] before `bytes`. What does not end
/// within them is `None`.
pub(super) fn parse(bytes: &[u8], first: u32) -> Option<Reach> {
    let mut reach = Reach::default();
    let mut at = first;
    for _ in 0..CAPABILITIES_MAX {
        if at == 0 {
            reach.iova.sort_by_key(|range| *range.start());
            return Some(reach);
        }
        let capability = bytes.get(usize::try_from(at).ok()?.checked_sub(CHAIN_AT)?..)?;
        let body = capability.get(HEAD..)?;
        match u16::from_ne_bytes(field(capability, 0)?) {
            IOVA_RANGE => reach.iova = ranges(body)?,
            DMA_AVAIL => reach.mappings_left = Some(u32::from_ne_bytes(field(body, 0)?)),
            _ => {}
        }
        at = u32::from_ne_bytes(field(capability, 4)?);
    }
    None
}

fn ranges(body: &[u8]) -> Option<Vec<RangeInclusive<u64>>> {
    let count = usize::try_from(u32::from_ne_bytes(field(body, 0)?)).ok()?;
    let ranges = body.get(8..)?.get(..count.checked_mul(16)?)?.chunks_exact(16);
    let read = |range: &[u8]| {
        let (first, last) =
            (u64::from_ne_bytes(field(range, 0)?), u64::from_ne_bytes(field(range, 8)?));
        (first <= last).then_some(first..=last)
    };
    ranges.map(read).collect()
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: usize) -> u32 {
        u32::try_from(CHAIN_AT + offset).unwrap()
    }

    fn head(id: u16, next: u32) -> Vec<u8> {
        [&id.to_ne_bytes()[..], &1_u16.to_ne_bytes(), &next.to_ne_bytes()].concat()
    }

    fn iovas(next: u32, count: u32, ranges: &[(u64, u64)]) -> Vec<u8> {
        let mut bytes = head(IOVA_RANGE, next);
        bytes.extend([count, 0].map(u32::to_ne_bytes).concat());
        for (first, last) in ranges {
            bytes.extend([*first, *last].map(u64::to_ne_bytes).concat());
        }
        bytes
    }

    #[test]
    fn chain_is_read_in_its_order_and_over_what_is_not_known() {
        let mut bytes = head(2, at(16));
        bytes.resize(16, 0xff);
        bytes.extend(iovas(at(64), 2, &[(0xfef0_0000, u64::MAX), (0, 0xfedf_ffff)]));
        assert_eq!(bytes.len(), 64);
        bytes.extend(head(DMA_AVAIL, 0));
        bytes.extend(65_535_u32.to_ne_bytes());
        let reach = parse(&bytes, at(0)).unwrap();
        assert_eq!(reach.iova, [0..=0xfedf_ffff, 0xfef0_0000..=u64::MAX]);
        assert_eq!(reach.mappings_left, Some(65_535));
        assert_eq!(parse(&bytes, 0), Some(Reach::default()));
    }

    #[test]
    fn chain_that_does_not_end_within_its_bytes_is_none() {
        let whole = iovas(0, 2, &[(0, 1), (4, 5)]);
        assert!(parse(&whole, at(0)).is_some());
        for len in 0..whole.len() {
            assert_eq!(parse(&whole[..len], at(0)), None, "{len} bytes");
        }
        let lies = [
            ("loop", head(2, at(0)), at(0)),
            ("before the chain", whole.clone(), 1),
            ("behind it", whole.clone(), u32::MAX),
            ("next behind it", head(2, at(8)), at(0)),
            ("as many ranges", iovas(0, u32::MAX, &[(0, 1)]), at(0)),
            ("one more range", iovas(0, 2, &[(0, 1)]), at(0)),
            ("backwards", iovas(0, 1, &[(1, 0)]), at(0)),
        ];
        for (lie, bytes, first) in lies {
            assert_eq!(parse(&bytes, first), None, "{lie}");
        }
    }
}
