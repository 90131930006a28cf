//! Shared memory as the peer has it, and where it is mapped here.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// What lies behind the end of a region that was announced shorter than its file.
const CANARY: u8 = 0xA5;

/// One region.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) file: File,
    /// Bytes that were announced.
    pub(super) len: u64,
    /// Bytes of the file.
    pub(super) file_len: u64,
    /// Name of the file, which tells its mappings from others.
    pub(super) name: &'static str,
}

/// A descriptor, as the specification lays it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) more: bool,
    pub(super) region: u16,
    pub(super) len: u32,
    pub(super) offset: u32,
}

impl Descriptor {
    fn from_bytes(bytes: [u8; 16]) -> Self {
        let [f0, _, r0, r1, l0, l1, l2, l3, o0, o1, o2, o3, ..] = bytes;
        Self {
            more: f0 & 1 != 0,
            region: u16::from_le_bytes([r0, r1]),
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            offset: u32::from_le_bytes([o0, o1, o2, o3]),
        }
    }

    pub(super) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[0] = u8::from(self.more);
        bytes[2..4].copy_from_slice(&self.region.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.len.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.offset.to_le_bytes());
        bytes
    }
}

/// All regions of one link. Rings are in the first.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) regions: Vec<Region>,
    /// Start and length of each mapping, once asked for.
    mapped: Vec<(usize, u64)>,
    /// The peer took memory back: what is read here is not what the queues see.
    pub(super) lost: bool,
}

impl Memory {
    pub(super) fn new(regions: Vec<Region>) -> Self {
        Self { regions, mapped: Vec::new(), lost: false }
    }

    /// Bytes of a region; zeros where there are none.
    pub(super) fn read(&self, region: u16, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let file = &self.regions[usize::from(region)].file;
        let mut done = 0;
        while done < len {
            match file.read_at(&mut bytes[done..], offset + done as u64) {
                Ok(read @ 1..) => done += read,
                _ => break,
            }
        }
        bytes
    }

    pub(super) fn write(&self, offset: u64, bytes: &[u8]) {
        self.regions[0].file.write_all_at(bytes, offset).unwrap();
    }

    pub(super) fn u16(&self, offset: u64) -> u16 {
        u16::from_le_bytes(self.array(offset))
    }

    pub(super) fn set_u16(&self, offset: u64, value: u16) {
        self.write(offset, &value.to_le_bytes());
    }

    pub(super) fn descriptor(&self, offset: u64) -> Descriptor {
        Descriptor::from_bytes(self.array(offset))
    }

    /// The `count` descriptors from `offset` on.
    pub(super) fn descriptors(&self, offset: u64, count: u16) -> Vec<Descriptor> {
        let bytes = self.read(0, offset, 16 * usize::from(count));
        let (descriptors, _) = bytes.as_chunks();
        descriptors.iter().map(|bytes| Descriptor::from_bytes(*bytes)).collect()
    }

    pub(super) fn set_descriptors(&self, offset: u64, descriptors: &[Descriptor]) {
        let bytes: Vec<[u8; 16]> = descriptors.iter().map(|each| each.to_bytes()).collect();
        self.write(offset, bytes.as_flattened());
    }

    fn array<const N: usize>(&self, offset: u64) -> [u8; N] {
        let mut bytes = [0; N];
        let _ = self.regions[0].file.read_exact_at(&mut bytes, offset);
        bytes
    }

    /// Checks that `piece` lies in a mapping of a region, and returns which and where.
    pub(super) fn locate(&mut self, piece: *const [u8]) -> (u16, u64) {
        self.find_mappings();
        let (start, len) = (piece.cast::<u8>().addr(), piece.len() as u64);
        let found = (0..).zip(&self.mapped).find_map(|(region, &(base, region_len))| {
            let offset = start.checked_sub(base)? as u64;
            (offset.checked_add(len)? <= region_len).then_some((region, offset))
        });
        found.unwrap_or_else(|| panic!("{len} bytes at {start:#x} lie in none of {self:#x?}"))
    }

    /// Looks up the mappings, unless that was done before.
    pub(super) fn find_mappings(&mut self) {
        if self.mapped.is_empty() {
            self.mapped = self.mappings();
        }
    }

    /// Where this process has mapped each region: once.
    fn mappings(&self) -> Vec<(usize, u64)> {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let of = |region: &Region| {
            let file = format!("/memfd:{} ", region.name);
            let mut lines = maps.lines().filter(|line| line.contains(&file));
            let (line, other) = (lines.next(), lines.next());
            assert_eq!(other, None, "{} is mapped twice", region.name);
            let start = line.and_then(|line| line.split('-').next()).expect("a mapping");
            (usize::from_str_radix(start, 16).expect("an address"), region.len)
        };
        self.regions.iter().map(of).collect()
    }

    /// Puts canaries behind the announced ends.
    pub(super) fn set_canaries(&self) {
        for region in &self.regions {
            let canary = vec![CANARY; canary_len(region)];
            region.file.write_all_at(&canary, region.len).unwrap();
        }
    }

    /// Checks that nobody wrote behind the announced ends.
    pub(super) fn check_canaries(&self) {
        for (index, region) in (0..).zip(&self.regions) {
            let found = self.read(index, region.len, canary_len(region));
            assert!(found.iter().all(|&byte| byte == CANARY), "written behind region {index}");
        }
    }
}

fn canary_len(region: &Region) -> usize {
    usize::try_from(region.file_len - region.len).unwrap()
}
