//! Packets that are held beyond their burst.

use super::*;
use crate::backend::RingBase;
use crate::virtqueue::split::tests::{AtTheEnd, DATA, frame};
use crate::virtqueue::{HeldPacket, RxQueue};
use ringport::doorbell::Doorbell;
use ringport::error::QueueError;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

for_both_layouts! {
    packets_are_read_after_their_burst_and_go_back_in_order
    packet_is_read_in_parts_and_as_a_whole_wherever_it_is
    what_is_in_the_way_of_the_limit_is_copied_out_oldest_first
    limit_of_zero_copies_everything_at_once
    limit_is_half_of_the_ring_at_most
    packet_of_several_descriptors_counts_as_many
    bursts_between_held_packets_go_back_behind_them
    bad_chains_between_held_packets_go_back_behind_them
    longer_packet_than_drivers_send_is_thrown_away
    stop_copies_out_and_the_base_is_behind_what_was_held
    stop_that_nobody_polls_copies_out_and_gives_back
    stop_under_an_open_burst_gives_back_when_it_ends
    memory_is_let_go_while_packets_of_it_are_held
    ring_started_anew_gives_back_to_the_one_before
    ring_that_breaks_gives_back_what_is_held
    disabled_ring_gives_back_behind_what_is_held
    link_that_ends_leaves_packets_that_need_no_memory
    queue_that_is_dropped_gives_back_what_is_held
    driver_is_called_by_the_doorbell_that_it_gave_last
    thread_sleeps_while_packets_are_held
    announcement_is_held_like_any_packet
    driver_that_rewrites_held_packets_changes_nothing_but_bytes
}

/// Holds what is there, 8 packets at most.
fn hold(rx: &mut RxQueue) -> Vec<HeldPacket> {
    let mut held = Vec::new();
    let count = rx.hold(8, &mut held).unwrap();
    assert_eq!(count, held.len());
    held
}

/// A peer that sent `count` frames, and a ring that may hold four.
fn holding<P: Peer>(count: u32) -> (P, Ring<RxQueue>, Vec<HeldPacket>) {
    let mut peer = P::new();
    let mut rx = peer.rx();
    rx.set_holding_limit(4);
    (0..count).for_each(|n| peer.send(&frame(60, n)));
    let held = hold(&mut rx);
    assert_eq!(contents(&held), (0..count).map(|n| frame(60, n)).collect::<Vec<_>>());
    (peer, rx, held)
}

fn contents(held: &[HeldPacket]) -> Vec<Vec<u8>> {
    held.iter().map(|packet| packet.detach().unwrap().to_vec()).collect()
}

fn copied(held: &[HeldPacket]) -> Vec<bool> {
    held.iter().map(HeldPacket::is_copied).collect()
}

/// Has the driver use the buffers of all slots for something else.
fn overwrite<P: Peer>(peer: &P) {
    (0..SIZE).for_each(|slot| peer.memory().put(buffer(slot), &[0xdd; 2000]));
}

fn packets_are_read_after_their_burst_and_go_back_in_order<P: Peer>() {
    let (mut peer, mut rx, mut held) = holding::<P>(4);
    assert!(receive(&mut rx).is_empty(), "they are not delivered again");
    assert_eq!(copied(&held), [false; 4]);
    drop(held.remove(1));
    drop(held.remove(1));
    assert!(receive(&mut rx).is_empty());
    assert_eq!(peer.slots_back(), [0; 0], "0 is in the way");
    drop(held.remove(0));
    assert_eq!(peer.slots_back(), [0; 0], "with the next call");
    assert!(receive(&mut rx).is_empty());
    assert_eq!(peer.slots_back(), [0, 1, 2]);
    assert_eq!(contents(&held), [frame(60, 3)]);
    drop(held);
    assert_eq!(rx.arm(), Ok(false));
    assert_eq!(peer.slots_back(), [3]);
    assert_eq!((rx.stats().packets, rx.stats().bytes), (4, 240));
    // All goes on as if nothing was ever held.
    for n in 0..20 {
        peer.send(&frame(70, n));
        assert_eq!(receive(&mut rx), [frame(70, n)]);
        assert_eq!(peer.slots_back().len(), 1);
    }
}

