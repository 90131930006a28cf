//! Doorbells that are exchanged while a ring runs, and threads that sleep on a queue.

use super::*;
use crate::virtqueue::split::tests::frame;
use crate::virtqueue::{KickMode, RingStart, RxQueue};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ringport::doorbell::Doorbell;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

for_both_layouts! {
    exchanged_kick_wakes_the_sleeper_and_the_old_one_does_not
    ring_without_a_kick_is_polled
    sleeper_is_woken_by_what_control_does
    new_call_is_rung_once_and_used_from_then_on
    new_call_is_rung_only_when_the_open_burst_is_over
    stopped_ring_cannot_keep_a_thread_awake
}

/// Whether the queue's descriptor is readable within `wait` milliseconds.
fn is_woken(queue: &impl AsFd, wait: u16) -> bool {
    let mut fds = [PollFd::new(queue.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(wait)).unwrap() > 0
}

type Change<'c> = Box<dyn FnOnce(&mut Ring<RxQueue>) + 'c>;

fn bell() -> Arc<Doorbell> {
    Arc::new(Doorbell::create().unwrap())
}

fn exchanged_kick_wakes_the_sleeper_and_the_old_one_does_not<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    let number = rx.as_fd().as_raw_fd();
    let new = bell();
    rx.control.set_kick(Some(Arc::clone(&new))).unwrap();
    assert_eq!(rx.arm(), Ok(false));
    peer.ends().kick.ring().unwrap();
    assert!(!is_woken(&rx.queue, 0), "the old one");
    let fd = rx.as_fd();
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(move || assert!(is_woken(&fd, 60_000)));
        peer.send(&frame(60, 1));
        new.ring().unwrap();
        sleeper.join().unwrap();
    });
    assert_eq!(rx.arm(), Ok(true));
    assert!(!is_woken(&rx.queue, 0), "drained");
    assert_eq!(rx.stats().wake_ups, 1);
    assert_eq!(receive(&mut rx), [frame(60, 1)]);
    assert_eq!(rx.as_fd().as_raw_fd(), number);
    // The same once more changes nothing.
    rx.control.set_kick(Some(Arc::clone(&new))).unwrap();
    assert_eq!(rx.arm(), Ok(false));
    new.ring().unwrap();
    assert!(is_woken(&rx.queue, 0));
}

fn ring_without_a_kick_is_polled<P: Peer>() {
    let peer = P::new();
    let (mut rx, mut tx) = (peer.rx(), peer.tx());
    assert_eq!((rx.arm(), tx.arm()), (Ok(false), Ok(false)));
    rx.control.set_kick(None).unwrap();
    assert!(is_woken(&rx.queue, 0), "to be told so");
    assert_eq!(rx.arm(), Ok(true));
    rx.control.set_kick(Some(bell())).unwrap();
    assert_eq!(rx.arm(), Ok(false));
    let start = RingStart { kicks: KickMode::Polling, ..peer.start() };
    tx.control.start(Arc::clone(peer.guest()), start).unwrap();
    assert_eq!(tx.arm(), Ok(true));
}

fn sleeper_is_woken_by_what_control_does<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    peer.memory_mut().move_memory();
    let guest = Arc::clone(peer.guest());
    let prepared = rx.control.retranslated(&guest).unwrap();
    let mut changes: Vec<Change<'_>> = vec![
        Box::new(|rx| rx.control.apply(prepared)),
        Box::new(|rx| rx.control.set_enabled(false)),
        Box::new(|rx| rx.control.set_call(None)),
        Box::new(|rx| rx.control.stop()),
        Box::new(|rx| rx.control.start(guest, peer.start()).unwrap()),
        Box::new(|_| peer.ends().link.close()),
    ];
    let last = changes.pop().unwrap();
    for change in changes {
        assert_eq!(rx.arm(), Ok(false));
        assert!(!is_woken(&rx.queue, 0));
        change(&mut rx);
        assert!(is_woken(&rx.queue, 0));
    }
    assert_eq!(rx.arm(), Ok(false));
    last(&mut rx);
    assert!(is_woken(&rx.queue, 0));
    assert!(rx.arm().is_err());
}

fn new_call_is_rung_once_and_used_from_then_on<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    let (old, new) = (peer.ends().call.clone().unwrap(), bell());
    rx.control.set_call(Some(Arc::clone(&new)));
    assert!(new.drain().unwrap(), "a call may have been lost");
    assert!(rx.control.is_settled());
    assert!(!new.drain().unwrap(), "once");
    peer.send(&frame(60, 1));
    assert_eq!(receive(&mut rx), [frame(60, 1)]);
    assert!(new.drain().unwrap() && !old.drain().unwrap());
    rx.control.set_call(None);
    peer.send(&frame(60, 2));
    assert_eq!(receive(&mut rx), [frame(60, 2)]);
    assert!(!new.drain().unwrap() && !old.drain().unwrap());
}

fn new_call_is_rung_only_when_the_open_burst_is_over<P: Peer>() {
    let mut peer = P::new();
    let mut rx = peer.rx();
    let (old, new) = (peer.ends().call.clone().unwrap(), bell());
    peer.send(&frame(60, 1));
    let Ring { queue, control, .. } = &mut rx;
    let lease = queue.rx_burst(8).unwrap();
    control.set_call(Some(Arc::clone(&new)));
    assert!(!control.is_settled() && !new.drain().unwrap());
    drop(lease);
    assert!(old.drain().unwrap(), "the burst still calls as it did");
    assert!(control.is_settled() && new.drain().unwrap());
}

fn stopped_ring_cannot_keep_a_thread_awake<P: Peer>() {
    let peer = P::new();
    let mut rx = peer.rx();
    rx.control.stop();
    assert_eq!(rx.arm(), Ok(false));
    peer.ends().kick.ring().unwrap();
    assert!(!is_woken(&rx.queue, 0));
}
