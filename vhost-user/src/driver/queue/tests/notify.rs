//! Doorbells, and threads that sleep on either side.

use super::hand::Device;
use super::link::is_readable;
use super::*;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn setups() -> impl Iterator<Item = Setup> {
    Setup::all(8).filter(|setup| !setup.features.indirect)
}

#[test]
fn adaptive_queue_is_called_only_between_arming_and_the_next_packet() {
    for setup in setups() {
        let mut pair = Pair::new(&setup);
        for turn in 0..20 {
            let frames = [frame(60, turn), frame(60, turn + 1)];
            assert_eq!(send(&mut pair.device_tx, &frames), 2);
            assert!(!is_readable(&pair.rx), "asked for nothing");
            assert_eq!(pair.rx.arm(), Ok(true), "packets are waiting");
            assert_eq!(receive(&mut pair.rx, &frames, 8, 1), 1);
            assert_eq!(pair.rx.arm(), Ok(true), "one was left");
            assert_eq!(receive(&mut pair.rx, &frames[1..], 8, 0), 1);
            assert_eq!(pair.rx.arm(), Ok(false));
            assert!(!is_readable(&pair.rx));
            assert_eq!(send(&mut pair.device_tx, &frames[..1]), 1);
            assert!(is_readable(&pair.rx));
            assert_eq!(receive(&mut pair.rx, &frames[..1], 8, 0), 1);
            assert_eq!(send(&mut pair.device_tx, &frames[1..]), 1);
            assert_eq!(pair.rx.arm(), Ok(true));
            assert!(!is_readable(&pair.rx), "drained");
            assert_eq!(receive(&mut pair.rx, &frames[1..], 8, 0), 1);
            assert_eq!(pair.rx.stats().wake_ups, u64::from(turn) + 1);
        }
    }
}

#[test]
fn polling_queue_is_never_called() {
    for setup in setups() {
        let mut pair = Pair::new(&Setup { calls: CallMode::Polling, ..setup });
        for turn in 0..20 {
            assert_eq!((pair.rx.arm(), pair.tx.arm()), (Ok(true), Ok(true)));
            transfer(&mut pair.device_tx, &mut pair.rx, &[frame(60, turn)]);
            transfer(&mut pair.tx, &mut pair.device_rx, &[frame(60, turn)]);
        }
        let calls = pair.device_tx.stats();
        assert_eq!((calls.doorbells, calls.doorbells_suppressed), (0, 20));
        assert!(!is_readable(&pair.rx));
        assert!(!is_readable(&PacketTx::doorbell(&pair.tx).unwrap()));
    }
}

#[test]
fn interrupt_queue_is_called_for_every_burst() {
    for setup in setups() {
        let mut pair = Pair::new(&Setup { calls: CallMode::Interrupt, ..setup });
        for turn in 0..40 {
            let frames = [frame(60, turn), frame(60, turn + 1), frame(60, turn + 2)];
            assert_eq!(send(&mut pair.device_tx, &frames), 3);
            assert!(is_readable(&pair.rx), "turn {turn}");
            assert_eq!(pair.rx.arm(), Ok(true));
            assert!(!is_readable(&pair.rx));
            assert_eq!(receive(&mut pair.rx, &frames, 8, 0), 3);
        }
    }
}

#[test]
fn burst_kicks_once_and_only_a_device_that_asks() {
    for setup in setups() {
        let mut pair = Pair::new(&setup);
        for turn in 0..20 {
            let frames: Vec<_> = (0..5).map(|seed| frame(60, seed + turn)).collect();
            let before = pair.tx.stats();
            assert_eq!(pair.device_rx.arm(), Ok(false));
            assert_eq!(send(&mut pair.tx, &frames), 5);
            assert!(is_readable(&pair.device_rx));
            assert_eq!(pair.tx.stats().doorbells, before.doorbells + 1);
            assert_eq!(receive(&mut pair.device_rx, &frames, 8, 0), 5);
            assert_eq!(send(&mut pair.tx, &frames), 5);
            let after = pair.tx.stats();
            assert_eq!(after.doorbells, before.doorbells + 1);
            assert_eq!(after.doorbells_suppressed, before.doorbells_suppressed + 1);
            assert_eq!(receive(&mut pair.device_rx, &frames, 8, 0), 5);
        }
    }
}

