use super::*;
use ringport::burst::{PushError, forward};
use ringport::error::QueueError;
use ringport::pool::Pool;
use std::sync::atomic::Ordering::Relaxed;

/// The sending and the receiving queue of both directions.
fn directions(pair: &mut Pair) -> [(&mut TxQueue, &mut RxQueue); 2] {
    let Pair { client, server, .. } = pair;
    [(&mut client.tx[0], &mut server.rx[0]), (&mut server.tx[0], &mut client.rx[0])]
}

#[test]
fn every_length_arrives_unchanged_in_order_through_many_wraps() {
    for log2 in [1, 3, 8] {
        let mut pair = Pair::new(log2);
        for (tx, rx) in directions(&mut pair) {
            let mut sent = 0u32;
            let mut received = 0u32;
            while received < 70_000 {
                let lengths = |n: u32| 1 + (n as usize * 7) % 256;
                let frames: Vec<_> = (sent..sent + 3).map(|n| frame(lengths(n), n)).collect();
                sent += u32::try_from(send(tx, &frames)).unwrap();
                for packet in receive(rx) {
                    assert_eq!(packet, frame(lengths(received), received));
                    received += 1;
                }
            }
            assert_eq!(rx.stats().packets, u64::from(received));
            assert_eq!(tx.stats().packets, u64::from(sent));
        }
    }
}

#[test]
fn long_packets_are_chained_and_come_out_whole() {
    for cache_line in [CacheLine::B64, CacheLine::B128] {
        let mut setup = Setup::new(9);
        setup.memory.cache_line = cache_line;
        setup.client.chain_max = 512;
        setup.server.chain_max = 512;
        let mut pair = setup.connect();
        for (tx, rx) in directions(&mut pair) {
            for len in [257, 512, 513, 9000, 65_536, 100_000] {
                let long = frame(len, 5);
                let mut burst = tx.tx_burst(512).unwrap();
                burst.push(&long).unwrap();
                burst.push(&frame(60, 6)).unwrap();
                assert_eq!(burst.commit(), 2);
                assert_eq!(receive(rx), [long, frame(60, 6)], "{len} bytes, {cache_line:?}");
            }
        }
    }
}

#[test]
fn packet_beyond_the_chain_limit_is_refused_and_leaves_nothing() {
    let mut setup = Setup::new(8);
    setup.client.chain_max = 4;
    let mut pair = setup.connect();
    let mut burst = pair.client.tx[0].tx_burst(256).unwrap();
    let refused = burst.push(&frame(1025, 0));
    assert_eq!(refused, Err(PushError::TooLong { len: 1025, chain_max: 4 }));
    assert_eq!(burst.push(&[]), Err(PushError::Empty));
    burst.push(&frame(1024, 1)).unwrap();
    assert_eq!(burst.commit(), 1);
    assert_eq!(receive(&mut pair.server.rx[0]), [frame(1024, 1)]);
}

#[test]
fn full_ring_takes_no_more_until_the_peer_returns_slots() {
    let mut pair = Pair::new(2);
    for (tx, rx) in directions(&mut pair) {
        let frames: Vec<_> = (0..6).map(|n| frame(40, n)).collect();
        assert_eq!(send(tx, &frames), 4);
        assert_eq!(tx.tx_burst(1).unwrap().free(), 0);
        assert_eq!(tx.stats().ring_full, 1);
        assert_eq!(receive(rx), frames[..4]);
        assert_eq!(send(tx, &frames[4..]), 2);
        assert_eq!(receive(rx), frames[4..]);
    }
}

#[test]
fn dropped_transmit_burst_publishes_nothing() {
    let mut pair = Pair::new(3);
    for (tx, rx) in directions(&mut pair) {
        tx.tx_burst(4).unwrap().push(&frame(40, 1)).unwrap();
        assert!(receive(rx).is_empty());
        assert_eq!(send(tx, &[frame(41, 2)]), 1);
        assert_eq!(receive(rx), [frame(41, 2)]);
    }
}

