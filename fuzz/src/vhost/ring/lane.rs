//! One ring from the driver's side, and what the harness knows of ours.

use super::layout::{
    AVAIL, Chain, Descriptor, INDIRECT, Look, NEXT, Place, Ring, USED, View, WRITE,
};
use super::memory::{Memory, Table, bytes};
use crate::input::Input;
use ringport::doorbell::Doorbell;
use ringport::error::QueueError;
use ringport_vhost_user::virtqueue::{RingAddresses, RingControl};
use std::collections::VecDeque;
use std::sync::Arc;

/// Where the data of an honest driver begins, in the first region.
const DATA: u64 = 0x4000;
/// Bytes of the tables of one ring, and of each of them.
const TABLES: u64 = 0x4000;
const TABLE: u64 = 64;
/// Most descriptors of an honest chain.
const PARTS_MAX: usize = 4;

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) control: RingControl,
    pub(super) ring: Ring,
    pub(super) addresses: RingAddresses,
    /// Which of the two it is: 0 is what the driver sends.
    pub(super) number: u8,
    /// A ring is there, broken or not.
    pub(super) on: bool,
    pub(super) enabled: bool,
    pub(super) broken: Option<QueueError>,
    /// The next position that the queue has not worked on.
    pub(super) next: Place,
    /// The harness knows where the queue is.
    pub(super) known: bool,
    /// The driver has kept to the rules since the ring started.
    pub(super) honest: bool,
    /// As above, as far as its index goes.
    pub(super) honest_index: bool,
    /// What the queue writes may lie anywhere, in the other ring as well.
    pub(super) wild: bool,
    /// Counts starts.
    pub(super) starts: u32,
    pub(super) call: Option<Arc<Doorbell>>,
    pub(super) kicked: bool,
    driver: Driver,
}

/// What an honest driver remembers.
#[derive(Debug, Default)]
struct Driver {
    /// Descriptors of a split ring, or buffer ids.
    free: Vec<u16>,
    /// Chains that were made available: what they took of `free`, and entries of the ring.
    outstanding: VecDeque<(Vec<u16>, u16)>,
    /// Where the next chain of a packed ring goes.
    at: Option<Place>,
}

/// What a burst has to find.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// Bad ones in front of all others.
    pub(super) dropped: Vec<Chain>,
    pub(super) chains: Vec<Chain>,
    /// It begins with what ends the ring.
    pub(super) broken: bool,
    /// It begins with a chain that is bad.
    pub(super) bad: bool,
}

impl Lane {
    pub(super) fn new(control: RingControl, ring: Ring, number: u8) -> Self {
        Self {
            control,
            ring,
            addresses: RingAddresses { size: ring.size, descriptor: 0, driver: 0, device: 0 },
            number,
            on: false,
            enabled: false,
            broken: None,
            next: Place { at: 0, wrap: true },
            known: false,
            honest: false,
            honest_index: false,
            wild: false,
            starts: 0,
            call: None,
            kicked: false,
            driver: Driver::default(),
        }
    }

    /// Whether the queue works on a ring.
    pub(super) fn is_live(&self) -> bool {
        self.on && self.broken.is_none()
    }

    /// The driver breaks the rules.
    pub(super) fn spoil(&mut self) {
        self.honest = false;
        self.honest_index = false;
    }

    /// The ring lies anywhere, and so may what the queue writes: an honest driver has no part in it.
    pub(super) fn go_wild(&mut self) {
        self.spoil();
        self.wild = true;
        self.driver = Driver::default();
    }

    /// The driver may have described any memory.
    pub(super) fn describe_anything(&mut self) {
        self.spoil();
        self.wild |= self.ring.write;
    }

