//! Devices that leave, fall silent or talk nonsense at any point: the driver says why, keeps no
//! descriptor, and its queues report it for ever.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;
mod frontend_support;

use device_support::PATIENCE;
use frontend_support::back_config;
use frontend_support::fake::{End, Fake, back_ends, config, connected, messages, next, running};
use ringport::error::QueueError;
use ringport_bench::interop::census::Census;
use ringport_vhost_user::device::SocketRole;
use ringport_vhost_user::driver::{Event, Link};
use ringport_vhost_user::frontend::PeerMisbehaved;
use ringport_vhost_user::wire::{Reply, Request};
use ringport_vhost_user::{ControlError, DeviceError, DownReason, Driver, DriverConfig};
use std::time::Duration;

#[test]
fn device_that_dies_at_any_message_is_reported_and_leaves_nothing_behind() {
    for back in back_ends() {
        let all = messages(back);
        assert!(all > 30, "{all} messages");
        let mut census = None;
        for at in 0..all {
            let (mut fake, socket) = Fake::new(back);
            let mut driver = Driver::from_socket(socket, config()).unwrap();
            let event = next(&mut driver, &mut fake, End::Leaves(at));
            assert!(matches!(event, Event::Refused(DownReason::PeerClosed)), "{at}: {event:?}");
            assert!(driver.is_finished());
            drop((fake, driver));
            census.get_or_insert_with(Census::take).compare().unwrap();
        }
    }
}

#[test]
fn device_that_falls_silent_at_any_message_is_late_with_that_request() {
    let timeout = Duration::from_millis(100);
    for at in (0..messages(back_config())).step_by(3) {
        let (mut fake, socket) = Fake::new(back_config());
        let config = DriverConfig { timeout, ..config() };
        let mut driver = Driver::from_socket(socket, config).unwrap();
        let event = next(&mut driver, &mut fake, End::FallsSilent(at));
        let Event::Refused(DownReason::Protocol(DeviceError::Control(why))) = event else {
            panic!("{at}: {event:?}")
        };
        let ControlError::Timeout { request, waited } = why else { panic!("{at}: {why}") };
        // Without an answer of its own the request after it is the one that waits.
        let unanswered = [Request::SetProtocolFeatures, Request::SetOwner];
        let last = *fake.said.last().unwrap();
        assert!(request == last || unanswered.contains(&last), "{at}: {request} after {last}");
        assert_eq!(waited, timeout);
        assert!(driver.is_finished());
    }
}

/// Checks that the queues are of no use any more.
#[track_caller]
fn check_down(link: &mut Link, error: QueueError) {
    for _ in 0..2 {
        for (rx, tx) in link.rx.iter_mut().zip(&mut link.tx) {
            assert_eq!(rx.rx_burst(1).unwrap_err(), error);
            assert_eq!(tx.tx_burst(1).unwrap_err(), error);
            assert_eq!(rx.arm().unwrap_err(), error);
        }
    }
}

#[test]
fn every_ring_is_kicked_when_it_starts_though_nothing_was_sent() {
    let (_driver, _link, mut fake) = running();
    assert_eq!(fake.rings.len(), 4);
    for ring in &mut fake.rings {
        let kick = ringport::doorbell::Doorbell::from_peer(ring.kick.take().unwrap()).unwrap();
        assert!(kick.drain().unwrap(), "ring {}", ring.index);
    }
}

#[test]
fn device_that_says_a_ring_is_broken_ends_the_link() {
    for ring in 0..4 {
        let (mut driver, mut link, mut fake) = running();
        let err = fake.rings[ring].err.take().unwrap();
        ringport::doorbell::Doorbell::from_peer(err).unwrap().ring().unwrap();
        let event = next(&mut driver, &mut fake, End::Never);
        assert!(matches!(event, Event::LinkDown(DownReason::RingGivenUp)), "{event:?}");
        check_down(&mut link, QueueError::LinkDown);
    }
}

