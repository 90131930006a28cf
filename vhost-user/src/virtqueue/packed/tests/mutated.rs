//! Memory that somebody writes to while a ring runs.

use super::*;
use crate::virtqueue::split::tests::AtTheEnd;

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
        let memory = driver;
        let features = RingFeatures { mergeable: true, ..FEATURES };
        let (mut rx, mut tx) = (memory.rx(features, KickMode::default()), memory.tx(features));
        for _ in 0..20_000 {
            let burst = rx.rx_burst(64).unwrap();
            assert!(burst.len() <= 3 && burst.packets().all(|packet| packet.len() > 0));
            drop(burst);
            let mut burst = tx.tx_burst(64).unwrap();
            assert!(burst.free() <= 3);
            while burst.push(&[7; 60]).is_ok() {}
            burst.commit();
            if rx.control.fault().is_some() || tx.control.fault().is_some() {
                (rx, tx) = (memory.rx(features, KickMode::default()), memory.tx(features));
            }
        }
    });
}
