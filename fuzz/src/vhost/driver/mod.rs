//! [`crate::driver_split`] and [`crate::driver_packed`]: a driver's queues, whose device does what the
//! input says.
//!
//! Header: features and mode of calls, size of the rings, size of buffers.

mod hand;
mod whole;

pub(crate) use whole::run as whole;

use super::OPERATIONS_MAX;
use crate::input::Input;
use hand::{Chain, Hand};
use ringport::burst::PushError;
use ringport::doorbell::Doorbell;
use ringport::error::QueueError;
use ringport::link::LinkState;
use ringport::offload::Accepts;
use ringport_vhost_user::driver::queue::{
    CallMode, DriverMemory, DriverMemoryConfig, QueueOptions, RingLayout, RxQueue, TxQueue,
};
use ringport_vhost_user::virtqueue::RingFeatures;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

pub(crate) const MERGEABLE: u8 = 1;
pub(crate) const IN_ORDER: u8 = 2;
pub(crate) const EVENT_IDX: u8 = 4;
pub(crate) const OFFLOADS: u8 = 8;

const HEADER: usize = 12;

pub(crate) fn split(data: &[u8]) {
    run(RingLayout::Split, data);
}

pub(crate) fn packed(data: &[u8]) {
    run(RingLayout::Packed, data);
}

fn run(layout: RingLayout, data: &[u8]) {
    let mut input = Input::new(data);
    let mut scene = Scene::new(layout, &mut input);
    for _ in 0..OPERATIONS_MAX {
        if !input.more() {
            break;
        }
        scene.step(&mut input);
        scene.check();
    }
    scene.finish();
}

struct Scene {
    config: DriverMemoryConfig,
    features: RingFeatures,
    link: Arc<LinkState>,
    rx: RxQueue,
    tx: TxQueue,
    to_driver: Hand,
    to_device: Hand,
    /// Buffers that the device may fill.
    empty: Vec<Chain>,
    /// Chains that the driver has sent, with what is in them, and which the device has.
    sent: Vec<(Chain, Vec<u8>)>,
    /// Packets given to the driver, which it has not released.
    on_the_way: VecDeque<Vec<u8>>,
    /// Sent, and not yet seen by the device.
    expected: VecDeque<Vec<u8>>,
    seed: u8,
    /// The device keeps to the rules.
    honest: bool,
    broken: Broken,
}

/// How the device broke a ring, as far as a queue has said so.
#[derive(Default)]
struct Broken(Option<QueueError>);

