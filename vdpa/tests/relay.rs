//! A relay between our own driver and a fake device that works: what is agreed on, mapped, started, and
//! given back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test"
)]

mod relay_support;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use relay_support::{
    Fake, FakeConfig, Front, LEN, PATIENCE, Place, Raw, Served, Told, drive, exchange, link_up,
    memory, region,
};
use ringport_bench::interop::census::Census;
use ringport_vdpa::relay::{Event, RelayError};
use ringport_vdpa::{Relay, RelayConfig};
use ringport_vhost_user::device::{DownReason, SocketRole};
use ringport_vhost_user::driver;
use ringport_vhost_user::wire::{Message, Request, feature};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

#[test]
fn packets_pass_between_driver_and_device_on_both_kinds_of_rings() {
    for packed in [false, true] {
        let place = Place::new();
        let mut config = FakeConfig::default();
        if packed {
            config.capabilities.starts_midway = true;
            config.capabilities.tells_base = true;
            config.capabilities.features |= feature::RING_PACKED;
        }
        let (fake, device) = Fake::new(config);
        let relay = Served::listen(&place, fake);
        let mut driver = drive(&place, packed);
        let mut link = link_up(&mut driver);
        relay.link_up();
        assert_eq!(link.parameters.packed, packed);
        assert_eq!(link.parameters.mac, Some([2, 0, 0, 0, 0, 1]), "from the device");
        exchange(&mut link, &device, 50);
        let starts = device.calls().into_iter().filter(|it| matches!(it, Told::Start { .. }));
        assert_eq!(starts.count(), 1);
    }
}

#[test]
fn front_ends_that_come_and_go_leave_nothing_behind() {
    let place = Place::new();
    let (fake, device) = Fake::new(FakeConfig::default());
    let relay = Served::listen(&place, fake);
    let mut census: Option<Census> = None;
    for round in 0..20 {
        let mut driver = drive(&place, false);
        let mut link = link_up(&mut driver);
        relay.link_up();
        exchange(&mut link, &device, 2);
        if round % 2 == 0 {
            driver.stop();
            driver.poll(Some(PATIENCE)).unwrap();
        }
        drop((link, driver));
        relay.link_down();
        assert!(!device.runs(), "round {round}");
        assert_eq!(device.mapped(), [], "round {round}");
        let calls = device.calls();
        let stop = calls.iter().position(|call| *call == Told::Stop).unwrap();
        let unmap = calls.iter().position(|call| matches!(call, Told::Unmap(_))).unwrap();
        assert!(stop < unmap, "the device is reset before its memory goes: {calls:?}");
        census.get_or_insert_with(Census::take).compare().unwrap();
    }
}

#[test]
fn memory_that_the_device_cannot_map_is_refused_with_the_limit_and_nothing_stays_mapped() {
    let place = Place::new();
    let (fake, device) = Fake::new(FakeConfig { mappings: 0, ..FakeConfig::default() });
    let relay = Served::listen(&place, fake);
    let mut driver = drive(&place, false);
    driver.poll(Some(Duration::from_millis(300))).unwrap();
    let why = relay.refused();
    assert!(why.contains("mappings") && why.contains("the fake's"), "{why}");
    assert_eq!(device.mapped(), []);
    // The limit is raised, and the driver tries again.
    device.change(|config| config.mappings = 10);
    let mut link = link_up(&mut driver);
    exchange(&mut link, &device, 2);
}

#[test]
fn device_that_refuses_to_begin_is_reported_and_the_front_end_may_try_again() {
    let place = Place::new();
    let (fake, device) = Fake::new(FakeConfig { starts: false, ..FakeConfig::default() });
    let relay = Served::listen(&place, fake);
    let mut driver = drive(&place, false);
    driver.poll(Some(Duration::from_millis(300))).unwrap();
    assert!(relay.not_linked().contains("refuses features"), "says why");
    assert!(!device.runs());
    device.change(|config| config.starts = true);
    let mut link = link_up(&mut driver);
    exchange(&mut link, &device, 2);
}

