//! A driver with sockets, and our own device: links that come and go, on both kinds of rings and
//! both sides of the socket.
//!
//! Spec: vhost-user "Communication", "Starting and stopping rings".
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{PATIENCE, Place, Polled, Served, eventually, frame, receive, send};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ringport::burst::{PacketRx, PacketTx};
use ringport::error::QueueError;
use ringport::retry::Reconnect;
use ringport_bench::interop::census::Census;
use ringport_vhost_user::device::{Offloads, SocketRole};
use ringport_vhost_user::driver::{self, CallMode};
use ringport_vhost_user::frontend::PeerIncompatible;
use ringport_vhost_user::virtqueue::KickMode;
use ringport_vhost_user::wire::feature;
use ringport_vhost_user::{
    ControlError, Device, DeviceConfig, DeviceError, DownReason, Driver, DriverConfig, Event, Link,
    Port,
};
use std::time::Duration;

const SOON: Reconnect =
    Reconnect::Backoff { initial: Duration::from_millis(5), max: Duration::from_millis(20) };

/// Which side listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listens {
    Device,
    Driver,
}

impl Listens {
    const BOTH: [Self; 2] = [Self::Device, Self::Driver];

    fn device(self, place: &Place, config: DeviceConfig) -> Served {
        let role = self.role(Self::Device);
        Served::new(Device::open(&place.address(), role, config).unwrap())
    }

    fn driver(self, place: &Place, config: DriverConfig) -> Served<Driver> {
        Served::open(place, self.role(Self::Driver), config)
    }

    fn role(self, side: Self) -> SocketRole {
        if self == side { SocketRole::default() } else { SocketRole::Connect(SOON) }
    }
}

fn drives(packed: bool) -> DriverConfig {
    DriverConfig { packed, ring_size: 256, ..DriverConfig::default() }
}

/// Packets of many lengths each way, each of them checked.
#[track_caller]
fn exchange(device: &mut Link, driver: &mut driver::Link, lens: &[usize]) {
    for (pair, seed) in (0..driver.tx.len()).zip(1000..) {
        let ours = (&mut driver.rx[pair] as &mut dyn PacketRx, &mut driver.tx[pair]);
        let theirs = (&mut device.rx[pair], &mut device.tx[pair]);
        for (len, number) in lens.iter().zip(0..) {
            let packet = [frame(*len, seed + number)];
            send(ours.1, &packet);
            assert_eq!(receive(theirs.0, 1), packet, "to the device, {len} bytes");
            send(theirs.1, &packet);
            assert_eq!(receive(ours.0, 1), packet, "to the driver, {len} bytes");
        }
    }
}

