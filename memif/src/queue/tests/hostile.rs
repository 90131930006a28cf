//! What a peer can write in shared memory: each row takes the link down with a reason, and no
//! access leaves the regions.

use super::*;
use ringport::error::QueueError;
use std::sync::atomic::Ordering::Relaxed;

/// A descriptor as its words.
fn words(flags: u64, region: u64, len: u64, offset: u64) -> [u64; 2] {
    [flags | region << 16 | len << 32, offset]
}

/// The client publishes `descriptors` on C2S; what does the server's receive queue say?
fn server_receives(descriptors: &[[u64; 2]]) -> (Pair, Result<usize, QueueError>) {
    let mut pair = Pair::new(2);
    let table = pair.descriptors(0);
    for (slot, words) in descriptors.iter().enumerate() {
        table.store(u16::try_from(slot).unwrap(), *words);
    }
    pair.head(0).set(u16::try_from(descriptors.len()).unwrap());
    let outcome = pair.server.rx[0].rx_burst(8).map(|burst| burst.len());
    (pair, outcome)
}

/// The link is down with `error`, on every queue, for ever; the control side is woken.
fn assert_faulted(pair: &mut Pair, error: QueueError) {
    assert_eq!(pair.server_link.fault(), Some(error));
    for _ in 0..2 {
        assert_eq!(pair.server.rx[0].rx_burst(8).unwrap_err(), error);
        assert_eq!(pair.server.tx[0].tx_burst(8).unwrap_err(), error);
    }
}

fn region_len(pair: &Pair) -> u64 {
    pair.region0.len() as u64
}

#[test]
fn server_rx_rejects_region_that_was_not_announced() {
    let (mut pair, outcome) = server_receives(&[words(0, 9, 64, 0)]);
    let error = QueueError::UnknownRegion { region: 9, count: 1 };
    assert_eq!(outcome, Err(error));
    assert_faulted(&mut pair, error);
    assert_eq!(pair.server.rx[0].stats().bad_region, 1);
}

#[test]
fn server_rx_rejects_descriptor_one_byte_beyond_its_region() {
    let len = region_len(&Pair::new(2));
    let (mut pair, outcome) = server_receives(&[words(0, 0, 256, len - 255)]);
    let error = QueueError::OutOfBounds { region: 0, offset: len - 255, len: 256, region_len: len };
    assert_eq!(outcome, Err(error));
    assert_faulted(&mut pair, error);
    assert_eq!(pair.server.rx[0].stats().bad_bounds, 1);
}

#[test]
fn server_rx_accepts_descriptor_that_ends_with_its_region() {
    let len = region_len(&Pair::new(2));
    let (_pair, outcome) = server_receives(&[words(0, 0, 256, len - 256)]);
    assert_eq!(outcome, Ok(1));
}

#[test]
fn server_rx_rejects_offset_and_length_whose_sum_wraps_32_bits() {
    for (offset, len) in [(0xffff_ffff, 2), (2, 0xffff_ffff), (0xffff_ffff, 0xffff_ffff)] {
        let (_pair, outcome) = server_receives(&[words(0, 0, len, offset)]);
        assert!(matches!(outcome, Err(QueueError::OutOfBounds { .. })), "{outcome:?}");
    }
}

#[test]
fn server_rx_rejects_length_zero() {
    let (mut pair, outcome) = server_receives(&[words(0, 0, 0, 0)]);
    assert_eq!(outcome, Err(QueueError::EmptyDescriptor));
    assert_faulted(&mut pair, QueueError::EmptyDescriptor);
    assert_eq!(pair.server.rx[0].stats().bad_length, 1);
}

#[test]
fn server_rx_rejects_ring_full_of_next_flags() {
    let (mut pair, outcome) = server_receives(&[words(1, 0, 64, 0); 4]);
    let error = QueueError::ChainTooLong { limit: 4 };
    assert_eq!(outcome, Err(error));
    assert_faulted(&mut pair, error);
    assert_eq!(pair.server.rx[0].stats().bad_chain, 1);
}

#[test]
fn server_rx_waits_for_the_end_of_a_chain_published_in_parts() {
    let (mut pair, outcome) = server_receives(&[words(1, 0, 64, 512), words(1, 0, 64, 512)]);
    assert_eq!(outcome, Ok(0));
    pair.descriptors(0).store(2, words(0, 0, 10, 512));
    pair.head(0).set(3);
    let burst = pair.server.rx[0].rx_burst(1).unwrap();
    assert_eq!((burst.len(), burst.packets().next().unwrap().len()), (1, 138));
}