#[test]
fn unreleased_packets_come_again() {
    let mut pair = Pair::new(4);
    for (tx, rx) in directions(&mut pair) {
        let frames = [frame(30, 1), frame(700, 2), frame(31, 3)];
        assert_eq!(send(tx, &frames), 3);
        rx.rx_burst(8).unwrap().release(0);
        rx.rx_burst(8).unwrap().release(1);
        assert_eq!(receive(rx), frames[1..]);
        assert_eq!(rx.stats().packets, 3);
    }
}

#[test]
fn burst_is_no_larger_than_asked_for() {
    let mut pair = Pair::new(4);
    for (tx, rx) in directions(&mut pair) {
        assert_eq!(send(tx, &[frame(300, 1), frame(31, 2), frame(32, 3)]), 3);
        let burst = rx.rx_burst(2).unwrap();
        assert_eq!((burst.len(), burst.slots()), (2, 3));
        drop(burst);
        assert!(rx.rx_burst(0).unwrap().is_empty());
        assert_eq!(receive(rx), [frame(32, 3)]);
    }
}

#[test]
fn packet_is_written_in_place_and_patched() {
    let mut pair = Pair::new(4);
    let mut burst = pair.server.tx[0].tx_burst(8).unwrap();
    let mut writer = burst.writer();
    writer.append(&[0; 250]).unwrap();
    writer.append(&[7; 20]).unwrap();
    assert!(writer.overwrite(254, &[1, 2, 3, 4]));
    assert!(!writer.overwrite(268, &[0; 3]), "beyond what was appended");
    writer.finish().unwrap();
    burst.writer().append(&[9; 300]).unwrap();
    assert_eq!(burst.commit(), 1, "an unfinished packet is not sent");
    let mut expected = vec![0; 250];
    expected.extend([7, 7, 7, 7, 1, 2, 3, 4, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]);
    let burst = pair.client.rx[0].rx_burst(8).unwrap();
    let packet = burst.packets().next().unwrap();
    assert_eq!(packet.detach(), expected);
    assert_eq!(packet.read_at::<4>(254), Some([1, 2, 3, 4]));
    assert_eq!(packet.read_at::<4>(267), None);
    let mut middle = [0; 8];
    assert_eq!(packet.copy_range(252, &mut middle), 8, "across two pieces");
    assert_eq!(middle, [7, 7, 1, 2, 3, 4, 7, 7]);
}

#[test]
fn packet_that_ran_out_of_slots_takes_nothing_more() {
    let mut pair = Pair::new(2);
    let mut burst = pair.client.tx[0].tx_burst(2).unwrap();
    let mut writer = burst.writer();
    assert_eq!(writer.append(&[1; 600]), Err(PushError::Full));
    assert_eq!(writer.append(&[2; 1]), Err(PushError::Full));
    assert_eq!(writer.append(&[]), Err(PushError::Full));
    assert_eq!(writer.finish(), Err(PushError::Full));
    burst.push(&frame(60, 1)).unwrap();
    assert_eq!(burst.commit(), 1);
    assert_eq!(receive(&mut pair.server.rx[0]), [frame(60, 1)]);
}

#[test]
fn headroom_is_kept_in_front_of_what_the_server_writes() {
    let mut setup = Setup::new(3);
    setup.memory.headroom = 64;
    let mut pair = setup.connect();
    let [low, high] = pair.descriptors(1).load(0);
    assert_eq!((low >> 32, high), (192, 2 * (128 + 8 * 16) + 8 * 256 + 64));
    for (tx, rx) in directions(&mut pair) {
        assert_eq!(send(tx, &[frame(192, 1), frame(193, 2)]), 2);
        let burst = rx.rx_burst(4).unwrap();
        assert_eq!(burst.slots(), 3);
        drop(burst);
    }
}