/// The next link, after attempts that failed because nobody was there.
#[track_caller]
fn next_link<P: Polled>(served: &Served<P>) -> Link<P::Rx, P::Tx> {
    loop {
        match served.next() {
            Event::LinkUp(link) => return *link,
            Event::PairsEnabled(_) | Event::Refused(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn packets_go_both_ways_on_both_kinds_of_rings_whoever_listens() {
    for (listens, packed) in Listens::BOTH.into_iter().flat_map(|l| [(l, false), (l, true)]) {
        let place = Place::new();
        let device = listens.device(&place, DeviceConfig::default());
        let driver = listens.driver(&place, drives(packed));
        let (mut ours, mut theirs) = (next_link(&driver), next_link(&device));
        assert_eq!(ours.parameters.packed, packed);
        assert_eq!(ours.parameters.features, theirs.parameters.features);
        assert_eq!(ours.parameters.protocol_features, theirs.parameters.protocol_features);
        assert_eq!(ours.parameters.ring_sizes, [256, 256]);
        let lens: Vec<_> = (14..1500).step_by(53).chain([64, 2048, 2049, 9000]).collect();
        exchange(&mut theirs, &mut ours, &lens);
    }
}

#[test]
fn rings_wrap_in_every_combination_of_features() {
    for bits in 0..16_u32 {
        let on = |bit: u32| bits & (1 << bit) != 0;
        let config = DriverConfig {
            ring_size: if on(0) { 20 } else { 16 },
            packed: on(0),
            in_order: on(1),
            mergeable: on(2),
            event_idx: on(3),
            ..DriverConfig::default()
        };
        let place = Place::new();
        let device = Listens::Device.device(&place, DeviceConfig::default());
        let driver = Listens::Device.driver(&place, config);
        let (mut ours, mut theirs) = (next_link(&driver), next_link(&device));
        let lens: Vec<_> = (0..100).map(|n| 60 + n * 13 % 1400).collect();
        exchange(&mut theirs, &mut ours, &lens);
    }
}

#[test]
fn every_pair_has_its_own_queues_and_there_are_as_many_as_both_sides_have() {
    for (wanted, offered, expected) in [(4, 4, 4), (4, 2, 2), (2, 4, 2), (1, 8, 1)] {
        let place = Place::new();
        let config = DeviceConfig { queue_pairs: offered, ..DeviceConfig::default() };
        let device = Listens::Device.device(&place, config);
        let config = DriverConfig { queue_pairs: wanted, ..DriverConfig::default() };
        let driver = Listens::Device.driver(&place, config);
        let (mut ours, mut theirs) = (next_link(&driver), next_link(&device));
        assert_eq!((ours.rx.len(), ours.tx.len()), (expected, expected));
        eventually(
            "all pairs run",
            || matches!(device.next(), Event::PairsEnabled(pairs) if usize::from(pairs) == expected),
        );
        exchange(&mut theirs, &mut ours, &[60, 1500]);
    }
}

#[test]
fn device_tells_its_address_and_mtu() {
    let place = Place::new();
    let mac = Some([2, 0, 0, 0, 0, 5]);
    let config = DeviceConfig { mac, mtu: Some(9000), ..DeviceConfig::default() };
    let device = Listens::Device.device(&place, config);
    let config = DriverConfig { mtu: Some(1400), ..DriverConfig::default() };
    let driver = Listens::Device.driver(&place, config);
    let parameters = next_link(&driver).parameters;
    assert_eq!((parameters.mac, parameters.mtu), (mac, Some(9000)));
    eventually("it is told ours", || matches!(device.next(), Event::Mtu(1400)));
}

#[test]
fn device_that_restarts_finds_its_driver_again() {
    for (listens, packed) in Listens::BOTH.into_iter().flat_map(|l| [(l, false), (l, true)]) {
        let place = Place::new();
        let driver = listens.driver(&place, drives(packed));
        let mut census = None;
        for _ in 0..10 {
            let device = listens.device(&place, DeviceConfig::default());
            let (mut ours, mut theirs) = (next_link(&driver), next_link(&device));
            exchange(&mut theirs, &mut ours, &[60, 1500]);
            drop((theirs, device));
            let reason = driver.link_down();
            assert!(matches!(reason, DownReason::PeerClosed), "{reason}");
            for _ in 0..2 {
                assert_eq!(ours.rx[0].rx_burst(1).unwrap_err(), QueueError::LinkDown);
                assert_eq!(ours.tx[0].tx_burst(1).unwrap_err(), QueueError::LinkDown);
            }
            drop(ours);
            // One that connects may be doing so now.
            if listens == Listens::Driver {
                census.get_or_insert_with(Census::take).compare().unwrap();
            }
        }
    }
}

#[test]
fn driver_that_restarts_finds_its_device_again_and_leaves_nothing_behind() {
    for listens in Listens::BOTH {
        let place = Place::new();
        let device = listens.device(&place, DeviceConfig::default());
        let mut census = None;
        for _ in 0..10 {
            let driver = listens.driver(&place, drives(true));
            let mut ours = next_link(&driver);
            let mut theirs = next_link(&device);
            exchange(&mut theirs, &mut ours, &[60, 1500]);
            drop((ours, driver));
            assert!(matches!(device.link_down(), DownReason::PeerClosed));
            assert_eq!(theirs.rx[0].rx_burst(1).unwrap_err(), QueueError::LinkDown);
            drop(theirs);
            if listens == Listens::Device {
                census.get_or_insert_with(Census::take).compare().unwrap();
            }
        }
    }
}

#[test]
fn second_device_waits_until_the_first_has_left() {
    let place = Place::new();
    let driver = Listens::Driver.driver(&place, drives(false));
    let first = Listens::Driver.device(&place, DeviceConfig::default());
    let (_ours, _theirs) = (next_link(&driver), next_link(&first));
    let second = Listens::Driver.device(&place, DeviceConfig::default());
    assert!(second.happened().is_none());
    drop(first);
    assert!(matches!(driver.link_down(), DownReason::PeerClosed));
    let (mut ours, mut theirs) = (next_link(&driver), next_link(&second));
    exchange(&mut theirs, &mut ours, &[60]);
}

#[test]
fn device_without_what_is_required_is_refused_and_the_feature_named() {
    let place = Place::new();
    let config = DeviceConfig { packed: false, ..DeviceConfig::default() };
    let _device = Listens::Device.device(&place, config);
    let config = DriverConfig { ring_size: 100, ..DriverConfig::default() };
    let driver = Listens::Device.driver(&place, config);
    for _ in 0..3 {
        let Event::Refused(DownReason::Protocol(error)) = driver.next() else { panic!("a link") };
        let bits = feature::RING_PACKED;
        let missing = PeerIncompatible::FeaturesMissing { bits };
        let DeviceError::Control(why) = &error else { panic!("{error:?}") };
        assert_eq!(*why, ControlError::PeerIncompatible(missing));
        assert_eq!(error.to_string(), "peer is incompatible: features 0x400000000 are required");
    }
}

#[test]
fn device_that_has_less_is_used_with_what_it_has() {
    let place = Place::new();
    let less = DeviceConfig {
        packed: false,
        in_order: false,
        mergeable: false,
        event_idx: false,
        ..DeviceConfig::default()
    };
    let driver = Listens::Driver.driver(
        &place,
        DriverConfig { offloads: Offloads::Segmentation, ..DriverConfig::default() },
    );
    let more = DeviceConfig { offloads: Offloads::Segmentation, ..DeviceConfig::default() };
    for (config, packed) in [(less, false), (more, true), (less, false)] {
        let device = Listens::Driver.device(&place, config);
        let (mut ours, mut theirs) = (next_link(&driver), next_link(&device));
        assert_eq!(ours.parameters.packed, packed);
        let has = |bit| ours.parameters.features & bit != 0;
        assert_eq!((has(feature::MRG_RXBUF), has(feature::GUEST_TSO4)), (packed, packed));
        exchange(&mut theirs, &mut ours, &[60, 1500]);
        drop(device);
        assert!(matches!(driver.link_down(), DownReason::PeerClosed));
    }
}

#[test]
fn stopped_driver_leaves_in_order_and_for_good() {
    for listens in Listens::BOTH {
        let place = Place::new();
        let device = listens.device(&place, DeviceConfig::default());
        let driver = listens.driver(&place, drives(true));
        let (mut ours, mut theirs) = (next_link(&driver), next_link(&device));
        exchange(&mut theirs, &mut ours, &[60]);
        let mut driver = driver.into_inner();
        driver.stop();
        assert_eq!(ours.tx[0].tx_burst(1).unwrap_err(), QueueError::LinkDown);
        let event = driver.poll(Some(PATIENCE)).unwrap();
        assert!(matches!(event, Some(driver::Event::LinkDown(DownReason::Closed))), "{event:?}");
        assert!(driver.is_finished());
        assert!(driver.poll(None).unwrap().is_none());
        // The rings were stopped before the connection was closed.
        let mut seen = Vec::new();
        loop {
            match device.next() {
                Event::PairsEnabled(pairs) => seen.push(pairs),
                Event::LinkDown(_) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(seen.last(), Some(&0), "{seen:?}");
        assert_eq!(place.path.exists(), listens == Listens::Device);
    }
}

#[test]
fn driver_that_is_stopped_without_a_link_is_finished_at_once() {
    for role in [SocketRole::default(), SocketRole::Connect(SOON)] {
        let place = Place::new();
        let mut driver = Driver::open(&place.address(), role, drives(true)).unwrap();
        driver.stop();
        while let Some(event) = driver.poll(None).unwrap() {
            assert!(matches!(event, driver::Event::Refused(_)), "{event:?}");
        }
        assert!(driver.is_finished());
    }
}

#[test]
fn disconnected_driver_connects_again() {
    let place = Place::new();
    let device = Listens::Device.device(&place, DeviceConfig::default());
    let driver = Listens::Device.driver(&place, drives(false));
    let (_ours, _theirs) = (next_link(&driver), next_link(&device));
    let mut driver = driver.into_inner();
    driver.disconnect();
    let driver = Served::new(driver);
    assert!(matches!(driver.link_down(), DownReason::Closed));
    assert!(matches!(device.link_down(), DownReason::PeerClosed));
    let (mut ours, mut theirs) = (next_link(&driver), next_link(&device));
    exchange(&mut theirs, &mut ours, &[60]);
}

/// Sleeps until there is a packet.
fn sleep(rx: &mut dyn PacketRx) {
    while !rx.arm().unwrap() {
        let mut set = [PollFd::new(rx.doorbell(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(PATIENCE).unwrap();
        assert!(poll(&mut set, patience).unwrap() > 0, "slept through it");
    }
}

/// One sends now and then, the other one sleeps.
fn wakes(tx: &mut (dyn PacketTx + Send), rx: &mut dyn PacketRx) {
    for n in 0..20 {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(1));
                send(tx, &[frame(64, n)]);
            });
            sleep(rx);
        });
        assert_eq!(receive(rx, 1), [frame(64, n)]);
    }
}

#[test]
fn either_side_that_sleeps_is_woken() {
    for (packed, event_idx) in [(false, false), (false, true), (true, false), (true, true)] {
        for (kicks, calls) in
            [(KickMode::Adaptive, CallMode::Adaptive), (KickMode::Interrupt, CallMode::Interrupt)]
        {
            let place = Place::new();
            let config = DeviceConfig { kicks, ..DeviceConfig::default() };
            let device = Listens::Device.device(&place, config);
            let config = DriverConfig { calls, event_idx, ..drives(packed) };
            let driver = Listens::Device.driver(&place, config);
            let (mut ours, mut theirs) = (next_link(&driver), next_link(&device));
            wakes(&mut ours.tx[0], &mut theirs.rx[0]);
            wakes(&mut theirs.tx[0], &mut ours.rx[0]);
        }
    }
}

#[test]
fn thread_that_sleeps_learns_of_the_end() {
    let place = Place::new();
    let device = Listens::Device.device(&place, DeviceConfig::default());
    let driver = Listens::Device.driver(&place, drives(true));
    let mut ours = next_link(&driver);
    let sleeper = std::thread::spawn(move || {
        assert!(!ours.rx[0].arm().unwrap());
        let mut set = [PollFd::new(ours.rx[0].doorbell(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(PATIENCE).unwrap();
        let woken = poll(&mut set, patience).unwrap();
        (woken, ours.rx[0].rx_burst(1).unwrap_err())
    });
    drop(device);
    assert_eq!(sleeper.join().unwrap(), (1, QueueError::LinkDown));
}

#[test]
fn ports_of_both_roles_are_named_by_strings() {
    let place = Place::new();
    let path = place.path.display();
    let device = Served::new(Port::open(&format!("vhost:{path},role=device")).unwrap());
    let driver = format!("vhost:{path},role=driver,socket=connect,ring-size=64");
    let mut driver = Port::open(&driver).unwrap();
    let mut ours = driver.wait_link_up(PATIENCE).unwrap();
    let mut theirs = next_link(&device);
    let packets = [frame(60, 1), frame(700, 2)];
    send(&mut ours.tx[0], &packets);
    assert_eq!(receive(&mut theirs.rx[0], 2), packets);
    send(&mut theirs.tx[0], &packets);
    assert_eq!(receive(&mut ours.rx[0], 2), packets);
    drop(device);
    let event = driver.poll(Some(PATIENCE)).unwrap();
    assert!(matches!(event, Some(Event::LinkDown(DownReason::PeerClosed))), "{event:?}");
}