#[test]
fn unfinished_chain_keeps_nobody_awake_and_no_closed_link_open() {
    let (mut pair, outcome) = server_receives(&[words(1, 0, 64, 512)]);
    assert_eq!(outcome, Ok(0));
    let rx = &mut pair.server.rx[0];
    assert_eq!(rx.arm(), Ok(false), "half a packet is nothing to wake up for");
    pair.head(0).set(2);
    let rx = &mut pair.server.rx[0];
    assert_eq!(rx.arm(), Ok(true), "more of it may be its end");
    assert!(rx.rx_burst(8).is_ok_and(|burst| burst.len() == 1));
    pair.descriptors(0).store(2, words(1, 0, 64, 512));
    pair.head(0).set(3);
    pair.server_link.close();
    let rx = &mut pair.server.rx[0];
    assert_eq!(rx.rx_burst(8).unwrap_err(), QueueError::LinkDown);
    assert_eq!(rx.arm(), Err(QueueError::LinkDown));
}

#[test]
fn server_rx_delivers_good_packets_in_front_of_a_bad_one() {
    let good = words(0, 0, 64, 512);
    let (mut pair, outcome) = server_receives(&[good, good, words(0, 7, 64, 0), good]);
    assert_eq!(outcome, Ok(2));
    assert!(pair.server_link.is_up());
    let error = QueueError::UnknownRegion { region: 7, count: 1 };
    assert_eq!(pair.server.rx[0].rx_burst(8).unwrap_err(), error);
    assert_faulted(&mut pair, error);
}

#[test]
fn server_rx_rejects_chain_with_a_bad_part_and_takes_none_of_it() {
    let (next, end) = (words(1, 0, 64, 512), words(0, 0, 64, 512));
    let bad = [words(1, 9, 64, 0), words(1, 0, 64, 0xffff_ffff), words(1, 0, 0, 512)];
    for part in bad {
        let (mut pair, outcome) = server_receives(&[next, part, end]);
        let error = outcome.unwrap_err();
        assert_faulted(&mut pair, error);
        assert_eq!(pair.server.rx[0].stats().packets, 0);
    }
}

#[test]
fn server_rx_rejects_index_runaway_in_both_directions() {
    for head in [5, 0x8000, 0xffff] {
        let mut pair = Pair::new(2);
        pair.head(0).set(head);
        let error = QueueError::IndexRunaway { queued: head, ring_size: 4 };
        assert_eq!(pair.server.rx[0].rx_burst(8).unwrap_err(), error);
        assert_faulted(&mut pair, error);
        assert_eq!(pair.server.rx[0].stats().bad_index, 1);
    }
}

#[test]
fn server_rx_in_arm_rejects_index_runaway() {
    let mut pair = Pair::new(2);
    pair.head(0).set(77);
    let error = QueueError::IndexRunaway { queued: 77, ring_size: 4 };
    assert_eq!(pair.server.rx[0].arm().unwrap_err(), error);
    assert_faulted(&mut pair, error);
}

/// The client publishes one empty slot on S2C; what does the server's transmit queue say?
fn server_reserves(descriptor: [u64; 2]) -> (Pair, Result<usize, QueueError>) {
    let mut pair = Pair::new(2);
    pair.descriptors(1).store(0, descriptor);
    let outcome = pair.server.tx[0].tx_burst(1).map(|burst| burst.free());
    (pair, outcome)
}

#[test]
fn server_tx_rejects_slot_in_region_that_was_not_announced() {
    let (mut pair, outcome) = server_reserves(words(0, 0xea60, 256, 0));
    let error = QueueError::UnknownRegion { region: 0xea60, count: 1 };
    assert_eq!(outcome, Err(error));
    assert_faulted(&mut pair, error);
    assert_eq!(pair.server.tx[0].stats().bad_region, 1);
}

#[test]
fn server_tx_rejects_slot_outside_its_region() {
    let len = region_len(&Pair::new(2));
    for (at, bytes) in [(len - 255, 256), (0xffff_ffff, 2), (0, 0xffff_ffff)] {
        let (pair, outcome) = server_reserves(words(0, 0, bytes, at));
        assert!(matches!(outcome, Err(QueueError::OutOfBounds { .. })), "{outcome:?}");
        assert_eq!(pair.server.tx[0].stats().bad_bounds, 1);
    }
}

#[test]
fn server_tx_rejects_slot_without_room() {
    let (mut pair, outcome) = server_reserves(words(0, 0, 0, 512));
    assert_eq!(outcome, Err(QueueError::EmptyDescriptor));
    assert_faulted(&mut pair, QueueError::EmptyDescriptor);
}

