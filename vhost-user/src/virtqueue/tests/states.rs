//! Rings that are started, stopped, enabled and disabled.

use super::*;
use crate::virtqueue::split::tests::frame;
use crate::virtqueue::{RingStart, rx_ring, tx_ring};
use ringport::burst::PushError;
use ringport::error::QueueError;
use ringport::offload::{Checksum, Offload};
use std::sync::Arc;

for_both_layouts! {
    stop_waits_for_the_open_burst_and_the_ring_goes_on_where_it_ended
    ring_that_never_began_stops_where_it_was_to_begin
    disabled_receive_ring_throws_packets_away
    disabled_transmit_ring_has_no_slots
    ring_that_starts_disabled_is_enabled_later
    ring_that_is_started_again_replaces_the_one_before
    queue_without_a_ring_is_empty_and_sleeps
    link_that_is_down_is_reported_with_and_without_a_ring
    everything_is_dropped_in_any_order
    forgotten_lease_is_over_with_the_next_burst
}

fn stop_waits_for_the_open_burst_and_the_ring_goes_on_where_it_ended<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    for turn in 0..20 {
        (0..3).for_each(|n| peer.send(&frame(60 + turn, n)));
        let Ring { queue, control, .. } = &mut rx;
        let lease = queue.rx_burst(8).unwrap();
        assert_eq!(lease.len(), 3);
        control.stop();
        assert!(!control.is_settled());
        lease.release(2);
        assert!(control.is_settled());
        let base = control.base().unwrap();
        assert!(receive(queue).is_empty(), "stopped");
        assert_eq!(peer.given_back().len(), 2);
        control.start(Arc::clone(peer.guest()), peer.start_at(base)).unwrap();
        assert_eq!(receive(queue), [frame(60 + turn, 2)]);
        assert_eq!(peer.given_back().len(), 1);
    }
    assert_eq!(rx.stats().packets, 60, "counted over all rings");
}

fn ring_that_never_began_stops_where_it_was_to_begin<P: Peer>() {
    let peer = P::new();
    let (queue, mut control) =
        rx_ring(Arc::clone(&peer.ends().link), Arc::clone(&peer.ends().wake)).unwrap();
    assert_eq!(control.base(), None);
    let base = peer.start().base;
    control.start(Arc::clone(peer.guest()), peer.start()).unwrap();
    assert_eq!(control.base(), None, "it runs");
    control.stop();
    assert!(control.is_settled());
    assert_eq!(control.base(), Some(base));
    control.stop();
    assert_eq!(control.base(), Some(base));
    drop(queue);
    assert!(control.is_settled());
}

fn disabled_receive_ring_throws_packets_away<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    rx.control.set_enabled(false);
    (0..3).for_each(|n| peer.send(&frame(60, n)));
    assert_eq!(rx.arm(), Ok(true), "there is work");
    assert!(receive(&mut rx).is_empty());
    assert_eq!(peer.given_back().len(), 3);
    assert_eq!((rx.stats().packets, rx.stats().bytes, rx.stats().discarded), (0, 0, 3));
    assert_eq!(rx.arm(), Ok(false));
    rx.control.set_enabled(true);
    peer.send(&frame(60, 4));
    assert_eq!(receive(&mut rx), [frame(60, 4)]);
    assert_eq!((rx.stats().packets, rx.stats().discarded), (1, 3));
}

fn disabled_transmit_ring_has_no_slots<P: Peer>() {
    let mut peer = P::new();
    let mut tx = peer.tx();
    peer.offer();
    tx.control.set_enabled(false);
    let mut burst = tx.tx_burst(8).unwrap();
    assert_eq!(burst.free(), 0);
    // What a ring may take one day is not refused for good.
    assert_eq!(burst.push(&frame(60, 1)), Err(PushError::Full));
    let checksum = Checksum::Partial { start: 14, offset: 6 };
    assert_eq!(burst.set_offload(Offload { checksum, ..Offload::default() }), Err(PushError::Full));
    assert_eq!(burst.commit(), 0);
    assert_eq!(tx.arm(), Ok(false));
    tx.control.set_enabled(true);
    assert_eq!(tx.arm(), Ok(true));
    assert_eq!(send(&mut tx, &[frame(60, 2)]), 1);
    assert_eq!(peer.given_back(), [frame(60, 2)]);
}