impl Scene {
    fn new(layout: RingLayout, input: &mut Input<'_>) -> Self {
        let [features, size, buffers] = input.take();
        let has = |bit: u8| features & bit != 0;
        let all = Accepts { checksum: true, tcp4: true, tcp6: true, ecn: true };
        let calls = [CallMode::Adaptive, CallMode::Interrupt, CallMode::Polling];
        let calls = calls[usize::from(features >> 4) % 3];
        let features = RingFeatures {
            mergeable: has(MERGEABLE),
            in_order: has(IN_ORDER),
            event_idx: has(EVENT_IDX),
            rx_offloads: has(OFFLOADS),
            tx_offloads: if has(OFFLOADS) { all } else { Accepts::default() },
            ..RingFeatures::default()
        };
        let size = match layout {
            RingLayout::Split => 1 << (size % 6),
            RingLayout::Packed => 1 + u16::from(size % 40),
        };
        let config = DriverMemoryConfig {
            layout,
            rx_size: size,
            tx_size: size,
            buffer_size: 1 + u32::from(buffers),
            ..DriverMemoryConfig::default()
        };
        let link = Arc::new(LinkState::new().unwrap());
        let mut memory = DriverMemory::allocate(&config, &link).unwrap();
        let bell = || Arc::new(Doorbell::create().unwrap());
        let options = || QueueOptions { features, calls, kick: Some(bell()), call: Some(bell()) };
        Self {
            rx: memory.rx_queue(0, &options()).unwrap(),
            tx: memory.tx_queue(0, &options()).unwrap(),
            to_driver: Hand::new(&memory, layout, 0),
            to_device: Hand::new(&memory, layout, 1),
            config,
            features,
            link,
            empty: Vec::new(),
            sent: Vec::new(),
            on_the_way: VecDeque::new(),
            expected: VecDeque::new(),
            seed: 0,
            honest: true,
            broken: Broken::default(),
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 16 {
            0 => self.scribble(input),
            1 => self.give_anything(input),
            2 => self.run_away(input),
            3 => self.arm(),
            4 | 5 => self.give_back_sent(input),
            6..=8 => self.fill(input),
            9..=12 => self.receive(input),
            _ => self.send(input),
        }
    }

    /// The device writes where it should not, or what it should not.
    fn scribble(&mut self, input: &mut Input<'_>) {
        let [place, low, high, value, len] = input.take();
        let hand = if place & 1 == 0 { &self.to_driver } else { &self.to_device };
        let areas = [hand.descriptor, hand.driver, hand.device, 0];
        let at = areas[usize::from(place >> 1) % 4] + u64::from(u16::from_le_bytes([low, high]));
        hand.write(at % (hand.len() - 256), &vec![value; 1 + usize::from(len) % 255]);
        self.honest = false;
    }

    /// An element that need not be right.
    fn give_anything(&mut self, input: &mut Input<'_>) {
        let [ring, id, chains, entries] = input.take();
        let (id, len) = (u32::from(id) | u32::from(ring >> 1) << 12, input.u16().into());
        let entries = 1 + u16::from(entries) % self.config.rx_size;
        let hand = if ring & 1 == 0 { &mut self.to_driver } else { &mut self.to_device };
        hand.give(id, len, u16::from(chains), entries);
        self.honest = false;
    }

    fn run_away(&mut self, input: &mut Input<'_>) {
        let ring = input.u8();
        let hand = if ring & 1 == 0 { &mut self.to_driver } else { &mut self.to_device };
        hand.publish(input.u16());
        self.honest = false;
    }

    /// A queue that is to sleep has nothing to do, and the device is asked to call.
    fn arm(&mut self) {
        let (rx, tx) = (self.rx.arm(), self.tx.arm());
        if !self.honest {
            return;
        }
        if rx == Ok(false) {
            assert!(self.on_the_way.is_empty(), "asleep, and packets wait");
            assert!(self.to_driver.is_called_for(self.features.event_idx), "nobody calls");
        }
        if tx == Ok(false) {
            let held: usize = self.sent.iter().map(|(chain, _)| chain.buffers.len()).sum();
            self.look_at_sent();
            let held = held.max(self.sent.iter().map(|(chain, _)| chain.buffers.len()).sum());
            assert_eq!(held, usize::from(self.config.tx_size), "asleep, and buffers are free");
            assert!(self.to_device.is_called_for(self.features.event_idx), "nobody calls");
        }
    }

    /// The device gives back what was sent: the oldest, or with the rest of the byte another.
    fn give_back_sent(&mut self, input: &mut Input<'_>) {
        let which = usize::from(input.u8());
        self.look_at_sent();
        if self.sent.is_empty() || !self.honest {
            return;
        }
        let which = which % self.sent.len();
        if !self.features.in_order {
            let (chain, _) = self.sent.remove(which);
            return self.to_device.give(chain.id.into(), 0, 1, chain.entries());
        }
        // One for all up to that.
        let given: Vec<_> = self.sent.drain(..=which).map(|(chain, _)| chain).collect();
        let entries = given.iter().map(Chain::entries).sum();
        let (id, chains) = (given[which].id, u16::try_from(given.len()).unwrap());
        self.to_device.give(id.into(), 0, chains, entries);
    }

    /// Takes what the driver made available, and checks it.
    fn look_at_sent(&mut self) {
        if !self.honest {
            return;
        }
        for chain in self.to_device.offered() {
            let bytes = self.to_device.contents(&chain);
            let packet = self.expected.pop_front().expect("a packet that nobody sent");
            assert_eq!(bytes, [vec![0; HEADER], packet.clone()].concat());
            self.sent.push((chain, packet));
        }
        assert!(self.expected.is_empty(), "not made available");
        let places = self.sent.iter().flat_map(|(chain, _)| &chain.buffers);
        let distinct: HashSet<_> = places.clone().map(|buffer| buffer.0).collect();
        assert_eq!(distinct.len(), places.count(), "a buffer sent twice");
        assert!(distinct.len() <= self.config.tx_size.into());
    }

    /// The device fills buffers with a packet.
    fn fill(&mut self, input: &mut Input<'_>) {
        let [which, low, high] = input.take();
        if !self.honest {
            return;
        }
        self.take_empty();
        let first = self.config.buffer_size as usize;
        let most = if self.features.mergeable { self.empty.len() } else { 1 };
        let longest = first + most.saturating_sub(1) * (first + HEADER);
        if self.empty.is_empty() {
            return;
        }
        let len = 1 + usize::from(u16::from_le_bytes([low, high])) % longest;
        let packet = self.packet(len);
        let count = 1 + len.saturating_sub(first).div_ceil(first + HEADER);
        let from = match self.features.in_order {
            true => 0,
            false => usize::from(which) % (self.empty.len() - count + 1),
        };
        let chains: Vec<_> = self.empty.drain(from..from + count).collect();
        let mut bytes = vec![0; HEADER];
        bytes[10] = u8::try_from(count).unwrap();
        bytes.extend(&packet);
        let parts = bytes.chunks(first + HEADER);
        let batch = self.features.in_order && which & 1 != 0;
        for (chain, part) in chains.iter().zip(parts.clone()) {
            self.to_driver.put(chain, part);
            if !batch {
                self.to_driver.give(chain.id.into(), u32::try_from(part.len()).unwrap(), 1, 1);
            }
        }
        if batch {
            let (last, count) = (chains.last().unwrap(), u16::try_from(count).unwrap());
            let len = u32::try_from(parts.last().unwrap().len()).unwrap();
            self.to_driver.give(last.id.into(), len, count, count);
        }
        self.on_the_way.push_back(packet);
    }

    fn take_empty(&mut self) {
        let capacity = self.config.buffer_size + 12;
        for chain in self.to_driver.offered() {
            assert!(chain.writable && chain.buffers.len() == 1 && chain.buffers[0].1 == capacity);
            self.empty.push(chain);
        }
        let distinct: HashSet<_> = self.empty.iter().map(|chain| chain.buffers[0].0).collect();
        assert_eq!(distinct.len(), self.empty.len(), "a buffer offered twice");
    }

    fn receive(&mut self, input: &mut Input<'_>) {
        let [max, keep] = input.take::<2>().map(usize::from);
        let burst = match self.rx.rx_burst(max) {
            Ok(burst) => burst,
            Err(error) => return self.broken.note(self.honest, error),
        };
        assert!(self.broken.0.is_none() && burst.len() <= max);
        assert!(burst.slots() <= self.config.rx_size.into());
        let room = burst.slots() * (self.config.buffer_size as usize + HEADER);
        let packets: Vec<_> = burst.packets().map(|packet| packet.detach().to_vec()).collect();
        assert!(packets.iter().all(|packet| !packet.is_empty()));
        assert!(packets.iter().map(Vec::len).sum::<usize>() <= room);
        if self.honest {
            assert_eq!(packets.len(), self.on_the_way.len().min(max).min(256));
            assert!(packets.iter().eq(self.on_the_way.iter().take(packets.len())));
            self.on_the_way.drain(..packets.len().saturating_sub(keep));
        }
        burst.release(packets.len().saturating_sub(keep));
    }

    fn send(&mut self, input: &mut Input<'_>) {
        let [max, count, how] = input.take();
        let lens: Vec<_> = (0..count % 8).map(|_| input.u16()).collect();
        let packets: Vec<_> = lens.iter().map(|len| self.packet(usize::from(len % 2000))).collect();
        let mut burst = match self.tx.tx_burst(max.into()) {
            Ok(burst) => burst,
            Err(error) => return self.broken.note(self.honest, error),
        };
        assert!(self.broken.0.is_none());
        assert!(burst.free() <= usize::from(self.config.tx_size).min(max.into()));
        let first = self.config.buffer_size as usize;
        let mut taken = Vec::new();
        for packet in packets {
            let free = burst.free();
            let slots = packet.len().div_ceil(first).max(1);
            match burst.push(&packet) {
                Ok(()) => {
                    assert_eq!(free - burst.free(), slots);
                    taken.push(packet);
                }
                Err(PushError::Empty) => assert!(packet.is_empty()),
                Err(PushError::Full | PushError::TooLong { .. }) => {
                    assert!(slots > free && burst.free() == free);
                }
                Err(error) => panic!("{error}"),
            }
        }
        if how & 7 != 7 {
            assert_eq!(burst.commit(), taken.len());
            self.expected.extend(taken);
        }
    }

    fn check(&self) {
        assert!(!self.honest || self.link.is_up());
        assert_eq!(self.link.is_up(), self.link.fault().is_none());
        // `arm` may have found it, and says the same.
        assert!(self.broken.0.is_none() || self.broken.0 == self.link.fault());
    }

    /// All that is on the way arrives.
    fn finish(&mut self) {
        let all = [255, 0, 255, 0];
        self.receive(&mut Input::new(&all));
        self.receive(&mut Input::new(&all));
        self.look_at_sent();
        assert!(!self.honest || self.on_the_way.is_empty());
        self.link.close();
        assert!(self.rx.rx_burst(1).is_err() && self.tx.tx_burst(1).is_err());
    }

    fn packet(&mut self, len: usize) -> Vec<u8> {
        self.seed = self.seed.wrapping_add(1);
        let byte = |at: usize| at.to_le_bytes()[0].wrapping_mul(31) ^ self.seed;
        (0..len).map(byte).collect()
    }
}

impl Broken {
    /// Errors have a cause, and are repeated for ever.
    fn note(&mut self, honest: bool, error: QueueError) {
        assert!(!honest, "{error}, of a device that keeps to the rules");
        assert_eq!(*self.0.get_or_insert(error), error);
    }
}
