//! The driver's side of a ring of either layout, for chains of any kind. It never kicks.
//!
//! Spec: VIRTIO 1.3 §2.7, §2.8.

use super::eventually;
use super::guest::{GUEST, Guest};
use super::ring::{AVAILABLE, BUFFER, DATA, SIZE, STRIDE, USED};
use std::collections::VecDeque;

pub const HEADER: usize = 12;
pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

/// A descriptor: guest address, length, flags.
pub type Descriptor = (u64, u32, u16);

/// Ring `number` of a guest, laid out in memory like [`SplitRing`](super::SplitRing): descriptor `n`
/// has buffer `n` unless a chain says otherwise.
#[derive(Debug)]
pub struct Hand {
    number: usize,
    packed: bool,
    size: u16,
    /// Where the next descriptor goes, and in which turn.
    next: (u16, bool),
    /// The same for what the device gives back.
    seen: (u16, bool),
    /// Split: heads made available, and taken back.
    heads: (u16, u16),
    /// Head and descriptors of the chains that are with the device.
    with_device: VecDeque<(u16, u16)>,
}

impl Hand {
    pub fn new(packed: bool, number: usize) -> Self {
        Self::of(packed, number, SIZE)
    }

    /// A ring of `size` descriptors, 64 at most.
    pub fn of(packed: bool, number: usize, size: u16) -> Self {
        let (next, seen, with_device) = ((0, true), (0, true), VecDeque::new());
        Self { number, packed, size, next, seen, heads: (0, 0), with_device }
    }

    /// Guest address of the buffer of the next descriptor.
    pub fn place(&self) -> u64 {
        self.start() + DATA + BUFFER * u64::from(self.next.0)
    }

    /// Guest address of the ring's first byte; a table of descriptors may be 0xc000 behind it.
    pub fn start(&self) -> u64 {
        GUEST + STRIDE * self.number as u64
    }

    /// Where the next descriptor goes.
    pub fn position(&self) -> u16 {
        self.next.0
    }

    /// Makes a chain available. Every descriptor but the last says that another follows.
    pub fn offer(&mut self, guest: &Guest, chain: &[Descriptor]) {
        let entries = u16::try_from(chain.len()).unwrap();
        let head = self.next.0;
        // The first one last: it makes the others available in a packed ring.
        for (at, &(address, len, flags)) in (0..entries).zip(chain).rev() {
            let (slot, wrap) = self.ahead(self.next, at);
            let flags = flags | if at + 1 < entries { NEXT } else { 0 };
            let last = match (self.packed, wrap) {
                (false, _) => [flags, (slot + 1) % self.size],
                (true, true) => [head, flags | 1 << 7],
                (true, false) => [head, flags | 1 << 15],
            };
            self.describe(guest, slot, address, len, last);
        }
        self.next = self.ahead(self.next, entries);
        self.with_device.push_back((head, entries));
        if !self.packed {
            self.make_available(guest, head);
        }
    }

    /// Split: makes available what [`describe`](Self::describe) has written, which takes up one
    /// descriptor.
    pub fn offer_head(&mut self, guest: &Guest, head: u16) {
        self.next = self.ahead(self.next, 1);
        self.with_device.push_back((head, 1));
        self.make_available(guest, head);
    }

    /// Writes a descriptor whose last two words are given.
    pub fn describe(&self, guest: &Guest, slot: u16, address: u64, len: u32, last: [u16; 2]) {
        let words = last.map(u16::to_le_bytes).concat();
        let bytes = [&address.to_le_bytes()[..], &len.to_le_bytes(), &words].concat();
        // In a packed ring the last word gives the descriptor away.
        guest.put(self.start() + 16 * u64::from(slot), &bytes[..14]);
        guest.put(self.start() + 16 * u64::from(slot) + 14, &bytes[14..]);
    }

    /// Split: publishes an index, whatever it is.
    pub fn publish(&mut self, guest: &Guest, index: u16) {
        self.heads.0 = index;
        guest.put(self.start() + AVAILABLE + 2, &index.to_le_bytes());
    }

