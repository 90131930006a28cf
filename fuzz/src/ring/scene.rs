//! Queues, the memory below them, and what the harness knows about both.

use super::memory::{Descriptor, Memory};
use crate::input::Input;
use ringport::burst::{PacketRx, PacketTx, forward};
use ringport::error::QueueError;
use ringport::link::{LinkState, LinkStatus};
use ringport::pool::Pool;
use ringport_memif::{DataConfig, Queues, RxMode, RxQueue, TxQueue};
use std::fs::File;
use std::io::Write;
use std::sync::Arc;

/// One ring, with the harness's own idea of where the queue is.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) size: u16,
    /// Offsets in the first region: descriptors, flags, the index that our queue writes, and the
    /// one that the peer writes.
    pub(super) descriptors: u64,
    pub(super) flags: u64,
    pub(super) own: u64,
    pub(super) peer: u64,
    own_bias: u16,
    peer_bias: u16,
    /// The next slot that the queue has not worked on.
    pub(super) next: u16,
    /// The first error that the queue reported.
    pub(super) error: Option<QueueError>,
    /// As client: the descriptors of our empty buffers, by slot.
    pub(super) buffers: Option<Vec<Descriptor>>,
}

impl Lane {
    /// `own` and `peer`: offset of an index and its bias.
    pub(super) fn new(
        size: u16,
        descriptors: u64,
        flags: u64,
        (own, own_bias): (u64, u16),
        (peer, peer_bias): (u64, u16),
    ) -> Self {
        let (next, error, buffers) = (0, None, None);
        Self { size, descriptors, flags, own, peer, own_bias, peer_bias, next, error, buffers }
    }

    /// Slot number `at` from the next one on.
    pub(super) fn slot(&self, at: usize) -> u16 {
        let at = u16::try_from(at).expect("a burst is no longer than a ring");
        self.next.wrapping_add(at) & (self.size - 1)
    }

    pub(super) fn address(&self, slot: u16) -> u64 {
        self.descriptors + 16 * u64::from(slot & (self.size - 1))
    }

    /// Every descriptor, by slot.
    pub(super) fn table(&self, memory: &Memory) -> Vec<Descriptor> {
        memory.descriptors(self.descriptors, self.size)
    }

    /// What the peer's index says is ready, whether or not it can be.
    pub(super) fn ready(&self, memory: &Memory) -> u16 {
        let index = memory.u16(self.peer).wrapping_add(self.peer_bias);
        index.wrapping_sub(self.next)
    }

    /// The queue went on by `slots`, and said so.
    pub(super) fn went_on(&mut self, memory: &Memory, slots: usize) {
        self.next = self.next.wrapping_add(u16::try_from(slots).expect("no longer than a ring"));
        let published = memory.u16(self.own);
        if slots > 0 && !memory.lost {
            assert_eq!(published, self.next.wrapping_add(self.own_bias), "published index");
        }
    }

    /// Undoes the peer's scribbles over what only our queue writes: so that what is there
    /// afterwards was written by the queue.
    fn repair(&self, memory: &Memory) {
        memory.set_u16(self.own, self.next.wrapping_add(self.own_bias));
        let Some(buffers) = &self.buffers else {
            return;
        };
        let mut all = self.table(memory);
        for (descriptor, buffer) in all.iter_mut().zip(buffers) {
            descriptor.offset = buffer.offset;
        }
        memory.set_descriptors(self.descriptors, &all);
    }

    /// The slots by which the queue went on unseen.
    fn catch_up(&mut self, memory: &Memory) -> Vec<u16> {
        let next = memory.u16(self.own).wrapping_sub(self.own_bias);
        let slots = next.wrapping_sub(self.next);
        assert!(slots <= self.size, "{slots} slots in a ring of {}", self.size);
        let worked_on = (0..usize::from(slots)).map(|at| self.slot(at)).collect();
        self.next = next;
        worked_on
    }
}

/// What only a client has.
#[derive(Debug)]
pub(super) struct Own {
    /// What each buffer holds, in bytes.
    pub(super) capacity: u32,
    pub(super) pool: Option<Arc<Pool>>,
}

#[derive(Debug)]
pub(super) struct Scene {
    pub(super) memory: Memory,
    pub(super) rx: Lane,
    pub(super) tx: Lane,
    pub(super) rx_queue: RxQueue,
    pub(super) tx_queue: TxQueue,
    pub(super) link: Arc<LinkState>,
    pub(super) chain_max: u16,
    rx_mode: RxMode,
    /// Where the rings end, in the first region.
    pub(super) rings_end: u64,
    pub(super) doorbells: Vec<File>,
    /// Memory cannot be taken back.
    pub(super) sealed: bool,
    /// Memory can be taken back, and that does no harm.
    pub(super) guarded: bool,
    pub(super) own: Option<Own>,
    /// The peer has kept to the rules so far.
    pub(super) honest: bool,
}