fn packet_is_read_in_parts_and_as_a_whole_wherever_it_is<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    rx.set_holding_limit(4);
    let sent = [frame(300, 1), frame(301, 2)];
    peer.send(&sent[0]);
    peer.send_in_table(&sent[1], 50);
    let held = hold(&mut rx);
    for is_copied in [false, true] {
        for (packet, sent) in held.iter().zip(&sent) {
            assert_eq!((packet.len(), packet.is_copied()), (sent.len(), is_copied));
            assert!(packet.offload().is_plain());
            let mut to = [0; 1000];
            assert_eq!(packet.copy_to(&mut to), Ok(sent.len()));
            assert_eq!(to[..sent.len()], sent[..]);
            assert_eq!(packet.copy_to(&mut to[..7]), Ok(7));
            assert_eq!(packet.copy_range(100, &mut to), Ok(sent.len() - 100));
            assert_eq!(to[..sent.len() - 100], sent[100..]);
            assert_eq!(packet.copy_range(1000, &mut to), Ok(0));
            assert_eq!(packet.read_at(90), Ok(Some([sent[90], sent[91]])));
            assert_eq!(packet.read_at::<2>(sent.len() - 1), Ok(None));
            assert_eq!(packet.read_at::<2>(usize::MAX), Ok(None));
            assert_eq!(packet.detach().unwrap(), sent);
        }
        rx.control.stop();
        assert!(rx.control.is_settled());
    }
}

fn what_is_in_the_way_of_the_limit_is_copied_out_oldest_first<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    (0..3).for_each(|n| peer.send(&frame(60, n)));
    let mut held = hold(&mut rx);
    assert_eq!(copied(&held), [true, false, false], "a quarter of the ring");
    assert_eq!(peer.slots_back(), [0]);
    overwrite(&peer);
    assert_eq!(contents(&held[..1]), [frame(60, 0)], "its own");
    let shared = held[1].detach().unwrap();
    assert!(shared.iter().all(|byte| *byte == 0xdd), "where the driver put it");
    // One that is not held makes way as well, and so does what is in its way.
    peer.send(&frame(60, 3));
    assert_eq!(receive(&mut rx), [frame(60, 3)]);
    assert_eq!(copied(&held), [true, true, false]);
    assert_eq!(peer.slots_back(), [1]);
    drop(held.pop());
    assert!(receive(&mut rx).is_empty());
    assert_eq!(peer.slots_back(), [2, 3]);
}

fn limit_of_zero_copies_everything_at_once<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    rx.set_holding_limit(0);
    (0..8).for_each(|n| peer.send(&frame(60, n)));
    let held = hold(&mut rx);
    assert_eq!((copied(&held), peer.slots_back().len()), (vec![true; 8], 8));
    overwrite(&peer);
    assert_eq!(contents(&held), (0..8).map(|n| frame(60, n)).collect::<Vec<_>>());
}

fn limit_is_half_of_the_ring_at_most<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    rx.set_holding_limit(usize::MAX);
    (0..8).for_each(|n| peer.send(&frame(60, n)));
    let held = hold(&mut rx);
    assert_eq!(copied(&held), [true, true, true, true, false, false, false, false]);
    assert_eq!(peer.slots_back(), [0, 1, 2, 3]);
}

fn packet_of_several_descriptors_counts_as_many<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    rx.set_holding_limit(4);
    (0..4).for_each(|n| peer.send_in_two(&frame(60, n)));
    let held = hold(&mut rx);
    assert_eq!(copied(&held), [true, true, false, false]);
    assert_eq!(peer.slots_back(), [0, 2]);
    overwrite(&peer);
    assert_eq!(contents(&held[..2]), [frame(60, 0), frame(60, 1)]);
    // A table takes one descriptor, whatever it names.
    let mut peer = P::new();
    let mut rx = peer.rx();
    rx.set_holding_limit(4);
    (0..4).for_each(|n| peer.send_in_table(&frame(60, n), 20));
    let held = hold(&mut rx);
    assert_eq!(copied(&held), [false; 4]);
    assert_eq!(contents(&held), (0..4).map(|n| frame(60, n)).collect::<Vec<_>>());
}

