//! A driver with two rings, of either layout, that keeps to the rules. It reads and writes the
//! memory through its file.

use memfd::MemfdOptions;
use std::fs::File;
use std::os::unix::fs::FileExt;

pub(super) const GUEST: u64 = 0x20_0000;
pub(super) const USER: u64 = 0x7fff_0000_0000;
pub(super) const LEN: u64 = 0x4_0000;
pub(super) const SIZE: u16 = 16;
/// Bytes of a ring with its buffers.
const RING: u64 = LEN / 2;
const DRIVER: u64 = 0x1000;
const DEVICE: u64 = 0x2000;
const DATA: u64 = 0x4000;
/// Bytes between two buffers.
const STRIDE: u64 = 0x1800;
/// Bytes of a buffer.
pub(super) const BUFFER: u32 = 0x700;
const HEADER: usize = 12;
const WRITE: u16 = 2;
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;

/// The memory.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) file: File,
}

impl Guest {
    pub(super) fn new() -> Self {
        Self { file: memory(LEN) }
    }

    pub(super) fn all(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(LEN).unwrap()];
        self.file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, at).unwrap();
    }

    fn get<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.file.read_exact_at(&mut bytes, at).unwrap();
        bytes
    }
}

/// Shared memory that can be sealed.
pub(super) fn memory(len: u64) -> File {
    let memory = MemfdOptions::new().allow_sealing(true).create("fuzz").unwrap();
    memory.as_file().set_len(len).unwrap();
    memory.into_file()
}

/// Ring 0 is what the driver receives from, ring 1 what it sends to. Chains are one descriptor.
#[derive(Debug)]
pub(super) struct Ring {
    number: u16,
    packed: bool,
    /// What the driver sends may be given back by one element a burst.
    in_order: bool,
    /// Chains offered, and taken back, ever.
    offered: u64,
    taken: u64,
}

impl Ring {
    pub(super) fn new(number: u16, packed: bool, in_order: bool) -> Self {
        Self { number, packed, in_order: in_order && number == 1, offered: 0, taken: 0 }
    }

    /// Front-end addresses of descriptor, driver and device area.
    pub(super) fn addresses(&self) -> [u64; 3] {
        [0, DRIVER, DEVICE].map(|area| USER + self.start() + area)
    }

    pub(super) fn log_address(&self) -> u64 {
        GUEST + self.start() + DEVICE
    }

    pub(super) fn outstanding(&self) -> u64 {
        self.offered - self.taken
    }

    /// Offers the next buffer with this packet in it, or for one to be received; if there is room.
    pub(super) fn offer(&mut self, guest: &Guest, packet: Option<&[u8]>) -> bool {
        if self.outstanding() == u64::from(SIZE) {
            return false;
        }
        let (slot, turn) = self.place(self.offered);
        let at = self.buffer(slot);
        let (len, flags) = match packet {
            Some(packet) => {
                guest.put(at, &[0; HEADER]);
                guest.put(at + HEADER as u64, packet);
                (u32::try_from(HEADER + packet.len()).unwrap(), 0)
            }
            None => (BUFFER, WRITE),
        };
        let owner = if turn.is_multiple_of(2) { AVAIL } else { USED };
        let [third, fourth] = if self.packed { [slot, flags | owner] } else { [flags, 0] };
        let descriptor = self.start() + 16 * u64::from(slot);
        guest.put(descriptor, &(GUEST + at).to_le_bytes());
        guest.put(descriptor + 8, &len.to_le_bytes());
        guest.put(descriptor + 12, &third.to_le_bytes());
        guest.put(descriptor + 14, &fourth.to_le_bytes());
        self.offered += 1;
        if !self.packed {
            let index = u16::try_from(self.offered & 0xffff).unwrap();
            let driver = self.start() + DRIVER;
            guest.put(driver + 4 + 2 * u64::from(slot), &slot.to_le_bytes());
            guest.put(driver + 2, &index.to_le_bytes());
        }
        true
    }

    /// Takes back what the device has used: bytes written, and the packet in it.
    pub(super) fn take(&mut self, guest: &Guest) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        while self.outstanding() > 0 {
            let (slot, turn) = self.place(self.taken);
            let Some((id, len)) = self.used(guest, slot, turn) else { break };
            // Of a run, the last one speaks for all.
            let ahead = u64::from(id).wrapping_sub(slot.into()) % u64::from(SIZE);
            assert!(id < SIZE.into() && ahead < self.outstanding(), "given back: {id}");
            assert!(self.in_order || ahead == 0, "given back out of order");
            self.taken += ahead;
            assert!(len <= BUFFER, "{len} bytes in a buffer of {BUFFER}");
            let mut packet = vec![0; (len as usize).saturating_sub(HEADER)];
            guest.file.read_exact_at(&mut packet, self.buffer(slot) + HEADER as u64).unwrap();
            packets.push(packet);
            self.taken += 1;
        }
        packets
    }

    fn used(&self, guest: &Guest, slot: u16, turn: u64) -> Option<(u32, u32)> {
        if self.packed {
            let bytes: [u8; 16] = guest.get(self.start() + 16 * u64::from(slot));
            let both = if turn.is_multiple_of(2) { AVAIL | USED } else { 0 };
            let flags = u16::from_le_bytes([bytes[14], bytes[15]]) & (AVAIL | USED);
            let id = u16::from_le_bytes([bytes[12], bytes[13]]);
            let len = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
            return (flags == both).then_some((id.into(), len));
        }
        let device = self.start() + DEVICE;
        let index = u16::from_le_bytes(guest.get(device + 2));
        let gone = u64::from(index.wrapping_sub(u16::try_from(self.taken & 0xffff).unwrap()));
        assert!(gone <= self.outstanding(), "more used than there is");
        let element = device + 4 + 8 * u64::from(slot);
        let [id, len] = [element, element + 4].map(|at| u32::from_le_bytes(guest.get(at)));
        (gone > 0).then_some((id, len))
    }

    /// Slot and turn of a chain.
    fn place(&self, chain: u64) -> (u16, u64) {
        (u16::try_from(chain % u64::from(SIZE)).unwrap(), chain / u64::from(SIZE))
    }

    fn start(&self) -> u64 {
        RING * u64::from(self.number)
    }

    /// Where in the memory a buffer is.
    fn buffer(&self, slot: u16) -> u64 {
        self.start() + DATA + STRIDE * u64::from(slot % SIZE)
    }
}
