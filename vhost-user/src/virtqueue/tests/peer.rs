//! Drivers of either layout, as far as they are alike.

use super::{Ends, Ring};
use crate::backend::RingBase;
use crate::memory::GuestMemory;
use crate::virtqueue::packed::tests::Packed;
use crate::virtqueue::split::tests::{DATA, Driver, GUEST, INDIRECT, NEXT, Setup};
use crate::virtqueue::{KickMode, RingFeatures, RingStart, RxQueue, TxQueue};
use std::sync::Arc;

/// Entries of its ring.
pub(super) const SIZE: u16 = 8;
const WRITE: u16 = 2;
/// Bytes of a buffer.
const BUFFER: u32 = 2000;

/// A driver with a ring of eight that is not started.
pub(super) trait Peer: Sized {
    fn new() -> Self;

    fn memory(&self) -> &Driver;

    fn memory_mut(&mut self) -> &mut Driver;

    /// How the ring is to be started, from its very beginning.
    fn start(&self) -> RingStart;

    /// Sends a packet.
    fn send(&mut self, frame: &[u8]);

    /// Sends a packet in pieces of `cut` bytes that a table names, in one descriptor of the ring.
    fn send_in_table(&mut self, frame: &[u8], cut: usize);

    /// Sends a packet in two descriptors of the ring. Not to be mixed with the others.
    fn send_in_two(&mut self, frame: &[u8]);

    /// Offers a receive buffer.
    fn offer(&mut self);

    /// Asks something, with a byte behind it for the answer. Not to be mixed with the others.
    fn command(&mut self, asked: &[u8]);

    /// The answers that were given since the last time.
    fn answers(&mut self) -> Vec<u8>;

    /// What was given back since the last time: packets in receive buffers; of others nothing.
    fn given_back(&mut self) -> Vec<Vec<u8>>;

    /// The slots of the buffers that were given back since the last time, in which packets were sent.
    fn slots_back(&mut self) -> Vec<u16>;

    /// Makes something available that breaks the ring.
    fn break_ring(&mut self);

    fn ends(&self) -> &Ends {
        &self.memory().ends
    }

    fn guest(&self) -> &Arc<GuestMemory> {
        &self.memory().guest
    }

    fn rx(&self) -> Ring<RxQueue> {
        Ring::rx(self.ends(), self.guest(), self.start())
    }

    fn tx(&self) -> Ring<TxQueue> {
        Ring::tx(self.ends(), self.guest(), self.start())
    }

    fn start_at(&self, base: RingBase) -> RingStart {
        RingStart { base, ..self.start() }
    }
}

/// Where the buffer of a slot is.
pub(super) fn buffer(slot: u16) -> u64 {
    GUEST + DATA + 20_000 * u64::from(slot)
}

/// Where the table of a slot is.
fn table(slot: u16) -> u64 {
    GUEST + DATA + 0x8_0000 + 0x1000 * u64::from(slot)
}

/// Writes what is asked to the buffer of a slot, and returns it and the place for its answer.
fn put_command(driver: &Driver, slot: u16, asked: &[u8]) -> [(u64, u32, u16); 2] {
    driver.put(buffer(slot), asked);
    driver.put(answer(slot), &[0xee]);
    [(buffer(slot), asked.len().try_into().unwrap(), 0), (answer(slot), 1, WRITE)]
}

/// Where the answer to the command of a slot is.
fn answer(slot: u16) -> u64 {
    buffer(slot) + 19_999
}

/// Writes a packet behind an empty header to the buffer of a slot, and returns where its pieces are.
fn put(driver: &Driver, slot: u16, frame: &[u8], cut: usize) -> Vec<(u64, u32)> {
    let whole = [&[0; 12], frame].concat();
    driver.put(buffer(slot), &whole);
    let starts = (buffer(slot)..).step_by(cut);
    starts.zip(whole.chunks(cut)).map(|(at, piece)| (at, piece.len().try_into().unwrap())).collect()
}

fn contents(driver: &Driver, slot: u16, len: u32) -> Vec<u8> {
    driver.get(buffer(slot), len as usize).split_off(12.min(len as usize))
}