#[test]
fn device_that_keeps_memory_is_closed_with_the_reason_and_one_that_is_opened_anew_serves_the_next()
{
    let place = Place::new();
    for round in 0..3 {
        let (fake, device) = Fake::new(FakeConfig { keeps: true, ..FakeConfig::default() });
        let role = SocketRole::default();
        let config = RelayConfig::default();
        let mut relay = Relay::open(&place.address(), role, config, Box::new(fake)).unwrap();
        let reason = std::thread::scope(|scope| {
            scope.spawn(|| Front::connect(&place, 0).run());
            loop {
                let event = relay.poll(Some(PATIENCE)).unwrap();
                if let Event::LinkDown(reason) = event.expect("nothing happened") {
                    break reason;
                }
            }
        });
        assert!(matches!(reason, DownReason::PeerClosed), "{reason}");
        assert!(is_readable(relay.gone()), "round {round}");
        let why = relay.why_closed().unwrap().to_string();
        assert!(why.contains("did not give memory back") && why.contains("unmap memory"), "{why}");
        assert_eq!(device.mapped(), []);
        assert_eq!(device.calls().last(), Some(&Told::GiveUp));
        assert!(relay.why_closed().is_none(), "it is said once");
        // Nobody else is let at it.
        let front = Raw::connect(&place);
        let refused = relay.poll(Some(PATIENCE)).unwrap();
        assert!(matches!(refused, Some(Event::Refused(_))), "{refused:?}");
        drop((front, relay.into_device()));
    }
}

#[test]
fn device_that_keeps_memory_under_a_front_end_ends_its_link_with_the_reason() {
    let place = Place::new();
    let (fake, device) = Fake::new(FakeConfig::default());
    let relay = Served::listen(&place, fake);
    let front = Front::connect(&place, 0);
    front.run();
    relay.link_up();
    let more = memory();
    let add = Message::MemRegion(Request::AddMemReg, region(LEN));
    assert!(front.raw.ask(&add, &[more.as_fd()]).is_yes());
    device.change(|config| config.keeps = true);
    assert!(!front.is_granted(&Message::MemRegion(Request::RemMemReg, region(LEN))));
    assert!(relay.refused().contains("did not give memory back"));
    assert!(relay.link_down().contains("did not give memory back"));
    assert_eq!(device.mapped(), []);
    assert!(!device.runs());
}

fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
}

#[test]
fn device_that_is_removed_ends_the_connection_and_is_reset_first() {
    let place = Place::new();
    let (fake, device) = Fake::new(FakeConfig::default());
    let relay = Served::listen(&place, fake);
    let mut driver = drive(&place, false);
    let mut link = link_up(&mut driver);
    relay.link_up();
    exchange(&mut link, &device, 2);
    device.yank();
    assert!(relay.link_down().contains("gone"));
    assert!(!device.runs());
    assert_eq!(device.mapped(), []);
}

#[test]
fn change_of_the_devices_configuration_reaches_the_driver() {
    let place = Place::new();
    let (fake, device) = Fake::new(FakeConfig::default());
    let relay = Served::listen(&place, fake);
    let mut driver = drive(&place, false);
    let link = link_up(&mut driver);
    relay.link_up();
    assert!(link.parameters.carrier);
    for up in [false, true, false] {
        device.config_changes(|space| space[6] = u8::from(up));
        let deadline = Instant::now() + PATIENCE;
        let told = loop {
            assert!(Instant::now() < deadline, "nobody told the driver");
            if let Some(event) = driver.poll(Some(Duration::from_millis(50))).unwrap() {
                break event;
            }
        };
        assert!(matches!(told, driver::Event::Carrier(is) if is == up), "{told:?}");
    }
}

#[test]
fn device_that_goes_past_the_iommu_is_not_served_at_all() {
    let place = Place::new();
    let mut config = FakeConfig::default();
    config.capabilities.translated = true;
    let (fake, _) = Fake::new(config);
    let role = SocketRole::default();
    let opened = Relay::open(&place.address(), role, RelayConfig::default(), Box::new(fake));
    assert_eq!(opened.unwrap_err().to_string(), RelayError::GoesPastIommu.to_string());
    assert!(!place.path.exists(), "no socket is left");
}

#[test]
fn driver_that_wants_what_the_device_lacks_gets_the_link_without() {
    let place = Place::new();
    let (fake, device) = Fake::new(FakeConfig::default());
    let relay = Served::listen(&place, fake);
    let mut driver = drive(&place, true);
    let mut link = link_up(&mut driver);
    assert!(!link.parameters.packed, "split, as the device restores no packed ring");
    let Event::LinkUp(seen) = relay.next() else { panic!("no link") };
    assert!(!seen.parameters.packed);
    exchange(&mut link, &device, 2);
}
