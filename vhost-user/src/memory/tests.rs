use super::*;
use ringport::shm::{Backing, OwnedMemory};

const MAPPED: u64 = 0x8000;

fn mapping() -> Arc<Mapping> {
    let memory = OwnedMemory::create("memory-test", 0x8000, Backing::Pages).unwrap();
    Arc::clone(memory.mapping())
}

fn region(guest: u64, front_end: u64, size: u64, offset: u64) -> Region {
    Region { guest, front_end, size, mapping: mapping(), offset }
}

/// Guest [0x1000, 0x3000) and [0x3000, 0x4000) side by side, and [0x10000, 0x11000) alone.
fn memory() -> GuestMemory {
    GuestMemory::new(vec![
        region(0x1_0000, 0x50_0000, 0x1000, 0),
        region(0x3000, 0x90_0000, 0x1000, 0x2000),
        region(0x1000, 0x70_0000, 0x2000, 0x1000),
    ])
    .unwrap()
}

#[test]
fn both_kinds_of_address_name_the_same_place() {
    let memory = memory();
    let place = |region, offset| Some(Place { region, offset });
    assert_eq!(memory.at_guest(0x1010, 8), place(0, 0x1010));
    assert_eq!(memory.at_front_end(0x70_0010, 8), place(0, 0x1010));
    assert_eq!(memory.at_guest(0x3ff8, 8), place(1, 0x2ff8));
    assert_eq!(memory.at_front_end(0x50_0fff, 1), place(2, 0xfff));
    assert_eq!(memory.at_front_end(0x1010, 8), None, "a guest address is no front-end address");
}

#[test]
fn every_range_is_checked_whole() {
    let memory = memory();
    let bad = [
        (0xfff, 1),
        (0x2fff, 2),
        (0x3fff, 2),
        (0x4000, 0),
        (0x4000, 1),
        (0x1_0fff, 2),
        (0x1_1000, 1),
        (0x1000, u64::MAX),
        (u64::MAX, 1),
        (u64::MAX, u64::MAX),
        (0, 0x1001),
    ];
    let mut translator = memory.translator();
    for (address, len) in bad {
        assert_eq!(memory.at_guest(address, len), None, "{address:#x} {len}");
        let short = u32::try_from(len).unwrap_or(u32::MAX);
        assert_eq!(translator.locate(address, short), None, "{address:#x} {len}");
    }
}

#[test]
fn translator_finds_what_the_memory_finds_wherever_it_was_before() {
    let memory = memory();
    let addresses = [0, 0x1000, 0x2fff, 0x3000, 0x3fff, 0x4000, 0x1_0000, 0x1_0fff, u64::MAX];
    for before in addresses {
        for address in addresses {
            for len in [1, 2, 0x1000, 0x2000, u32::MAX] {
                let mut translator = memory.translator();
                translator.locate(before, 1);
                let place = memory.at_guest(address, len.into());
                let expected = place.map(|Place { region, offset }| (region, offset));
                assert_eq!(translator.locate(address, len), expected, "{address:#x} {len}");
            }
        }
    }
}

#[test]
fn buffer_across_neighbours_is_cut_and_one_across_a_hole_refused() {
    let memory = memory();
    let mut pieces = Vec::new();
    memory.pieces(0x2ff0, 0x30, &mut pieces).unwrap();
    let piece = |region, offset, len| Piece::alone(offset, Shape::new(region, len, false));
    assert_eq!(pieces, [piece(0, 0x2ff0, 0x10), piece(1, 0x2000, 0x20)]);
    for (address, len) in [(0x3ff0, 0x30), (0xff0, 0x30), (u64::MAX - 1, 10), (0x1000, u32::MAX)] {
        assert_eq!(memory.pieces(address, len, &mut Vec::new()), None, "{address:#x}");
    }
    let mut bytes = [0; 0x30];
    assert_eq!(memory.read(0x2ff0, &mut bytes), Some(()));
    assert_eq!(memory.read(0x3ff0, &mut bytes), None);
    assert_eq!(memory.read(u64::MAX - 1, &mut bytes), None);
}

#[test]
fn impossible_regions_are_refused() {
    let refused = |regions| GuestMemory::new(regions).unwrap_err();
    assert_eq!(refused(vec![region(7, 7, 0, 0)]), MemoryError::Empty { guest: 7 });
    for (guest, front_end) in [(u64::MAX, 0), (0, u64::MAX)] {
        let wraps = MemoryError::Wraps { start: u64::MAX, size: 1 };
        assert_eq!(refused(vec![region(guest, front_end, 1, 0)]), wraps);
    }
    for (offset, size) in [(0, MAPPED + 1), (MAPPED, 1), (1, MAPPED), (u64::MAX, 1)] {
        let mapped = MAPPED;
        let beyond = MemoryError::NotMapped { offset, size, mapped };
        assert_eq!(refused(vec![region(0, 0, size, offset)]), beyond);
    }
    let pair = |guest, front_end| vec![region(0, 0, 0x1000, 0), region(guest, front_end, 16, 0)];
    assert_eq!(refused(pair(0xfff, 0x1000)), MemoryError::Overlap { start: 0xfff });
    assert_eq!(refused(pair(0x1000, 0xfff)), MemoryError::Overlap { start: 0xfff });
    assert!(GuestMemory::new(pair(0x1000, 0x1000)).is_ok());
    let many = vec![region(0, 0, 1, 0); 513];
    assert_eq!(refused(many), MemoryError::TooMany { count: 513, limit: 512 });
}

#[test]
fn memory_without_regions_has_no_address() {
    let memory = GuestMemory::new(Vec::new()).unwrap();
    assert_eq!(memory.at_guest(0, 1), None);
    assert_eq!(memory.translator().locate(0, 0), None);
}
