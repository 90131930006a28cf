//! Rings that their driver breaks.

use super::*;
use crate::virtqueue::split::tests::frame;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::sync::Arc;

for_both_layouts! {
    broken_ring_leaves_others_alone_and_wakes_control
    broken_ring_cannot_keep_a_thread_awake
    broken_ring_is_started_again
    ring_found_broken_after_it_was_stopped_is_no_fault
    memory_of_a_broken_ring_may_change
}

fn broken_ring_leaves_others_alone_and_wakes_control<P: Peer>() {
    let (mut first, mut second) = (P::new(), P::new());
    let mut broken = first.rx();
    second.memory_mut().ends.link = Arc::clone(&first.ends().link);
    let mut good = second.rx();
    let _ = first.ends().wake.drain();
    first.break_ring();
    assert!(receive(&mut broken).is_empty());
    first.ends().assert_told();
    let fault = broken.control.fault().unwrap();
    let stats = broken.stats();
    assert_eq!(stats.bad_index + stats.bad_chain, 1, "{fault}");
    assert!(broken.control.is_settled());
    second.send(&frame(60, 1));
    assert_eq!(receive(&mut good), [frame(60, 1)]);
    assert_eq!(good.control.fault(), None);
    assert!(first.ends().link.is_up());
    assert!(receive(&mut broken).is_empty());
    assert_eq!(broken.stats(), stats, "counted once");
}

fn broken_ring_cannot_keep_a_thread_awake<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    peer.break_ring();
    // Found by arming, in a ring whose state is looked at then.
    let _ = rx.arm();
    assert!(receive(&mut rx).is_empty());
    assert!(rx.control.fault().is_some());
    for _ in 0..2 {
        assert_eq!(rx.arm(), Ok(false));
        peer.ends().kick.ring().unwrap();
        let mut fds = [PollFd::new(rx.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::ZERO).unwrap(), 0);
        // Nor by another kick, until the ring is started again.
        rx.control.set_kick(Some(Arc::clone(&peer.ends().kick))).unwrap();
    }
}

fn broken_ring_is_started_again<P: Peer>() {
    let mut peer = P::new();
    let mut tx = peer.tx();
    peer.break_ring();
    assert_eq!(send(&mut tx, &[frame(60, 1)]), 0);
    assert!(tx.control.fault().is_some());
    tx.control.stop();
    assert!(tx.control.is_settled() && tx.control.base().is_some());
    let mut peer = P::new();
    tx.control.start(Arc::clone(peer.guest()), peer.start()).unwrap();
    assert_eq!(tx.control.fault(), None);
    peer.offer();
    assert_eq!(send(&mut tx, &[frame(60, 1)]), 1);
    assert_eq!(peer.given_back(), [frame(60, 1)]);
}

fn ring_found_broken_after_it_was_stopped_is_no_fault<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    peer.break_ring();
    rx.control.stop();
    assert!(receive(&mut rx).is_empty());
    assert_eq!(rx.control.fault(), None);
}

fn memory_of_a_broken_ring_may_change<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    peer.break_ring();
    assert!(receive(&mut rx).is_empty());
    rx.memory = Arc::clone(peer.guest());
    peer.memory_mut().move_memory();
    let new = Arc::downgrade(peer.guest());
    rx.control.apply(rx.control.retranslated(peer.guest()).unwrap());
    assert!(rx.control.is_settled());
    assert!(receive(&mut rx).is_empty());
    assert!(rx.control.is_settled() && rx.control.fault().is_some());
    assert_eq!(new.strong_count(), 1, "given back unused");
}
