//! The control queue between our driver and our device: what is asked is done, kept, answered and
//! reported, on both kinds of rings.
//!
//! Spec: VIRTIO 1.3 §5.1.6.5.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{PATIENCE, Place, Served, eventually, frame, receive, send};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use proptest::prelude::*;
use ringport::retry::Reconnect;
use ringport_vhost_user::device::{Filter, SocketRole};
use ringport_vhost_user::error::CommandError;
use ringport_vhost_user::wire::{Command, feature};
use ringport_vhost_user::{
    ControlError, DeviceConfig, DeviceError, DownReason, Driver, DriverConfig, Event, Link, driver,
};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const SOON: Reconnect =
    Reconnect::Backoff { initial: Duration::from_millis(5), max: Duration::from_millis(20) };

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 1];

struct Scene {
    device: Served,
    theirs: Link,
    driver: Served<Driver>,
    ours: driver::Link,
}

fn offers(queue_pairs: u16) -> DeviceConfig {
    DeviceConfig { queue_pairs, control: true, mac: Some(MAC), ..DeviceConfig::default() }
}

impl Scene {
    fn new(place: &Place, packed: bool, pairs: u16) -> Self {
        let device = Served::listen(place, offers(4));
        let config = DriverConfig {
            queue_pairs: pairs,
            packed,
            control: true,
            ring_size: 64,
            ..DriverConfig::default()
        };
        let driver = Served::open(place, SocketRole::Connect(SOON), config);
        let (ours, theirs) = (driver.link_up(), device.link_up());
        Self { device, theirs, driver, ours }
    }

