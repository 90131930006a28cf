#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]

use super::*;
use proptest::prelude::*;
use ringport::shm::{Backing, OwnedMemory};
use std::fs::File;
use std::os::unix::fs::FileExt;

const SIZE: u16 = 8;
const WRAPPED: u16 = 1 << 15;

/// Memory for two rings of eight, of which the second is looked at.
struct Area {
    file: File,
    area: InflightArea,
    packed: bool,
}

impl Area {
    fn new(packed: bool) -> Self {
        let len = area_len(packed, 2, SIZE);
        let memory = OwnedMemory::create("inflight", len.try_into().unwrap(), Backing::Pages);
        let memory = memory.unwrap();
        let fd = memory.fd().try_clone_to_owned().unwrap();
        let said = InflightMemory { fd, size: len, offset: 0, queues: 2, queue_size: SIZE };
        let area = InflightArea::new(Arc::clone(memory.mapping()), &said);
        Self { file: said.fd.into(), area, packed }
    }

    /// Writes to the second ring's region.
    fn put(&self, at: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, area_len(self.packed, 1, SIZE) + at).unwrap();
    }

    fn get<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.file.read_exact_at(&mut bytes, area_len(self.packed, 1, SIZE) + at).unwrap();
        bytes
    }

    /// What another back-end left: positions as words with the wrap counter as bit 15.
    fn packed_at(used: u16, old: u16) -> Self {
        let area = Self::new(true);
        area.put(8, &[1, 0, 8, 0]);
        area.put(16, &(used & !WRAPPED).to_le_bytes());
        area.put(18, &(old & !WRAPPED).to_le_bytes());
        area.put(20, &[u8::from(used & WRAPPED != 0), u8::from(old & WRAPPED != 0)]);
        area
    }

    fn split_marking(heads: &[u16]) -> Self {
        let area = Self::new(false);
        area.put(8, &[1, 0, 8, 0]);
        for head in heads {
            // Any value but zero is a mark.
            area.put(16 + 16 * u64::from(*head), &[0x80 + head.to_le_bytes()[0]]);
        }
        area
    }

    fn find(&self) -> Result<Found, InflightError> {
        self.area.find(1, self.packed).map(|found| found.expect("two rings have a region"))
    }

    /// Where the ring goes on, if the descriptor before was used or not.
    fn position(&self, is_used: bool) -> Result<Option<u16>, InflightError> {
        let position = self.find()?.position(SIZE, |_| is_used)?;
        Ok(position.map(|at| at.index | if at.wrap { WRAPPED } else { 0 }))
    }
}

fn at(word: u16) -> PackedIndex {
    PackedIndex { index: word & !WRAPPED, wrap: word & WRAPPED != 0 }
}

#[test]
fn new_memory_says_nothing_and_remembers_once_the_ring_starts() {
    let area = Area::new(true);
    assert_eq!(area.position(true), Ok(None));
    let base = RingBase::Packed { avail: at(5), used: at(3) };
    let ring = area.find().unwrap().start(base, SIZE).unwrap();
    assert_eq!(area.get(8), [1, 0, 8, 0]);
    assert_eq!(area.position(false), Ok(Some(3)));
    ring.positions(at(WRAPPED | 2), at(3));
    assert_eq!(area.get(16), [2, 0, 3, 0, 1, 0]);
    ring.positions(at(WRAPPED | 2), at(WRAPPED | 2));
    assert_eq!(area.position(false), Ok(Some(WRAPPED | 2)));
}

#[test]
fn batch_that_was_announced_counts_if_the_driver_can_see_it() {
    let area = Area::packed_at(WRAPPED | 1, 6);
    assert_eq!(area.position(true), Ok(Some(WRAPPED | 1)));
    assert_eq!(area.position(false), Ok(Some(6)));
    let seen = area.find().unwrap().position(SIZE, |old| {
        assert_eq!(old, at(6));
        false
    });
    assert_eq!(seen, Ok(Some(at(6))));
}

