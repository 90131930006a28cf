//! Queues against a driver of the tests' own, and against hostile memory.

use crate::backend::{PackedIndex, RingBase};
use crate::net::{self, HEADER_LEN};
use crate::virtqueue::split::tests::{AtTheEnd, DATA, Driver, GUEST, frame};
use crate::virtqueue::{KickMode, RingError, RingFeatures, RxQueue};
use ringport::error::QueueError;
use std::sync::Arc;

mod driver;

pub(crate) use driver::Packed;
use driver::*;

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
fn chain_without_an_end_ends_the_ring() {
    let mut driver = Packed::new(4);
    driver.offer(0, &[(GUEST + DATA, 100, NEXT); 4]);
    let error = QueueError::ChainTooLong { limit: 4 };
    let mut rx = driver.rx(FEATURES, KickMode::default());
    assert_eq!(rx.error(), error);
    assert_eq!(rx.error(), error, "for ever");
}

#[test]
fn receive_buffer_without_room_behind_the_header_ends_the_ring() {
    for len in 0..=12 {
        let mut driver = Packed::new(4);
        driver.offer(0, &[(GUEST + DATA, len, WRITE)]);
        let mut tx = driver.tx(FEATURES);
        assert_eq!(tx.error(), QueueError::TooShort { len, header: 12 });
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

#[test]
fn base_outside_of_the_ring_is_refused() {
    let driver = Packed::new(4);
    let (_rx, mut control) = driver.rx(FEATURES, KickMode::default()).into_parts();
    let mut start = |index, size| {
        let at = PackedIndex { index, wrap: true };
        let mut start = driver.start(FEATURES, KickMode::default());
        start.base = RingBase::Packed { avail: at, used: at };
        start.addresses.size = size;
        control.start(Arc::clone(&driver.memory.guest), start)
    };
    assert_eq!(start(3, 4), Ok(()));
    assert_eq!(start(4, 4), Err(RingError::Base { index: 4, size: 4 }));
    assert_eq!(start(0, 0), Err(RingError::Size { size: 0 }));
    assert_eq!(start(0, 32769), Err(RingError::Size { size: 32769 }));
}