#[test]
fn device_that_speaks_unasked_ends_the_link() {
    let (mut driver, mut link, mut fake) = running();
    fake.say(&Reply::Number(0).encode(Request::SetVringKick as u32));
    let event = next(&mut driver, &mut fake, End::Never);
    let Event::LinkDown(DownReason::Protocol(DeviceError::Control(why))) = event else {
        panic!("{event:?}")
    };
    let unasked = PeerMisbehaved::Unasked { request: Request::SetVringKick as u32 };
    assert_eq!(why, ControlError::PeerMisbehaved(unasked));
    check_down(&mut link, QueueError::LinkDown);
}

#[test]
fn device_that_ends_within_a_message_is_reported() {
    let (mut driver, mut link, mut fake) = running();
    fake.say(&Reply::Number(0).encode(1)[..5]);
    assert!(driver.poll(Some(Duration::from_millis(5))).unwrap().is_none(), "it may go on");
    fake.socket = None;
    let event = next(&mut driver, &mut fake, End::Never);
    assert!(matches!(event, Event::LinkDown(DownReason::PeerClosed)), "{event:?}");
    check_down(&mut link, QueueError::LinkDown);
}

#[test]
fn device_that_does_not_stop_in_time_is_left() {
    let (mut fake, socket) = Fake::new(back_config());
    let timeout = Duration::from_millis(100);
    let mut driver = Driver::from_socket(socket, DriverConfig { timeout, ..config() }).unwrap();
    let Event::LinkUp(mut link) = next(&mut driver, &mut fake, End::Never) else {
        panic!("no link")
    };
    driver.stop();
    check_down(&mut link, QueueError::LinkDown);
    let all = fake.said.len();
    let event = next(&mut driver, &mut fake, End::FallsSilent(all));
    let Event::LinkDown(DownReason::Protocol(DeviceError::Control(why))) = event else {
        panic!("{event:?}")
    };
    assert_eq!(why, ControlError::Timeout { request: Request::GetVringBase, waited: timeout });
    assert!(driver.is_finished());
}

#[test]
fn device_that_stalls_at_any_message_leaves_nothing_and_the_next_one_is_used() {
    let place = device_support::Place::new();
    let config = DriverConfig { timeout: Duration::from_millis(30), ..config() };
    let socket = SocketRole::default();
    let mut driver = Driver::open(&place.address(), socket, config).unwrap();
    let mut census: Option<Census> = None;
    for at in 0..messages(back_config()) {
        let mut fake = connected(&place.path);
        let event = next(&mut driver, &mut fake, End::FallsSilent(at));
        let Event::Refused(DownReason::Protocol(DeviceError::Control(why))) = event else {
            panic!("{at}: {event:?}")
        };
        assert!(matches!(why, ControlError::Timeout { .. }), "{at}: {why}");
        drop(fake);
        census.get_or_insert_with(Census::take).compare().unwrap();
    }
    // In its own time: the machine may be busy.
    drop(driver);
    let config = DriverConfig { timeout: PATIENCE, ..config };
    let mut driver = Driver::open(&place.address(), socket, config).unwrap();
    let mut silent = connected(&place.path);
    let mut fake = connected(&place.path);
    let event = next(&mut driver, &mut silent, End::FallsSilent(0));
    assert!(matches!(event, Event::Refused(DownReason::Protocol(DeviceError::Silent { .. }))));
    let event = next(&mut driver, &mut fake, End::Never);
    assert!(matches!(event, Event::LinkUp(_)), "{event:?}");
}

#[test]
fn answers_that_drip_byte_by_byte_are_put_together() {
    let (mut fake, socket) = Fake::new(back_config());
    fake.drips = true;
    let mut driver = Driver::from_socket(socket, config()).unwrap();
    let event = next(&mut driver, &mut fake, End::Never);
    assert!(matches!(event, Event::LinkUp(_)), "{event:?}");
}

#[test]
fn answers_that_drip_too_slowly_are_late() {
    let (mut fake, socket) = Fake::new(back_config());
    fake.drips = true;
    let timeout = Duration::from_millis(20);
    let mut driver = Driver::from_socket(socket, DriverConfig { timeout, ..config() }).unwrap();
    let event = next(&mut driver, &mut fake, End::Never);
    let Event::Refused(DownReason::Protocol(DeviceError::Control(why))) = event else {
        panic!("{event:?}")
    };
    assert!(matches!(why, ControlError::Timeout { .. }), "{why}");
}