#[test]
fn server_tx_writes_no_more_than_a_buffer_holds() {
    let mut pair = Pair::new(2);
    let [slot0, slot1] = [0, 1].map(|slot| pair.descriptors(1).load(slot)[1]);
    pair.descriptors(1).store(0, words(0, 0, 16, slot0));
    assert_eq!(send(&mut pair.server.tx[0], &[frame(100, 1)]), 1);
    let written = [0, 1].map(|slot| pair.descriptors(1).load(slot));
    assert_eq!(written, [words(1, 0, 16, slot0), words(0, 0, 84, slot1)]);
    let behind = DescTable::new(&pair.region0, slot0 + 16, 1).unwrap();
    assert_eq!(behind.load(0), [0, 0]);
}

#[test]
fn server_tx_rejects_credit_beyond_the_ring() {
    let mut pair = Pair::new(2);
    pair.head(1).set(5);
    let error = QueueError::IndexRunaway { queued: 5, ring_size: 4 };
    assert_eq!(pair.server.tx[0].tx_burst(1).unwrap_err(), error);
    assert_faulted(&mut pair, error);
    assert_eq!(pair.server.tx[0].stats().bad_index, 1);
}

#[test]
fn server_tx_writes_where_the_slot_was_when_it_was_checked() {
    let mut pair = Pair::new(2);
    let good = pair.descriptors(1).load(0);
    let mut burst = pair.server.tx[0].tx_burst(1).unwrap();
    pair_scribble(&pair.region0, 2 * 64 + 192);
    burst.push(&frame(60, 3)).unwrap();
    assert_eq!(burst.commit(), 1);
    pair.descriptors(1).store(0, [pair.descriptors(1).load(0)[0], good[1]]);
    assert_eq!(receive(&mut pair.client.rx[0]), [frame(60, 3)]);
}

/// Points S2C slot 0 out of the region, between check and use.
fn pair_scribble(region0: &Arc<Mapping>, descriptors: u64) {
    let table = DescTable::new(region0, descriptors, 4).unwrap();
    table.store(0, words(0, 0xffff, 0xffff_ffff, 0xffff_ffff));
}

/// The server answers on S2C with one descriptor; what does the client's receive queue say?
fn client_receives(descriptor: [u64; 2], tail: u16) -> (Pair, Result<usize, QueueError>) {
    let mut pair = Pair::new(2);
    pair.descriptors(1).store(0, descriptor);
    pair.tail(1).set(tail);
    let outcome = pair.client.rx[0].rx_burst(8).map(|burst| burst.len());
    (pair, outcome)
}

#[test]
fn client_rx_rejects_length_beyond_its_buffer() {
    let (pair, outcome) = client_receives(words(0, 0, 257, 0), 1);
    let error = QueueError::LengthExceedsBuffer { len: 257, capacity: 256 };
    assert_eq!(outcome, Err(error));
    assert_eq!(pair.client_link.fault(), Some(error));
    assert_eq!(pair.client.rx[0].stats().bad_length, 1);
}

#[test]
fn client_rx_rejects_length_zero() {
    let (_pair, outcome) = client_receives(words(0, 0, 0, 0), 1);
    assert_eq!(outcome, Err(QueueError::EmptyDescriptor));
}

#[test]
fn client_rx_rejects_chain_with_a_bad_part_and_takes_none_of_it() {
    for bad in [words(1, 0, 257, 0), words(1, 0, 0, 0)] {
        let mut pair = Pair::new(2);
        let table = pair.descriptors(1);
        table.store(0, words(1, 0, 64, 0));
        table.store(1, bad);
        table.store(2, words(0, 0, 64, 0));
        pair.tail(1).set(3);
        let error = pair.client.rx[0].rx_burst(8).unwrap_err();
        assert_eq!(pair.client_link.fault(), Some(error));
        assert_eq!(pair.client.rx[0].stats().packets, 0);
    }
}

#[test]
fn client_rx_ignores_region_and_offset_that_the_server_scribbled() {
    let (mut pair, outcome) = client_receives(words(0, 0xffff, 60, 0xffff_ff00), 1);
    assert_eq!(outcome, Ok(1));
    drop(pair.client.rx[0].rx_burst(8).unwrap());
    let [low, _] = pair.descriptors(1).load(0);
    assert_eq!(low >> 32, 256, "length is back to the capacity");
}

