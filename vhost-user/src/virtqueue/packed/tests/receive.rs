use super::*;

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
fn header_is_taken_off_wherever_it_is_cut() {
    for table in [false, true] {
        let mut driver = Packed::new(64);
        let mut rx = driver.rx(FEATURES, KickMode::default());
        for cut in 1..=25 {
            driver.send(3, &frame(30, 1), cut, table);
            assert_eq!(receive(&mut rx), [frame(30, 1)], "cut at {cut}");
            assert_eq!(driver.used(), [(3, 0)]);
        }
    }
}

#[test]
fn empty_descriptors_in_a_chain_are_passed_over() {
    let mut driver = Packed::new(8);
    let mut rx = driver.rx(FEATURES, KickMode::default());
    let at = GUEST + DATA;
    driver.memory.put(at, &[&[0; 12][..], &frame(60, 1)].concat());
    // The address of an empty one is nobody's business.
    driver.offer(5, &[(0, 0, 0), (at, 12, 0), (u64::MAX, 0, 0), (at + 12, 60, 0), (0, 0, 0)]);
    assert_eq!(receive(&mut rx), [frame(60, 1)]);
    assert_eq!(driver.used(), [(5, 0)]);
}

#[test]
fn chains_and_plain_packets_take_turns_around_the_end_of_the_ring() {
    for in_order in [false, true] {
        let mut driver = Packed::new(7);
        let mut rx = driver.rx(RingFeatures { in_order, ..FEATURES }, KickMode::default());
        for turn in 0..50u32 {
            let frames = [frame(60, turn), frame(100, turn + 1), frame(61, turn + 2)];
            driver.send(0, &frames[0], 200, false);
            driver.send(1, &frames[1], 40, false);
            driver.send(2, &frames[2], 200, turn % 2 == 0);
            assert_eq!(receive(&mut rx), frames, "{turn}");
            let all = [(0, 0), (1, 0), (2, 0)];
            assert_eq!(driver.used(), if in_order { &all[2..] } else { &all });
        }
    }
}

#[test]
fn burst_is_no_larger_than_asked_for() {
    let mut driver = Packed::new(300);
    let mut rx = driver.rx(FEATURES, KickMode::default());
    for id in 0..300 {
        driver.send(id, &frame(60, 1), 100, false);
    }
    let before = rx.stats().empty_bursts;
    assert_eq!(rx.rx_burst(6).unwrap().len(), 6);
    assert!(rx.rx_burst(0).unwrap().is_empty());
    assert_eq!(rx.rx_burst(1000).unwrap().len(), 256);
    assert_eq!(receive(&mut rx).len(), 38);
    assert_eq!(rx.stats().empty_bursts - before, 1);
    assert_eq!(rx.stats().packets, 300);
}

#[test]
fn ring_goes_on_where_it_stopped_also_behind_its_end() {
    let mut driver = Packed::new(5);
    let mut rx = driver.rx(FEATURES, KickMode::default());
    for turn in 0..23u32 {
        driver.send(0, &frame(60, turn), 100, false);
        driver.send(1, &frame(61, turn), 100, false);
        rx.rx_burst(8).unwrap().release(1);
        rx.control.stop();
        rx.start.base = rx.control.base().unwrap();
        rx.restart();
        assert_eq!(receive(&mut rx), [frame(61, turn)], "{turn}");
        assert_eq!(driver.used(), [(0, 0), (1, 0)]);
    }
}
