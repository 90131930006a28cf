//! A driver of packed rings, plain and slow, in the memory of one of split rings.

use crate::backend::RingBase;
use crate::virtqueue::split::tests::{DATA, Driver, GUEST, Setup};
use crate::virtqueue::tests::Ring;
use crate::virtqueue::{KickMode, RingAddresses, RingFeatures, RingStart, RxQueue, TxQueue};
use std::collections::VecDeque;

pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;
/// Position 0, first turn: how every ring begins.
const START: u32 = 0x8000;
pub(crate) const FEATURES: RingFeatures = RingFeatures {
    mergeable: true,
    indirect: true,
    event_idx: false,
    in_order: false,
    rx_offloads: false,
    tx_offloads: ringport::offload::Accepts {
        checksum: false,
        tcp4: false,
        tcp6: false,
        ecn: false,
    },
};

/// A driver, plain and slow.
pub(crate) struct Packed {
    pub(crate) memory: Driver,
    pub(crate) size: u16,
    pub(crate) next: (u16, bool),
    pub(crate) seen: (u16, bool),
    /// Id and descriptors of the chains that are with the device.
    outstanding: VecDeque<(u16, u16)>,
}

impl Packed {
    pub(crate) fn new(size: u16) -> Self {
        let (next, seen) = ((0, true), (0, true));
        let memory = Setup::new(8).driver();
        Self { memory, size, next, seen, outstanding: VecDeque::new() }
    }

    pub(crate) fn start(&self, features: RingFeatures, kicks: KickMode) -> RingStart {
        let at = RingAddresses { size: self.size, ..self.memory.addresses() };
        let base = RingBase::from_wire(true, START, self.size).unwrap();
        self.memory.ends.start(at, base, features, kicks)
    }

    pub(crate) fn rx(&self, features: RingFeatures, kicks: KickMode) -> Ring<RxQueue> {
        Ring::rx(&self.memory.ends, &self.memory.guest, self.start(features, kicks))
    }

    pub(crate) fn tx(&self, features: RingFeatures) -> Ring<TxQueue> {
        let start = self.start(features, KickMode::default());
        Ring::tx(&self.memory.ends, &self.memory.guest, start)
    }

    pub(crate) fn ahead(&self, (slot, wrap): (u16, bool), by: u16) -> (u16, bool) {
        match slot + by {
            slot if slot < self.size => (slot, wrap),
            slot => (slot - self.size, !wrap),
        }
    }

    /// Makes a chain of descriptors (address, length, flags) available, the first one last.
    pub(crate) fn offer(&mut self, id: u16, chain: &[(u64, u32, u16)]) {
        let entries = u16::try_from(chain.len()).unwrap();
        for (at, &(address, len, flags)) in (0..entries).zip(chain).rev() {
            let (slot, wrap) = self.ahead(self.next, at);
            let next = if at + 1 < entries { NEXT } else { 0 };
            let owner = if wrap { 1 << 7 } else { 1 << 15 };
            let bytes = Driver::bytes(address, len, id, flags | next | owner);
            self.memory.put(GUEST + 16 * u64::from(slot), &bytes);
        }
        self.next = self.ahead(self.next, entries);
        self.outstanding.push_back((id, entries));
    }

    /// Sends `packet` behind an empty header, cut in pieces of `cut` bytes, directly or in a table.
    pub(crate) fn send(&mut self, id: u16, packet: &[u8], cut: usize, table: bool) {
        let mut at = GUEST + DATA + 20_000 * u64::from(id % 64);
        let whole = [&[0; 12], packet].concat();
        let chain = whole.chunks(cut).map(|part| {
            self.memory.put(at, part);
            at += part.len() as u64;
            (at - part.len() as u64, u32::try_from(part.len()).unwrap(), 0)
        });
        let chain: Vec<_> = chain.collect();
        if !table {
            return self.offer(id, &chain);
        }
        let bytes: Vec<u8> =
            chain.iter().flat_map(|&(at, len, _)| Driver::bytes(at, len, 9, 0)).collect();
        self.memory.put(GUEST + DATA + 0x20_0000, &bytes);
        let len = u32::try_from(bytes.len()).unwrap();
        self.offer(id, &[(GUEST + DATA + 0x20_0000, len, INDIRECT)]);
    }

    /// Takes what was given back: id and length written. One in order stands for those before it.
    pub(crate) fn used(&mut self) -> Vec<(u16, u32)> {
        let mut used = Vec::new();
        while !self.outstanding.is_empty() {
            let bytes = self.memory.get(GUEST + 16 * u64::from(self.seen.0), 16);
            let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
            let (id, flags) = (word(12), word(14));
            let wanted = if self.seen.1 { (true, true) } else { (false, false) };
            if (flags & 1 << 7 != 0, flags & 1 << 15 != 0) != wanted {
                break;
            }
            used.push((id, u32::from(word(8)) | u32::from(word(10)) << 16));
            while let Some((first, entries)) = self.outstanding.pop_front() {
                self.seen = self.ahead(self.seen, entries);
                if first == id {
                    break;
                }
            }
        }
        used
    }
}