fn ring_that_starts_disabled_is_enabled_later<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    let start = RingStart { enabled: false, ..peer.start() };
    rx.control.start(Arc::clone(peer.guest()), start).unwrap();
    peer.send(&frame(60, 1));
    assert!(receive(&mut rx).is_empty());
    assert_eq!(rx.stats().discarded, 1);
    rx.control.stop();
    let base = rx.control.base().unwrap();
    let start = RingStart { enabled: false, ..peer.start_at(base) };
    rx.control.start(Arc::clone(peer.guest()), start).unwrap();
    // Before it has begun.
    rx.control.set_enabled(true);
    peer.send(&frame(60, 2));
    assert_eq!(receive(&mut rx), [frame(60, 2)]);
}

fn ring_that_is_started_again_replaces_the_one_before<P: Peer>() {
    let (mut first, mut second) = (P::new(), P::new());
    let mut rx = first.rx();
    first.send(&frame(60, 1));
    second.send(&frame(60, 2));
    let Ring { queue, control, .. } = &mut rx;
    let lease = queue.rx_burst(8).unwrap();
    control.start(Arc::clone(second.guest()), second.start()).unwrap();
    assert!(!control.is_settled());
    drop(lease);
    assert!(control.is_settled());
    assert_eq!(first.given_back().len(), 1);
    assert_eq!(receive(queue), [frame(60, 2)]);
    assert_eq!(queue.stats().packets, 2);
}

fn queue_without_a_ring_is_empty_and_sleeps<P: Peer>() {
    let peer = P::new();
    let ends = || (Arc::clone(&peer.ends().link), Arc::clone(&peer.ends().wake));
    let (link, wake) = ends();
    let (mut rx, _control) = rx_ring(link, wake).unwrap();
    assert!(receive(&mut rx).is_empty());
    assert_eq!(rx.arm(), Ok(false));
    let (link, wake) = ends();
    let (mut tx, _control) = tx_ring(link, wake).unwrap();
    assert_eq!(send(&mut tx, &[frame(60, 1)]), 0);
    assert_eq!(tx.arm(), Ok(false));
}

fn link_that_is_down_is_reported_with_and_without_a_ring<P: Peer>() {
    let peer = P::new();
    let (mut rx, mut tx) = (peer.rx(), peer.tx());
    tx.control.stop();
    peer.ends().link.close();
    for _ in 0..2 {
        assert_eq!(rx.rx_burst(8).unwrap_err(), QueueError::LinkDown);
        assert_eq!(rx.arm(), Err(QueueError::LinkDown));
        assert_eq!(tx.tx_burst(8).unwrap_err(), QueueError::LinkDown);
        assert_eq!(tx.arm(), Err(QueueError::LinkDown));
    }
    rx.control.stop();
    assert!(rx.control.is_settled(), "no burst is open");
}

fn everything_is_dropped_in_any_order<P: Peer>() {
    let peer = P::new();
    for control_first in [true, false] {
        let ring = peer.rx();
        let (memory, mut control) = (Arc::downgrade(peer.guest()), ring.control);
        let before = memory.strong_count() - 1;
        // One is in the mail, one with the queue.
        control.start(Arc::clone(peer.guest()), peer.start()).unwrap();
        drop((ring.memory, ring.start));
        if control_first {
            drop(control);
            drop(ring.queue);
        } else {
            drop(ring.queue);
            assert!(control.is_settled());
            control.stop();
            assert!(control.is_settled());
            drop(control);
        }
        assert!(memory.strong_count() < before);
        assert_eq!(memory.strong_count(), 1, "the driver's own");
    }
}

#[expect(clippy::mem_forget, reason = "what is tested")]
fn forgotten_lease_is_over_with_the_next_burst<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    peer.send(&frame(60, 1));
    std::mem::forget(rx.rx_burst(8).unwrap());
    rx.control.set_enabled(true);
    assert!(!rx.control.is_settled());
    assert_eq!(receive(&mut rx), [frame(60, 1)], "it comes again");
    assert!(rx.control.is_settled());
}
