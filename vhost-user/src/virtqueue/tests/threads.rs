//! Control and data side on threads of their own.

use super::*;
use crate::virtqueue::split::tests::{AtTheEnd, frame};
use crate::virtqueue::{HeldPacket, RingControl, RxQueue};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ringport::doorbell::Doorbell;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const FRAMES: u32 = 1500;

for_both_layouts! {
    no_packet_is_lost_or_doubled_while_everything_changes
    sleeping_thread_follows_every_change
    held_packets_stay_what_they_were_while_everything_changes
}

/// Waits, woken by the data side only, until the last change has settled.
fn settle(control: &mut RingControl, wake: &Doorbell) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !control.is_settled() {
        assert!(Instant::now() < deadline, "the change does not settle");
        let mut fds = [PollFd::new(wake.as_fd(), PollFlags::POLLIN)];
        assert!(poll(&mut fds, PollTimeout::from(30_000u16)).unwrap() > 0, "control is not woken");
        let _ = wake.drain();
    }
}

/// Changes the ring in some way. The memory stays what it is, though not where it is mapped.
fn change<P: Peer>(turn: u32, control: &mut RingControl, peer: &P) {
    let wake = &peer.ends().wake;
    match turn % 4 {
        0 => control.apply(control.retranslated(peer.guest()).unwrap()),
        1 => {
            control.stop();
            settle(control, wake);
            let base = control.base().unwrap();
            control.start(Arc::clone(peer.guest()), peer.start_at(base)).unwrap();
        }
        2 => control.set_call(Some(Arc::new(Doorbell::create().unwrap()))),
        _ => control.set_kick(Some(Arc::clone(&peer.ends().kick))).unwrap(),
    }
    settle(control, wake);
}

/// Sends frames and changes the ring while `receive` takes them on another thread.
fn storm<P: Peer>(receive: impl FnOnce(RxQueue) + Send) {
    let mut peer = P::new();
    let (queue, mut control) = peer.rx().into_parts();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let _done = AtTheEnd(&done);
            receive(queue);
        });
        let (mut sent, mut outstanding) = (0, 0);
        let deadline = Instant::now() + Duration::from_secs(120);
        for turn in 0.. {
            outstanding -= peer.given_back().len();
            while outstanding < 6 && sent < FRAMES {
                peer.send(&frame(60 + sent as usize % 900, sent));
                (sent, outstanding) = (sent + 1, outstanding + 1);
            }
            peer.ends().kick.ring().unwrap();
            change(turn, &mut control, &peer);
            if done.load(Ordering::Relaxed) {
                break;
            }
            assert!(Instant::now() < deadline, "{sent} sent");
        }
        receiver.join().unwrap();
    });
    assert_eq!(control.fault(), None);
}

/// Takes what one burst delivers, and checks that it is the next.
fn take(queue: &mut RxQueue, received: &mut u32) {
    let burst = queue.rx_burst(4).unwrap();
    for packet in burst.packets() {
        let expected = frame(60 + *received as usize % 900, *received);
        assert_eq!(packet.detach(), expected, "frame {received}");
        *received += 1;
    }
    // Some stay, and come again.
    let keep = burst.len() / 2;
    let taken = burst.len() - keep;
    *received -= u32::try_from(keep).unwrap();
    burst.release(taken);
}

fn no_packet_is_lost_or_doubled_while_everything_changes<P: Peer>() {
    storm::<P>(|mut rx| {
        let mut received = 0;
        while received < FRAMES {
            take(&mut rx, &mut received);
        }
        assert_eq!(rx.stats().packets, u64::from(FRAMES));
    });
}

/// Holds some packets and drops them in another order than that in which they came.
fn keep(packets: &Receiver<(u32, HeldPacket)>) {
    let check = |(number, packet): (u32, HeldPacket)| {
        let expected = frame(60 + number as usize % 900, number);
        assert_eq!(packet.detach().unwrap(), expected, "frame {number}");
    };
    let mut kept = Vec::new();
    for packet in packets {
        let at = packet.0 as usize * 7 % (kept.len() + 1);
        kept.push(packet);
        if kept.len() > 5 {
            check(kept.swap_remove(at));
        }
    }
    kept.into_iter().for_each(check);
}

fn held_packets_stay_what_they_were_while_everything_changes<P: Peer>() {
    storm::<P>(|mut rx| {
        let (sender, packets) = channel();
        let keeper = std::thread::spawn(move || keep(&packets));
        let (mut received, mut held) = (0, Vec::new());
        rx.set_holding_limit(3);
        while received < FRAMES {
            rx.hold(3, &mut held).unwrap();
            for packet in held.drain(..) {
                sender.send((received, packet)).unwrap();
                received += 1;
            }
            take(&mut rx, &mut received);
        }
        assert_eq!(rx.stats().packets, u64::from(FRAMES));
        drop((sender, rx));
        keeper.join().unwrap();
    });
}

fn sleeping_thread_follows_every_change<P: Peer>() {
    storm::<P>(|mut rx| {
        let mut received = 0;
        while received < FRAMES {
            take(&mut rx, &mut received);
            if !rx.arm().unwrap() {
                let mut fds = [PollFd::new(rx.as_fd(), PollFlags::POLLIN)];
                let woken = poll(&mut fds, PollTimeout::from(30_000u16)).unwrap();
                assert!(woken > 0, "slept through, at {received}");
            }
        }
    });
}
