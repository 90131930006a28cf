//! Pairs of queues that are taken out of use and back while they run, and devices that come back with
//! less than they had.
//!
//! Spec: vhost-user "Ring states", "Reconnect"; VIRTIO 1.3 §5.1.6.5.5.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::{Place, Polled, Served, eventually, frame, receive, send};
use ringport::retry::Reconnect;
use ringport_vhost_user::device::SocketRole;
use ringport_vhost_user::frontend::PeerIncompatible;
use ringport_vhost_user::wire::feature;
use ringport_vhost_user::{
    ControlError, Device, DeviceConfig, DeviceError, DownReason, DriverConfig, Event, Link, driver,
};
use std::time::Duration;

const SOON: Reconnect =
    Reconnect::Backoff { initial: Duration::from_millis(5), max: Duration::from_millis(20) };

fn device(place: &Place, config: DeviceConfig) -> Served {
    Served::new(Device::open(&place.address(), SocketRole::Connect(SOON), config).unwrap())
}

#[track_caller]
fn check_pair(theirs: &mut Link, ours: &mut driver::Link, pair: usize, seed: u32) {
    let packet = [frame(100, seed)];
    send(&mut ours.tx[pair], &packet);
    assert_eq!(receive(&mut theirs.rx[pair], 1), packet);
    send(&mut theirs.tx[pair], &packet);
    assert_eq!(receive(&mut ours.rx[pair], 1), packet);
}

/// Waits until so many pairs run.
#[track_caller]
fn until_enabled<P: Polled>(served: &Served<P>, pairs: u16) {
    while served.pairs_enabled() != pairs {}
}

#[test]
fn pair_that_is_out_of_use_loses_what_is_sent_there_and_works_again_afterwards() {
    for packed in [false, true] {
        let place = Place::new();
        let config = DriverConfig { packed, queue_pairs: 4, ..DriverConfig::default() };
        let driver = Served::open(&place, SocketRole::default(), config);
        let device = device(&place, DeviceConfig { queue_pairs: 4, ..DeviceConfig::default() });
        let (mut ours, mut theirs) = (driver.link_up(), device.link_up());
        assert_eq!(ours.parameters.queue_pairs_max, Some(4));
        until_enabled(&device, 4);
        for (pairs, seed) in [(2u16, 1), (3, 2), (1, 3), (4, 4), (4, 5)] {
            driver.ask(move |driver| driver.set_queue_pairs(pairs)).unwrap();
            until_enabled(&driver, pairs);
            for pair in 0..usize::from(pairs) {
                check_pair(&mut theirs, &mut ours, pair, seed);
            }
            for pair in usize::from(pairs)..4 {
                let before = theirs.rx[pair].stats().discarded;
                send(&mut ours.tx[pair], &[frame(60, 9)]);
                eventually("it is thrown away", || {
                    assert!(theirs.rx[pair].rx_burst(8).unwrap().is_empty());
                    theirs.rx[pair].stats().discarded == before + 1
                });
                assert!(theirs.tx[pair].tx_burst(8).unwrap().push(&[0; 60]).is_err());
                assert!(ours.rx[pair].rx_burst(8).unwrap().is_empty());
            }
        }
    }
}

#[test]
fn device_that_comes_back_with_less_is_refused_where_features_are_kept() {
    let place = Place::new();
    let config = DriverConfig { keep_features: true, ..DriverConfig::default() };
    let driver = Served::open(&place, SocketRole::default(), config);
    let usual = DeviceConfig { mergeable: true, event_idx: false, ..DeviceConfig::default() };
    let first = device(&place, usual);
    let features = driver.link_up().parameters.features;
    drop(first);
    assert!(matches!(driver.link_down(), DownReason::PeerClosed));
    let less = device(&place, DeviceConfig { mergeable: false, in_order: false, ..usual });
    let Event::Refused(DownReason::Protocol(DeviceError::Control(why))) = driver.next() else {
        panic!("a link with less")
    };
    let bits = feature::MRG_RXBUF | feature::IN_ORDER;
    let missing = PeerIncompatible::FeaturesMissing { bits };
    assert_eq!(why, ControlError::PeerIncompatible(missing));
    drop(less);
    while driver.happened().is_some() {}
    let more = device(&place, DeviceConfig { event_idx: true, ..usual });
    let mut ours = driver.link_up();
    assert_eq!(ours.parameters.features, features | feature::EVENT_IDX);
    check_pair(&mut more.link_up(), &mut ours, 0, 1);
    drop(more);
    driver.link_down();
    let again = device(&place, usual);
    assert_eq!(driver.link_up().parameters.features, features, "the first link's count");
    drop(again);
}

#[test]
fn features_are_not_kept_unless_that_was_asked_for() {
    let place = Place::new();
    let driver = Served::open(&place, SocketRole::default(), DriverConfig::default());
    for mergeable in [true, false, true] {
        let device = device(&place, DeviceConfig { mergeable, ..DeviceConfig::default() });
        let features = driver.link_up().parameters.features;
        assert_eq!(features & feature::MRG_RXBUF != 0, mergeable);
        drop(device);
        driver.link_down();
    }
}
