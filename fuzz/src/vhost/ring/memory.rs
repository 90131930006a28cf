//! A driver's memory: one file, with regions in it, and canaries between them.

use ringport::link::LinkState;
use ringport::shm::{Mapping, MemoryPolicy};
use ringport_vhost_user::memory::{GuestMemory, Region};
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// What lies between the regions.
const CANARY: u8 = 0xA5;
/// Where in the file regions begin: rings and data; data; tables of indirect descriptors.
const STARTS: [u64; 3] = [0x1000, 0xA000, 0x1_1000];
/// The least that they have, in bytes.
const LENS: [u64; 3] = [0x7000, 0x4000, 0x8000];
const FILE_LEN: u64 = 0x1_B000;
/// Bytes between the two rings, and where their areas are: descriptors, driver's, device's.
const RING: u64 = 0x2000;
const RING_AREAS: [u64; 3] = [0, 0x1000, 0x1400];
/// Guest address of the first region; the second begins where it ends.
const GUEST: u64 = 0x1000_0000;
const FRONT_END: u64 = 0x7f00_0000_0000;
const NAME: &str = "ringport-fuzz-guest";

/// Bits of a variant: regions that are missing, the third at another guest address, front-end
/// addresses elsewhere, all regions in one mapping.
pub(super) const MISSING: u8 = 7;
pub(super) const THIRD_ELSEWHERE: u8 = 8;
pub(super) const FRONT_ELSEWHERE: u8 = 16;
pub(super) const ONE_MAPPING: u8 = 32;

/// The file.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) file: File,
    /// The regions' places in it.
    extents: [Range<u64>; 3],
    /// Where this process has mapped the file, as far as it was looked up.
    mapped: Vec<Range<usize>>,
}

/// A place in the file.
pub(super) type Piece = (u64, usize);

/// The addresses of one generation of memory, by a variant's bits.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) variant: u8,
    regions: Vec<Extent>,
}

#[derive(Debug, Clone)]
struct Extent {
    guest: u64,
    front_end: u64,
    file: Range<u64>,
}

impl Memory {
    /// Regions that are longer than they must be by `more` bytes, less than a page each.
    pub(super) fn new(more: [u8; 3]) -> Self {
        let made = memfd::MemfdOptions::new().allow_sealing(true).create(NAME).unwrap();
        let file = made.into_file();
        file.set_len(FILE_LEN).unwrap();
        let extent = |at: usize| STARTS[at]..STARTS[at] + LENS[at] + 13 * u64::from(more[at]);
        let memory = Self { file, extents: [0, 1, 2].map(extent), mapped: Vec::new() };
        for gap in memory.gaps() {
            let len = usize::try_from(gap.end - gap.start).unwrap();
            memory.put(gap.start, &vec![CANARY; len]);
        }
        memory
    }

    /// Where ring 0 or 1 is, unless it is elsewhere.
    pub(super) fn ring_areas(number: usize) -> [u64; 3] {
        RING_AREAS.map(|offset| STARTS[0] + RING * number as u64 + offset)
    }

    fn gaps(&self) -> [Range<u64>; 4] {
        let [a, b, c] = &self.extents;
        [0..a.start, a.end..b.start, b.end..c.start, c.end..FILE_LEN]
    }

    /// Checks that nobody wrote between the regions.
    pub(super) fn check_canaries(&self) {
        let view = self.view();
        for gap in self.gaps() {
            let bytes = &view[index(gap.start)..index(gap.end)];
            assert!(bytes.iter().all(|&byte| byte == CANARY), "written in {gap:#x?}");
        }
    }

    /// Everything, as it is now.
    pub(super) fn view(&self) -> Vec<u8> {
        let mut bytes = vec![0; index(FILE_LEN)];
        self.file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    pub(super) fn put(&self, at: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, at).unwrap();
    }

    pub(super) fn put_u16(&self, at: u64, value: u16) {
        self.put(at, &value.to_le_bytes());
    }

    /// A place for `len` bytes in a region, by any number; the start of the first otherwise.
    pub(super) fn place(&self, number: u32, len: u64) -> u64 {
        let extent = &self.extents[index(u64::from(number)) % 3];
        extent.start + u64::from(number / 3) % (extent.end - extent.start - len)
    }

    /// The bytes behind the rings that buffers may have: their guest address and how many there are.
    pub(super) fn data(&self, rings: u64) -> (u64, u64) {
        let [a, b, _] = self.extents.clone().map(|extent| extent.end - extent.start);
        (GUEST + rings, a + b - rings)
    }

    /// Where in the file the mapped bytes are.
    pub(super) fn locate(&mut self, piece: *const [u8]) -> Piece {
        let (start, len) = (piece.cast::<u8>().addr(), piece.len());
        let of = |mapped: &[Range<usize>]| {
            let holds = |range: &&Range<usize>| start >= range.start && start + len <= range.end;
            mapped.iter().find(holds).map(|range| start - range.start)
        };
        let found = of(&self.mapped).or_else(|| {
            self.mapped = mappings();
            of(&self.mapped)
        });
        let found = found.unwrap_or_else(|| panic!("{len} bytes at {start:#x} are not mapped"));
        (found as u64, len)
    }

    /// Mappings come and go: what was looked up does not hold any more.
    pub(super) fn forget_mappings(&mut self) {
        self.mapped.clear();
    }
}

