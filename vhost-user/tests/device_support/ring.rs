//! The driver's side of a split ring.

use super::eventually;
use super::guest::{FRONT_END, GUEST, Guest};
use vhost::VringConfigData;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

pub const SIZE: u16 = 64;
const HEADER: usize = 12;
/// Bytes of a buffer.
pub const BUFFER: u64 = 0x4000;
/// Bytes of a ring with all that belongs to it.
pub const STRIDE: u64 = 0x20_0000;
pub const AVAILABLE: u64 = 0x4000;
pub const USED: u64 = 0x8000;
pub const DATA: u64 = 0x1_0000;
const WRITE: u16 = 2;

/// Ring `number` of a guest: descriptor `n` always has buffer `n`.
#[derive(Debug)]
pub struct SplitRing {
    pub number: usize,
    pub kick: EventFd,
    pub call: EventFd,
    pub err: EventFd,
    /// Available index.
    pub published: u16,
    seen: u16,
}

impl SplitRing {
    pub fn new(number: usize) -> Self {
        let fd = || EventFd::new(EFD_NONBLOCK).unwrap();
        Self { number, kick: fd(), call: fd(), err: fd(), published: 0, seen: 0 }
    }

    pub fn config(&self) -> VringConfigData {
        VringConfigData {
            queue_max_size: SIZE,
            queue_size: SIZE,
            flags: 0,
            desc_table_addr: FRONT_END + self.start(),
            used_ring_addr: FRONT_END + self.start() + USED,
            avail_ring_addr: FRONT_END + self.start() + AVAILABLE,
            log_addr: None,
        }
    }

    /// Sends a packet to the device.
    pub fn send(&mut self, guest: &Guest, packet: &[u8]) {
        self.wait_free(guest);
        let buffer = self.buffer(self.published);
        guest.put(buffer, &[&[0; HEADER], packet].concat());
        self.offer(guest, packet.len() + HEADER, 0);
    }

    /// Gives the device a buffer for a packet.
    pub fn provide(&mut self, guest: &Guest) {
        self.wait_free(guest);
        self.offer(guest, usize::try_from(BUFFER).unwrap(), WRITE);
    }

    /// Takes the packets that the device has put into buffers, each in one.
    pub fn received(&mut self, guest: &Guest) -> Vec<Vec<u8>> {
        let buffers = self.take_used(guest).into_iter();
        buffers
            .map(|(head, len)| {
                let head = u16::try_from(head).unwrap();
                guest.get(self.buffer(head) + HEADER as u64, len as usize - HEADER)
            })
            .collect()
    }

    /// Waits for so many packets in buffers.
    #[track_caller]
    pub fn receive(&mut self, guest: &Guest, count: usize) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        eventually("packets reach the driver", || {
            packets.extend(self.received(guest));
            packets.len() >= count
        });
        packets
    }

    /// Waits until the device has used everything.
    #[track_caller]
    pub fn wait_used(&mut self, guest: &Guest) {
        eventually("the device uses all buffers", || self.used_index(guest) == self.published);
        self.seen = self.published;
    }

    pub fn used_index(&self, guest: &Guest) -> u16 {
        guest.word(GUEST + self.start() + USED + 2)
    }

    /// Guest address of a buffer.
    pub fn buffer(&self, number: u16) -> u64 {
        GUEST + self.start() + DATA + BUFFER * u64::from(number % SIZE)
    }

    /// Guest address of the descriptor table.
    pub fn table(&self) -> u64 {
        GUEST + self.start()
    }

    /// Guest address of the available ring.
    pub fn available(&self) -> u64 {
        GUEST + self.start() + AVAILABLE
    }

    /// Publishes an index, whatever it is.
    pub fn publish(&mut self, guest: &Guest, index: u16) {
        self.published = index;
        guest.put(self.available() + 2, &index.to_le_bytes());
        self.kick.write(1).unwrap();
    }

    fn offer(&mut self, guest: &Guest, len: usize, flags: u16) {
        let slot = self.published % SIZE;
        let descriptor = [
            &self.buffer(slot).to_le_bytes()[..],
            &u32::try_from(len).unwrap().to_le_bytes(),
            &flags.to_le_bytes(),
            &[0, 0],
        ];
        guest.put(self.table() + 16 * u64::from(slot), &descriptor.concat());
        guest.put(self.available() + 4 + 2 * u64::from(slot), &slot.to_le_bytes());
        self.publish(guest, self.published.wrapping_add(1));
    }

    fn wait_free(&mut self, guest: &Guest) {
        eventually("the ring has room", || {
            self.published.wrapping_sub(self.used_index(guest)) < SIZE
        });
    }

    fn take_used(&mut self, guest: &Guest) -> Vec<(u32, u32)> {
        let index = self.used_index(guest);
        let mut used = Vec::new();
        while self.seen != index {
            let at = GUEST + self.start() + USED + 4 + 8 * u64::from(self.seen % SIZE);
            let word = |at| u32::from_le_bytes(guest.get(at, 4).try_into().unwrap());
            used.push((word(at), word(at + 4)));
            self.seen = self.seen.wrapping_add(1);
        }
        used
    }

    fn start(&self) -> u64 {
        STRIDE * self.number as u64
    }
}