impl Scene {
    pub(super) fn new(
        memory: Memory,
        rx: Lane,
        tx: Lane,
        mut queues: Queues,
        link: Arc<LinkState>,
        config: &DataConfig,
    ) -> Self {
        assert_eq!((queues.rx.len(), queues.tx.len()), (1, 1));
        let (rx_queue, tx_queue) = (queues.rx.remove(0), queues.tx.remove(0));
        assert_eq!((rx_queue.ring_size(), tx_queue.ring_size()), (rx.size, tx.size));
        Self {
            memory,
            rx,
            tx,
            rx_queue,
            tx_queue,
            link,
            chain_max: config.chain_max,
            rx_mode: config.rx_mode,
            rings_end: 0,
            doorbells: Vec::new(),
            sealed: false,
            guarded: false,
            own: None,
            honest: true,
        }
    }

    pub(super) fn step(&mut self, input: &mut Input<'_>) {
        let operation = input.u8() % 16;
        let honest = self.honest;
        self.honest = false;
        match operation {
            0 => self.set_word(input),
            1 => self.advance(input.u8()),
            2 => self.set_descriptor(input),
            3 => self.scribble(input),
            4 => self.scribble_much(input),
            5 => self.take_memory_back(input),
            // From here on the peer keeps to the rules.
            _ => {
                self.honest = honest;
                match operation {
                    6 => self.publish(usize::from(input.u8()), input.u16(), input.u8()),
                    7 => self.return_slots(u16::from(input.u8())),
                    8 => self.spin(input.u8()),
                    9 => self.ring_doorbells(input.u8()),
                    10 => self.arm(),
                    11 => self.forward(input),
                    12 => self.relay(input),
                    13 => self.close(input),
                    14 => self.transmit(input),
                    _ => self.receive(input),
                }
            }
        }
    }

    fn set_word(&mut self, input: &mut Input<'_>) {
        let (rx, tx) = (&self.rx, &self.tx);
        let words = [rx.peer, tx.peer, rx.own, tx.own, rx.flags, tx.flags];
        self.memory.set_u16(words[usize::from(input.u8()) % words.len()], input.u16());
    }

    fn advance(&mut self, slots: u8) {
        let index = self.memory.u16(self.rx.peer);
        self.memory.set_u16(self.rx.peer, index.wrapping_add(u16::from(slots)));
    }

    /// A descriptor whose parts are likely to make sense.
    fn set_descriptor(&mut self, input: &mut Input<'_>) {
        let [how, region, slot] = input.take();
        let lane = if how & 1 == 0 { &self.rx } else { &self.tx };
        let (len, offset) = (u32::from(input.u16()), u32::from(input.u16()));
        let descriptor = Descriptor {
            more: how & 2 != 0,
            region: u16::from(region),
            len: if how & 4 == 0 { len } else { len << 16 | 0xffff },
            offset: if how & 8 == 0 { offset } else { offset << 16 | 0xfff0 },
        };
        self.memory.write(lane.address(u16::from(slot)), &descriptor.to_bytes());
    }

    /// Any 16 bytes anywhere in the rings.
    fn scribble(&mut self, input: &mut Input<'_>) {
        let at = u64::from(input.u16()) * 16 % self.rings_end;
        self.memory.write(at, &input.take::<16>());
    }

    /// Many descriptors at once, in both rings.
    fn scribble_much(&mut self, input: &mut Input<'_>) {
        let (count, mut random) = (input.u8(), Random::new(u64::from(input.u16())));
        for _ in 0..count {
            let lane = if random.below(2) == 0 { &self.rx } else { &self.tx };
            let descriptor = random.descriptor(self.memory.regions[0].len);
            let slot = u16::try_from(random.below(u64::from(lane.size))).expect("a slot");
            self.memory.write(lane.address(slot), &descriptor.to_bytes());
        }
    }

    fn take_memory_back(&mut self, input: &mut Input<'_>) {
        let region = &self.memory.regions[usize::from(input.u8()) % self.memory.regions.len()];
        let left = u64::from(input.u8()) << 8;
        if self.guarded {
            region.file.set_len(left.min(region.len)).unwrap();
            self.memory.lost = true;
        } else if self.sealed {
            assert!(region.file.set_len(left.min(region.len - 1)).is_err(), "not sealed");
        }
    }

    /// Writes the descriptors of buffers of `len` bytes in all slots that the server sends with.
    pub(super) fn fill_slots(&mut self, len: u32) {
        let all = (0..self.tx.size).map(|slot| self.good_descriptor(slot, len, 1));
        self.memory.set_descriptors(self.tx.descriptors, &all.collect::<Vec<_>>());
    }