#[test]
fn buffers_that_go_back_kick_a_device_that_waits_for_them() {
    for setup in setups() {
        let mut pair = Pair::new(&setup);
        let frames: Vec<_> = (0..8).map(|seed| frame(60, seed)).collect();
        for _ in 0..20 {
            assert_eq!(send(&mut pair.device_tx, &frames), 8);
            // Takes earlier kicks.
            assert_eq!(pair.device_tx.arm(), Ok(false), "the ring is full");
            assert!(!is_readable(&pair.device_tx));
            assert_eq!(receive(&mut pair.rx, &frames, 3, 3), 0);
            assert!(!is_readable(&pair.device_tx), "nothing went back");
            assert_eq!(receive(&mut pair.rx, &frames, 3, 0), 3);
            assert!(is_readable(&pair.device_tx));
            assert_eq!(receive(&mut pair.rx, &frames[3..], 8, 0), 5);
            assert_eq!(pair.device_tx.arm(), Ok(true));
        }
    }
}

#[test]
fn sender_that_waits_for_room_is_called() {
    for setup in setups() {
        let mut pair = Pair::new(&setup);
        let frames: Vec<_> = (0..8).map(|seed| frame(60, seed)).collect();
        let is_called = |pair: &Pair| is_readable(&PacketTx::doorbell(&pair.tx).unwrap());
        for _ in 0..20 {
            assert_eq!(pair.tx.arm(), Ok(true), "buffers are free");
            assert_eq!(send(&mut pair.tx, &frames), 8);
            assert_eq!(pair.tx.arm(), Ok(false));
            assert!(!is_called(&pair));
            assert_eq!(receive(&mut pair.device_rx, &frames, 2, 0), 2);
            assert!(is_called(&pair));
            assert_eq!(pair.tx.arm(), Ok(true));
            assert!(!is_called(&pair), "drained");
            assert_eq!(pair.tx.tx_burst(8).unwrap().free(), 2);
            assert_eq!(receive(&mut pair.device_rx, &frames[2..], 8, 0), 6);
            assert!(!is_called(&pair), "it has found something since");
            assert_eq!(pair.tx.tx_burst(8).unwrap().free(), 8);
        }
    }
}

#[test]
fn ring_is_announced_when_its_queue_is_made() {
    for layout in LAYOUTS {
        let setup = Setup::new(layout, 8);
        let mut memory = DriverMemory::allocate(&setup.config(), &link()).unwrap();
        let kick = bell();
        let options = QueueOptions { kick: Some(Arc::clone(&kick)), ..QueueOptions::default() };
        let _tx = memory.tx_queue(0, &options).unwrap();
        assert!(!kick.drain().unwrap());
        let _rx = memory.rx_queue(0, &options).unwrap();
        assert!(kick.drain().unwrap(), "buffers are there");
    }
}

/// Whether a packed ring kicks its device, which asks for that at `event` (wrap counter in bit 15), by
/// a burst of `count` packets behind `sent` others.
fn kicks_at(event_idx: bool, sent: usize, count: usize, event: u16) -> bool {
    let mut setup = Setup::new(RingLayout::Packed, 5);
    setup.features.event_idx = event_idx;
    let mut memory = DriverMemory::allocate(&setup.config(), &link()).unwrap();
    let kick = bell();
    let features = setup.features;
    let options = QueueOptions { features, kick: Some(Arc::clone(&kick)), ..Default::default() };
    let mut tx = memory.tx_queue(0, &options).unwrap();
    let mut device = Device::new(&memory, RingLayout::Packed, 1);
    for _ in 0..sent {
        assert_eq!(send(&mut tx, &[frame(60, 1)]), 1);
        device.offered().iter().for_each(|chain| device.give_back(chain, 0));
    }
    kick.drain().unwrap();
    device.write(device.device, &[event.to_le_bytes(), 2u16.to_le_bytes()].concat());
    assert_eq!(send(&mut tx, &vec![frame(60, 1); count]), count);
    kick.drain().unwrap()
}