#[test]
fn position_outside_of_the_ring_is_refused() {
    for (used, old) in [(8, 0), (0, 8), (0x7fff, 0x7fff), (WRAPPED | 9, 1)] {
        let refused = Area::packed_at(used, old).position(true);
        assert!(matches!(refused, Err(InflightError::Position { size: SIZE, .. })), "{refused:?}");
    }
}

#[test]
fn split_ring_keeps_its_used_index() {
    let area = Area::new(false);
    let found = area.find().unwrap();
    let ring = found.start(RingBase::Split { avail: 0x1234 }, SIZE).unwrap();
    assert_eq!(area.get(8), [1, 0, 8, 0, 0, 0, 0x34, 0x12]);
    ring.used(0xfffe);
    assert_eq!(area.get(14), [0xfe, 0xff]);
}

#[test]
fn chains_in_flight_of_another_back_end_are_taken_over_if_they_come_next() {
    let area = Area::split_marking(&[2, 7, 4]);
    area.find().unwrap().check_order([7, 4, 2, 5].into_iter()).unwrap();
    area.find().unwrap().start(RingBase::Split { avail: 0 }, SIZE).unwrap();
    assert_eq!(area.find().unwrap().marked, [false; SIZE as usize], "they are no more");
}

#[test]
fn chains_in_flight_behind_others_that_were_used_are_refused() {
    let area = Area::split_marking(&[2, 7]);
    for next in [&[7, 4, 2][..], &[7, 7, 2], &[7], &[], &[700, 2, 7]] {
        let refused = area.find().unwrap().check_order(next.iter().copied());
        assert_eq!(refused, Err(InflightError::OutOfOrder), "{next:?}");
    }
    let area = Area::packed_at(0, 0);
    area.put(32 + 32 * 3, &[2]);
    assert_eq!(area.position(true), Err(InflightError::OutOfOrder));
}

#[test]
fn version_that_is_unknown_is_refused() {
    for packed in [false, true] {
        let area = Area::new(packed);
        area.put(8, &[7, 1]);
        assert_eq!(area.find().unwrap_err(), InflightError::Version { version: 0x107 });
    }
}

#[test]
fn ring_without_a_region_has_none_and_one_outside_of_the_memory_is_refused() {
    for packed in [false, true] {
        let mut area = Area::new(packed).area;
        assert!(area.find(2, packed).unwrap().is_none());
        area.queues = u16::MAX;
        for ring in [2, 3, 0x8000] {
            assert!(matches!(area.find(ring, packed), Err(InflightError::Outside(_))), "{ring}");
        }
        area.queue_size = u16::MAX;
        assert!(matches!(area.find(0, packed), Err(InflightError::Outside(_))));
        for offset in [8, 1, u64::MAX, u64::MAX - 64] {
            let end = u64::MAX;
            let area = InflightArea { mapping: Arc::clone(&area.mapping), offset, end, ..area };
            assert!(matches!(area.find(0, packed), Err(InflightError::Outside(_))), "{offset}");
        }
    }
}

proptest! {
    #[test]
    fn whatever_the_memory_says_the_ring_goes_on_within_itself_or_not_at_all(
        bytes in prop::collection::vec(prop_oneof![3 => Just(0u8), 1 => Just(1u8), 1 => any::<u8>()], 288),
        heads in prop::collection::vec(any::<u16>(), 0..9),
        packed in any::<bool>(),
        is_used in any::<bool>(),
    ) {
        let area = Area::new(packed);
        let len = usize::try_from(area_len(packed, 1, SIZE)).unwrap();
        area.put(0, &bytes[..len.min(bytes.len())]);
        if let Ok(found) = area.find() {
            let _ = found.check_order(heads.into_iter());
            if let Ok(Some(at)) = found.position(SIZE, |old| { assert!(old.index < SIZE); is_used }) {
                prop_assert!(at.index < SIZE);
            }
        }
    }
}
