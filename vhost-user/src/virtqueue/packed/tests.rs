//! Queues against a driver of the tests' own, and against hostile memory.

use super::*;
use crate::net::{self, HEADER_LEN};
use crate::virtqueue::split::tests::{AtTheEnd, DATA, Driver, GUEST, Setup, frame};
use crate::virtqueue::{KickMode, RingFeatures};
use ringport::error::QueueError;
use std::collections::VecDeque;
use std::sync::Arc;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
/// Position 0, first turn: how every ring begins.
const START: u32 = 0x8000;
const FEATURES: RingFeatures = RingFeatures {
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
struct Packed {
    memory: Driver,
    size: u16,
    next: (u16, bool),
    seen: (u16, bool),
    /// Id and descriptors of the chains that are with the device.
    outstanding: VecDeque<(u16, u16)>,
}

impl Packed {
    fn new(size: u16) -> Self {
        let (next, seen) = ((0, true), (0, true));
        let memory = Setup::new(8).driver();
        Self { memory, size, next, seen, outstanding: VecDeque::new() }
    }

    fn rx(&self, features: RingFeatures, kicks: KickMode) -> RxQueue {
        let at = crate::virtqueue::RingAddresses { size: self.size, ..self.memory.addresses() };
        let (memory, ends) = (Arc::clone(&self.memory.guest), self.memory.ends.clone());
        RxQueue::new(memory, &at, START, &features, kicks, ends).unwrap()
    }

    fn tx(&self, features: RingFeatures) -> TxQueue {
        let at = crate::virtqueue::RingAddresses { size: self.size, ..self.memory.addresses() };
        let (memory, ends) = (Arc::clone(&self.memory.guest), self.memory.ends.clone());
        TxQueue::new(memory, &at, START, &features, KickMode::default(), ends).unwrap()
    }

    fn ahead(&self, (slot, wrap): (u16, bool), by: u16) -> (u16, bool) {
        match slot + by {
            slot if slot < self.size => (slot, wrap),
            slot => (slot - self.size, !wrap),
        }
    }

    /// Makes a chain of descriptors (address, length, flags) available, the first one last.
    fn offer(&mut self, id: u16, chain: &[(u64, u32, u16)]) {
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
    fn send(&mut self, id: u16, packet: &[u8], cut: usize, table: bool) {
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
    fn used(&mut self) -> Vec<(u16, u32)> {
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

fn receive(rx: &mut RxQueue) -> Vec<Vec<u8>> {
    let burst = rx.rx_burst(256).unwrap();
    burst.packets().map(|packet| packet.detach().to_vec()).collect()
}

#[test]
fn packets_arrive_unchanged_in_order_through_many_wraps_of_any_ring() {
    for in_order in [false, true] {
        for size in [1, 3, 5, 64, 1000] {
            let mut driver = Packed::new(size);
            let features = RingFeatures { in_order, ..FEATURES };
            let mut rx = driver.rx(features, KickMode::default());
            for turn in 0..40u16 {
                let count = 1 + turn % size.min(30);
                let frames: Vec<_> =
                    (0..count).map(|n| frame(1 + usize::from(turn * 37 + n), n.into())).collect();
                (0..).zip(&frames).for_each(|(id, frame)| driver.send(id, frame, 20_000, false));
                assert_eq!(receive(&mut rx), frames, "{size}");
                let all: Vec<_> = (0..count).map(|id| (id, 0)).collect();
                let expected = if in_order { &all[all.len() - 1..] } else { &all };
                assert_eq!(driver.used(), expected, "{size}");
                assert!(receive(&mut rx).is_empty());
            }
        }
    }
}

#[test]
fn every_length_arrives_whole_through_chains_and_tables() {
    let mut driver = Packed::new(61);
    let mut rx = driver.rx(FEATURES, KickMode::default());
    for len in 1..=9000usize {
        let id = u16::try_from(2 * len).unwrap();
        let cut = [1, 7, 200, 1500, 9100][len % 5].max(len / 40 + 1);
        driver.send(id, &frame(len, 3), cut, len % 3 == 0);
        driver.send(1, &frame(60, 4), 100, false);
        assert_eq!(receive(&mut rx), [frame(len, 3), frame(60, 4)], "{len} by {cut}");
        assert_eq!(driver.used(), [(id, 0), (1, 0)]);
    }
}

#[test]
fn unreleased_packets_come_again() {
    let mut driver = Packed::new(7);
    let mut rx = driver.rx(FEATURES, KickMode::default());
    let frames = [frame(60, 1), frame(200, 2), frame(61, 3)];
    (0..).zip(&frames).for_each(|(id, frame)| driver.send(id, frame, 120, false));
    rx.rx_burst(8).unwrap().release(0);
    assert_eq!(driver.used(), []);
    rx.rx_burst(8).unwrap().release(1);
    assert_eq!(driver.used(), [(0, 0)]);
    assert_eq!(receive(&mut rx), frames[1..]);
    assert_eq!(driver.used(), [(1, 0), (2, 0)]);
    assert_eq!(rx.stop(), 0x8004_8004);
}

#[test]
fn packets_are_sent_in_buffers_of_any_shape_through_many_wraps() {
    let shapes: [&[u32]; 4] = [&[300], &[12, 288], &[5, 7, 1, 287], &[100, 100, 100]];
    for size in [4u16, 9, 64] {
        for (turn, len) in (1..2000usize).step_by(17).enumerate() {
            let lens = shapes[turn % 4];
            let wanted = (len + 12).div_ceil(300);
            if wanted * lens.len() > usize::from(size) {
                continue;
            }
            let mut driver = Packed::new(size);
            let mut tx = driver.tx(FEATURES);
            for _ in 0..5 {
                let (mut at, mut buffers) = (GUEST + DATA, Vec::new());
                for id in 0..u16::try_from(wanted).unwrap() {
                    let chain: Vec<_> =
                        lens.iter().map(|&len| (at + 300 - u64::from(len), len, WRITE)).collect();
                    let chain: Vec<_> =
                        (0..).zip(chain).map(|(n, (_, len, f))| (at + 400 * n, len, f)).collect();
                    driver.offer(id, &chain);
                    buffers.push(chain);
                    at += 2000;
                }
                let packet = frame(len, 5);
                let mut burst = tx.tx_burst(256).unwrap();
                burst.push(&packet).unwrap();
                assert_eq!(burst.commit(), 1);
                let mut whole = Vec::new();
                for (id, len) in driver.used() {
                    let pieces = buffers[usize::from(id)].iter();
                    let mut part: Vec<u8> = pieces
                        .flat_map(|&(at, len, _)| driver.memory.get(at, len as usize))
                        .collect();
                    part.truncate(len as usize);
                    whole.extend(part);
                }
                let header: [u8; HEADER_LEN] = whole[..12].try_into().unwrap();
                let buffers = u16::try_from(wanted).unwrap();
                assert_eq!(header, net::encode(&Default::default(), buffers), "{len} in {lens:?}");
                assert_eq!(whole[12..], packet, "{len} in {lens:?}");
            }
        }
    }
}

#[test]
fn bad_chain_at_every_position_is_dropped_and_the_others_arrive() {
    let end = GUEST + 0x40_0000;
    for bad in [
        (end - 1, 100, 0),
        (GUEST + DATA, 5, 0),
        (GUEST + DATA, 0, 0),
        (GUEST + DATA, 100, WRITE),
        (GUEST + DATA, 17, INDIRECT),
        (u64::MAX, 32, INDIRECT),
    ] {
        for position in 0..4 {
            let mut driver = Packed::new(8);
            let mut rx = driver.rx(FEATURES, KickMode::default());
            for id in 0..4 {
                match id == position {
                    true => driver.offer(id, &[bad]),
                    false => driver.send(id, &frame(60, id.into()), 100, false),
                }
            }
            let mut packets = receive(&mut rx);
            packets.extend(receive(&mut rx));
            let good: Vec<_> =
                (0..4).filter(|&id| id != position).map(|id| frame(60, id.into())).collect();
            assert_eq!(packets, good, "{bad:x?} at {position}");
            assert_eq!(driver.used(), [(0, 0), (1, 0), (2, 0), (3, 0)]);
            assert!(driver.memory.ends.link.is_up());
        }
    }
}

#[test]
fn chain_without_an_end_ends_the_queue() {
    let mut driver = Packed::new(4);
    driver.offer(0, &[(GUEST + DATA, 100, NEXT); 4]);
    let error = QueueError::ChainTooLong { limit: 4 };
    let mut rx = driver.rx(FEATURES, KickMode::default());
    assert_eq!(rx.rx_burst(8).unwrap_err(), error);
    assert_eq!(rx.rx_burst(8).unwrap_err(), error, "for ever");
}

#[test]
fn receive_buffer_without_room_behind_the_header_ends_the_queue() {
    for len in 0..=12 {
        let mut driver = Packed::new(4);
        driver.offer(0, &[(GUEST + DATA, len, WRITE)]);
        let mut tx = driver.tx(FEATURES);
        assert_eq!(tx.tx_burst(8).unwrap_err(), QueueError::TooShort { len, header: 12 });
        assert_eq!(driver.used(), []);
    }
}

#[test]
fn driver_is_called_as_its_event_area_says() {
    for (position, flags, called) in [
        (0u16, 0u16, true),
        (0, 1, false),
        (0x8000, 2, true),
        (0x8001, 2, true),
        (0x8002, 2, false),
        (0, 2, false),
        (0x7fff, 2, false),
        (0x8000, 3, false),
    ] {
        let mut driver = Packed::new(5);
        let event = [position.to_le_bytes(), flags.to_le_bytes()].concat();
        driver.memory.put(GUEST + 0x8_0000, &event);
        let features = RingFeatures { event_idx: true, ..FEATURES };
        let mut rx = driver.rx(features, KickMode::default());
        (0..2).for_each(|id| driver.send(id, &frame(60, 1), 100, false));
        assert_eq!(receive(&mut rx).len(), 2);
        assert_eq!(driver.memory.called(), called, "{position:#x} {flags}");
    }
}

#[test]
fn kicks_are_asked_for_as_the_mode_says() {
    for (kicks, at_first, armed, behind) in [
        (KickMode::Polling, 1, 1, 1),
        (KickMode::Interrupt, 0, 0, 0),
        (KickMode::Adaptive, 1, 0, 1),
    ] {
        let mut driver = Packed::new(5);
        let mut rx = driver.rx(FEATURES, kicks);
        let flags = |driver: &Packed| driver.memory.get(GUEST + 0xa_0000 + 2, 1)[0];
        assert_eq!(flags(&driver), at_first, "{kicks:?}");
        assert_eq!(rx.arm(), Ok(kicks == KickMode::Polling));
        assert_eq!(flags(&driver), armed, "{kicks:?}");
        driver.send(0, &frame(60, 1), 100, false);
        assert_eq!(rx.arm(), Ok(true));
        assert_eq!(receive(&mut rx).len(), 1);
        assert_eq!(flags(&driver), behind, "{kicks:?}");
    }
}

#[test]
fn queues_stay_within_the_ring_while_flags_and_lengths_are_mutated() {
    use std::os::unix::fs::FileExt;
    use std::sync::atomic::{AtomicBool, Ordering};
    let driver = Packed::new(3);
    let (done, file) = (AtomicBool::new(false), driver.memory.file.try_clone().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0u64.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                let slot = turn % 3;
                let flags = [0x80, 0x8000, 0x8080, 0, 0x81, 0x8001, 0x82, 0x8002];
                let flags = flags[usize::try_from(turn * 7 / 3 % 8).unwrap()];
                let len = [20, 100, 13, u32::MAX][usize::try_from(turn % 4).unwrap()];
                let bytes = Driver::bytes(GUEST + DATA, len, 1, flags);
                file.write_all_at(&bytes, 16 * slot).unwrap();
            }
        });
        let _done = AtTheEnd(&done);
        let mut memory = Packed { memory: driver.memory, ..Packed::new(3) };
        let features = RingFeatures { mergeable: true, ..FEATURES };
        let (mut rx, mut tx) = (memory.rx(features, KickMode::default()), memory.tx(features));
        for _ in 0..20_000 {
            let received = rx.rx_burst(64).map(|burst| {
                assert!(burst.len() <= 3 && burst.packets().all(|packet| packet.len() > 0));
            });
            let sent = tx.tx_burst(64).map(|mut burst| {
                assert!(burst.free() <= 3);
                while burst.push(&[7; 60]).is_ok() {}
                burst.commit();
            });
            if received.is_err() || sent.is_err() {
                memory.memory.ends.link = Arc::new(ringport::link::LinkState::new().unwrap());
                (rx, tx) = (memory.rx(features, KickMode::default()), memory.tx(features));
            }
        }
    });
}

#[test]
fn base_stands_for_a_position_of_the_ring() {
    for (base, size, stands_for) in [
        (0x8000, 4, Some(0x8000_8000)),
        (0x8003_8003, 4, Some(0x8003_8003)),
        (0x0002_0003, 4, Some(0x0002_0002)),
        (0x8004, 4, None),
        (0, 0, None),
        (0x7fff, 32768, Some(0x7fff_7fff)),
    ] {
        assert_eq!(Position::from_base(base, size).map(Position::to_base), stands_for, "{base:#x}");
    }
}