impl Peer for Driver {
    fn new() -> Self {
        Setup::new(SIZE).driver()
    }

    fn memory(&self) -> &Driver {
        self
    }

    fn memory_mut(&mut self) -> &mut Driver {
        self
    }

    fn start(&self) -> RingStart {
        self.start_at(0)
    }

    fn send(&mut self, frame: &[u8]) {
        let head = self.published % SIZE;
        self.send_cut(head, frame, &[], buffer(head));
    }

    fn send_in_table(&mut self, frame: &[u8], cut: usize) {
        let head = self.published % SIZE;
        self.chain(head, &put(self, head, frame, cut), false, Some(table(head)));
        self.offer(head);
    }

    fn send_in_two(&mut self, frame: &[u8]) {
        let head = 2 * self.published % SIZE;
        self.send_cut(head, frame, &[40], buffer(head));
    }

    fn offer(&mut self) {
        let head = self.published % SIZE;
        self.describe(head, buffer(head), BUFFER, WRITE, 0);
        self.offer(head);
    }

    fn command(&mut self, asked: &[u8]) {
        let head = 2 * self.published % SIZE;
        let [ask, answer] = put_command(self, head, asked);
        self.describe(head, ask.0, ask.1, NEXT, head + 1);
        self.describe(head + 1, answer.0, answer.1, WRITE, 0);
        self.offer(head);
    }

    fn answers(&mut self) -> Vec<u8> {
        let slots = self.slots_back().into_iter();
        slots.map(|slot| self.get(answer(slot), 1)[0]).collect()
    }

    fn given_back(&mut self) -> Vec<Vec<u8>> {
        let used = self.used().into_iter();
        used.map(|(head, len)| contents(self, u16::try_from(head).unwrap(), len)).collect()
    }

    fn slots_back(&mut self) -> Vec<u16> {
        self.used().into_iter().map(|(head, _)| u16::try_from(head).unwrap()).collect()
    }

    fn break_ring(&mut self) {
        self.publish(self.published.wrapping_add(0x4000));
    }
}

impl Peer for Packed {
    fn new() -> Self {
        Self::new(SIZE)
    }

    fn memory(&self) -> &Driver {
        &self.memory
    }

    fn memory_mut(&mut self) -> &mut Driver {
        &mut self.memory
    }

    fn start(&self) -> RingStart {
        let features = RingFeatures { indirect: true, ..RingFeatures::default() };
        self.start(features, KickMode::default())
    }

    fn send(&mut self, frame: &[u8]) {
        self.send(self.next.0, frame, 20_000, false);
    }

    fn send_in_table(&mut self, frame: &[u8], cut: usize) {
        let id = self.next.0;
        let pieces = put(&self.memory, id, frame, cut).into_iter();
        let entries: Vec<u8> = pieces.flat_map(|(at, len)| Driver::bytes(at, len, 0, 0)).collect();
        self.memory.put(table(id), &entries);
        self.offer(id, &[(table(id), entries.len().try_into().unwrap(), INDIRECT)]);
    }

    fn send_in_two(&mut self, frame: &[u8]) {
        self.send(self.next.0, frame, frame.len(), false);
    }

    fn offer(&mut self) {
        let id = self.next.0;
        self.offer(id, &[(buffer(id), BUFFER, WRITE)]);
    }

    fn command(&mut self, asked: &[u8]) {
        let id = self.next.0;
        let chain = put_command(&self.memory, id, asked);
        self.offer(id, &chain);
    }

    fn answers(&mut self) -> Vec<u8> {
        let slots = self.slots_back().into_iter();
        slots.map(|slot| self.memory.get(answer(slot), 1)[0]).collect()
    }

    fn given_back(&mut self) -> Vec<Vec<u8>> {
        let used = self.used().into_iter();
        used.map(|(id, len)| contents(&self.memory, id, len)).collect()
    }

    fn slots_back(&mut self) -> Vec<u16> {
        self.used().into_iter().map(|(id, _)| id).collect()
    }

    fn break_ring(&mut self) {
        self.offer(0, &[(GUEST + DATA, 100, 1); SIZE as usize]);
    }
}
