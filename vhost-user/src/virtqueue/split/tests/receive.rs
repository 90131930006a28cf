use super::*;
use crate::virtqueue::RingFeatures;
use ringport::burst::PacketRx;
use ringport::offload::{Checksum, Offload, Segmentation};

/// Sends packets of one descriptor each from slot `at` of the data area on.
fn send_plain(driver: &mut Driver, packets: &[Vec<u8>]) {
    for packet in packets {
        let head = driver.published % driver.setup.size;
        let at = GUEST + DATA + 10_000 * u64::from(head % 64);
        driver.send_cut(head, packet, &[], at);
    }
}

#[test]
fn packets_arrive_unchanged_in_order_through_many_wraps_of_any_ring() {
    for (size, base) in [(1, 0xfffe), (2, 0), (8, 0xfff0), (256, 0x7f80), (32768, 0xff00)] {
        let (mut driver, mut rx) = Setup { base, ..Setup::new(size) }.rx();
        let (mut sent, mut received) = (0u32, 0u32);
        while received < 2000 {
            let burst = u32::from(size.min(30));
            let frames: Vec<_> =
                (sent..sent + burst).map(|n| frame(1 + n as usize % 1500, n)).collect();
            send_plain(&mut driver, &frames);
            sent += burst;
            assert_eq!(receive(&mut rx), frames);
            received += burst;
            let used = driver.used();
            assert_eq!(used.len(), burst as usize);
            assert!(
                used.iter().all(|&(_, len)| len == 0),
                "nothing is written to a driver's packet"
            );
        }
        assert_eq!(rx.stats().packets, u64::from(received));
    }
}

#[test]
fn index_of_the_ring_wraps_at_sixteen_bits() {
    let (mut driver, mut rx) = Setup { base: 0xffff, ..Setup::new(4) }.rx();
    send_plain(&mut driver, &[frame(60, 1), frame(61, 2), frame(62, 3)]);
    assert_eq!(driver.published, 2);
    assert_eq!(receive(&mut rx), [frame(60, 1), frame(61, 2), frame(62, 3)]);
    assert_eq!(driver.used_index(), 2);
    assert_eq!(rx.stop(), 2);
}

#[test]
fn every_length_arrives_whole_through_chains() {
    let (mut driver, mut rx) = Setup::new(64).rx();
    // Around the end of the first region, so that buffers go on in the second.
    let boundary = GUEST + driver.setup.second_region;
    for len in 1..=9000usize {
        let packet = frame(len, 7);
        let cuts = [1 + len % 13, 1 + len * 7 % 1000, 3, 1 + len * 31 % 3000];
        let head = u16::try_from(len * 5 % 64).unwrap();
        let at = boundary - (len as u64 * 3) % 9100;
        driver.send_cut(head, &packet, &cuts, at);
        assert_eq!(receive(&mut rx), [packet], "{len}");
        assert_eq!(driver.used(), [(u32::from(head), 0)]);
    }
    assert_eq!(rx.stats().packets, 9000);
}

#[test]
fn header_is_taken_off_wherever_it_is_cut() {
    let (mut driver, mut rx) = Setup::new(32).rx();
    for cut in 1..=13 {
        driver.send_cut(0, &frame(100, 1), &[cut], GUEST + DATA);
        assert_eq!(receive(&mut rx), [frame(100, 1)], "header cut at {cut}");
    }
    driver.send_cut(0, &frame(100, 2), &[1; 12], GUEST + DATA);
    assert_eq!(receive(&mut rx), [frame(100, 2)], "twelve descriptors of one byte");
    driver.send_cut(0, &frame(9, 3), &[1; 20], GUEST + DATA);
    assert_eq!(receive(&mut rx), [frame(9, 3)], "and the packet too");
}

#[test]
fn empty_descriptors_in_a_chain_are_passed_over() {
    let (mut driver, mut rx) = Setup::new(8).rx();
    let at = GUEST + DATA;
    driver.put(at, &[&[0; 12][..], &frame(60, 1)].concat());
    // The address of an empty one is nobody's business.
    let buffers = [(0, 0), (at, 12), (u64::MAX, 0), (at + 12, 60), (0, 0)];
    driver.chain(0, &buffers, false, None);
    driver.offer(0);
    assert_eq!(receive(&mut rx), [frame(60, 1)]);
}

#[test]
fn indirect_tables_are_followed_alone_and_behind_other_descriptors() {
    let (mut driver, mut rx) = Setup::new(8).rx();
    let at = GUEST + DATA;
    driver.put(at, &[&[0; 12][..], &frame(300, 1)].concat());
    let buffers = [(at, 12), (at + 12, 100), (at + 112, 200)];
    // A table that goes on in the next region.
    let table = GUEST + driver.setup.second_region - 20;
    driver.chain(3, &buffers, false, Some(table));
    driver.offer(3);
    assert_eq!(receive(&mut rx), [frame(300, 1)]);
    driver.chain(4, &buffers[1..], false, Some(table));
    driver.describe(3, at, 12, 1, 4);
    driver.offer(3);
    assert_eq!(receive(&mut rx), [frame(300, 1)]);
    assert_eq!(driver.used(), [(3, 0), (3, 0)]);
}

