//! Descriptors and memory that a front-end should not send, to a relay with a fake device. What this process
//! holds is counted, so one test at a time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod relay_support;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::memfd::{MFdFlags, memfd_create};
use relay_support::{
    Answer, FakeConfig, Front, LEN, Raw, Scene, eventually, every_message, kinds, memory, region,
    scene, served_next,
};
use ringport::shm::MemoryPolicy;
use ringport_bench::interop::census::Census;
use ringport_vdpa::RelayConfig;
use ringport_vdpa::relay::Event;
use ringport_vhost_user::device::DownReason;
use ringport_vhost_user::wire::{Message, Request, VringFd, VringState};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// For tests that count what the process holds.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bell(request: Request, index: u8) -> Message {
    Message::VringFd(request, VringFd { index, no_fd: false })
}

fn base_of(front: &Front, index: u32) -> Answer {
    let state = VringState { index, value: 0 };
    front.raw.ask(&Message::VringState(Request::GetVringBase, state), &[])
}

#[test]
fn wrong_number_of_descriptors_is_refused_with_each_message_and_leaks_none() {
    let _alone = alone();
    let (place, relay, device) = scene(FakeConfig::default());
    drop(Raw::acked(&place));
    relay.ended();
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
                let ended = relay.ended();
                let refused = ended.refused || matches!(ended.reason, DownReason::Protocol(_));
                assert!(refused, "{message:?} with {count}: {:?}", ended.reason);
            }
        }
    }
    drop(fd);
    eventually("all descriptors are closed", || before.compare().is_ok());
    served_next(&place, &relay, &device);
}

#[test]
fn eventfd_that_is_none_is_refused_and_the_one_before_stays() {
    let _alone = alone();
    let scene = Scene::new();
    let before = Census::take();
    for (kind, fd) in kinds(LEN) {
        if kind == "an eventfd" {
            continue;
        }
        for request in [Request::SetVringKick, Request::SetVringCall] {
            for ring in [0, 1] {
                let why = scene.refused(&bell(request, ring), &[fd.as_fd()]);
                assert!(why.contains("doorbell of ring"), "{kind}: {why}");
            }
        }
        // Rings of hardware do not break with a word: this one nobody uses.
        assert!(scene.front.raw.ask(&bell(Request::SetVringErr, 0), &[fd.as_fd()]).is_yes());
    }
    eventually("all descriptors are closed", || before.compare().is_ok());
    scene.makes_way();
}

#[test]
fn eventfd_of_a_stopped_ring_that_is_none_keeps_it_from_starting_until_it_is_another() {
    let _alone = alone();
    let (place, relay, device) = scene(FakeConfig::default());
    let front = Front::connect(&place, 0);
    assert!(front.share());
    front.prepare(0);
    let (_, pipe) = kinds(LEN).remove(0);
    assert!(front.raw.ask(&bell(Request::SetVringCall, 0), &[pipe.as_fd()]).is_yes());
    for _ in 0..2 {
        assert!(!front.kick(0), "the pipe is still there");
        assert!(relay.refused().contains("doorbell of ring 0"));
    }
    assert!(!device.runs());
    front.run();
    relay.link_up();
    assert!(device.runs());
}

#[test]
fn memory_that_is_none_is_refused_and_the_one_before_stays() {
    let _alone = alone();
    let scene = Scene::new();
    let before = Census::take();
    for (kind, fd) in kinds(LEN) {
        let own = scene.front.file.as_fd();
        for (message, fds) in [
            (Message::MemTable(vec![region(0)]), vec![fd.as_fd()]),
            (Message::MemTable(vec![region(0), region(LEN)]), vec![own, fd.as_fd()]),
            (Message::MemRegion(Request::AddMemReg, region(LEN)), vec![fd.as_fd()]),
        ] {
            let why = scene.refused(&message, &fds);
            assert!(why.contains("memory region at guest address"), "{kind}: {why}");
        }
    }
    eventually("all descriptors are closed", || before.compare().is_ok());
    scene.makes_way();
}

#[test]
fn memory_and_eventfds_given_again_and_again_leave_nothing_behind() {
    let _alone = alone();
    let scene = Scene::new();
    let before = Census::take();
    for _ in 0..300 {
        let (more, other) = (memory(), EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap());
        let add = Message::MemRegion(Request::AddMemReg, region(LEN));
        assert!(scene.front.raw.ask(&add, &[more.as_fd()]).is_yes());
        for request in [Request::SetVringCall, Request::SetVringKick, Request::SetVringErr] {
            assert!(scene.front.raw.ask(&bell(request, 1), &[other.as_fd()]).is_yes());
        }
        // What was added goes, and what was there stays.
        assert!(scene.front.share());
        assert_eq!(scene.device.mapped(), [0..=LEN - 1]);
    }
    // The ring has other eventfds now than at first, which the front-end still has.
    eventually("nothing more is held than before", || Census::take().fds <= before.fds + 2);
    assert_eq!(Census::take().mappings, before.mappings);
    scene.makes_way();
}