#[test]
fn client_rx_rejects_endless_chain_and_runaway() {
    let mut pair = Pair::new(2);
    let table = pair.descriptors(1);
    (0..4).for_each(|slot| table.store(slot, words(1, 0, 64, 0)));
    pair.tail(1).set(4);
    let error = QueueError::ChainTooLong { limit: 4 };
    assert_eq!(pair.client.rx[0].rx_burst(8).unwrap_err(), error);
    let (_pair, outcome) = client_receives(words(0, 0, 60, 0), 5);
    assert_eq!(outcome, Err(QueueError::IndexRunaway { queued: 5, ring_size: 4 }));
}

#[test]
fn client_tx_rejects_server_that_returns_slots_it_never_got() {
    let mut pair = Pair::new(2);
    pair.tail(0).set(1);
    let error = QueueError::IndexRunaway { queued: 5, ring_size: 4 };
    assert_eq!(pair.client.tx[0].tx_burst(1).unwrap_err(), error);
    assert_eq!(pair.client_link.fault(), Some(error));
}

#[test]
fn client_tx_writes_its_own_buffers_whatever_the_descriptors_say() {
    let mut pair = Pair::new(2);
    let table = pair.descriptors(0);
    let offset = table.load(0)[1];
    (0..4).for_each(|slot| table.store(slot, words(1, 0xffff, 0xffff_ffff, 0xffff_ffff)));
    assert_eq!(send(&mut pair.client.tx[0], &[frame(100, 1)]), 1);
    assert_eq!(table.load(0)[0], words(0, 0, 100, 0)[0]);
    // The server is misled by what it wrote itself, and by nothing else.
    table.store(0, [table.load(0)[0], offset]);
    assert_eq!(receive(&mut pair.server.rx[0]), [frame(100, 1)]);
}

#[test]
fn own_index_in_shared_memory_is_never_read_back() {
    let mut pair = Pair::new(2);
    assert_eq!(send(&mut pair.client.tx[0], &[frame(100, 1)]), 1);
    pair.tail(0).set(0x1234);
    assert_eq!(receive(&mut pair.server.rx[0]), [frame(100, 1)]);
    assert_eq!(pair.tail(0).atomic().load(Relaxed), 1);
}

#[test]
fn memory_mutated_by_another_thread_never_leads_outside_the_regions() {
    let mut pair = Pair::new(5);
    let region0 = Arc::clone(&pair.region0);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let vandal = std::thread::spawn(move || {
        let ring = DescTable::new(&region0, 128, 32).unwrap();
        let head = SharedU16::new(&region0, 6).unwrap();
        let mut n = 1u64;
        while !stopped.load(Relaxed) {
            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let slot = u16::try_from(n >> 59).unwrap();
            ring.store(
                slot,
                words(n >> 40 & 1, n >> 62 & n >> 50 & 1, n >> 33 & 0x1ff, n >> 20 & 0x3fff),
            );
            head.set(u16::try_from(n >> 48 & 31).unwrap());
        }
    });
    for _ in 0..20_000 {
        let mut buffer = [0; 4096];
        if let Ok(burst) = pair.server.rx[0].rx_burst(32) {
            for packet in burst.packets() {
                assert!(packet.copy_to(&mut buffer) <= packet.len());
            }
        } else {
            let params = Setup::new(5);
            let region0 = Arc::clone(&pair.region0);
            pair = params.connect();
            pair.region0 = region0;
        }
    }
    stop.store(true, Relaxed);
    vandal.join().unwrap();
}

/// A client on huge pages, which its server can punch holes into; `None` where there are none.
fn client_on_huge_pages(policy: MemoryPolicy) -> Option<Result<Queues, LayoutError>> {
    let mut setup = Setup::new(5);
    setup.memory.backing = Backing::HugePages2M;
    setup.client.policy = policy;
    let made = match ClientMemory::allocate(&setup.params, &setup.memory) {
        Ok(made) => made,
        Err(error) => {
            eprintln!("SKIPPED: no huge pages: {error}");
            return None;
        }
    };
    let link = Arc::new(LinkState::new().unwrap());
    Some(made.into_queues(&link, &setup.client))
}

#[test]
fn client_that_declines_the_guard_is_refused_huge_pages() {
    let Some(outcome) = client_on_huge_pages(MemoryPolicy::Sealed) else { return };
    assert!(matches!(outcome, Err(LayoutError::Region { region: 0, .. })), "{outcome:?}");
}

#[test]
fn client_on_huge_pages_is_guarded() {
    let Some(outcome) = client_on_huge_pages(MemoryPolicy::Guarded) else { return };
    assert_eq!(outcome.unwrap().tx.len(), 1);
    assert!(ringport::shm::guard::is_installed());
}