/// Where the file is mapped; from its start, all of them.
fn mappings() -> Vec<Range<usize>> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let lines = maps.lines().filter(|line| line.contains(NAME) && line.contains(" rw-s 00000000 "));
    let range = |line: &str| {
        let (start, rest) = line.split_once('-').expect("a range");
        let end = rest.split(' ').next().expect("its end");
        let address = |text| usize::from_str_radix(text, 16).expect("an address");
        address(start)..address(end)
    };
    lines.map(range).collect()
}

pub(super) fn index(at: u64) -> usize {
    usize::try_from(at).expect("an offset in the file")
}

impl Table {
    pub(super) fn new(memory: &Memory, variant: u8) -> Self {
        let [a, b, _] = memory.extents.clone().map(|extent| extent.end - extent.start);
        let third = if variant & THIRD_ELSEWHERE == 0 { 0x10_0000 } else { a + b };
        let shift = if variant & FRONT_ELSEWHERE == 0 { 0 } else { 1 << 40 };
        let place = [(0, 0), (a, 0x40_0000), (third, 0x20_0000)];
        let all = memory.extents.iter().zip(place).enumerate();
        let there = all.filter(|(at, _)| variant >> at & 1 == 0);
        let regions = there.map(|(_, (file, (guest, front)))| Extent {
            guest: GUEST + guest,
            front_end: FRONT_END + front + shift,
            file: file.clone(),
        });
        Self { variant, regions: regions.collect() }
    }

    /// Maps the regions.
    pub(super) fn map(&self, memory: &Memory, link: &Arc<LinkState>) -> Arc<GuestMemory> {
        let map = |end| {
            let mapping = Mapping::from_peer(&memory.file, end, MemoryPolicy::Guarded, link);
            Arc::new(mapping.unwrap())
        };
        let one = (self.variant & ONE_MAPPING != 0).then(|| map(FILE_LEN));
        let region = |extent: &Extent| Region {
            guest: extent.guest,
            front_end: extent.front_end,
            size: extent.file.end - extent.file.start,
            mapping: one.clone().unwrap_or_else(|| map(extent.file.end)),
            offset: extent.file.start,
        };
        Arc::new(GuestMemory::new(self.regions.iter().map(region).collect()).unwrap())
    }

    /// Where bytes at a guest address are; in several pieces where regions are neighbours.
    pub(super) fn guest(&self, mut address: u64, len: usize) -> Option<Vec<Piece>> {
        let (mut left, mut pieces) = (len as u64, Vec::new());
        while left > 0 {
            let (file, room) = self.regions.iter().find_map(|extent| {
                let into = address.checked_sub(extent.guest)?;
                let room = (extent.file.end - extent.file.start).checked_sub(into)?;
                (room > 0).then_some((extent.file.start + into, room))
            })?;
            let now = room.min(left);
            pieces.push((file, index(now)));
            (address, left) = (address + now, left - now);
        }
        Some(pieces)
    }

    /// Where `len` bytes at a front-end address are, all in one region.
    pub(super) fn front_end(&self, address: u64, len: u64) -> Option<u64> {
        self.regions.iter().find_map(|extent| {
            let into = address.checked_sub(extent.front_end)?;
            let inside = into.checked_add(len)? <= extent.file.end - extent.file.start;
            inside.then_some(extent.file.start + into)
        })
    }

    /// The front-end addresses of a ring's areas.
    pub(super) fn ring_addresses(number: usize) -> [u64; 3] {
        Memory::ring_areas(number).map(|area| Self::address(area - STARTS[0]))
    }

    /// The front-end address of the byte at `offset` of the first region.
    pub(super) fn address(offset: u64) -> u64 {
        FRONT_END + offset
    }

    /// The guest address of the byte at `offset` of the third region.
    pub(super) fn third(&self, memory: &Memory, offset: u64) -> u64 {
        let all = Self::new(memory, self.variant & THIRD_ELSEWHERE);
        all.regions[2].guest + offset
    }

    /// The guest address of a byte of the file that is in a region.
    pub(super) fn guest_at(&self, file: u64) -> u64 {
        let extent = self.regions.iter().find(|extent| extent.file.contains(&file));
        extent.map(|extent| extent.guest + (file - extent.file.start)).expect("in a region")
    }

    /// Guest address, length and place in the file of each region.
    pub(super) fn regions(&self) -> impl Iterator<Item = (u64, usize, u64)> + '_ {
        let region = |e: &Extent| (e.guest, index(e.file.end - e.file.start), e.file.start);
        self.regions.iter().map(region)
    }
}

/// The bytes of pieces, one behind the other.
pub(super) fn bytes(view: &[u8], pieces: &[Piece]) -> Vec<u8> {
    pieces.iter().flat_map(|&(at, len)| &view[index(at)..index(at) + len]).copied().collect()
}

/// Takes the first `len` bytes off.
pub(super) fn behind(pieces: &[Piece], mut len: usize) -> Vec<Piece> {
    let mut rest = Vec::new();
    for &(at, piece) in pieces {
        let skipped = len.min(piece);
        len -= skipped;
        if piece > skipped {
            rest.push((at + skipped as u64, piece - skipped));
        }
    }
    rest
}

/// Whether no piece of `one` has a byte in common with one of `other`.
pub(super) fn apart(one: &[Piece], other: &[Piece]) -> bool {
    let meet = |a: &Piece, b: &Piece| a.0 < b.0 + b.1 as u64 && b.0 < a.0 + a.1 as u64;
    !one.iter().any(|a| other.iter().any(|b| meet(a, b)))
}
