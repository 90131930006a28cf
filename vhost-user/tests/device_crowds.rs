//! Front-ends that say nothing, or not all of it: the deadline is kept, and others are served.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{Front, Place, Raw, Served, eventually, exchange};
use nix::sys::eventfd::EventFd;
use ringport::socket::SocketOptions;
use ringport_bench::interop::census::Census;
use ringport_vhost_user::device::SocketRole;
use ringport_vhost_user::error::Part;
use ringport_vhost_user::wire::{HEADER_LEN, Message, Request};
use ringport_vhost_user::{Device, DeviceConfig, DeviceError, DownReason, Driver, Event};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_millis(100);

fn impatient(place: &Place) -> Served {
    let config = DeviceConfig { answer_timeout: DEADLINE, ..DeviceConfig::default() };
    Served::listen(place, config)
}

fn refusal(device: &Served) -> DeviceError {
    match device.next() {
        Event::Refused(DownReason::Protocol(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// So much of a request with a payload of eight bytes, with a descriptor.
fn say_part(place: &Place, request: Request, len: usize) -> Raw {
    let raw = Raw::connect(place);
    let words = [request as u32, 1, 8, 0, 0].map(u32::to_ne_bytes);
    raw.send(&words.concat()[..len], &[EventFd::new().unwrap().as_fd()]);
    raw
}

#[track_caller]
fn check_unfinished(device: &Served, begun: Part) {
    match refusal(device) {
        DeviceError::Unfinished { part, waited } => assert_eq!((part, waited), (begun, DEADLINE)),
        other => panic!("{begun}: {other:?}"),
    }
}

#[test]
fn front_end_that_stalls_within_any_message_meets_the_deadline_and_the_next_one_is_served() {
    let place = Place::new();
    let device = impatient(&place);
    drop(Raw::connect(&place));
    assert!(matches!(device.next(), Event::Refused(DownReason::PeerClosed)));
    let before = Census::take();
    for &request in Request::ALL {
        let start = Instant::now();
        // One after the other: a header and all but the last byte, all but its last byte, one byte.
        let stalled = say_part(&place, request, HEADER_LEN + 7);
        check_unfinished(&device, Part::PayloadOf(request as u32));
        assert!(start.elapsed() >= DEADLINE, "{request}");
        drop(stalled);
    }
    for len in [1, HEADER_LEN - 1] {
        let stalled = say_part(&place, Request::SetVringKick, len);
        check_unfinished(&device, Part::Header);
        drop(stalled);
    }
    eventually("nothing stays behind", || before.compare().is_ok());
    let front = Front::running(&place, 1);
    let mut link = device.link_up();
    exchange(&mut front.hands(0), &front.guest, &mut link, 0, 1);
}

#[test]
fn front_end_that_pauses_between_messages_keeps_its_link_and_its_place() {
    let place = Place::new();
    let device = impatient(&place);
    let patient = Raw::connect(&place);
    assert!(patient.still_answers());
    let _next = Raw::connect(&place);
    let start = Instant::now();
    while start.elapsed() < 5 * DEADLINE {
        assert!(device.happened().is_none());
    }
    assert!(patient.still_answers());
}

#[test]
fn hundreds_of_silent_front_ends_make_room_for_one_that_speaks() {
    let place = Place::new();
    let socket = SocketRole::Listen(SocketOptions { backlog: 512, ..SocketOptions::default() });
    let device = Device::open(&place.address(), socket, DeviceConfig::default()).unwrap();
    let device = Served::new(device);
    let silent: Vec<_> = (0..10).map(|_| Raw::connect(&place)).collect();
    // Those say something that is no whole message, and leave.
    (0..200).for_each(|_| Raw::connect(&place).send(&[1], &[]));
    let front = std::thread::scope(|scope| {
        let front = scope.spawn(|| Front::running(&place, 1));
        for _ in &silent {
            let error = refusal(&device);
            assert!(matches!(error, DeviceError::Silent { .. }), "{error:?}");
        }
        for _ in 0..200 {
            assert!(matches!(device.next(), Event::Refused(DownReason::PeerClosed)));
        }
        front.join().unwrap()
    });
    let mut link = device.link_up();
    exchange(&mut front.hands(0), &front.guest, &mut link, 0, 1);
}

#[test]
fn silent_devices_make_room_for_one_that_answers() {
    let place = Place::new();
    let driver = Driver::open(&place.address(), SocketRole::default(), Default::default()).unwrap();
    let driver = Served::new(driver);
    let silent: Vec<_> = (0..4).map(|_| Raw::connect(&place)).collect();
    let connects = SocketRole::Connect(ringport::retry::Reconnect::default());
    let device = Device::open(&place.address(), connects, DeviceConfig::default()).unwrap();
    let device = Served::new(device);
    for _ in &silent {
        let event = driver.next();
        let Event::Refused(DownReason::Protocol(error)) = event else { panic!("{event:?}") };
        assert!(matches!(error, DeviceError::Silent { .. }), "{error:?}");
    }
    driver.link_up();
    device.link_up();
}

#[test]
fn every_message_that_drips_is_answered_like_one_that_comes_whole() {
    const NEED_REPLY: u32 = 8;
    let place = Place::new();
    let device = Served::listen(&place, DeviceConfig::default());
    for &request in Request::ALL {
        let words = [request as u32, 1 | NEED_REPLY, 8, 0, 0].map(u32::to_ne_bytes).concat();
        let answers = [words.len(), 1].map(|piece| {
            let raw = Raw::acked(&place);
            for piece in words.chunks(piece) {
                raw.send(piece, &[]);
                std::thread::sleep(Duration::from_micros(500));
            }
            // What has no answer is followed by one that has.
            raw.ask(&Message::Plain(Request::GetQueueNum), &[])
        });
        assert_eq!(answers[0], answers[1], "{request}");
    }
    while device.happened_already().is_some() {}
}
