//! Transmit queues that have too few slots, or carry some offloads.

use super::support::wire::{Tcp, bytes};
use super::support::{Rx, Tx, TxSetup};
use ringport::burst::{Forwarded, PacketRx, PacketTx, PushError, forward};
use ringport::offload::{Accepts, Checksum, Offload, Segmentation};

fn plain(seed: usize) -> (Vec<u8>, Offload) {
    (bytes(60 + seed), Offload::default())
}

/// Pushes the only packet of `rx` to a burst of `slots` that has `before` plain packets in it, and
/// commits.
fn push(rx: &mut Rx, tx: &mut Tx, slots: usize, before: usize) -> Result<(), PushError> {
    let burst = rx.rx_burst(1).unwrap();
    let mut out = tx.tx_burst(slots).unwrap();
    for n in 0..before {
        out.push(&plain(n).0).unwrap();
    }
    let outcome = out.push_packet(&burst.packets().next().unwrap());
    if outcome.is_err() {
        assert_eq!((out.free(), out.packets()), (slots - before, before));
    }
    // What follows takes the slots that were given back.
    if out.free() > 0 {
        out.push(&plain(39).0).unwrap();
    }
    out.commit();
    burst.release(0);
    outcome
}

#[test]
fn segments_are_taken_all_or_not_at_all_wherever_slots_end() {
    let tcp = Tcp::new(false, 1000, 300);
    // Headers of 66 bytes in slots of 100: 4 segments of 4, 4, 4 and 2 slots.
    let needed = 14;
    for before in [0, 1, 3] {
        for slots in before..=before + needed + 1 {
            let mut rx = Rx::new(77, [tcp.packet()]);
            let mut tx = TxSetup::new(100, 64).tx();
            let outcome = push(&mut rx, &mut tx, slots, before);
            let mut sent = tx.take_plain();
            let first: Vec<_> = sent.drain(..before).collect();
            assert!(first.iter().enumerate().all(|(n, packet)| *packet == plain(n).0));
            if slots < before + needed {
                assert_eq!(outcome, Err(PushError::Full), "{slots} slots");
                let rest = if slots > before { vec![plain(39).0] } else { vec![] };
                assert_eq!(sent, rest, "{slots} slots");
            } else {
                assert_eq!(outcome, Ok(()));
                tcp.check(&sent[..4]);
            }
        }
    }
}

#[test]
fn packet_that_never_fits_is_too_long_and_one_that_may_fit_later_is_not() {
    let tcp = Tcp::new(false, 1000, 300);
    for (slots, free, before, expected) in [
        (13, 13, 0, PushError::TooLong { len: 1066, chain_max: 13 }),
        (3, 3, 0, PushError::TooLong { len: 1066, chain_max: 3 }),
        (14, 13, 0, PushError::Full),
        (14, 14, 1, PushError::Full),
    ] {
        let mut rx = Rx::new(1 << 20, [tcp.packet()]);
        let mut tx = TxSetup::new(100, slots).tx();
        tx.free = free;
        assert_eq!(push(&mut rx, &mut tx, free, before), Err(expected), "{free} of {slots} free");
    }
}

#[test]
fn segment_longer_than_its_queue_takes_leaves_nothing_of_the_packet() {
    let tcp = Tcp::new(false, 1000, 300);
    let mut rx = Rx::new(1 << 20, [tcp.packet()]);
    let mut tx = TxSetup { chain_max: 3, ..TxSetup::new(100, 64) }.tx();
    let outcome = push(&mut rx, &mut tx, 64, 0);
    assert!(matches!(outcome, Err(PushError::TooLong { chain_max: 3, .. })), "{outcome:?}");
    assert_eq!(tx.take_plain(), [plain(39).0]);
}

