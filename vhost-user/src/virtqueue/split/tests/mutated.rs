//! Memory that somebody writes to while a ring runs.

use super::*;
use crate::virtqueue::RingFeatures;
use ringport::offload::{Accepts, Checksum, Segmentation};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

const ROUNDS: u32 = 3000;

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

/// Sets a flag when it goes, also by a panic: the other thread must not run for ever.
pub(crate) struct AtTheEnd<'f>(pub(crate) &'f AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `work` while another thread writes nonsense into the ring, its descriptors, tables and
/// headers.
fn while_mutated(driver: &mut Driver, work: impl FnOnce(&mut Driver)) {
    let (done, file) = (AtomicBool::new(false), driver.file.try_clone().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut dice = Dice(0x1234_5678_9abc_def1);
            while !done.load(Ordering::Relaxed) {
                let at = match dice.roll(4) {
                    // A descriptor of the ring, or of a table.
                    0 => dice.roll(16 * 16),
                    1 => 0x10_0000 + 0x8000 + dice.roll(256),
                    // A header.
                    2 => 0x10_0000 + 2000 * dice.roll(8) + dice.roll(12),
                    _ => 0x8_0004 + dice.roll(32),
                };
                let byte = [0, 1, 2, 3, 4, 16, 100, 255][usize::try_from(dice.roll(8)).unwrap()];
                file.write_all_at(&[byte], at).unwrap();
            }
        });
        let _done = AtTheEnd(&done);
        work(driver);
    });
}

/// Describes the 16 descriptors anew and offers some: plain, chained, and with a table.
fn offer(driver: &mut Driver, flags: u16) {
    for at in 0..8 {
        driver.describe(at, GUEST + DATA + 2000 * u64::from(at), 1500, flags, 0);
    }
    let buffers = [(GUEST + DATA, 12), (GUEST + DATA + 100, 600)];
    driver.chain(8, &buffers, flags != 0, None);
    driver.chain(10, &buffers, flags != 0, Some(GUEST + DATA + 0x8000));
    for head in [0, 1, 8, 10, 2, 3] {
        driver.offer(head);
    }
}

#[test]
fn received_packets_stay_within_bounds_while_memory_is_mutated() {
    let features = RingFeatures { rx_offloads: true, indirect: true, ..RingFeatures::default() };
    let (mut driver, mut rx) = Setup { features, ..Setup::new(16) }.rx();
    let mut buffer = vec![0; 1 << 16];
    let mut received = 0;
    while_mutated(&mut driver, |driver| {
        for _ in 0..ROUNDS {
            if driver.published.wrapping_sub(driver.used_index()) <= 8 {
                offer(driver, 0);
            }
            if rx.control.fault().is_some() {
                driver.publish(driver.used_index());
                rx.start = driver.start_at(driver.used_index());
                rx.restart();
            }
            let burst = rx.rx_burst(8).unwrap();
            received += burst.len();
            for packet in burst.packets() {
                let (len, offload) = (packet.len(), packet.offload());
                assert!(len > 0);
                assert_eq!(packet.copy_to(&mut buffer), len.min(buffer.len()));
                if let Checksum::Partial { start, offset } = offload.checksum {
                    assert!(usize::from(start) + usize::from(offset) + 2 <= len);
                }
                if let Segmentation::Tcp4 { header_len, segment_size, .. } = offload.segmentation {
                    assert!(usize::from(header_len) < len && segment_size > 0);
                }
            }
        }
    });
    assert!(received > 0);
}

#[test]
fn transmit_queue_stays_within_buffers_while_memory_is_mutated() {
    let features = RingFeatures {
        mergeable: true,
        indirect: true,
        tx_offloads: Accepts { checksum: true, ..Accepts::default() },
        ..RingFeatures::default()
    };
    let setup = Setup { features, ..Setup::new(16) };
    let (mut driver, mut tx) = setup.tx();
    let mut sent = 0;
    while_mutated(&mut driver, |driver| {
        for round in 0..ROUNDS {
            if driver.published.wrapping_sub(driver.used_index()) <= 8 {
                offer(driver, 2);
            }
            if tx.control.fault().is_some() {
                driver.publish(driver.used_index());
                tx.start = driver.start_at(driver.used_index());
                tx.restart();
            }
            let mut burst = tx.tx_burst(8).unwrap();
            for len in [60, 1488, 1489, 3000] {
                // A full burst is no fault.
                let _ = burst.push(&frame(len, round));
            }
            sent += burst.commit();
        }
    });
    assert!(sent > 0);
}
