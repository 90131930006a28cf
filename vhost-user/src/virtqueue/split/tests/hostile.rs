//! Drivers that break the contract, and what becomes of it.

use super::driver::{INDIRECT, NEXT, WRITE};
use super::*;
use crate::virtqueue::{RingError, RingFeatures, RingStart};
use ringport::error::QueueError;
use ringport::stats::RxStats;

const TABLE: u64 = GUEST + DATA + 0x1000;

/// Has a ring of 8 receive the chain at descriptor 0 and then a good packet: the chain must be used
/// with length 0 and counted, and the packet must arrive.
fn assert_dropped(name: &str, make: impl FnOnce(&Driver)) -> RxStats {
    let (mut driver, mut rx) = Setup::new(8).rx();
    make(&driver);
    driver.offer(0);
    driver.send_cut(7, &frame(60, 1), &[], GUEST + DATA);
    let packets = receive(&mut rx);
    let packets = if packets.is_empty() { receive(&mut rx) } else { packets };
    assert_eq!(packets, [frame(60, 1)], "{name}");
    assert_eq!(driver.used(), [(0, 0), (7, 0)], "{name}");
    assert!(driver.ends.link.is_up(), "{name}");
    let stats = rx.stats();
    let RxStats { bad_bounds, bad_length, bad_chain, bad_index, .. } = stats;
    assert_eq!(bad_bounds + bad_length + bad_chain + bad_index, 1, "{name}");
    stats
}

/// Has a ring of 8 transmit to the chain at descriptor 0: the ring must end.
fn assert_tx_ends(name: &str, make: impl FnOnce(&Driver)) -> QueueError {
    let (mut driver, mut tx) = Setup::new(8).tx();
    make(&driver);
    driver.offer(0);
    let error = tx.error();
    assert_eq!(tx.error(), error, "{name}");
    assert!(driver.ends.link.is_up(), "{name}: other rings go on");
    assert_eq!(driver.used_index(), 0, "{name}: no buffer comes back with less than a header");
    error
}

#[test]
fn index_that_runs_away_ends_the_ring_in_both_directions() {
    for ahead in [9, 0x8000, 0xffff] {
        let (mut driver, mut rx) = Setup::new(8).rx();
        driver.publish(ahead);
        let error = QueueError::IndexRunaway { queued: ahead, ring_size: 8 };
        assert_eq!(rx.error(), error);
        assert_eq!(rx.error(), error, "for ever");
        assert_eq!((rx.stats().bad_index, driver.ends.wake.drain().unwrap()), (1, true));
        let (mut driver, mut tx) = Setup::new(8).tx();
        driver.publish(ahead);
        assert_eq!(tx.error(), error);
    }
}

#[test]
fn head_outside_the_ring_ends_the_ring_behind_what_is_good() {
    for head in [8, 0x7fff, 0xffff] {
        let (mut driver, mut rx) = Setup::new(8).rx();
        driver.send_cut(0, &frame(60, 1), &[], GUEST + DATA);
        driver.offer(head);
        assert_eq!(receive(&mut rx), [frame(60, 1)]);
        let error = QueueError::NoSuchDescriptor { index: head, entries: 8 };
        assert_eq!(rx.error(), error);
        assert_eq!(driver.used(), [(0, 0)]);
        let (mut driver, mut tx) = Setup::new(8).tx();
        driver.offer(head);
        assert_eq!(tx.error(), error);
    }
}

#[test]
fn next_outside_the_ring_is_dropped() {
    for next in [8, 0xffff] {
        let make = |driver: &Driver| driver.describe(0, GUEST + DATA, 100, NEXT, next);
        assert_eq!(assert_dropped("next", make).bad_index, 1);
        let make = |driver: &Driver| driver.describe(0, GUEST + DATA, 100, NEXT | WRITE, next);
        assert_eq!(
            assert_tx_ends("next", make),
            QueueError::NoSuchDescriptor { index: next, entries: 8 }
        );
    }
}

#[test]
fn chain_that_is_a_loop_comes_to_an_end() {
    for next in [0, 1] {
        let make = |flags| {
            move |driver: &Driver| {
                driver.describe(0, GUEST + DATA, 100, flags, next);
                driver.describe(1, GUEST + DATA, 0, flags, 0);
            }
        };
        assert_eq!(assert_dropped("loop", make(NEXT)).bad_chain, 1);
        let error = assert_tx_ends("loop", make(NEXT | WRITE));
        assert_eq!(error, QueueError::ChainTooLong { limit: 8 });
    }
}

#[test]
fn table_whose_chain_is_a_loop_or_leaves_it_is_dropped() {
    for (next, entries) in [(0, 4u32), (1, 4), (4, 4), (0xffff, 4)] {
        let stats = assert_dropped("table", |driver| {
            driver.describe(0, TABLE, 16 * entries, INDIRECT, 0);
            driver.put(TABLE, &Driver::bytes(GUEST + DATA, 100, NEXT, next));
            driver.put(TABLE + 16, &Driver::bytes(GUEST + DATA, 100, NEXT, 0));
        });
        assert_eq!(stats.bad_chain + stats.bad_index, 1);
    }
}