#[test]
fn forwarding_goes_on_as_slots_come_and_drops_only_what_never_fits() {
    let long = Tcp::new(true, 60_000, 100);
    let (some, few) = (Tcp::new(false, 2000, 400), Tcp::new(true, 900, 400));
    let packets = [plain(1), some.packet(), few.packet(), long.packet(), some.packet(), plain(2)];
    let mut rx = Rx::new(1 << 20, packets);
    let mut tx = TxSetup::new(512, 8).tx();
    let mut total = Forwarded::default();
    let mut add = |done: Forwarded| {
        total.packets += done.packets;
        total.finished += done.finished;
        total.sent += done.sent;
        total.dropped += done.dropped;
        total.malformed += done.malformed;
    };
    // Too few for the second packet, for a while.
    tx.free = 4;
    add(forward(&mut rx, &mut tx, 64).unwrap());
    assert_eq!(forward(&mut rx, &mut tx, 64).unwrap(), Forwarded::default());
    assert_eq!(rx.waiting(), 5, "what merely waits is not dropped");
    tx.free = 8;
    let mut calls = 0;
    while rx.waiting() > 0 {
        let before = rx.waiting();
        add(forward(&mut rx, &mut tx, 64).unwrap());
        assert!(rx.waiting() < before, "stalled with {before} packets");
        calls += 1;
    }
    assert!(calls <= 5);
    let expected =
        Forwarded { packets: 5, finished: 3, sent: 2 + 5 + 3 + 5, dropped: 1, malformed: 0 };
    assert_eq!(total, expected);
    let sent = tx.take_plain();
    assert_eq!((&sent[0], &sent[14]), (&plain(1).0, &plain(2).0));
    some.check(&sent[1..6]);
    few.check(&sent[6..9]);
    some.check(&sent[9..14]);
}

#[test]
fn what_the_queue_carries_is_passed_on_and_the_rest_is_done() {
    let v4 = Tcp::new(false, 1000, 300);
    let (bytes, wanted) = v4.packet();
    let all = Accepts { checksum: true, tcp4: true, tcp6: true, ecn: true };
    for (accepts, passed) in [
        (all, true),
        (Accepts { tcp4: false, ..all }, false),
        (Accepts { checksum: false, ..all }, false),
        (Accepts::default(), false),
    ] {
        let mut tx = TxSetup::new(2048, 64).accepting(accepts).tx();
        // Twice, and with a plain one behind: nothing is remembered.
        let packets = [v4.packet(), plain(1), v4.packet()];
        let done = forward(&mut Rx::new(1 << 20, packets), &mut tx, 64).unwrap();
        assert_eq!((done.packets, done.finished), (3, if passed { 0 } else { 2 }));
        if passed {
            let expected = [(bytes.clone(), wanted), plain(1), (bytes.clone(), wanted)];
            assert_eq!(tx.take_sent(), expected);
        } else {
            let sent = tx.take_plain();
            v4.check(&sent[..4]);
            assert_eq!(sent[4], plain(1).0);
            v4.check(&sent[5..]);
        }
    }
}

#[test]
fn only_the_tag_is_done_for_a_queue_that_carries_the_rest() {
    let accepts = Accepts { checksum: true, tcp4: true, tcp6: true, ecn: true };
    for v6 in [false, true] {
        let tcp = Tcp::new(v6, 1000, 300);
        let (bytes, offload) = tcp.packet();
        let packet = (bytes, Offload { vlan: Some(0x0123), ..offload });
        let mut tx = TxSetup::new(2048, 64).accepting(accepts).tx();
        forward(&mut Rx::new(300, [packet, plain(1)]), &mut tx, 64).unwrap();
        let tagged = Tcp { vlans: vec![[0x81, 0, 1, 0x23]], ..tcp };
        let (header_len, segment_size, ecn) = (5, 300, false);
        let segmentation = match v6 {
            false => Segmentation::Tcp4 { header_len, segment_size, ecn },
            true => Segmentation::Tcp6 { header_len, segment_size, ecn },
        };
        let left = Offload { segmentation, ..tagged.offload() };
        assert_eq!(tx.take_sent(), [(tagged.bytes(), left), plain(1)]);
    }
}

#[test]
fn metadata_of_a_packet_that_found_no_room_is_not_the_next_ones() {
    let accepts = Accepts { checksum: true, tcp4: true, tcp6: true, ecn: true };
    let (bytes, offload) = Tcp::new(false, 1000, 300).packet();
    let mut rx = Rx::new(1 << 20, [(bytes, Offload { vlan: Some(1), ..offload })]);
    let mut tx = TxSetup::new(100, 64).accepting(accepts).tx();
    assert_eq!(push(&mut rx, &mut tx, 5, 2), Err(PushError::Full));
    assert_eq!(tx.take_plain(), [plain(0).0, plain(1).0, plain(39).0]);
}

#[test]
fn verified_packets_need_nothing() {
    let offload = Offload { checksum: Checksum::Verified, ..Offload::default() };
    let mut tx = TxSetup::new(2048, 64).tx();
    let mut rx = Rx::new(1 << 20, [(bytes(100), offload)]);
    let done = forward(&mut rx, &mut tx, 1).unwrap();
    assert_eq!((done.packets, done.finished), (1, 0));
    assert_eq!(tx.take_plain(), [bytes(100)]);
}