    /// A driver that begins anew, at `base`: nothing is available.
    pub(super) fn wipe(&mut self, memory: &Memory, base: Place) {
        for (at, len) in self.ring.pieces() {
            memory.put(at, &vec![0; len]);
        }
        if !self.ring.packed {
            memory.put_u16(self.ring.areas[1] + 2, base.at);
            memory.put_u16(self.ring.areas[2] + 2, base.at);
        }
        self.wild = false;
        let free = (0..self.ring.size).rev().collect();
        self.driver = Driver { free, outstanding: VecDeque::new(), at: Some(base) };
    }

    /// Undoes scribbles over what only the queue writes, and takes earlier calls.
    pub(super) fn begin(&self, memory: &Memory) {
        if !self.ring.packed && self.known {
            memory.put_u16(self.ring.areas[2] + 2, self.next.at);
        }
        self.called();
    }

    /// Whether the queue has called since the last time.
    pub(super) fn called(&self) -> bool {
        self.call.as_ref().is_some_and(|call| call.drain().unwrap())
    }

    /// The queue gave back the next `chains`.
    pub(super) fn went_on(&mut self, chains: &[Chain]) {
        for chain in chains {
            self.next = self.ring.ahead(self.next, chain.entries);
            if let Some((parts, _)) = self.driver.outstanding.pop_front() {
                self.driver.free.extend(parts);
            }
        }
    }

    /// What a burst of at most `wanted` chains finds. `slots` is how many pieces it has room for.
    pub(super) fn expected(&self, view: View<'_>, wanted: usize, slots: usize) -> Expected {
        let (ring, mut at) = (&self.ring, self.next);
        let mut found = Expected::default();
        let mut wanted = u16::try_from(wanted.min(usize::from(ring.size))).expect("a ring");
        if !ring.packed && self.honest_index {
            let ready = ring.ready(view, at);
            assert!(ready <= ring.size, "an honest driver");
            wanted = wanted.min(ready);
        }
        let (mut left, mut used) = (ring.size, 0);
        while found.dropped.len() + found.chains.len() < usize::from(wanted) && left > 0 {
            let first = found.dropped.is_empty() && found.chains.is_empty();
            let chain = match ring.look(view, at) {
                Look::Nothing => break,
                Look::Broken => {
                    found.broken = first;
                    break;
                }
                Look::Chain(chain) if chain.entries > left => break,
                Look::Chain(chain) => chain,
            };
            (at, left) = (ring.ahead(at, chain.entries), left - chain.entries);
            match (chain.is_good(), found.chains.is_empty()) {
                (true, _) => {
                    let pieces = chain.pieces.as_deref().unwrap_or_default();
                    let skip = if ring.write { 0 } else { 12 };
                    used += super::memory::behind(pieces, skip).len();
                    if used > slots {
                        break;
                    }
                    found.chains.push(chain);
                }
                (false, true) if ring.write => {
                    found.bad = true;
                    break;
                }
                (false, true) => found.dropped.push(chain),
                (false, false) => break,
            }
        }
        found
    }

    /// The driver makes chains available, as far as it has room. Arguments: how many, their parts
    /// (bit 7: in tables of their own), a number that says where, a length for each part.
    pub(super) fn offer(&mut self, memory: &Memory, table: &Table, input: &mut Input<'_>) {
        let [count, parts] = input.take();
        let (place, lens) = (input.u16(), input.take::<PARTS_MAX>());
        let own = self.ring.indirect && parts & 0x80 != 0;
        let parts = 1 + usize::from(parts) % PARTS_MAX;
        for nth in 0..u32::from(count) {
            let seed = u32::from(place) * 7 + nth * 1531;
            let buffers = self.buffers(memory, &lens[..parts], seed);
            if !self.offer_one(memory, table, &buffers, own) {
                break;
            }
        }
    }

    /// Address and length of each part of a chain, with room for a header and more.
    fn buffers(&self, memory: &Memory, lens: &[u8], seed: u32) -> Vec<(u64, u32)> {
        let mut lens: Vec<u32> = lens.iter().map(|&len| u32::from(len) * 7).collect();
        let total: u32 = lens.iter().sum();
        if let Some(last) = lens.last_mut().filter(|_| total <= 12) {
            *last += 13;
        }
        let (start, room) = memory.data(DATA);
        let mut at = u64::from(seed);
        let buffer = |len: u32| {
            let address = start + at % (room - u64::from(len));
            at += u64::from(len) + 3;
            (address, len)
        };
        lens.into_iter().map(buffer).collect()
    }