#[test]
fn chain_longer_than_the_ring_is_dropped_with_its_table_counted() {
    let buffers = vec![(GUEST + DATA, 10); 8];
    let make = |driver: &Driver| driver.chain(0, &buffers, false, Some(TABLE));
    assert_eq!(assert_dropped("table of 8", make).bad_chain, 1);
}

#[test]
fn table_in_a_table_behind_next_or_not_agreed_on_is_dropped() {
    assert_dropped("nested", |driver| {
        driver.describe(0, TABLE, 16, INDIRECT, 0);
        driver.put(TABLE, &Driver::bytes(TABLE, 16, INDIRECT, 0));
    });
    assert_dropped("with next", |driver| driver.describe(0, TABLE, 16, INDIRECT | NEXT, 1));
    let (mut driver, mut rx) = Setup { features: RingFeatures::default(), ..Setup::new(8) }.rx();
    driver.chain(0, &[(GUEST + DATA, 100)], false, Some(TABLE));
    driver.offer(0);
    assert!(receive(&mut rx).is_empty());
    assert_eq!(rx.stats().bad_chain, 1);
}

#[test]
fn table_of_an_odd_length_or_outside_the_memory_is_dropped() {
    for len in [0, 1, 15, 17, u32::MAX, 16 * 65536] {
        let make = |driver: &Driver| driver.describe(0, TABLE, len, INDIRECT, 0);
        assert_eq!(assert_dropped("length", make).bad_length, 1, "{len}");
    }
    for address in [0, GUEST - 8, GUEST + 0x40_0000 - 8, u64::MAX, u64::MAX - 15] {
        let make = |driver: &Driver| driver.describe(0, address, 32, INDIRECT, 0);
        assert_eq!(assert_dropped("address", make).bad_bounds, 1, "{address:#x}");
    }
}

#[test]
fn buffer_that_is_not_all_in_the_memory_is_dropped() {
    let end = GUEST + 0x40_0000;
    for (address, len) in [
        (end - 1, 100),
        (end - 99, 100),
        (end, 100),
        (GUEST - 1, 100),
        (0, 100),
        (u64::MAX, 100),
        (u64::MAX - 50, 100),
        (GUEST, u32::MAX - 100),
    ] {
        let plain = |flags| move |driver: &Driver| driver.describe(0, address, len, flags, 0);
        assert_eq!(assert_dropped("plain", plain(0)).bad_bounds, 1, "{address:#x}");
        let error = assert_tx_ends("plain", plain(WRITE));
        assert!(matches!(error, QueueError::NotShared { len: found, .. } if found == len));
        let stats = assert_dropped("in a chain", |driver| {
            driver.describe(0, GUEST + DATA, 100, NEXT, 1);
            driver.describe(1, address, len, 0, 0);
        });
        assert_eq!(stats.bad_bounds, 1, "{address:#x}");
    }
}

#[test]
fn buffer_for_the_other_direction_is_dropped_or_ends_the_ring() {
    let plain = |flags| move |driver: &Driver| driver.describe(0, GUEST + DATA, 100, flags, 0);
    assert_eq!(assert_dropped("writable", plain(WRITE)).bad_chain, 1);
    assert_eq!(assert_tx_ends("readable", plain(0)), QueueError::OddFlags { flags: 0 });
    let chain = |first, second| {
        move |driver: &Driver| {
            driver.describe(0, GUEST + DATA, 100, first | NEXT, 1);
            driver.describe(1, GUEST + DATA, 100, second, 0);
        }
    };
    assert_eq!(assert_dropped("writable at the end", chain(0, WRITE)).bad_chain, 1);
    assert_eq!(
        assert_tx_ends("readable at the end", chain(WRITE, 0)),
        QueueError::OddFlags { flags: 0 }
    );
    assert_tx_ends("readable in front", chain(0, WRITE));
}

#[test]
fn packet_without_bytes_behind_its_header_is_dropped() {
    for len in 0..=12 {
        let plain = |driver: &Driver| driver.describe(0, GUEST + DATA, len, 0, 0);
        assert_eq!(assert_dropped("plain", plain).bad_length, 1, "{len}");
        let chain = |driver: &Driver| {
            let buffers: Vec<_> = (0..len.max(1)).take(7).map(|_| (GUEST + DATA, 1)).collect();
            driver.chain(0, &buffers, false, None);
        };
        assert_eq!(assert_dropped("chain", chain).bad_length, 1, "{len}");
    }
}

#[test]
fn receive_buffer_without_room_behind_the_header_ends_the_ring() {
    for len in 0..=12 {
        let plain = |driver: &Driver| driver.describe(0, GUEST + DATA, len, WRITE, 0);
        assert_eq!(assert_tx_ends("runt", plain), QueueError::TooShort { len, header: 12 });
    }
}