    /// Gives a command, and waits for what becomes of it.
    #[track_caller]
    fn command(&self, command: &Command) -> Result<(), CommandError> {
        let given = command.clone();
        self.driver.ask(move |driver| driver.command(&given)).unwrap();
        match self.driver.news() {
            Event::CommandDone(done) => done,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn filter(&self) -> Filter {
        match self.device.news() {
            Event::FilterChanged(filter) => *filter,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn commands_are_done_kept_and_reported_on_both_kinds_of_rings() {
    for (packed, pairs) in [(false, 1), (true, 1), (false, 4), (true, 3)] {
        let place = Place::new();
        let mut scene = Scene::new(&place, packed, pairs);
        assert_eq!(scene.ours.parameters.packed, packed);
        scene.command(&Command::Promiscuous(false)).unwrap();
        let filter = scene.filter();
        assert!(!filter.promiscuous && filter.mac == Some(MAC));
        assert!(filter.wants(MAC, None) && !filter.wants(MAC, Some(7)));
        let lists = Command::Addresses { unicast: vec![OTHER], multicast: vec![GROUP; 256] };
        scene.command(&lists).unwrap();
        assert_eq!(scene.filter().multicast.len(), 256);
        scene.command(&Command::AddVlan(7)).unwrap();
        assert!(scene.filter().wants(OTHER, Some(7)));
        scene.command(&Command::Address(GROUP)).unwrap_err();
        scene.command(&Command::Address(OTHER)).unwrap();
        assert_eq!(scene.filter().mac, Some(OTHER));
        scene.command(&Command::QueuePairs(4)).unwrap();
        assert!(matches!(scene.device.news(), Event::PairsWanted(4)));
        assert_eq!(scene.command(&Command::QueuePairs(5)), Err(CommandError::Refused));
        // More of them than the ring has entries.
        for turn in 0..100 {
            scene.command(&Command::AllMulticast(turn % 2 == 0)).unwrap();
            assert_eq!(scene.filter().all_multicast, turn % 2 == 0);
        }
        send(&mut scene.ours.tx[0], &[frame(60, 1)]);
        assert_eq!(receive(&mut scene.theirs.rx[0], 1), [frame(60, 1)]);
    }
}

#[test]
fn sides_that_have_nothing_to_do_after_a_command_sleep() {
    for packed in [false, true] {
        let place = Place::new();
        let scene = Scene::new(&place, packed, 1);
        for vlan in 0..40 {
            scene.command(&Command::AddVlan(vlan)).unwrap();
            scene.filter();
        }
        let Scene { device, driver, .. } = scene;
        let (mut device, mut driver) = (device.into_device(), driver.into_inner());
        // Whoever watched them may have been told to look once more.
        eventually("nobody is woken for nothing", || {
            assert!(device.poll(Some(Duration::ZERO)).unwrap().is_none());
            assert!(driver.poll(Some(Duration::ZERO)).unwrap().is_none());
            [device.as_fd(), driver.as_fd()].into_iter().all(|fd| {
                let mut set = [PollFd::new(fd, PollFlags::POLLIN)];
                poll(&mut set, PollTimeout::from(20u8)).unwrap() == 0
            })
        });
    }
}

#[test]
fn announcement_is_wanted_until_the_driver_says_that_it_was_made() {
    let place = Place::new();
    let scene = Scene::new(&place, true, 1);
    for _ in 0..2 {
        scene.device.ask(|device| device.announce());
        assert!(matches!(scene.driver.news(), Event::AnnounceWanted));
        scene.device.ask(|device| device.set_link(false));
        assert!(matches!(scene.driver.news(), Event::Carrier(false)), "and nothing else again");
        scene.device.ask(|device| device.set_link(true));
        assert!(matches!(scene.driver.news(), Event::Carrier(true)));
        assert!(scene.device.ask(|device| device.wants_announcement()));
        scene.command(&Command::Announced).unwrap();
        assert!(matches!(scene.device.news(), Event::Announced));
        assert!(!scene.device.ask(|device| device.wants_announcement()));
    }
}

#[test]
fn what_a_driver_wanted_is_forgotten_with_it() {
    let place = Place::new();
    let mut scene = Scene::new(&place, false, 1);
    scene.command(&Command::Promiscuous(false)).unwrap();
    scene.command(&Command::Address(OTHER)).unwrap();
    assert!(!scene.filter().promiscuous);
    scene.filter();
    scene.driver.ask(|driver| driver.disconnect());
    scene.device.link_down();
    scene.driver.link_down();
    scene.ours = scene.driver.link_up();
    scene.theirs = scene.device.link_up();
    scene.command(&Command::AllMulticast(true)).unwrap();
    let filter = scene.filter();
    assert!(filter.promiscuous && filter.mac == Some(MAC));
}

#[test]
fn command_that_cannot_be_given_is_refused_at_once() {
    let place = Place::new();
    let scene = Scene::new(&place, false, 1);
    let too_many = Command::Addresses { unicast: vec![OTHER; 257], multicast: vec![] };
    let refused = scene.driver.ask(move |driver| driver.command(&too_many));
    assert!(matches!(refused, Err(DeviceError::Config(_))), "{refused:?}");
    let (first, second) = scene.driver.ask(|driver| {
        let once = || Command::AddVlan(1);
        (driver.command(&once()), driver.command(&once()))
    });
    first.unwrap();
    let busy = ControlError::OutOfOrder { call: "command" };
    assert!(matches!(second, Err(DeviceError::Control(why)) if why == busy));
    assert!(matches!(scene.driver.news(), Event::CommandDone(Ok(()))));
    drop(scene);
    let place = Place::new();
    let _device = Served::listen(&place, offers(1));
    let config = DriverConfig::default();
    let driver = Served::open(&place, SocketRole::Connect(SOON), config);
    driver.link_up();
    let none = driver.ask(|driver| driver.command(&Command::AddVlan(1)));
    assert!(matches!(none, Err(DeviceError::Control(why)) if why == busy), "no control queue");
}

#[test]
fn device_that_leaves_the_control_queue_to_others_refuses_the_ring() {
    let place = Place::new();
    let _device = Served::listen(&place, DeviceConfig::default());
    let config = DriverConfig { control: true, ..DriverConfig::default() };
    let driver = Served::open(&place, SocketRole::Connect(SOON), config);
    let Event::Refused(DownReason::Protocol(error)) = driver.next() else { panic!("a link") };
    assert_eq!(error.to_string(), "back-end refused SET_VRING_CALL, with 1");
}

#[test]
fn device_without_the_feature_is_used_without_control_queue() {
    use ringport_vhost_user::Device;
    let place = Place::new();
    let config = DriverConfig { control: true, ..DriverConfig::default() };
    let driver = Served::open(&place, SocketRole::default(), config);
    let connect = SocketRole::Connect(SOON);
    let device = Device::open(&place.address(), connect, offers(127)).unwrap();
    let device = Served::new(device);
    assert_ne!(driver.link_up().parameters.features & feature::CTRL_RX, 0, "ring 254");
    drop(device);
    assert!(Device::open(&place.address(), connect, offers(128)).is_err(), "no ring 256");
}

fn address(last: u8) -> impl Strategy<Value = [u8; 6]> {
    (0..last).prop_map(|last| [2, 0, 0, 0, 0, last])
}

fn commands() -> impl Strategy<Value = Command> {
    prop_oneof![
        any::<bool>().prop_map(Command::Promiscuous),
        any::<bool>().prop_map(Command::AllMulticast),
        address(4).prop_map(Command::Address),
        (0..4200u16).prop_map(Command::AddVlan),
        (0..4200u16).prop_map(Command::RemoveVlan),
        Just(Command::Announced),
        (0..6u16).prop_map(Command::QueuePairs),
        prop::collection::vec(address(8), 0..5)
            .prop_map(|unicast| { Command::Addresses { unicast, multicast: Vec::new() } }),
    ]
}

/// What a driver believes to have said.
#[derive(Debug, Default)]
struct Believed {
    promiscuous: Option<bool>,
    all_multicast: bool,
    mac: Option<[u8; 6]>,
    unicast: Vec<[u8; 6]>,
    vlans: std::collections::BTreeSet<u16>,
}

impl Believed {
    /// Whether the device is to do it.
    fn take(&mut self, command: &Command) -> bool {
        match command {
            Command::Promiscuous(on) => self.promiscuous = Some(*on),
            Command::AllMulticast(on) => self.all_multicast = *on,
            Command::Address(mac) => {
                if *mac == [0; 6] {
                    return false;
                }
                self.mac = Some(*mac);
            }
            Command::AddVlan(vlan) if *vlan < 4096 => drop(self.vlans.insert(*vlan)),
            Command::RemoveVlan(vlan) if *vlan < 4096 => drop(self.vlans.remove(vlan)),
            Command::QueuePairs(pairs) => return (1..=4).contains(pairs),
            Command::Addresses { unicast, .. } => self.unicast.clone_from(unicast),
            Command::Announced => {}
            _ => return false,
        }
        true
    }

    fn check(&self, filter: &Filter) {
        assert_eq!(filter.promiscuous, self.promiscuous.unwrap_or(true));
        assert_eq!(filter.all_multicast, self.all_multicast);
        assert_eq!(filter.mac, Some(self.mac.unwrap_or(MAC)));
        assert_eq!(filter.unicast, self.unicast);
        let vlans: Vec<_> = (0..4096).filter(|vlan| filter.has_vlan(*vlan)).collect();
        assert_eq!(vlans, self.vlans.iter().copied().collect::<Vec<_>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn device_knows_of_any_commands_what_the_driver_does(
        packed in any::<bool>(),
        said in prop::collection::vec(commands(), 1..40),
    ) {
        let place = Place::new();
        let scene = Scene::new(&place, packed, 1);
        let mut believed = Believed::default();
        let start = Instant::now();
        for command in &said {
            let expected = believed.take(command);
            let done = scene.command(command);
            prop_assert_eq!(done.is_ok(), expected, "{:?}: {:?}", command, done);
            if expected {
                match scene.device.news() {
                    Event::FilterChanged(filter) => believed.check(&filter),
                    Event::PairsWanted(_) | Event::Announced => {}
                    other => panic!("{other:?}"),
                }
            }
            prop_assert!(start.elapsed() < PATIENCE);
        }
    }
}