#[test]
fn plain_and_odd_packets_of_one_burst_keep_their_order() {
    let (mut driver, mut rx) = Setup::new(64).rx();
    let packets: Vec<_> = (0..12).map(|n| frame(50 + n as usize, n)).collect();
    for (n, packet) in (0u16..).zip(&packets) {
        let cuts: &[usize] = if n % 3 == 2 { &[12, 20] } else { &[] };
        driver.send_cut(n * 4, packet, cuts, GUEST + DATA + 1000 * u64::from(n));
    }
    assert_eq!(receive(&mut rx), packets);
    let heads: Vec<_> = (0..12).map(|n| (n * 4, 0)).collect();
    assert_eq!(driver.used(), heads);
}

#[test]
fn unreleased_packets_come_again() {
    for in_order in [false, true] {
        let features = RingFeatures { in_order, ..RingFeatures::default() };
        let (mut driver, mut rx) = Setup { features, ..Setup::new(16) }.rx();
        let packets: Vec<_> = (0..5).map(|n| frame(60, n)).collect();
        send_plain(&mut driver, &packets);
        rx.rx_burst(8).unwrap().release(0);
        assert_eq!(driver.used_index(), 0);
        rx.rx_burst(8).unwrap().release(2);
        assert_eq!(driver.used_index(), 2);
        assert_eq!(receive(&mut rx), packets[2..]);
        assert_eq!(driver.used_index(), 5);
    }
}

#[test]
fn one_used_element_stands_for_a_burst_in_order() {
    let features = RingFeatures { in_order: true, ..RingFeatures::default() };
    let (mut driver, mut rx) = Setup { features, ..Setup::new(8) }.rx();
    send_plain(&mut driver, &[frame(60, 0), frame(60, 1), frame(60, 2)]);
    assert_eq!(receive(&mut rx).len(), 3);
    let used = driver.used();
    assert_eq!((used.len(), used[0]), (3, (2, 0)), "where the first would be: the last head");
}

#[test]
fn full_ring_is_taken_in_bursts_no_larger_than_asked_for() {
    let (mut driver, mut rx) = Setup::new(512).rx();
    send_plain(&mut driver, &vec![frame(60, 1); 512]);
    let before = rx.stats().empty_bursts;
    assert_eq!(rx.rx_burst(300).unwrap().len(), 256);
    assert_eq!(rx.rx_burst(6).unwrap().len(), 6);
    assert!(rx.rx_burst(0).unwrap().is_empty());
    assert_eq!(receive(&mut rx).len(), 250);
    assert!(receive(&mut rx).is_empty());
    assert_eq!(rx.stats().empty_bursts - before, 2);
}

#[test]
fn queue_goes_on_where_the_one_before_it_stopped() {
    let (mut driver, mut rx) = Setup { base: 9, ..Setup::new(8) }.rx();
    send_plain(&mut driver, &[frame(60, 0), frame(60, 1), frame(60, 2)]);
    assert_eq!(rx.rx_burst(2).unwrap().len(), 2);
    assert_eq!(published(&driver.guest, &driver.addresses()), Ok(11));
    let base = u16::try_from(rx.stop()).unwrap();
    assert_eq!(base, 11);
    assert_eq!(receive(&mut driver.rx_from(base)), [frame(60, 2)]);
}

#[test]
fn offloads_are_read_from_headers_of_every_shape() {
    let features = RingFeatures { rx_offloads: true, ..RingFeatures::default() };
    let (mut driver, mut rx) = Setup { features, ..Setup::new(16) }.rx();
    let checksum = Checksum::Partial { start: 34, offset: 16 };
    let segmentation = Segmentation::Tcp4 { header_len: 54, segment_size: 1448, ecn: false };
    let wanted = Offload { checksum, segmentation, vlan: None };
    let header = crate::net::encode(&wanted, 0x1234);
    for cuts in [&[][..], &[12], &[1; 12], &[20, 20]] {
        driver.send_cut(0, &frame(200, 1), cuts, GUEST + DATA);
        if cuts.is_empty() || cuts[0] >= 12 {
            driver.put(GUEST + DATA, &header);
        } else {
            (0..).zip(header).for_each(|(n, byte)| driver.put(GUEST + DATA + n * 6, &[byte]));
        }
        driver.send_cut(15, &frame(60, 2), &[], GUEST + DATA + 8000);
        let burst = rx.rx_burst(8).unwrap();
        let offloads: Vec<_> = burst.packets().map(|packet| packet.offload()).collect();
        assert_eq!(offloads, [wanted, Offload::default()], "{cuts:?}");
    }
}

#[test]
fn headers_are_not_looked_at_where_no_offload_was_agreed_on() {
    let (mut driver, mut rx) = Setup::new(16).rx();
    driver.send_cut(0, &frame(60, 1), &[], GUEST + DATA);
    driver.put(GUEST + DATA, &[0xff; 12]);
    let burst = PacketRx::rx_burst(&mut *rx, 8).unwrap();
    assert_eq!(burst.packets().next().unwrap().offload(), Offload::default());
    drop(burst);
    assert_eq!(rx.stats().bad_header, 0);
}