#[test]
fn device_of_a_packed_ring_is_kicked_at_the_position_that_it_names() {
    const WRAP: u16 = 1 << 15;
    // Descriptors 3 and 4 of the first turn, 0 and 1 of the second.
    for event in [3 | WRAP, 4 | WRAP, 0, 1] {
        assert!(kicks_at(true, 3, 4, event), "{event:#x}");
        assert!(!kicks_at(false, 3, 4, event), "not agreed on");
    }
    for event in [2 | WRAP, 2, 3, 4, WRAP, 1 | WRAP, 5, 5 | WRAP, 0x7fff, 0xffff] {
        assert!(!kicks_at(true, 3, 4, event), "{event:#x}");
    }
}

/// Sleeps on a doorbell. A wake-up that is lost shows.
fn sleep(doorbell: BorrowedFd<'_>, what: &str) {
    let woken = poll(&mut [PollFd::new(doorbell, PollFlags::POLLIN)], PollTimeout::from(30_000u16));
    assert!(woken.unwrap() > 0, "slept through: {what}");
}

/// Takes what comes until there were `count` packets, and sleeps while nothing does.
fn sleepy_receiver(rx: &mut dyn PacketRx, count: u32, done: &AtomicBool) {
    let mut received = 0;
    while received < count {
        let burst = rx.rx_burst(5).unwrap();
        for packet in burst.packets() {
            assert_eq!(packet.detach(), frame(1 + received as usize % 600, received));
            received += 1;
        }
        let none = burst.is_empty();
        drop(burst);
        if none && !rx.arm().unwrap() {
            sleep(rx.doorbell(), "a packet");
        }
    }
    done.store(true, Ordering::Relaxed);
}

/// Sends `count` packets, and sleeps while there is no room.
fn sleepy_sender(tx: &mut dyn PacketTx, count: u32, done: &AtomicBool) {
    let (mut sent, deadline) = (0, Instant::now() + Duration::from_secs(60));
    while sent < count {
        let mut burst = tx.tx_burst(7).unwrap();
        while sent < count {
            match burst.push(&frame(1 + sent as usize % 600, sent)) {
                Ok(()) => sent += 1,
                Err(PushError::Full) => break,
                Err(error) => panic!("{error}"),
            }
        }
        burst.commit();
        assert!(Instant::now() < deadline && !done.load(Ordering::Relaxed) || sent == count);
        if sent < count && !tx.arm().unwrap() {
            sleep(tx.doorbell().unwrap(), "room");
        }
    }
}

#[test]
fn threads_that_sleep_on_either_side_miss_nothing() {
    const COUNT: u32 = 600;
    for setup in setups() {
        for (calls, kicks) in
            [(CallMode::Adaptive, KickMode::Adaptive), (CallMode::Interrupt, KickMode::Interrupt)]
        {
            let setup = Setup { calls, kicks, buffer_size: 600, ..setup };
            let Pair { mut rx, mut tx, mut device_rx, mut device_tx, _controls, .. } =
                Pair::new(&setup);
            let [to_device, to_driver] = [AtomicBool::new(false), AtomicBool::new(false)];
            std::thread::scope(|scope| {
                scope.spawn(|| sleepy_receiver(&mut device_rx, COUNT, &to_device));
                scope.spawn(|| sleepy_receiver(&mut rx, COUNT, &to_driver));
                scope.spawn(|| sleepy_sender(&mut device_tx, COUNT, &to_driver));
                sleepy_sender(&mut tx, COUNT, &to_device);
            });
        }
    }
}
