//! The device's side of a ring of either layout, which may do whatever it likes.

use super::*;
use std::fs::File;
use std::os::unix::fs::FileExt;

pub(super) const HEADER: usize = 12;
pub(super) const NEXT: u16 = 1;

/// A chain that the driver made available.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) id: u16,
    /// Guest address and length of each buffer.
    pub(super) buffers: Vec<(u64, u32)>,
}

/// One ring of a driver's memory, which is accessed by its file.
#[derive(Debug)]
pub(super) struct Device {
    file: File,
    guest: u64,
    layout: RingLayout,
    size: u16,
    /// Offsets in the file.
    pub(super) descriptor: u64,
    pub(super) driver: u64,
    pub(super) device: u64,
    /// Where the next chain is: a free-running index; packed, a place and a wrap counter.
    seen: (u16, bool),
    /// The same for what is given back.
    used: (u16, bool),
}

impl Device {
    pub(super) fn new(memory: &DriverMemory, layout: RingLayout, ring: usize) -> Self {
        let (at, region) = (memory.addresses(ring).unwrap(), memory.region());
        let offset = |address: u64| address - region.user_address;
        Self {
            file: memory.fd().try_clone_to_owned().unwrap().into(),
            guest: region.guest_address,
            layout,
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

    pub(super) fn read<const N: usize>(&self, offset: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.file.read_exact_at(&mut bytes, offset).unwrap();
        bytes
    }

    pub(super) fn word(&self, offset: u64) -> u16 {
        u16::from_le_bytes(self.read(offset))
    }

    /// Takes the chains that were made available since the last time.
    pub(super) fn offered(&mut self) -> Vec<Chain> {
        std::iter::from_fn(|| self.next_chain()).collect()
    }

    fn next_chain(&mut self) -> Option<Chain> {
        if self.layout == RingLayout::Packed {
            return self.next_packed();
        }
        if self.word(self.driver + 2) == self.seen.0 {
            return None;
        }
        let id = self.word(self.driver + 4 + 2 * u64::from(self.seen.0 % self.size));
        self.seen.0 = self.seen.0.wrapping_add(1);
        let (mut at, mut buffers) = (id, Vec::new());
        loop {
            let (buffer, last) = self.entry(at);
            buffers.push(buffer);
            if last[0] & NEXT == 0 {
                return Some(Chain { id, buffers });
            }
            at = last[1];
        }
    }

    fn next_packed(&mut self) -> Option<Chain> {
        let mut buffers = Vec::new();
        loop {
            let (buffer, [id, flags]) = self.entry(self.seen.0);
            let mine = if self.seen.1 { 1 << 7 } else { 1 << 15 };
            if flags & 0x8080 != mine {
                assert!(buffers.is_empty(), "half a chain");
                return None;
            }
            buffers.push(buffer);
            self.seen = self.ahead(self.seen, 1);
            if flags & NEXT == 0 {
                return Some(Chain { id, buffers });
            }
        }
    }

    /// A descriptor: address and length, and the last two words.
    pub(super) fn entry(&self, slot: u16) -> ((u64, u32), [u16; 2]) {
        let at = self.descriptor + 16 * u64::from(slot);
        let (address, len) = (u64::from_le_bytes(self.read(at)), self.read(at + 8));
        ((address, u32::from_le_bytes(len)), [self.word(at + 12), self.word(at + 14)])
    }

    /// Gives a chain back.
    pub(super) fn give_back(&mut self, chain: &Chain, len: u32) {
        let entries = u16::try_from(chain.buffers.len()).unwrap();
        self.give(chain.id.into(), len, 1, entries);
    }

    /// Gives back whatever it is, as one element that stands for so many chains, of so many entries.
    pub(super) fn give(&mut self, id: u32, len: u32, chains: u16, entries: u16) {
        if self.layout == RingLayout::Packed {
            let flags = if self.used.1 { 0x8080u16 } else { 0 };
            let id = u16::try_from(id & 0xffff).unwrap();
            let state = [&len.to_le_bytes()[..], &id.to_le_bytes(), &flags.to_le_bytes()].concat();
            // What is in front of it is unused then (VIRTIO 1.3 §2.8.7): a device may write all of it.
            let slot = self.descriptor + 16 * u64::from(self.used.0);
            self.write(slot, &[&[0xa5; 8][..], &state].concat());
            self.used = self.ahead(self.used, entries);
            return;
        }
        let element = [id.to_le_bytes(), len.to_le_bytes()].concat();
        self.write(self.device + 4 + 8 * u64::from(self.used.0 % self.size), &element);
        self.publish(chains);
    }

    /// Split: moves the used index on.
    pub(super) fn publish(&mut self, by: u16) {
        self.used.0 = self.used.0.wrapping_add(by);
        self.write(self.device + 2, &self.used.0.to_le_bytes());
    }

    /// Writes a header that names `buffers` buffers, and a packet behind it, to the buffers of
    /// `chains`. Returns what to give each back with.
    pub(super) fn fill(&self, chains: &[Chain], buffers: u16, packet: &[u8]) -> Vec<u32> {
        let mut bytes = vec![0; HEADER];
        bytes[10..].copy_from_slice(&buffers.to_le_bytes());
        bytes.extend(packet);
        let mut lens = Vec::new();
        for chain in chains {
            let (address, capacity) = chain.buffers[0];
            let now = bytes.len().min(capacity as usize);
            self.write(address - self.guest, &bytes[..now]);
            lens.push(u32::try_from(now).unwrap());
            bytes.drain(..now);
        }
        assert!(bytes.is_empty(), "too long");
        lens
    }

    /// Puts a packet into the buffers of `chains` and gives them back.
    pub(super) fn send(&mut self, chains: &[Chain], packet: &[u8]) {
        let lens = self.fill(chains, u16::try_from(chains.len()).unwrap(), packet);
        for (chain, len) in chains.iter().zip(lens) {
            self.give_back(chain, len);
        }
    }

    /// Header and packet that a chain of the driver's holds.
    pub(super) fn packet(&self, chain: &Chain) -> (Vec<u8>, Vec<u8>) {
        let mut bytes = Vec::new();
        for &(address, len) in &chain.buffers {
            let mut part = vec![0; len as usize];
            self.file.read_exact_at(&mut part, address - self.guest).unwrap();
            bytes.extend(part);
        }
        let packet = bytes.split_off(HEADER);
        (bytes, packet)
    }

    fn ahead(&self, (slot, wrap): (u16, bool), by: u16) -> (u16, bool) {
        if slot + by < self.size { (slot + by, wrap) } else { (slot + by - self.size, !wrap) }
    }
}

/// A driver's queue of `setup`, without doorbells, and a device made by hand.
pub(super) fn rx_by_hand(setup: &Setup) -> (RxQueue, Device, Arc<LinkState>) {
    let link = link();
    let mut memory = DriverMemory::allocate(&setup.config(), &link).unwrap();
    let options = QueueOptions { features: setup.features, ..QueueOptions::default() };
    let rx = memory.rx_queue(0, &options).unwrap();
    (rx, Device::new(&memory, setup.layout, 0), link)
}

/// As [`rx_by_hand`], for the other direction.
pub(super) fn tx_by_hand(setup: &Setup) -> (TxQueue, Device, Arc<LinkState>) {
    let link = link();
    let mut memory = DriverMemory::allocate(&setup.config(), &link).unwrap();
    let options = QueueOptions { features: setup.features, ..QueueOptions::default() };
    let tx = memory.tx_queue(0, &options).unwrap();
    (tx, Device::new(&memory, setup.layout, 1), link)
}