    fn offer_one(
        &mut self,
        memory: &Memory,
        table: &Table,
        buffers: &[(u64, u32)],
        own: bool,
    ) -> bool {
        let entries = if own { 1 } else { buffers.len() };
        let used: u16 = self.driver.outstanding.iter().map(|(_, entries)| entries).sum();
        let room = usize::from(self.ring.size - used);
        let chain_max = usize::from(self.ring.size) - usize::from(own);
        let Some(at) = self.driver.at else { return false };
        if entries > room || entries > self.driver.free.len() || buffers.len() > chain_max {
            return false;
        }
        let ids = if self.ring.packed { 1 } else { entries };
        let ids = self.driver.free.split_off(self.driver.free.len() - ids);
        let entries = u16::try_from(entries).expect("a few");
        match own {
            true => {
                let address = self.put_table(memory, table, ids[0], buffers);
                let len = u32::try_from(16 * buffers.len()).expect("a few");
                self.put_chain(memory, at, &ids, &[(address, len)], INDIRECT);
            }
            false => {
                let write = if self.ring.write { WRITE } else { 0 };
                self.put_chain(memory, at, &ids, buffers, write);
            }
        }
        self.driver.at = Some(self.ring.ahead(at, if self.ring.packed { entries } else { 1 }));
        self.driver.outstanding.push_back((ids, entries));
        true
    }

    /// Writes a table of descriptors, and returns where it is.
    fn put_table(&self, memory: &Memory, table: &Table, id: u16, buffers: &[(u64, u32)]) -> u64 {
        let write = if self.ring.write { WRITE } else { 0 };
        let offset = TABLES * u64::from(self.number) + TABLE * u64::from(id);
        let address = table.third(memory, offset);
        let all = Table::new(memory, table.variant & super::memory::THIRD_ELSEWHERE);
        let last = buffers.len() - 1;
        let descriptors = (0u16..).zip(buffers).flat_map(|(nth, &(address, len))| {
            let more = if usize::from(nth) < last && !self.ring.packed { NEXT } else { 0 };
            let next = if self.ring.packed { 0 } else { nth + 1 };
            Descriptor { address, len, flags: write | more, next }.bytes(self.ring.packed)
        });
        let written: Vec<u8> = descriptors.collect();
        let pieces = all.guest(address, written.len()).expect("the third region");
        memory.put(pieces[0].0, &written);
        address
    }

    /// Writes the descriptors of a chain, and makes it available.
    fn put_chain(&self, memory: &Memory, at: Place, ids: &[u16], parts: &[(u64, u32)], flags: u16) {
        let ring = &self.ring;
        let last = parts.len() - 1;
        for (nth, &(address, len)) in parts.iter().enumerate().rev() {
            let more = if nth < last { NEXT } else { 0 };
            let (slot, flags, next) = match ring.packed {
                true => {
                    let place = ring.ahead(at, u16::try_from(nth).expect("a few"));
                    let owner = if place.wrap { AVAIL } else { USED };
                    (place.at, flags | more | owner, ids[0])
                }
                false => (ids[nth], flags | more, ids.get(nth + 1).copied().unwrap_or(0)),
            };
            let descriptor = Descriptor { address, len, flags, next };
            memory.put(ring.areas[0] + 16 * u64::from(slot), &descriptor.bytes(ring.packed));
        }
        if !ring.packed {
            memory.put_u16(ring.areas[1] + 4 + 2 * ring.slot(at), ids[0]);
            memory.put_u16(ring.areas[1] + 2, at.at.wrapping_add(1));
        }
    }

