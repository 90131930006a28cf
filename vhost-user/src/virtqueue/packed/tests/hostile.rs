//! Drivers that break the contract, and what becomes of it.

use super::*;
use crate::backend::{PackedIndex, RingBase};
use crate::virtqueue::RingError;
use ringport::error::QueueError;
use std::sync::Arc;

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

#[test]
fn ring_full_of_bad_chains_is_given_back_in_bounded_bursts() {
    let mut driver = Packed::new(1000);
    let mut rx = driver.rx(FEATURES, KickMode::default());
    (0..1000).for_each(|id| driver.offer(id, &[(GUEST + DATA, 5, 0)]));
    for bursts in 1..=4 {
        assert!(receive(&mut rx).is_empty());
        assert_eq!(rx.stats().bad_length, 1000.min(bursts * 256));
    }
    assert_eq!(driver.used().len(), 1000);
}

#[test]
fn ring_full_of_long_chains_is_worked_on_in_bounded_bursts() {
    // A table for all of them.
    let (table, data) = (GUEST + DATA + 0x1000, GUEST + DATA);
    let offer = |driver: &mut Packed, len, flags| {
        let mut entries = Driver::bytes(data, 0, 0, flags).repeat(1022);
        entries.extend(Driver::bytes(data, len, 0, flags));
        driver.memory.put(table, &entries);
        (0..20).for_each(|id| driver.offer(id, &[(table, 16 * 1023, INDIRECT)]));
    };
    let mut driver = Packed::new(1024);
    let mut rx = driver.rx(FEATURES, KickMode::default());
    offer(&mut driver, 5, 0);
    for bursts in 1..=5 {
        assert!(receive(&mut rx).is_empty());
        assert_eq!((driver.used().len(), rx.stats().bad_length), (4, 4 * bursts), "too short");
    }
    offer(&mut driver, 13, 0);
    for _ in 0..5 {
        assert_eq!(receive(&mut rx).len(), 4);
        assert_eq!(driver.used().len(), 4);
    }
    let mut driver = Packed::new(1024);
    let mut tx = driver.tx(FEATURES);
    offer(&mut driver, 13, WRITE);
    for _ in 0..5 {
        assert_eq!(send(&mut tx, &vec![vec![7]; 5]), 4);
        assert_eq!(driver.used().len(), 4);
    }
}

/// DPDK's driver marks them so.
#[test]
fn table_of_a_packet_with_buffers_marked_writable_is_read_all_the_same() {
    let (table, data) = (GUEST + DATA + 0x1000, GUEST + DATA);
    let mut driver = Packed::new(8);
    let mut rx = driver.rx(FEATURES, KickMode::default());
    driver.memory.put(data, &[&[0; 12][..], &frame(60, 1)].concat());
    driver.memory.put(table, &Driver::bytes(data, 72, 0, WRITE));
    driver.offer(6, &[(table, 16, INDIRECT)]);
    assert_eq!(receive(&mut rx), [frame(60, 1)]);
    assert_eq!(driver.used(), [(6, 0)]);
}

#[test]
fn table_that_is_nested_too_long_or_not_agreed_on_is_dropped() {
    let table = GUEST + DATA + 0x1000;
    let entry = |flags| Driver::bytes(GUEST + DATA, 100, 0, flags);
    for (features, len, flags, entry) in [
        (FEATURES, 16, INDIRECT, entry(INDIRECT)),
        (FEATURES, 16 * 8, INDIRECT, entry(0)),
        (RingFeatures { indirect: false, ..FEATURES }, 16, INDIRECT, entry(0)),
    ] {
        let mut driver = Packed::new(8);
        let mut rx = driver.rx(features, KickMode::default());
        driver.memory.put(table, &entry.repeat(8));
        driver.offer(6, &[(table, len, flags)]);
        driver.send(7, &frame(60, 1), 100, false);
        let mut packets = receive(&mut rx);
        packets.extend(receive(&mut rx));
        assert_eq!(packets, [frame(60, 1)], "{len} {flags}");
        assert_eq!(driver.used(), [(6, 0), (7, 0)]);
        assert_eq!(rx.stats().bad_chain, 1);
    }
}
