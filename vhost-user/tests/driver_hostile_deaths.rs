//! Devices that die at any message, and the one that comes after them: a driver that listens serves it, one
//! that connects tries again, and neither keeps anything of those before.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;
mod frontend_support;

use device_support::{PATIENCE, Place};
use frontend_support::back_config;
use frontend_support::fake::{End, Fake, behind, config, connected, messages, next};
use ringport::retry::Reconnect;
use ringport::scm;
use ringport_bench::interop::census::Census;
use ringport_vhost_user::device::SocketRole;
use ringport_vhost_user::driver::Event;
use ringport_vhost_user::wire::{Reply, Request};
use ringport_vhost_user::{DownReason, Driver, DriverConfig};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

/// Both layouts.
fn layouts() -> [DriverConfig; 2] {
    [false, true].map(|packed| DriverConfig { packed, timeout: PATIENCE, ..config() })
}

/// A driver on a socket, whichever side listens, and how the next device comes to be.
struct Stage {
    driver: Driver,
    place: Place,
    /// Where the driver connects to, if it does.
    listener: Option<UnixListener>,
}

impl Stage {
    /// One where the driver listens, and one where it connects.
    fn both(config: DriverConfig) -> [Self; 2] {
        let (place, other) = (Place::new(), Place::new());
        let driver = Driver::open(&place.address(), SocketRole::default(), config).unwrap();
        let listens = Self { driver, place, listener: None };
        let listener = UnixListener::bind(&other.path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let soon =
            Reconnect::Backoff { initial: Duration::from_millis(1), max: Duration::from_millis(5) };
        let driver = Driver::open(&other.address(), SocketRole::Connect(soon), config).unwrap();
        [listens, Self { driver, place: other, listener: Some(listener) }]
    }

    #[track_caller]
    fn next_device(&mut self) -> Fake {
        let Some(listener) = &self.listener else { return connected(&self.place.path) };
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok((stream, _)) = listener.accept() {
                return behind(stream);
            }
            let event = self.driver.poll(Some(Duration::from_millis(1))).unwrap();
            assert!(event.is_none(), "{event:?}");
            assert!(Instant::now() < deadline, "the driver does not come back");
        }
    }

    /// One that lives, so long as the link takes to come up.
    #[track_caller]
    fn link(&mut self) -> (Fake, Event) {
        let mut fake = self.next_device();
        let event = next(&mut self.driver, &mut fake, End::Never);
        assert!(matches!(event, Event::LinkUp(_)), "{event:?}");
        (fake, event)
    }
}

#[test]
fn device_that_dies_at_any_message_makes_way_for_the_next_one() {
    let all = messages(back_config());
    for config in layouts() {
        for mut stage in Stage::both(config) {
            let mut census: Option<Census> = None;
            for at in 0..all {
                let mut fake = stage.next_device();
                // Later a driver that connects may or may not have done so again.
                census.get_or_insert_with(Census::take).compare().unwrap();
                let event = next(&mut stage.driver, &mut fake, End::Leaves(at));
                assert!(matches!(event, Event::Refused(DownReason::PeerClosed)), "{at}: {event:?}");
            }
            stage.link();
        }
    }
}

#[test]
fn device_that_dies_while_it_stops_rings_lets_the_driver_go() {
    for config in layouts() {
        for mut stage in Stage::both(config) {
            let (mut fake, _link) = stage.link();
            let (before, rings) = (fake.said.len(), 4);
            for after in 0..=rings {
                // The last one of these is told that the driver is gone, and has all rings stopped.
                stage.driver.stop();
                let event = next(&mut stage.driver, &mut fake, End::Leaves(before + after));
                assert!(matches!(event, Event::LinkDown(_)), "{after}: {event:?}");
                assert!(stage.driver.is_finished());
                let [listens, connects] = Stage::both(config);
                stage = if stage.listener.is_some() { connects } else { listens };
                (fake, _) = stage.link();
            }
        }
    }
}

#[test]
fn descriptors_that_a_device_sends_along_are_closed_and_end_its_conversation() {
    for config in layouts() {
        for mut stage in Stage::both(config) {
            let mut census: Option<Census> = None;
            for up in [false, true].repeat(3) {
                let (fake, _link) = match up {
                    true => {
                        let (fake, link) = stage.link();
                        (fake, Some(link))
                    }
                    false => (stage.next_device(), None),
                };
                let socket = fake.socket.as_ref().unwrap().as_fd();
                let answer = Reply::Number(0).encode(Request::GetFeatures as u32);
                assert_eq!(scm::send(socket, &answer, &[socket; 3]).unwrap(), answer.len());
                let mut silent = Fake::new(back_config()).0;
                let event = next(&mut stage.driver, &mut silent, End::Never);
                let ended = match up {
                    true => matches!(event, Event::LinkDown(DownReason::Protocol(_))),
                    false => matches!(event, Event::Refused(DownReason::Protocol(_))),
                };
                assert!(ended, "{event:?}");
                drop((fake, _link, silent));
                census.get_or_insert_with(Census::take).compare().unwrap();
            }
        }
    }
}