#[test]
fn link_down_hands_out_what_was_published_then_reports_for_ever() {
    let mut pair = Pair::new(4);
    assert_eq!(send(&mut pair.client.tx[0], &[frame(50, 1), frame(51, 2)]), 2);
    pair.server_link.close();
    let rx = &mut pair.server.rx[0];
    assert_eq!(rx.rx_burst(1).unwrap().len(), 1);
    pair.head_after_close();
    let rx = &mut pair.server.rx[0];
    assert_eq!(receive(rx), [frame(51, 2)]);
    for _ in 0..3 {
        assert_eq!(rx.rx_burst(8).unwrap_err(), QueueError::LinkDown);
        assert_eq!(rx.arm().unwrap_err(), QueueError::LinkDown);
    }
    assert_eq!(pair.server.tx[0].tx_burst(1).unwrap_err(), QueueError::LinkDown);
    assert_eq!(pair.server_link.fault(), None, "a closed link is no fault");
}

#[test]
fn sleeper_is_woken_when_the_link_goes_down() {
    let mut pair = Pair::new(4);
    let rx = &mut pair.server.rx[0];
    assert_eq!(rx.arm(), Ok(false));
    assert!(!readable(rx));
    pair.server_link.close();
    assert!(readable(&pair.server.rx[0]));
    assert_eq!(pair.server.rx[0].arm(), Err(QueueError::LinkDown));
}

impl Pair {
    /// A peer that goes on publishing after the link went down.
    fn head_after_close(&mut self) {
        send(&mut self.client.tx[0], &[frame(52, 3)]);
    }
}

#[test]
fn polling_receiver_suppresses_doorbells() {
    let mut setup = Setup::new(4);
    (setup.client.rx_mode, setup.server.rx_mode) = (RxMode::Polling, RxMode::Polling);
    let mut pair = setup.connect();
    for (tx, rx) in directions(&mut pair) {
        for n in 0..5 {
            assert_eq!(send(tx, &[frame(60, n)]), 1);
            assert_eq!(receive(rx).len(), 1);
        }
        assert_eq!((tx.stats().doorbells, tx.stats().doorbells_suppressed), (0, 5));
        assert_eq!(rx.arm(), Ok(true), "a polling receiver never sleeps");
    }
}

#[test]
fn interrupt_receiver_is_rung_for_every_burst() {
    let mut setup = Setup::new(4);
    (setup.client.rx_mode, setup.server.rx_mode) = (RxMode::Interrupt, RxMode::Interrupt);
    let mut pair = setup.connect();
    for (tx, rx) in directions(&mut pair) {
        assert_eq!(rx.arm(), Ok(false));
        assert!(!readable(rx));
        for n in 0..3 {
            assert_eq!(send(tx, &[frame(60, n)]), 1);
            assert!(readable(rx));
        }
        assert_eq!(tx.stats().doorbells, 3);
        assert_eq!(rx.arm(), Ok(true), "packets are waiting");
        assert_eq!(receive(rx).len(), 3);
        assert_eq!(rx.arm(), Ok(false));
        assert!(!readable(rx), "drained before the ring was checked");
        assert_eq!(rx.stats().wake_ups, 1);
    }
}

#[test]
fn adaptive_receiver_is_rung_once_between_arming_and_the_next_packet() {
    let mut pair = Pair::new(4);
    for (tx, rx) in directions(&mut pair) {
        assert_eq!(send(tx, &[frame(60, 0)]), 1);
        assert_eq!(tx.stats().doorbells, 0, "not armed yet");
        assert_eq!(rx.arm(), Ok(true));
        assert_eq!(receive(rx).len(), 1);
        assert_eq!(rx.arm(), Ok(false));
        assert_eq!(send(tx, &[frame(60, 1)]), 1);
        assert!(readable(rx));
        assert_eq!(receive(rx).len(), 1);
        assert_eq!(send(tx, &[frame(60, 2)]), 1);
        assert_eq!((tx.stats().doorbells, tx.stats().doorbells_suppressed), (1, 2));
        assert_eq!(receive(rx).len(), 1);
    }
}