    /// Sends a packet to the device.
    pub fn send(&mut self, guest: &Guest, packet: &[u8]) {
        let at = self.wait_room(guest);
        guest.put(at, &[&[0; HEADER], packet].concat());
        self.offer(guest, &[(at, u32::try_from(packet.len() + HEADER).unwrap(), 0)]);
    }

    /// Gives the device a buffer for a packet.
    pub fn provide(&mut self, guest: &Guest) {
        let at = self.wait_room(guest);
        self.offer(guest, &[(at, u32::try_from(BUFFER).unwrap(), WRITE)]);
    }

    /// Takes chains back: head and bytes written of each.
    pub fn used(&mut self, guest: &Guest) -> Vec<(u16, u32)> {
        let mut used = Vec::new();
        while let Some((head, entries)) = self.with_device.front().copied() {
            let Some((found, len)) = self.next_used(guest) else { break };
            assert_eq!(found, head, "given back out of order");
            self.with_device.pop_front();
            self.seen = self.ahead(self.seen, entries);
            self.heads.1 = self.heads.1.wrapping_add(1);
            used.push((head, len));
        }
        used
    }

    /// Waits until the device has given everything back; returns the bytes written.
    #[track_caller]
    pub fn wait_used(&mut self, guest: &Guest) -> Vec<u32> {
        let mut used = Vec::new();
        eventually("the device uses all chains", || {
            used.extend(self.used(guest).into_iter().map(|(_, len)| len));
            self.with_device.is_empty()
        });
        used
    }

    /// Takes the packets that the device has put into buffers, each in one.
    pub fn received(&mut self, guest: &Guest) -> Vec<Vec<u8>> {
        let used = self.used(guest).into_iter();
        used.map(|(head, len)| {
            let at = self.start() + DATA + BUFFER * u64::from(head) + HEADER as u64;
            guest.get(at, len as usize - HEADER)
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

    /// As a driver does that starts anew: empties the ring, which must be stopped.
    pub fn reset(&mut self, guest: &Guest) {
        let len = usize::try_from(USED).unwrap() + 4 + 8 * usize::from(SIZE);
        guest.put(self.start(), &vec![0; len]);
        *self = Self::of(self.packed, self.number, self.size);
    }

    /// How many chains are with the device.
    pub fn outstanding(&self) -> usize {
        self.with_device.len()
    }

    fn make_available(&mut self, guest: &Guest, head: u16) {
        let slot = self.start() + AVAILABLE + 4 + 2 * u64::from(self.heads.0 % self.size);
        guest.put(slot, &head.to_le_bytes());
        self.publish(guest, self.heads.0.wrapping_add(1));
    }

    /// Waits for room; chains that were given back are taken back, so a receiving driver looks at
    /// them before it provides more.
    fn wait_room(&mut self, guest: &Guest) -> u64 {
        eventually("the ring has room", || {
            let taken: u16 = self.with_device.iter().map(|(_, entries)| entries).sum();
            taken < self.size || !self.used(guest).is_empty()
        });
        self.place()
    }

    fn next_used(&self, guest: &Guest) -> Option<(u16, u32)> {
        let word = |bytes: &[u8]| u16::from_le_bytes([bytes[0], bytes[1]]);
        let long = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
        if self.packed {
            let bytes = guest.get(self.start() + 16 * u64::from(self.seen.0), 16);
            let both = if self.seen.1 { 0x8080 } else { 0 };
            return (word(&bytes[14..]) & 0x8080 == both)
                .then(|| (word(&bytes[12..]), long(&bytes[8..12])));
        }
        let used = self.start() + USED;
        if guest.word(used + 2) == self.heads.1 {
            return None;
        }
        let bytes = guest.get(used + 4 + 8 * u64::from(self.heads.1 % self.size), 8);
        Some((word(&bytes), long(&bytes[4..])))
    }

    fn ahead(&self, (slot, wrap): (u16, bool), by: u16) -> (u16, bool) {
        if slot + by < self.size { (slot + by, wrap) } else { (slot + by - self.size, !wrap) }
    }
}
