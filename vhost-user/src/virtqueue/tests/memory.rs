//! Memory that is replaced under a ring that runs.

use super::*;
use crate::memory::{GuestMemory, Region};
use crate::virtqueue::RingError;
use crate::virtqueue::split::tests::frame;
use ringport::shm::{Backing, OwnedMemory};
use std::sync::Arc;

for_both_layouts! {
    lease_keeps_the_old_memory_and_the_next_burst_has_the_new
    open_transmit_burst_is_committed_to_the_old_memory
    change_that_nobody_polls_settles_at_once
    old_memory_goes_when_control_looks_after_the_next_burst
    memory_without_the_ring_is_refused_and_nothing_changes
    armed_ring_stays_armed_in_another_memory
    change_before_the_ring_has_begun_is_the_memory_that_it_begins_in
    what_was_prepared_for_a_ring_that_has_stopped_is_not_applied
}

fn lease_keeps_the_old_memory_and_the_next_burst_has_the_new<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    peer.send(&frame(60, 1));
    let Ring { queue, control, .. } = &mut rx;
    let lease = queue.rx_burst(8).unwrap();
    peer.memory_mut().move_memory();
    // In the same place of the new memory.
    let at = crate::virtqueue::split::tests::GUEST + crate::virtqueue::split::tests::DATA;
    peer.memory().put(at, &[0xee; 72]);
    let prepared = control.retranslated(peer.guest()).unwrap();
    control.apply(prepared);
    assert!(!control.is_settled(), "a burst is open");
    assert!(!peer.ends().wake.drain().unwrap());
    let packets: Vec<_> = lease.packets().map(|packet| packet.detach().to_vec()).collect();
    assert_eq!(packets, [frame(60, 1)]);
    drop(lease);
    assert!(control.is_settled());
    peer.ends().assert_told();
    peer.send(&frame(61, 2));
    assert_eq!(receive(queue), [frame(61, 2)]);
    assert_eq!(queue.stats().packets, 2);
    peer.send(&frame(62, 3));
    assert_eq!(receive(queue), [frame(62, 3)]);
}

fn open_transmit_burst_is_committed_to_the_old_memory<P: Peer>() {
    let mut peer = P::new();
    let mut tx = peer.tx();
    peer.offer();
    let Ring { queue, control, .. } = &mut tx;
    let mut burst = queue.tx_burst(8).unwrap();
    let old = peer.memory().file.try_clone().unwrap();
    peer.memory_mut().move_memory();
    control.apply(control.retranslated(peer.guest()).unwrap());
    burst.push(&frame(60, 1)).unwrap();
    assert!(!control.is_settled());
    assert_eq!(burst.commit(), 1);
    assert!(control.is_settled());
    assert_eq!(peer.given_back(), [[0; 0]; 0], "nothing was written to the new memory");
    let new = std::mem::replace(&mut peer.memory_mut().file, old);
    assert_eq!(peer.given_back(), [frame(60, 1)]);
    peer.memory_mut().file = new;
    peer.offer();
    assert_eq!(send(queue, &[frame(61, 2)]), 1);
    assert_eq!(peer.given_back().last(), Some(&frame(61, 2)));
    assert_eq!(queue.stats().packets, 2);
}

fn change_that_nobody_polls_settles_at_once<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    for _ in 0..5 {
        peer.memory_mut().move_memory();
        rx.control.apply(rx.control.retranslated(peer.guest()).unwrap());
        assert!(rx.control.is_settled());
    }
    peer.send(&frame(60, 1));
    assert_eq!(receive(&mut rx), [frame(60, 1)]);
}

fn old_memory_goes_when_control_looks_after_the_next_burst<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    rx.memory = Arc::new(GuestMemory::new(Vec::new()).unwrap());
    let old = Arc::downgrade(peer.guest());
    peer.memory_mut().move_memory();
    rx.control.apply(rx.control.retranslated(peer.guest()).unwrap());
    assert!(rx.control.is_settled() && old.upgrade().is_some(), "the queue has not looked");
    assert!(receive(&mut rx).is_empty());
    peer.ends().assert_told();
    assert!(old.upgrade().is_some(), "not dropped by the data side");
    assert!(rx.control.is_settled());
    assert!(old.upgrade().is_none());
}

fn memory_without_the_ring_is_refused_and_nothing_changes<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    let other = OwnedMemory::create("other", 4096, Backing::Pages).unwrap();
    let mapping = Arc::clone(other.mapping());
    let region = Region { guest: 0, front_end: 0x1000, size: 4096, mapping, offset: 0 };
    let other = Arc::new(GuestMemory::new(vec![region]).unwrap());
    let refused = rx.control.retranslated(&other).unwrap_err();
    assert!(matches!(refused, RingError::NotShared { .. }), "{refused}");
    peer.send(&frame(60, 1));
    assert_eq!(receive(&mut rx), [frame(60, 1)]);
}

fn armed_ring_stays_armed_in_another_memory<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    assert_eq!(rx.arm(), Ok(false));
    peer.memory_mut().move_memory();
    // A driver that is asked for nothing, in a memory that nobody has told anything.
    let device = crate::virtqueue::split::tests::GUEST + 0xa_0000;
    peer.memory().put(device, &[1, 0, 1, 0]);
    rx.control.apply(rx.control.retranslated(peer.guest()).unwrap());
    drop(rx.rx_burst(0).unwrap());
    let flags = peer.memory().get(device, 4);
    assert!(flags[0] == 0 || flags[2] == 0, "{flags:?}");
}

fn change_before_the_ring_has_begun_is_the_memory_that_it_begins_in<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    rx.control.start(Arc::clone(peer.guest()), peer.start()).unwrap();
    peer.memory_mut().move_memory();
    rx.control.apply(rx.control.retranslated(peer.guest()).unwrap());
    peer.send(&frame(60, 1));
    assert_eq!(receive(&mut rx), [frame(60, 1)]);
}

fn what_was_prepared_for_a_ring_that_has_stopped_is_not_applied<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    let prepared = rx.control.retranslated(peer.guest()).unwrap();
    rx.control.stop();
    let after = rx.control.retranslated(peer.guest()).unwrap();
    rx.control.apply(prepared);
    rx.control.apply(after);
    peer.send(&frame(60, 1));
    assert!(receive(&mut rx).is_empty());
}