fn bursts_between_held_packets_go_back_behind_them<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    rx.set_holding_limit(4);
    for turn in 0..20u16 {
        let slots = |of: &[u16]| of.iter().map(|n| (5 * turn + n) % SIZE).collect::<Vec<_>>();
        peer.send(&frame(60, 0));
        let first = hold(&mut rx);
        (1..4).for_each(|n| peer.send(&frame(60, n)));
        let burst = rx.rx_burst(8).unwrap();
        assert_eq!(burst.len(), 3);
        burst.release(1);
        let burst = rx.rx_burst(1).unwrap();
        assert_eq!(burst.packets().next().unwrap().detach(), frame(60, 2), "it comes again");
        drop(burst);
        let second = hold(&mut rx);
        assert_eq!(contents(&second), [frame(60, 3)]);
        assert_eq!(peer.slots_back(), [0; 0]);
        drop(first);
        peer.send_in_table(&frame(60, 4), 20);
        assert_eq!(receive(&mut rx), [frame(60, 4)]);
        assert_eq!(peer.slots_back(), slots(&[0, 1, 2]));
        drop(second);
        drop(rx.rx_burst(0).unwrap());
        assert_eq!(peer.slots_back(), slots(&[3, 4]));
    }
    assert_eq!(rx.stats().packets, 100);
}

fn bad_chains_between_held_packets_go_back_behind_them<P: Peer>() {
    let (mut peer, mut rx, held) = holding::<P>(1);
    peer.send_in_table(&[], 6);
    peer.send(&frame(60, 2));
    peer.send_in_table(&[], 12);
    // Good ones end a burst in front of bad ones, and bad ones count.
    let mut got = receive(&mut rx);
    got.extend(receive(&mut rx));
    assert_eq!((got, rx.stats().bad_length), (vec![frame(60, 2)], 2));
    assert_eq!(peer.slots_back(), [0; 0]);
    drop(held);
    assert!(receive(&mut rx).is_empty());
    assert_eq!(peer.slots_back(), [0, 1, 2, 3]);
}

fn longer_packet_than_drivers_send_is_thrown_away<P: Peer>() {
    let (mut peer, mut rx, held) = holding::<P>(1);
    for len in [65_550, 65_551, 60] {
        peer.send_in_table(&frame(len, 1), 100_000);
    }
    let more = hold(&mut rx);
    assert_eq!(more.iter().map(HeldPacket::len).collect::<Vec<_>>(), [65_550, 60]);
    assert_eq!((rx.stats().packets, rx.stats().bad_length), (3, 1));
    drop((held, more));
    assert!(receive(&mut rx).is_empty());
    assert_eq!(peer.slots_back(), [0, 1, 2, 3]);
}

fn stop_copies_out_and_the_base_is_behind_what_was_held<P: Peer>() {
    let (mut peer, mut rx, held) = holding::<P>(3);
    peer.send(&frame(61, 9));
    rx.control.stop();
    assert!(receive(&mut rx).is_empty());
    assert!(rx.control.is_settled());
    check_stopped(&mut peer, &mut rx, &held);
}

fn stop_that_nobody_polls_copies_out_and_gives_back<P: Peer>() {
    let (mut peer, mut rx, held) = holding::<P>(3);
    peer.send(&frame(61, 9));
    let _ = peer.memory().called();
    rx.control.stop();
    assert!(rx.control.is_settled());
    assert!(peer.memory().called(), "the driver learns of it");
    check_stopped(&mut peer, &mut rx, &held);
}

/// Everything that was held was given back, its memory is the driver's, and the ring goes on behind.
fn check_stopped<P: Peer>(peer: &mut P, rx: &mut Ring<RxQueue>, held: &[HeldPacket]) {
    assert_eq!(copied(held), [true; 3]);
    assert_eq!(peer.slots_back(), [0, 1, 2]);
    let base = rx.control.base().unwrap();
    if let RingBase::Split { avail } = base {
        assert_eq!(avail, 3);
    }
    let first = [frame(60, 0), frame(60, 1), frame(60, 2)];
    rx.control.start(Arc::clone(peer.guest()), peer.start_at(base)).unwrap();
    assert_eq!(receive(rx), [frame(61, 9)], "not one of those that were held");
    assert_eq!(peer.slots_back(), [3]);
    overwrite(peer);
    assert_eq!(contents(held), first);
    peer.send(&frame(62, 10));
    assert_eq!(contents(&hold(rx)), [frame(62, 10)], "in the ring that is there now");
    drop(rx.rx_burst(0).unwrap());
    assert_eq!(peer.slots_back(), [4]);
}