#[test]
fn sleeper_that_left_packets_in_the_ring_is_told_to_go_on() {
    for rx_mode in [RxMode::Interrupt, RxMode::Adaptive] {
        let mut setup = Setup::new(4);
        (setup.client.rx_mode, setup.server.rx_mode) = (rx_mode, rx_mode);
        let mut pair = setup.connect();
        for (tx, rx) in directions(&mut pair) {
            assert_eq!(send(tx, &[frame(60, 0), frame(60, 1), frame(60, 2)]), 3);
            for _ in 0..3 {
                assert_eq!(rx.arm(), Ok(true));
                drop(rx.rx_burst(1).unwrap());
            }
            assert_eq!(rx.arm(), Ok(false));
        }
    }
}

fn readable(rx: &RxQueue) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let mut fds = [PollFd::new(rx.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
}

#[test]
fn forwarding_copies_once_and_leaves_what_does_not_fit() {
    let mut from = Pair::new(4);
    let mut to = Pair::new(2);
    let frames: Vec<_> = (0..6).map(|n| frame(100 + n as usize, n)).collect();
    assert_eq!(send(&mut from.client.tx[0], &frames), 6);
    let (rx, tx) = (&mut from.server.rx[0], &mut to.client.tx[0]);
    assert_eq!(forward(rx, tx, 64).unwrap().packets, 4);
    assert_eq!(forward(rx, tx, 64).unwrap().packets, 0);
    assert_eq!(receive(&mut to.server.rx[0]), frames[..4]);
    assert_eq!(forward(rx, tx, 64).unwrap().packets, 2);
    assert_eq!(receive(&mut to.server.rx[0]), frames[4..]);
}

#[test]
fn forwarding_drops_what_the_other_port_cannot_carry() {
    let mut from = Pair::new(6);
    let mut setup = Setup::new(6);
    setup.client.chain_max = 2;
    let mut to = setup.connect();
    assert_eq!(send(&mut from.client.tx[0], &[frame(513, 0), frame(60, 1)]), 2);
    let done = forward(&mut from.server.rx[0], &mut to.client.tx[0], 64).unwrap();
    assert_eq!((done.packets, done.dropped), (1, 1));
    assert_eq!(receive(&mut to.server.rx[0]), [frame(60, 1)]);
}

#[test]
fn packet_that_takes_more_slots_on_the_other_port_is_forwarded_alone() {
    let mut setup = Setup::new(4);
    setup.params.buffer_size = 2048;
    setup.memory.buffer_size = 2048;
    let (mut from, mut to) = (setup.connect(), Pair::new(4));
    let long = frame(2000, 5);
    assert_eq!(send(&mut from.client.tx[0], std::slice::from_ref(&long)), 1);
    let done = forward(&mut from.server.rx[0], &mut to.client.tx[0], 64).unwrap();
    assert_eq!((done.packets, done.dropped), (1, 0), "one slot there, eight here");
    assert_eq!(receive(&mut to.server.rx[0]), [long]);
}

#[test]
fn two_clients_on_one_pool_exchange_buffers_without_a_copy() {
    let pool = Arc::new(Pool::new(64, 256, Backing::Pages).unwrap());
    let mut setup = Setup::new(3);
    setup.memory.pool = Some(Arc::clone(&pool));
    let (mut a, mut b) = (setup.clone().connect(), setup.connect());
    assert_eq!(pool.free(), 64 - 4 * 8);
    for round in 0..100u32 {
        let frames: Vec<_> = (0..5).map(|n| frame(200 + n as usize * 40, round * 5 + n)).collect();
        let taken = send(&mut a.server.tx[0], &frames);
        let (rx, tx) = (&mut a.client.rx[0], &mut b.client.tx[0]);
        assert_eq!(forward(rx, tx, 64).unwrap().packets, taken);
        assert_eq!(receive(&mut b.server.rx[0]), frames[..taken]);
    }
    assert_eq!(distinct_offsets(&[&a, &b]), 4 * 8, "no two slots share a buffer");
    drop((a, b));
    assert_eq!(pool.free(), 64, "every buffer came back");
}

/// Distinct buffer offsets that the descriptors of both rings of `pairs` name.
fn distinct_offsets(pairs: &[&Pair]) -> usize {
    let offsets = pairs.iter().flat_map(|pair| {
        [0, 1].into_iter().flat_map(|ring| {
            let table = pair.descriptors(ring);
            (0..8).map(move |slot| table.load(slot)[1])
        })
    });
    offsets.collect::<std::collections::HashSet<_>>().len()
}

#[test]
fn exhausted_pool_is_one_clear_error_and_returns_what_it_took() {
    let pool = Arc::new(Pool::new(20, 256, Backing::Pages).unwrap());
    let mut setup = Setup::new(3);
    setup.memory.pool = Some(Arc::clone(&pool));
    setup.params.c2s_rings = 3;
    let error = ClientMemory::allocate(&setup.params, &setup.memory).unwrap_err();
    let text = error_text(&error);
    assert_eq!(text, "buffers from the pool: 8 buffers wanted, 4 are free");
    assert_eq!(pool.free(), 20);
}

fn error_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

#[test]
fn memory_beyond_32_bit_offsets_is_refused_with_its_size() {
    let mut setup = Setup::new(14);
    (setup.params.c2s_rings, setup.params.s2c_rings) = (100, 100);
    (setup.params.buffer_size, setup.memory.buffer_size) = (2048, 2048);
    let error = ClientMemory::allocate(&setup.params, &setup.memory).unwrap_err();
    assert!(matches!(error, LayoutError::TooLarge { bytes, .. } if bytes > 1 << 32), "{error}");
}

#[test]
fn no_two_slots_of_many_large_rings_alias() {
    let mut setup = Setup::new(14);
    (setup.params.c2s_rings, setup.params.s2c_rings) = (3, 3);
    (setup.params.buffer_size, setup.memory.buffer_size) = (64, 64);
    let pair = setup.connect();
    let mut seen = std::collections::HashSet::new();
    for ring in 0..6 {
        let table = pair.descriptors(ring);
        assert!((0..1 << 14).all(|slot| seen.insert(table.load(slot)[1])), "ring {ring}");
    }
}

#[test]
fn several_rings_carry_their_own_packets() {
    let mut setup = Setup::new(4);
    (setup.params.c2s_rings, setup.params.s2c_rings) = (3, 5);
    let mut pair = setup.connect();
    assert_eq!((pair.client.tx.len(), pair.client.rx.len()), (3, 5));
    assert_eq!((pair.server.tx.len(), pair.server.rx.len()), (5, 3));
    for n in 0..3 {
        send(&mut pair.client.tx[n], &[frame(30 + n, 1)]);
        assert_eq!(receive(&mut pair.server.rx[n]), [frame(30 + n, 1)]);
    }
    for n in 0..5 {
        send(&mut pair.server.tx[n], &[frame(40 + n, 2)]);
        assert_eq!(receive(&mut pair.client.rx[n]), [frame(40 + n, 2)]);
    }
}

#[test]
fn nothing_is_published_to_the_server_before_queues_are_made() {
    let setup = Setup::new(3);
    let made = ClientMemory::allocate(&setup.params, &setup.memory).unwrap();
    let offer = made.offer("early").unwrap();
    let link = Arc::new(LinkState::new().unwrap());
    let mut server = server_queues(offer, CacheLine::B64, &link, &setup.server).unwrap();
    assert_eq!(server.tx[0].tx_burst(8).unwrap().free(), 0);
    let _client = made.into_queues(&link, &setup.client).unwrap();
    assert_eq!(server.tx[0].tx_burst(8).unwrap().free(), 8);
}

#[test]
fn receiver_sets_its_flag_word_in_both_senses() {
    for (mode, expected) in [(RxMode::Interrupt, 0), (RxMode::Polling, 1), (RxMode::Adaptive, 1)] {
        let mut setup = Setup::new(3);
        (setup.client.rx_mode, setup.server.rx_mode) = (mode, mode);
        let pair = setup.connect();
        for ring in [0, 1] {
            assert_eq!(pair.flags(ring).atomic().load(Relaxed), expected, "{mode:?} ring {ring}");
        }
    }
}
