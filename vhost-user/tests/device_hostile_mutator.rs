//! A driver that writes nonsense into its rings, descriptors, tables and headers while the device
//! works on them. Whatever comes of that, packets lie within what they claim, and rings that broke
//! can be started again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]
#![allow(clippy::print_stdout, reason = "how much it moved is part of a test's output")]

mod device_support;

use device_support::{
    AtTheEnd, BUFFER, FEATURES, Front, GUEST, Guest, Hand, INDIRECT, PACKED, PATIENCE, Place,
    Served, WRITE, exchange,
};
use ringport::offload::{Checksum, Segmentation};
use ringport_vhost_user::device::Offloads;
use ringport_vhost_user::{DeviceConfig, Event, RxQueue, TxQueue};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Least bursts of each queue, and least packets.
const ROUNDS: u32 = 20_000;
const PACKETS: usize = 1000;
/// CSUM, GUEST_CSUM, HOST_TSO4, HOST_TSO6; INDIRECT_DESC, EVENT_IDX.
const MORE: u64 = 0b11 | 1 << 11 | 1 << 12 | 1 << 28 | 1 << 29;
/// Where the table of a ring's chains is, from the ring's first byte.
const TABLE: u64 = 0xc000;

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// Writes nonsense into ring `number` once.
fn mutate(guest: &Guest, number: u64, dice: &mut Dice) {
    let start = GUEST + 0x20_0000 * number;
    let at = match dice.roll(8) {
        // A descriptor of the ring, its length more often than the rest.
        0 | 1 => start + dice.roll(64 * 16),
        2 => start + 16 * dice.roll(64) + 8 + dice.roll(4),
        3 => start + TABLE + dice.roll(4 * 16),
        // What the driver publishes, and which of it it wants to hear of.
        4 => start + 0x4000 + dice.roll(4 + 2 * 64 + 2),
        // What the device publishes.
        5 => start + 0x8000 + dice.roll(4 + 8 * 64 + 2),
        // A header.
        _ => start + 0x1_0000 + BUFFER * dice.roll(64) + dice.roll(12),
    };
    let bytes = [0, 1, 2, 3, 4, 8, 12, 16, 64, 100, 0x7f, 0x80, 0x81, 0xff];
    let byte = bytes[usize::try_from(dice.roll(bytes.len() as u64)).unwrap()];
    guest.put(at, &[byte]);
}

/// Makes chains of all shapes available, as far as a ring that was written over has room.
fn offer(hand: &mut Hand, guest: &Guest, flags: u16, dice: &mut Dice) {
    let (place, table) = (hand.place(), hand.start() + TABLE);
    match dice.roll(4) {
        0 => hand.offer(guest, &[(place, 12, flags), (place + 100, 600, flags)]),
        1 => {
            let words = [flags | 1, 1, flags, 0].map(u16::to_le_bytes).concat();
            for (at, len, words) in [(0, 700_u32, &words[..4]), (1, 900, &words[4..])] {
                let bytes = [&place.to_le_bytes()[..], &len.to_le_bytes(), words].concat();
                guest.put(table + 16 * at, &bytes);
            }
            hand.offer(guest, &[(table, 32, INDIRECT)]);
        }
        _ => hand.offer(guest, &[(place, 1500, flags)]),
    }
}

fn receive(rx: &mut RxQueue, buffer: &mut [u8]) -> usize {
    let burst = rx.rx_burst(16).unwrap();
    for packet in burst.packets() {
        let (len, offload) = (packet.len(), packet.offload());
        assert!(len > 0);
        assert_eq!(packet.copy_to(buffer), len.min(buffer.len()));
        if let Checksum::Partial { start, offset } = offload.checksum {
            assert!(usize::from(start) + usize::from(offset) + 2 <= len);
        }
        if let Segmentation::Tcp4 { header_len, segment_size, .. }
        | Segmentation::Tcp6 { header_len, segment_size, .. } = offload.segmentation
        {
            assert!(usize::from(header_len) < len && segment_size > 0);
        }
    }
    burst.len()
}

fn send(tx: &mut TxQueue) -> usize {
    let mut burst = tx.tx_burst(16).unwrap();
    assert!(burst.free() <= 64 * 64);
    for len in [60, 1488, 1489, 3000] {
        // A full burst is no fault.
        let _ = burst.push(&[7; 3000][..len]);
    }
    burst.commit()
}

/// Starts ring `number` anew.
fn restart(front: &mut Front, hand: &mut Hand, number: usize) {
    front.stop_ring(number);
    hand.reset(&front.guest);
    front.restart_ring(number, if front.packed { 0x8000 } else { 0 });
}

fn mutated(features: u64) {
    let place = Place::new();
    let offloads = Offloads::Segmentation;
    let config = DeviceConfig { offloads, ..DeviceConfig::default() };
    let device = Served::listen(&place, config);
    let mut front = Front::running_with(&place, 1, features | MORE);
    let mut link = device.link_up();
    let mut hands = front.hands(0);
    let (over, guest) = (AtomicBool::new(false), front.guest.again());
    let (mut received, mut sent, mut broken) = (0, 0, [0, 0]);
    std::thread::scope(|scope| {
        let _over = AtTheEnd(&over);
        scope.spawn(|| {
            let mut dice = Dice(0x1234_5678_9abc_def1);
            while !over.load(Ordering::Relaxed) {
                (0..4).for_each(|_| mutate(&guest, dice.roll(2), &mut dice));
                // Something has to be right for a while, or nothing is ever looked at closely.
                std::thread::sleep(Duration::from_micros(20));
            }
        });
        let (rx, tx) = (&mut link.rx[0], &mut link.tx[0]);
        scope.spawn(|| {
            let _over = AtTheEnd(&over);
            let mut buffer = vec![0; 1 << 16];
            let (mut round, start) = (0, Instant::now());
            while round < ROUNDS || received < PACKETS || sent < PACKETS {
                assert!(start.elapsed() < 6 * PATIENCE, "{received}, {sent} after {round} rounds");
                round += 1;
                received += receive(rx, &mut buffer);
                sent += send(tx);
                if round % 100 == 0 {
                    rx.arm().unwrap();
                    tx.arm().unwrap();
                }
            }
        });
        let mut dice = Dice(0xdef1_1234_5678_9abc);
        while !over.load(Ordering::Relaxed) {
            for (number, flags) in [(0, WRITE), (1, 0)] {
                if hands[number].outstanding() + 2 * 8 > 64 {
                    restart(&mut front, &mut hands[number], number);
                }
                (0..4).for_each(|_| offer(&mut hands[number], &front.guest, flags, &mut dice));
            }
            while let Some(event) = device.happened_already() {
                match event {
                    Event::RingBroken { ring, .. } => {
                        let number = usize::from(ring);
                        broken[number] += 1;
                        restart(&mut front, &mut hands[number], number);
                    }
                    Event::PairsEnabled(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    });
    println!("received {received}, sent {sent}, broken {broken:?}");
    for (number, hand) in hands.iter_mut().enumerate() {
        restart(&mut front, hand, number);
    }
    exchange(&mut hands, &front.guest, &mut link, 0, 1);
}

#[test]
fn split_rings_that_are_written_over_while_they_run_stay_within_bounds() {
    mutated(FEATURES);
}

#[test]
fn packed_rings_that_are_written_over_while_they_run_stay_within_bounds() {
    mutated(FEATURES | PACKED);
}