#[test]
fn call_that_is_full_and_blocking_stops_nobody() {
    let _alone = alone();
    let scene = Scene::new();
    for flags in [EfdFlags::empty(), EfdFlags::EFD_SEMAPHORE] {
        // Without EFD_NONBLOCK: a write to it sleeps.
        let full = EventFd::from_value_and_flags(0, flags).unwrap();
        full.write(u64::MAX - 1).unwrap();
        for request in [Request::SetVringCall, Request::SetVringKick] {
            assert!(scene.front.raw.ask(&bell(request, 0), &[full.as_fd()]).is_yes());
        }
    }
    assert_eq!(scene.front.stop(0), 0, "nobody waits");
    scene.makes_way();
}

#[test]
fn memory_taken_back_ends_the_conversation_and_not_the_process() {
    let _alone = alone();
    let (place, relay, device) = scene(FakeConfig::default());
    let mut front = Front::connect(&place, 0);
    front.file = memfd_create("unsealed", MFdFlags::MFD_CLOEXEC).unwrap().into();
    front.file.set_len(LEN).unwrap();
    front.run();
    relay.link_up();
    front.file.set_len(0).unwrap();
    // Where the ring stands is read from memory that is no longer there.
    base_of(&front, 0);
    let ended = relay.ended();
    assert!(matches!(ended.reason, DownReason::Fault(_)), "{:?}", ended.reason);
    assert!(!device.runs());
    assert_eq!(device.mapped(), []);
    served_next(&place, &relay, &device);
}

#[test]
fn memory_that_could_be_taken_back_is_refused_where_that_is_asked_for() {
    let _alone = alone();
    let config = RelayConfig { policy: MemoryPolicy::Sealed, ..RelayConfig::default() };
    let scene = Scene::with(config);
    let file: File = memfd_create("unsealed", MFdFlags::MFD_CLOEXEC).unwrap().into();
    file.set_len(LEN).unwrap();
    scene.refused(&Message::MemRegion(Request::AddMemReg, region(LEN)), &[file.as_fd()]);
    assert!(scene.front.file.set_len(0).is_err(), "sealed by the relay");
    scene.makes_way();
}

#[test]
fn hole_punched_into_rings_starts_them_at_their_beginning_and_does_no_harm() {
    let _alone = alone();
    let scene = Scene::new();
    scene.front.set_used(0, 7);
    let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(&scene.front.file, hole, 0, i64::try_from(LEN).unwrap()).unwrap();
    assert_eq!(scene.front.stop(0), 0);
    scene.makes_way();
}

#[test]
fn second_socket_that_is_none_is_refused_and_one_that_says_anything_ends_alone() {
    let _alone = alone();
    let scene = Scene::new();
    let give = Message::Plain(Request::SetBackendReqFd);
    let (ours, theirs) = UnixStream::pair().unwrap();
    assert!(scene.front.raw.ask(&give, &[theirs.as_fd()]).is_yes());
    for (kind, fd) in kinds(LEN) {
        if kind != "a socket" {
            scene.refused(&give, &[fd.as_fd()]);
        }
    }
    // It is still there: a change is told on it, and again, though nobody reads that.
    for turn in 0..1000_u32 {
        scene.device.config_changes(|space| space[6] = u8::from(turn % 2 == 0));
    }
    let mut header = [0; 12];
    std::io::Read::read_exact(&mut &ours, &mut header).unwrap();
    assert_eq!(header[..4], 2_u32.to_ne_bytes(), "CONFIG_CHANGE_MSG");
    std::io::Write::write_all(&mut &ours, &[0xff; 64]).unwrap();
    let event = scene.relay.next();
    assert!(matches!(event, Event::ChannelEnded(_)), "{event:?}");
    assert!(scene.front.raw.still_answers() && scene.device.runs());
    scene.makes_way();
}

#[test]
fn descriptors_that_come_with_half_a_message_are_closed_when_it_ends() {
    let _alone = alone();
    let (place, relay, device) = scene(FakeConfig::default());
    drop(Raw::acked(&place));
    relay.ended();
    let before = Census::take();
    let file = memory();
    let table = Message::MemTable(vec![region(0)]).encode(true);
    for cut in [1, 11, 12, 13, 30, table.len() - 1] {
        let raw = Raw::acked(&place);
        raw.send(&table[..cut], &[file.as_fd()]);
        drop(raw);
        relay.ended();
    }
    drop(file);
    eventually("all descriptors are closed", || before.compare().is_ok());
    served_next(&place, &relay, &device);
}