    /// A buffer behind the rings.
    fn good_descriptor(&self, slot: u16, len: u32, half: u64) -> Descriptor {
        let room = self.memory.regions[0].len - self.rings_end - u64::from(len);
        let offset = self.rings_end + (u64::from(slot) * 2 + half) * 256 % room;
        Descriptor { more: false, region: 0, len, offset: u32::try_from(offset).unwrap() }
    }

    /// The peer sends up to `packets` packets of `chain` slots with `len` bytes each, as far as the
    /// ring has room.
    fn publish(&mut self, packets: usize, len: u16, chain: u8) {
        let ready = self.rx.ready(&self.memory);
        let Some(room) = self.rx.size.checked_sub(ready) else {
            return;
        };
        let chain = usize::from(chain % 8) + 1;
        let packets = packets.min(usize::from(room) / chain);
        let fits = chain <= usize::from(self.chain_max.clamp(1, self.rx.size));
        self.honest &= fits || packets == 0;
        let mut table = self.rx.table(&self.memory);
        for at in 0..packets * chain {
            let more = (at + 1) % chain > 0;
            let slot = self.rx.slot(usize::from(ready) + at);
            let len = u32::from(len);
            let descriptor = match (&self.own, &self.rx.buffers) {
                (Some(own), Some(buffers)) => {
                    Descriptor { more, len: len % own.capacity + 1, ..buffers[usize::from(slot)] }
                }
                _ => Descriptor { more, ..self.good_descriptor(slot, len % 600 + 1, 0) },
            };
            table[usize::from(slot)] = descriptor;
        }
        if packets > 0 {
            self.memory.set_descriptors(self.rx.descriptors, &table);
        }
        let index = self.memory.u16(self.rx.peer);
        let slots = u16::try_from(packets * chain).expect("no longer than a ring");
        self.memory.set_u16(self.rx.peer, index.wrapping_add(slots));
    }

    /// The peer returns up to `slots` slots that we sent, as far as it has them.
    fn return_slots(&mut self, slots: u16) {
        let ready = self.tx.ready(&self.memory);
        let slots = slots.min(self.tx.size.saturating_sub(ready));
        let index = self.memory.u16(self.tx.peer);
        if self.own.is_none() {
            let mut table = self.tx.table(&self.memory);
            for at in usize::from(ready)..usize::from(ready) + usize::from(slots) {
                let slot = self.tx.slot(at);
                table[usize::from(slot)] = self.good_descriptor(slot, 256, 1);
            }
            self.memory.set_descriptors(self.tx.descriptors, &table);
        }
        self.memory.set_u16(self.tx.peer, index.wrapping_add(slots));
    }

    /// Moves both rings on by some rounds.
    fn spin(&mut self, rounds: u8) {
        let rounds = usize::from(rounds % 8) + 1;
        for _ in 0..rounds {
            self.publish(usize::from(self.rx.size), 60, 0);
            self.receive(&mut Input::new(&[0xff, 0, 0xff]));
            self.return_slots(self.tx.size);
            // One packet of a byte in each slot, then commit.
            self.transmit(&mut Input::new(&[0xff, 0, 2]));
        }
    }

    /// The peer rings, as often as the counters hold.
    fn ring_doorbells(&mut self, times: u8) {
        let value = if times == 0xff { u64::MAX - 1 } else { u64::from(times) };
        for mut doorbell in &self.doorbells {
            // Refused when the counter is full.
            let _ = doorbell.write(&value.to_ne_bytes());
        }
    }

    fn arm(&mut self) {
        match self.rx_queue.arm() {
            Ok(waiting) => {
                assert!(waiting || self.rx_mode != RxMode::Polling);
                let flags = self.memory.u16(self.rx.flags);
                let asked = waiting || self.memory.lost || flags & 1 == 0;
                assert!(asked, "asleep without a doorbell");
                assert!(self.rx.error.is_none() || self.rx_mode == RxMode::Polling);
            }
            Err(error) => self.failed(error, |scene| &mut scene.rx),
        }
    }

    fn close(&mut self, input: &mut Input<'_>) {
        // Rare, as little happens afterwards.
        if input.u8() == 0 {
            self.link.close();
        }
    }

    fn forward(&mut self, input: &mut Input<'_>) {
        let max = usize::from(input.u8());
        [&self.rx, &self.tx].into_iter().for_each(|lane| lane.repair(&self.memory));
        let done = forward(&mut self.rx_queue, &mut self.tx_queue, max);
        match done {
            Ok(done) => assert!(done.packets + done.dropped <= max),
            Err(_) => assert!(!self.link.is_up() && (!self.honest || self.closed())),
        }
        if self.memory.lost {
            return;
        }
        for (lane, shared) in [(&mut self.rx, true), (&mut self.tx, false)] {
            for slot in lane.catch_up(&self.memory) {
                let found = self.memory.descriptor(lane.address(slot));
                if let (Some(buffers), Some(own)) = (&mut lane.buffers, &self.own) {
                    let known = &mut buffers[usize::from(slot)];
                    assert!(!shared || (found.len == own.capacity && !found.more), "{found:?}");
                    assert_eq!(found.region, known.region);
                    assert!(own.pool.is_some() || found.offset == known.offset);
                    known.offset = found.offset;
                }
            }
        }
        self.check_buffers();
    }

