//! Descriptors of the wrong number and of the wrong kind: refused, closed, and nothing else changes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;
#[path = "support/kinds.rs"]
mod kinds;
mod support;

use device_support::{Front, Guest, LEN, Place, Raw, Served, eventually, exchange};
use kinds::kinds;
use nix::sys::eventfd::EventFd;
use ringport_bench::interop::census::Census;
use ringport_vhost_user::wire::{Message, Request, VringFd};
use ringport_vhost_user::{DeviceConfig, DeviceError, DownReason, Event};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use support::every_message;

/// For tests that count what the process holds.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a connection without a link ended, and whether anything was refused before.
fn end(device: &Served) -> (DownReason, bool) {
    let mut refused = false;
    loop {
        match device.next() {
            Event::RequestRefused(_) => refused = true,
            Event::Refused(reason) => {
                let refused = refused || matches!(reason, DownReason::Protocol(_));
                return (reason, refused);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn wrong_number_of_descriptors_over_a_socket_is_refused_and_leaks_none() {
    let _alone = alone();
    let place = Place::new();
    let device = Served::listen(&place, DeviceConfig::default());
    drop(Raw::acked(&place));
    end(&device);
    let before = Census::take();
    let fd = EventFd::new().unwrap();
    for message in every_message() {
        for count in [0, 1, 9, 33, 253] {
            if message.fd_count().contains(&count) {
                continue;
            }
            let fds: Vec<BorrowedFd<'_>> = (0..count).map(|_| fd.as_fd()).collect();
            for need_reply in [false, true] {
                let raw = Raw::acked(&place);
                raw.send(&message.encode(need_reply), &fds);
                if need_reply {
                    assert!(!raw.hear().is_yes(), "{message:?} with {count}");
                }
                drop(raw);
                let (reason, refused) = end(&device);
                assert!(refused, "{message:?} with {count}: {reason:?}");
            }
        }
    }
    drop(fd);
    eventually("all descriptors are closed", || {
        let now = Census::take();
        now.fds <= before.fds && now.mappings == before.mappings
    });
}

fn doorbell(request: Request, index: u8) -> Message {
    Message::VringFd(request, VringFd { index, no_fd: false })
}

#[test]
fn doorbell_that_is_no_eventfd_is_refused_and_the_one_before_stays() {
    let _alone = alone();
    let place = Place::new();
    let device = Served::listen(&place, DeviceConfig::default());
    let mut front = Front::running(&place, 1);
    let mut link = device.link_up();
    assert_eq!(device.pairs_enabled(), 1);
    let mut hands = front.hands(0);
    exchange(&mut hands, &front.guest, &mut link, 0, 0);
    let before = Census::take();
    for (kind, fd) in kinds(LEN) {
        if kind == "an eventfd" {
            continue;
        }
        for request in [Request::SetVringKick, Request::SetVringCall, Request::SetVringErr] {
            for ring in [0, 1] {
                let answer = front.raw.ask(&doorbell(request, ring), &[fd.as_fd()]);
                assert_ne!(answer.number(), 0, "{request}: {kind}");
                let Event::RequestRefused(error) = device.next() else { panic!("{kind}") };
                assert!(matches!(error, DeviceError::Doorbell { .. }), "{kind}: {error:?}");
            }
        }
        exchange(&mut hands, &front.guest, &mut link, 0, 7);
    }
    // On a ring that is stopped they are looked at when it starts.
    let base = front.stop_ring(1);
    let (_, pipe) = kinds(LEN).remove(0);
    assert!(front.raw.ask(&doorbell(Request::SetVringCall, 1), &[pipe.as_fd()]).is_yes());
    let kick = doorbell(Request::SetVringKick, 1);
    let eventfd = EventFd::new().unwrap();
    assert_ne!(front.raw.ask(&kick, &[eventfd.as_fd()]).number(), 0);
    front.restart_ring(1, base);
    exchange(&mut hands, &front.guest, &mut link, 0, 8);
    drop((pipe, eventfd));
    eventually("all descriptors are closed", || before.compare().is_ok());
}

#[test]
fn memory_and_doorbells_that_were_replaced_are_let_go_once_the_queues_have_moved_on() {
    let _alone = alone();
    let place = Place::new();
    let device = Served::listen(&place, DeviceConfig::default());
    let mut front = Front::running(&place, 1);
    let mut link = device.link_up();
    let mut hands = front.hands(0);
    exchange(&mut hands, &front.guest, &mut link, 0, 0);
    let before = Census::take();
    for turn in 0..3 {
        front.share();
        exchange(&mut hands, &front.guest, &mut link, 0, turn);
        eventually("the old memory is unmapped", || before.compare().is_ok());
        for ring in [0, 1] {
            let base = front.stop_ring(ring);
            front.restart_ring(ring, base);
        }
        exchange(&mut hands, &front.guest, &mut link, 0, turn);
        eventually("the old doorbells are closed", || before.compare().is_ok());
    }
}

#[test]
fn memory_of_a_wrong_kind_is_refused_and_the_one_before_stays() {
    let _alone = alone();
    let place = Place::new();
    let device = Served::listen(&place, DeviceConfig::default());
    let front = Front::running(&place, 1);
    let mut link = device.link_up();
    assert_eq!(device.pairs_enabled(), 1);
    let mut hands = front.hands(0);
    exchange(&mut hands, &front.guest, &mut link, 0, 0);
    let before = Census::take();
    let said = Guest::new().said();
    let mut more = said;
    more.guest_address += 1 << 32;
    more.user_address += 1 << 32;
    for (kind, fd) in kinds(LEN) {
        for (message, fds) in [
            (Message::MemTable(vec![said]), vec![fd.as_fd()]),
            (Message::MemTable(vec![said, more]), vec![front.guest.file.as_fd(), fd.as_fd()]),
            (Message::MemRegion(Request::AddMemReg, more), vec![fd.as_fd()]),
        ] {
            assert_ne!(front.raw.ask(&message, &fds).number(), 0, "{message:?}: {kind}");
            let Event::RequestRefused(error) = device.next() else { panic!("{kind}") };
            assert!(matches!(error, DeviceError::Region { .. }), "{kind}: {error:?}");
        }
        exchange(&mut hands, &front.guest, &mut link, 0, 9);
    }
    eventually("all descriptors are closed", || before.compare().is_ok());
}