#[test]
fn bad_receive_buffer_waits_until_the_good_ones_before_it_are_used() {
    let (mut driver, mut tx) = Setup::new(8).tx();
    driver.describe(0, GUEST + DATA, 200, WRITE, 0);
    driver.offer(0);
    driver.describe(1, GUEST + DATA, 5, WRITE, 0);
    driver.offer(1);
    assert_eq!(send(&mut tx, &[frame(60, 1), frame(60, 2)]), 1);
    assert_eq!(tx.error(), QueueError::TooShort { len: 5, header: 12 });
    assert_eq!(driver.used(), [(0, 72)]);
}

#[test]
fn chain_of_more_bytes_than_can_be_counted_is_dropped() {
    // Four regions' worth would do; lengths are summed before addresses are believed.
    let stats = assert_dropped("bytes", |driver| {
        let buffers = vec![(GUEST + DATA, 0x10_0000); 7];
        driver.chain(0, &buffers, false, None);
        driver.describe(6, GUEST + DATA, u32::MAX, 0, 0);
    });
    assert_eq!(stats.bad_length, 1);
}

#[test]
fn header_that_makes_no_sense_asks_for_nothing() {
    let features = RingFeatures { rx_offloads: true, ..RingFeatures::default() };
    let (mut driver, mut rx) = Setup { features, ..Setup::new(8) }.rx();
    for cuts in [&[][..], &[30]] {
        driver.send_cut(0, &frame(60, 1), cuts, GUEST + DATA);
        driver.put(GUEST + DATA, &[1, 0, 0, 0, 0, 0, 50, 0, 9, 0, 0, 0]);
        let burst = rx.rx_burst(8).unwrap();
        let packet = burst.packets().next().unwrap();
        assert_eq!((packet.detach().to_vec(), packet.offload().is_plain()), (frame(60, 1), true));
    }
    assert_eq!(rx.stats().bad_header, 2);
}

#[test]
fn ring_full_of_bad_chains_is_given_back_in_bounded_bursts() {
    // Each is found bad after 1024 descriptors, or after one.
    for (size, flags, per_burst) in [(4096, NEXT, 4), (32768, WRITE, 256)] {
        let (mut driver, mut rx) = Setup::new(size).rx();
        driver.describe(0, GUEST + DATA, 100, flags, 0);
        driver.publish(size);
        for before in (0..size).step_by(per_burst) {
            assert_eq!(driver.used_index(), before);
            assert!(receive(&mut rx).is_empty());
        }
        assert_eq!((driver.used_index(), rx.stats().bad_chain), (size, size.into()));
    }
}

#[test]
fn ring_full_of_long_chains_is_received_and_reserved_in_bounded_bursts() {
    // A table for all of them: nothing but a header and a byte.
    let table = |driver: &Driver, write: bool| {
        let mut buffers = [(GUEST + DATA, 0); 1023];
        buffers[1022].1 = 13;
        for head in 0..16 {
            driver.chain(head, &buffers, write, Some(TABLE));
        }
    };
    let (mut driver, mut rx) = Setup::new(1024).rx();
    table(&driver, false);
    (0..16).for_each(|head| driver.offer(head));
    for _ in 0..4 {
        assert_eq!(receive(&mut rx).len(), 4);
    }
    assert_eq!(driver.used().len(), 16);
    let (mut driver, mut tx) = Setup::new(1024).tx();
    table(&driver, true);
    (0..16).for_each(|head| driver.offer(head));
    for _ in 0..4 {
        assert_eq!(tx.tx_burst(256).unwrap().free(), 4);
        assert_eq!(send(&mut tx, &vec![vec![7]; 5]), 4);
    }
    assert_eq!(driver.used().len(), 16);
}

#[test]
fn ring_of_an_impossible_size_or_place_is_refused() {
    let driver = Setup::new(8).driver();
    let good = driver.addresses();
    let (_rx, mut control) = driver.rx_from(0).into_parts();
    let mut refused = |addresses| {
        let start = RingStart { addresses, ..driver.start_at(0) };
        control.start(std::sync::Arc::clone(&driver.guest), start).unwrap_err()
    };
    for size in [0, 3, 0x8001, 0xffff] {
        assert_eq!(
            refused(crate::virtqueue::RingAddresses { size, ..good }),
            RingError::Size { size }
        );
    }
    let end = good.descriptor + driver.setup.second_region;
    for address in [0, u64::MAX, end - 64, end] {
        for at in [
            crate::virtqueue::RingAddresses { descriptor: address, ..good },
            crate::virtqueue::RingAddresses { device: address, ..good },
        ] {
            assert!(matches!(refused(at), RingError::NotShared { .. }), "{at:x?}");
        }
    }
    for at in [
        crate::virtqueue::RingAddresses { descriptor: good.descriptor + 8, ..good },
        crate::virtqueue::RingAddresses { driver: good.driver + 1, ..good },
        crate::virtqueue::RingAddresses { device: good.device + 2, ..good },
    ] {
        assert!(matches!(refused(at), RingError::Misaligned { .. }), "{at:x?}");
    }
}