fn stop_under_an_open_burst_gives_back_when_it_ends<P: Peer>() {
    let (mut peer, mut rx, held) = holding::<P>(2);
    (2..4).for_each(|n| peer.send(&frame(60, n)));
    let Ring { queue, control, .. } = &mut rx;
    let lease = queue.rx_burst(8).unwrap();
    control.stop();
    assert!(!control.is_settled());
    assert_eq!((copied(&held), peer.slots_back()), (vec![false; 2], vec![]));
    assert_eq!(lease.len(), 2);
    lease.release(1);
    assert!(control.is_settled());
    assert_eq!((copied(&held), peer.slots_back()), (vec![true; 2], vec![0, 1, 2]));
    let base = control.base().unwrap();
    control.start(Arc::clone(peer.guest()), peer.start_at(base)).unwrap();
    assert_eq!(receive(queue), [frame(60, 3)]);
    assert_eq!(peer.slots_back(), [3]);
}

fn memory_is_let_go_while_packets_of_it_are_held<P: Peer>() {
    for polled in [false, true] {
        let (mut peer, mut rx, mut held) = holding::<P>(2);
        let mut sent = 2;
        for _ in 0..5 {
            let mapping = Arc::downgrade(peer.guest().regions().mapping(0).unwrap());
            let taken = peer.slots_back().len();
            peer.memory_mut().share_anew();
            rx.memory = Arc::clone(peer.guest());
            rx.control.apply(rx.control.retranslated(peer.guest()).unwrap());
            if polled {
                assert!(receive(&mut rx).is_empty());
            }
            assert!(rx.control.is_settled());
            assert_eq!(copied(&held), vec![true; held.len()]);
            assert_eq!(peer.slots_back().len() + taken, 2, "before it has settled");
            (0..2).for_each(|n| peer.send(&frame(60, sent + n)));
            sent += 2;
            held.extend(hold(&mut rx));
            assert!(rx.control.is_settled());
            assert!(mapping.upgrade().is_none(), "nobody holds the memory itself");
        }
        overwrite(&peer);
        let kept: Vec<_> = (0..10).map(|n| frame(60, n)).collect();
        assert_eq!(contents(&held[..10]), kept);
        assert_eq!(copied(&held[10..]), [false; 2]);
    }
}

fn ring_started_anew_gives_back_to_the_one_before<P: Peer>() {
    let (mut first, mut rx, held) = holding::<P>(3);
    let mut second = P::new();
    second.send(&frame(61, 1));
    rx.control.start(Arc::clone(second.guest()), second.start()).unwrap();
    assert!(rx.control.is_settled());
    assert_eq!((copied(&held), first.slots_back()), (vec![true; 3], vec![0, 1, 2]));
    assert_eq!(contents(&hold(&mut rx)), [frame(61, 1)]);
    assert!(receive(&mut rx).is_empty());
    assert_eq!((first.slots_back(), second.slots_back()), (vec![], vec![0]));
}

fn ring_that_breaks_gives_back_what_is_held<P: Peer>() {
    let (mut peer, mut rx, held) = holding::<P>(3);
    peer.break_ring();
    assert_eq!(rx.queue.hold(8, &mut Vec::new()), Ok(0));
    assert!(rx.control.fault().is_some());
    assert_eq!(copied(&held), [true; 3]);
    assert_eq!(peer.slots_back(), [0, 1, 2]);
    overwrite(&peer);
    assert_eq!(contents(&held), [frame(60, 0), frame(60, 1), frame(60, 2)]);
    let mapping = Arc::downgrade(peer.guest().regions().mapping(0).unwrap());
    rx.memory = Arc::clone(P::new().guest());
    assert!(rx.control.is_settled());
    drop(peer);
    assert!(mapping.upgrade().is_none(), "neither side has any of it");
}

fn disabled_ring_gives_back_behind_what_is_held<P: Peer>() {
    let (mut peer, mut rx, held) = holding::<P>(2);
    rx.control.set_enabled(false);
    peer.send(&frame(60, 2));
    assert_eq!(rx.queue.hold(8, &mut Vec::new()), Ok(0));
    assert_eq!((rx.stats().packets, rx.stats().discarded), (2, 1));
    assert_eq!((copied(&held), peer.slots_back()), (vec![false; 2], vec![]));
    drop(held);
    assert_eq!(rx.arm(), Ok(false));
    assert_eq!(peer.slots_back(), [0, 1, 2]);
}