    /// Any descriptor, whose parts are likely to make sense.
    pub(super) fn put_descriptor(&mut self, memory: &Memory, input: &mut Input<'_>) {
        let [slot, flags] = input.take();
        let (place, len) = (u64::from(input.u16()), u32::from(input.u16()));
        self.describe_anything();
        let ring = &self.ring;
        let (start, room) = memory.data(0);
        let owner = u16::from(flags >> 6) << 7;
        // Of a packed ring: bits 7 and 15.
        let owner = owner & AVAIL | (owner & 0x100) << 7;
        let descriptor = Descriptor {
            address: start + place * 3 % (room + 64),
            len: if flags & 8 == 0 { len } else { len << 16 | 0xfff0 },
            flags: u16::from(flags & 7) | if ring.packed { owner } else { 0 },
            next: u16::from(flags >> 4) + u16::from(slot),
        };
        let at = ring.areas[0] + 16 * u64::from(u16::from(slot) % ring.size);
        memory.put(at, &descriptor.bytes(ring.packed));
    }

    /// A word of the driver's: whether it wants to be called. The rules allow any.
    pub(super) fn ask_for_calls(&self, memory: &Memory, input: &mut Input<'_>) {
        let (how, event) = (input.u8(), input.u16());
        let (ring, driver) = (&self.ring, self.ring.areas[1]);
        match (ring.packed, ring.event_idx) {
            (true, _) => {
                memory.put_u16(driver + 2, u16::from(how % 4));
                memory.put_u16(driver, event);
            }
            (false, true) => {
                memory.put_u16(
                    driver + 4 + 2 * u64::from(ring.size),
                    self.next.at.wrapping_add(event % 8),
                );
            }
            (false, false) => memory.put_u16(driver, u16::from(how % 2)),
        }
    }

    /// A word of the ring that counts.
    pub(super) fn put_word(&mut self, memory: &Memory, input: &mut Input<'_>) {
        let (which, value) = (input.u8(), input.u16());
        self.spoil();
        let ring = &self.ring;
        let last = ring.lens();
        let words = [
            ring.areas[1] + 2,
            ring.areas[1],
            ring.areas[2],
            ring.areas[2] + 2,
            ring.areas[1] + last[1] - 2,
            ring.areas[2] + last[2] - 2,
            ring.areas[1] + 4 + 2 * ring.slot(self.next),
            ring.areas[0] + 16 * ring.slot(self.next) + 14,
        ];
        let at = words[usize::from(which) % words.len()];
        let from = if which & 0x80 == 0 { 0 } else { self.next.at };
        memory.put_u16(at, from.wrapping_add(value));
    }
}

/// Checks that the queue gave back `chains`, of which each has as many bytes written as `lens`
/// says, from `place` on.
pub(super) fn check_used(ring: &Ring, view: View<'_>, mut place: Place, used: &[(&Chain, u32)]) {
    for (chain, len) in used {
        let (id, found) = used_at(ring, view, place);
        assert_eq!((id, found), (u32::from(chain.id), *len), "used at {place:?}");
        if ring.packed {
            let flags = view.u16(ring.areas[0] + 16 * ring.slot(place) + 14);
            let owner = if place.wrap { AVAIL | USED } else { 0 };
            assert_eq!(flags & (AVAIL | USED), owner, "used at {place:?}");
        }
        place = ring.ahead(place, chain.entries);
    }
}

/// Id and length of what was used at a position.
pub(super) fn used_at(ring: &Ring, view: View<'_>, place: Place) -> (u32, u32) {
    if ring.packed {
        let at = ring.areas[0] + 16 * ring.slot(place);
        return (view.u16(at + 12).into(), view.u32(at + 8));
    }
    let at = ring.areas[2] + 4 + 8 * ring.slot(place);
    (view.u32(at), view.u32(at + 4))
}

/// The contents of a chain.
pub(super) fn contents(view: View<'_>, chain: &Chain) -> Vec<u8> {
    bytes(view.bytes, chain.pieces.as_deref().unwrap_or_default())
}
