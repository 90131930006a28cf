//! A device's side of a ring, by the specification, through the kernel's file interface.

use ringport_vhost_user::driver::queue::{DriverMemory, RingLayout};
use std::fs::File;
use std::os::unix::fs::FileExt;

const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// A chain that the driver made available.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) id: u16,
    /// Guest address and length of each buffer.
    pub(super) buffers: Vec<(u64, u32)>,
    pub(super) writable: bool,
}

impl Chain {
    pub(super) fn entries(&self) -> u16 {
        u16::try_from(self.buffers.len()).unwrap()
    }
}

pub(super) struct Hand {
    file: File,
    guest: u64,
    packed: bool,
    size: u16,
    /// Offsets in the file.
    pub(super) descriptor: u64,
    pub(super) driver: u64,
    pub(super) device: u64,
    /// Free-running indices; packed: places and wrap counters.
    seen: (u16, bool),
    used: (u16, bool),
}

impl Hand {
    pub(super) fn new(memory: &DriverMemory, layout: RingLayout, ring: usize) -> Self {
        let (at, region) = (memory.addresses(ring).unwrap(), memory.region());
        let offset = |address: u64| address - region.user_address;
        Self {
            file: memory.fd().try_clone_to_owned().unwrap().into(),
            guest: region.guest_address,
            packed: layout == RingLayout::Packed,
            size: at.size,
            descriptor: offset(at.descriptor),
            driver: offset(at.driver),
            device: offset(at.device),
            seen: (0, true),
            used: (0, true),
        }
    }

    /// Bytes of the memory.
    pub(super) fn len(&self) -> u64 {
        self.file.metadata().unwrap().len()
    }

    pub(super) fn write(&self, offset: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, offset).unwrap();
    }

    /// Takes what was made available since the last time.
    pub(super) fn offered(&mut self) -> Vec<Chain> {
        std::iter::from_fn(|| self.next_chain()).collect()
    }

    /// Writes to a buffer.
    pub(super) fn put(&self, chain: &Chain, bytes: &[u8]) {
        self.write(chain.buffers[0].0 - self.guest, bytes);
    }

    /// All that a chain holds.
    pub(super) fn contents(&self, chain: &Chain) -> Vec<u8> {
        let part = |&(address, len): &(u64, u32)| {
            let mut part = vec![0; len as usize];
            self.file.read_exact_at(&mut part, address - self.guest).unwrap();
            part
        };
        assert!(!chain.writable);
        chain.buffers.iter().flat_map(part).collect()
    }

    /// Gives back one element that stands for `chains` chains of `entries` descriptors together.
    pub(super) fn give(&mut self, id: u32, len: u32, chains: u16, entries: u16) {
        if !self.packed {
            let element = [id.to_le_bytes(), len.to_le_bytes()].concat();
            self.write(self.device + 4 + 8 * u64::from(self.used.0 % self.size), &element);
            return self.publish(chains);
        }
        let [low, high, ..] = id.to_le_bytes();
        let flags = if self.used.1 { [0x80, 0x80] } else { [0, 0] };
        let state = [&len.to_le_bytes()[..], &[low, high], &flags].concat();
        self.write(self.descriptor + 16 * u64::from(self.used.0) + 8, &state);
        self.used = self.ahead(self.used, entries);
    }

    /// Split: moves the index of used elements on.
    pub(super) fn publish(&mut self, by: u16) {
        if !self.packed {
            self.used.0 = self.used.0.wrapping_add(by);
            self.write(self.device + 2, &self.used.0.to_le_bytes());
        }
    }

    /// Whether the driver wants to hear of the next element.
    pub(super) fn is_called_for(&self, event_idx: bool) -> bool {
        if self.packed {
            return self.word(self.driver + 2) == 0;
        }
        match event_idx {
            true => self.word(self.driver + 4 + 2 * u64::from(self.size)) == self.used.0,
            false => self.word(self.driver) & 1 == 0,
        }
    }

    fn next_chain(&mut self) -> Option<Chain> {
        let mut chain = Chain { id: 0, buffers: Vec::new(), writable: false };
        if self.packed {
            loop {
                let (buffer, [id, flags]) = self.entry(self.seen.0);
                let mine = if self.seen.1 { 0x80 } else { 0x8000 };
                if flags & 0x8080 != mine {
                    assert!(chain.buffers.is_empty(), "half a chain");
                    return None;
                }
                self.seen = self.ahead(self.seen, 1);
                chain.add(id, buffer, flags);
                if flags & NEXT == 0 {
                    return Some(chain);
                }
            }
        }
        if self.word(self.driver + 2) == self.seen.0 {
            return None;
        }
        let mut at = self.word(self.driver + 4 + 2 * u64::from(self.seen.0 % self.size));
        let head = at;
        self.seen.0 = self.seen.0.wrapping_add(1);
        loop {
            assert!(at < self.size && chain.entries() < self.size);
            let (buffer, [flags, next]) = self.entry(at);
            chain.add(head, buffer, flags);
            if flags & NEXT == 0 {
                return Some(chain);
            }
            at = next;
        }
    }

    /// A descriptor: address and length, and the last two words.
    fn entry(&self, slot: u16) -> ((u64, u32), [u16; 2]) {
        let at = self.descriptor + 16 * u64::from(slot);
        let address = u64::from_le_bytes(self.bytes(at));
        let len = u32::from_le_bytes(self.bytes(at + 8));
        ((address, len), [self.word(at + 12), self.word(at + 14)])
    }

    fn word(&self, offset: u64) -> u16 {
        u16::from_le_bytes(self.bytes(offset))
    }

    fn bytes<const N: usize>(&self, offset: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.file.read_exact_at(&mut bytes, offset).unwrap();
        bytes
    }

    fn ahead(&self, (slot, wrap): (u16, bool), by: u16) -> (u16, bool) {
        if slot + by < self.size { (slot + by, wrap) } else { (slot + by - self.size, !wrap) }
    }
}

impl Chain {
    fn add(&mut self, id: u16, buffer: (u64, u32), flags: u16) {
        self.id = id;
        self.buffers.push(buffer);
        self.writable = flags & WRITE != 0;
    }
}