fn link_that_ends_leaves_packets_that_need_no_memory<P: Peer>() {
    let (mut peer, mut rx, held) = holding::<P>(2);
    peer.ends().link.close();
    assert_eq!(contents(&held), [frame(60, 0), frame(60, 1)]);
    for _ in 0..2 {
        assert_eq!(rx.queue.hold(8, &mut Vec::new()), Err(QueueError::LinkDown));
    }
    assert_eq!(copied(&held), [true; 2]);
    assert_eq!(peer.slots_back(), [0; 0], "the ring may be another link's by now");
    let mapping = Arc::downgrade(peer.guest().regions().mapping(0).unwrap());
    drop((rx, peer));
    assert!(mapping.upgrade().is_none());
    assert_eq!(contents(&held), [frame(60, 0), frame(60, 1)]);
}

fn queue_that_is_dropped_gives_back_what_is_held<P: Peer>() {
    for stopped in [false, true] {
        let (mut peer, rx, held) = holding::<P>(2);
        let Ring { queue, mut control, memory, start } = rx;
        drop((memory, start));
        if stopped {
            control.stop();
        }
        drop(queue);
        assert!(control.is_settled());
        assert_eq!((copied(&held), peer.slots_back()), (vec![true; 2], vec![0, 1]));
        overwrite(&peer);
        assert_eq!(contents(&held), [frame(60, 0), frame(60, 1)]);
        let mapping = Arc::downgrade(peer.guest().regions().mapping(0).unwrap());
        drop(peer);
        assert!(mapping.upgrade().is_none(), "control has none of it either");
    }
}

fn driver_is_called_by_the_doorbell_that_it_gave_last<P: Peer>() {
    let (mut peer, mut rx, held) = holding::<P>(2);
    let bell = Arc::new(Doorbell::create().unwrap());
    rx.control.set_call(Some(Arc::clone(&bell)));
    drop(rx.rx_burst(0).unwrap());
    let _ = (bell.drain().unwrap(), peer.memory().called());
    drop(held);
    drop(rx.rx_burst(0).unwrap());
    assert_eq!(peer.slots_back(), [0, 1]);
    assert!(bell.drain().unwrap() && !peer.memory().called());
}

fn thread_sleeps_while_packets_are_held<P: Peer>() {
    let (mut peer, mut rx, held) = holding::<P>(2);
    assert_eq!(rx.arm(), Ok(false), "those that are held are no work");
    peer.send(&frame(60, 2));
    assert_eq!(rx.arm(), Ok(true));
    assert_eq!(receive(&mut rx), [frame(60, 2)]);
    assert_eq!(rx.arm(), Ok(false));
    drop(held);
}

fn announcement_is_held_like_any_packet<P: Peer>() {
    let (mut peer, mut rx, held) = holding::<P>(1);
    rx.control.announce([2, 0, 0, 0, 0, 1]).unwrap();
    peer.send(&frame(60, 1));
    let announcement = hold(&mut rx);
    assert_eq!((announcement.len(), copied(&announcement)), (1, vec![true]));
    assert_eq!(announcement[0].read_at(12), Ok(Some([0x80, 0x35])));
    assert_eq!(contents(&hold(&mut rx)), [frame(60, 1)]);
    assert_eq!(copied(&held), [false]);
}

fn driver_that_rewrites_held_packets_changes_nothing_but_bytes<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    rx.set_holding_limit(4);
    let (done, file) = (AtomicBool::new(false), peer.memory().file.try_clone().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut byte = 0u8;
            while !done.load(Ordering::Relaxed) {
                byte = byte.wrapping_add(1);
                file.write_all_at(&[byte; 20_000 * 8], DATA).unwrap();
            }
        });
        let _done = AtTheEnd(&done);
        let (mut to, mut held) = ([0; 2000], Vec::new());
        for turn in 0..2000usize {
            if held.len() > 5 {
                held.remove(turn % 5);
            }
            match turn % 2 {
                0 => peer.send(&frame(60 + turn % 1000, 1)),
                _ => peer.send_in_table(&frame(60 + turn % 1000, 1), 200),
            }
            held.extend(hold(&mut rx));
            for packet in &held {
                assert_eq!(packet.copy_to(&mut to), Ok(packet.len()));
            }
            assert_eq!(held.last().unwrap().len(), 60 + turn % 1000);
        }
        assert!(held.iter().any(|packet| !packet.is_copied()));
    });
    assert_eq!(rx.control.fault(), None);
}