    pub(super) fn closed(&self) -> bool {
        self.link.status() == LinkStatus::Down
    }

    /// A queue reported an error: the first one for ever, and the link is down with it.
    pub(super) fn failed(&mut self, error: QueueError, lane: fn(&mut Self) -> &mut Lane) {
        let closed = self.closed();
        assert!(!self.honest || closed, "{error:?}, although the peer keeps to the rules");
        assert!(!self.link.is_up(), "{error:?}, and the link is up");
        let first = *lane(self).error.get_or_insert(error);
        assert_eq!(error, first, "another error than the first");
        match error {
            QueueError::LinkDown => assert!(closed),
            QueueError::MemoryLost => assert!(self.guarded),
            _ => assert!(self.link.fault().is_some()),
        }
        if self.link.status() == LinkStatus::Faulted {
            assert_eq!(self.link.fault(), Some(self.link.reason()));
        }
        self.check_cause(error);
    }

    fn check_cause(&self, error: QueueError) {
        let regions = &self.memory.regions;
        let region_len = |region: u16| regions.get(usize::from(region)).map(|known| known.len);
        match error {
            QueueError::OutOfBounds { region, offset, len, region_len: known } => {
                assert!(offset + u64::from(len) > known, "{error:?}");
                assert_eq!(region_len(region), Some(known));
            }
            QueueError::UnknownRegion { region, count } => {
                assert!(region >= count && usize::from(count) == regions.len());
            }
            QueueError::IndexRunaway { queued, ring_size } => assert!(queued > ring_size),
            QueueError::LengthExceedsBuffer { len, capacity } => assert!(len > capacity),
            _ => {}
        }
    }

    /// Each of our buffers lies in its region behind the rings, and none is in two places.
    pub(super) fn check_buffers(&self) {
        let (Some(own), Some(rx), Some(tx)) = (&self.own, &self.rx.buffers, &self.tx.buffers)
        else {
            return;
        };
        let mut all: Vec<_> = rx.iter().chain(tx).collect();
        all.sort_by_key(|buffer| (buffer.region, buffer.offset));
        for buffer in &all {
            let region = &self.memory.regions[usize::from(buffer.region)];
            let (start, len) = (u64::from(buffer.offset), u64::from(own.capacity));
            assert!(start + len <= region.len, "{buffer:?}");
            assert!(buffer.region > 0 || start >= self.rings_end, "{buffer:?} in a ring");
        }
        let apart = |pair: &[&Descriptor]| {
            pair[0].region != pair[1].region || pair[1].offset - pair[0].offset >= own.capacity
        };
        assert!(all.windows(2).all(apart), "buffers overlap");
    }

    /// The control side closes the link: what was published is handed out, and then it is over.
    pub(super) fn finish(mut self) {
        self.link.close();
        let ended = (0..usize::from(self.rx.size) + 2)
            .any(|_| PacketRx::rx_burst(&mut self.rx_queue, usize::MAX).is_err());
        assert!(ended, "a receive queue of a closed link never reports its end");
        assert!(PacketTx::tx_burst(&mut self.tx_queue, 1).is_err());
        if !self.memory.lost {
            self.memory.check_canaries();
        }
        let pool = self.own.take().and_then(|own| own.pool);
        drop(self);
        if let Some(pool) = pool {
            let size = pool.buffer_size();
            let all = pool.memory().mapping().len() / usize::try_from(size).unwrap();
            let mut buffers = pool.take(pool.free()).unwrap();
            buffers.sort_unstable();
            buffers.dedup();
            assert_eq!(buffers.len(), all, "buffers do not all come back");
            assert!(buffers.iter().all(|at| at.is_multiple_of(u64::from(size))));
        }
    }
}

/// Pseudo-random numbers (splitmix64).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A descriptor that is good more often than not.
    pub(super) fn descriptor(&mut self, region_len: u64) -> Descriptor {
        let wild = self.below(64) == 0;
        let (len, offset) = if wild {
            (self.next(), self.next())
        } else {
            let len = 1 + self.below(300);
            (len, self.below(region_len - len))
        };
        let low = |value: u64| u32::try_from(value & 0xffff_ffff).expect("32 bits");
        let region = if self.below(64) == 0 { 1 + self.below(3) } else { 0 };
        Descriptor {
            more: self.below(4) == 0,
            region: u16::try_from(region).expect("small"),
            len: low(len),
            offset: low(offset),
        }
    }
}
