//! Packets in a pool, and between two ports on it.

use super::*;
use ringport::burst::forward;
use ringport::pool::{Pool, PoolError};
use ringport::shm::Backing;

/// Of a ring, in these tests.
const SIZE: u16 = 16;
/// The least that a driver needs.
const HEADROOM: u16 = 12;

fn pool(buffers: u32) -> Arc<Pool> {
    let pool = Pool::new(buffers, 256 + 12, Backing::Pages).unwrap();
    Arc::new(pool.with_headroom(HEADROOM).unwrap())
}

fn on(pool: &Arc<Pool>, setup: &Setup) -> Pair {
    let link = link();
    let memory = DriverMemory::on_pool(&setup.config(), pool, &link).unwrap();
    Pair::over(setup, memory, link)
}

fn frames(lens: impl Iterator<Item = usize>) -> Vec<Vec<u8>> {
    (0..).zip(lens).map(|(seed, len)| frame(len, seed)).collect()
}

#[test]
fn packets_in_a_pool_arrive_unchanged_with_every_mix_of_features() {
    for setup in Setup::all(SIZE) {
        let pool = pool(2 * u32::from(SIZE));
        let mut pair = on(&pool, &setup);
        assert_eq!(pool.free(), 0, "each entry of both rings has a buffer");
        let longest = if setup.features.mergeable { 1000 } else { 256 };
        let frames = frames((0..200).map(|n| 1 + n * 37 % longest));
        transfer(&mut pair.tx, &mut pair.device_rx, &frames);
        transfer(&mut pair.device_tx, &mut pair.rx, &frames);
        pair.assert_whole();
        drop(pair);
        assert_eq!(pool.free(), 2 * usize::from(SIZE));
    }
}

#[test]
fn packets_of_one_buffer_move_between_drivers_on_one_pool_without_a_copy() {
    for (from, to) in Setup::all(SIZE).flat_map(|from| Setup::all(SIZE).map(move |to| (from, to))) {
        let pool = pool(4 * u32::from(SIZE));
        let (mut a, mut b) = (on(&pool, &from), on(&pool, &to));
        for round in 0..40 {
            let frames = frames((0..5).map(|n| 60 + n * 40 + round % 30));
            assert_eq!(send(&mut a.device_tx, &frames), 5);
            let mut burst = a.rx.rx_burst(64).unwrap();
            let mut out = b.tx.tx_burst(64).unwrap();
            assert_eq!(out.exchange(&mut burst), 5);
            assert_eq!(out.commit(), 5);
            burst.release(5);
            assert_eq!(receive(&mut b.device_rx, &frames, 64, 0), 5);
        }
        a.assert_whole();
        b.assert_whole();
        drop((a, b));
        assert_eq!(distinct(&pool), 4 * usize::from(SIZE), "no two rings had the same buffer");
    }
}

/// Distinct buffers that are free.
fn distinct(pool: &Pool) -> usize {
    let mut all = pool.take(pool.free()).unwrap();
    all.sort_unstable();
    all.dedup();
    assert!(all.iter().all(|start| start % u64::from(pool.buffer_size()) == 0));
    all.len()
}

#[test]
fn buffers_in_which_a_packet_goes_on_stay_where_they_are_when_others_of_their_burst_are_exchanged()
{
    for (from, to) in LAYOUTS.into_iter().flat_map(|from| LAYOUTS.map(|to| (from, to))) {
        let pool = pool(4 * u32::from(SIZE));
        let mut a = on(&pool, &Setup::new(from, SIZE));
        let mut b = on(&pool, &Setup::new(to, SIZE));
        for _ in 0..20 {
            let frames = frames([100, 60, 700].into_iter());
            assert_eq!(send(&mut a.device_tx, &frames), 3);
            let mut burst = a.rx.rx_burst(64).unwrap();
            assert!(burst.slots() > 3, "the last one is in several");
            let mut out = b.tx.tx_burst(64).unwrap();
            assert_eq!(out.exchange(&mut burst), 2);
            assert_eq!(out.commit(), 2);
            // With the one that stayed.
            drop(burst);
            assert_eq!(receive(&mut b.device_rx, &frames[..2], 64, 0), 2);
        }
        a.assert_whole();
        b.assert_whole();
        drop((a, b));
        assert_eq!(distinct(&pool), 4 * usize::from(SIZE), "no two rings had the same buffer");
    }
}

#[test]
fn packets_in_several_buffers_are_copied_and_those_around_them_are_not() {
    for (from, to) in LAYOUTS.into_iter().flat_map(|from| LAYOUTS.map(|to| (from, to))) {
        let pool = pool(4 * u32::from(SIZE));
        let mut a = on(&pool, &Setup::new(from, SIZE));
        let mut b = on(&pool, &Setup::new(to, SIZE));
        for _ in 0..20 {
            let frames = frames([100, 700, 256, 257, 60].into_iter());
            assert_eq!(send(&mut a.device_tx, &frames), 5);
            let mut moved = 0;
            while moved < 5 {
                moved += forward(&mut a.rx, &mut b.tx, 64).unwrap().packets;
            }
            assert_eq!(receive(&mut b.device_rx, &frames, 64, 0), 5);
        }
        a.assert_whole();
        b.assert_whole();
        drop((a, b));
        assert_eq!(distinct(&pool), 4 * usize::from(SIZE));
    }
}

#[test]
fn driver_without_a_pool_exchanges_nothing_and_copies() {
    let (mut a, mut b) = (Pair::new(&Setup::new(RingLayout::Split, SIZE)), {
        on(&pool(2 * u32::from(SIZE)), &Setup::new(RingLayout::Packed, SIZE))
    });
    let frames = frames([100, 200].into_iter());
    assert_eq!(send(&mut a.device_tx, &frames), 2);
    {
        let mut burst = a.rx.rx_burst(64).unwrap();
        assert_eq!(b.tx.tx_burst(64).unwrap().exchange(&mut burst), 0);
        burst.release(0);
    }
    assert_eq!(forward(&mut a.rx, &mut b.tx, 64).unwrap().packets, 2);
    assert_eq!(receive(&mut b.device_rx, &frames, 64, 0), 2);
}

#[test]
fn pool_without_room_for_a_header_or_without_buffers_is_refused() {
    let config = Setup::new(RingLayout::Packed, SIZE).config();
    for headroom in [0, HEADROOM - 1] {
        let pool = Pool::new(64, 2048, Backing::Pages).unwrap().with_headroom(headroom).unwrap();
        let error = DriverMemory::on_pool(&config, &Arc::new(pool), &link()).unwrap_err();
        assert!(matches!(error, LayoutError::Headroom { headroom: h } if h == headroom), "{error}");
    }
    let pool = pool(20);
    let mut memory = DriverMemory::on_pool(&config, &pool, &link()).unwrap();
    let first = memory.rx_queue(0, &QueueOptions::default()).unwrap();
    let error = memory.tx_queue(0, &QueueOptions::default()).unwrap_err();
    let missing = PoolError::Exhausted { wanted: 16, free: 4 };
    assert!(matches!(&error, LayoutError::Pool(why) if why.to_string() == missing.to_string()));
    drop((first, memory));
    assert_eq!(pool.free(), 20);
}
