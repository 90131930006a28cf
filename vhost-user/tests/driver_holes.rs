//! A device that punches holes into a driver's memory: it reads zeros, and nothing faults.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::OwnPair;
use nix::fcntl::{FallocateFlags, fallocate};
use ringport::burst::{PacketRx, PacketTx};

/// Uses queues until they say that they are broken, or for many bursts.
fn use_up(rx: &mut dyn PacketRx, tx: &mut dyn PacketTx) {
    let mut bytes = [0; 2048];
    for _ in 0..1000 {
        if let Ok(burst) = rx.rx_burst(32) {
            burst.packets().for_each(|packet| _ = packet.copy_to(&mut bytes));
        }
        if let Ok(mut burst) = tx.tx_burst(32) {
            while burst.push(&[7; 60]).is_ok() {}
            burst.commit();
        }
    }
}

#[test]
fn hole_punched_into_a_drivers_memory_breaks_its_link_at_most() {
    for mut pair in OwnPair::all(64) {
        // Until indices are in the middle of their rings.
        pair.send(3, 60);
        pair.receive(3, 60);
        assert!(nix::unistd::ftruncate(&pair.memory, 0).is_err(), "sealed");
        let len = nix::sys::stat::fstat(&pair.memory).unwrap().st_size;
        let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(&pair.memory, punch, 0, len).unwrap();
        use_up(&mut pair.rx, &mut pair.tx);
        use_up(&mut pair.device_rx, &mut pair.device_tx);
    }
}
