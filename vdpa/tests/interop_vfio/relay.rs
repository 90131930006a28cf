//! The relay in front of a virtual function under vfio-pci, with our driver.

use super::ask::ask;
use super::lab::{Tier, in_vm};
use super::relay_support::{Place, Served, eventually, link_up};
use super::traffic::{Other, Traffic};
use super::{function, open, take_away};
use ringport::retry::Reconnect;
use ringport_vhost_user::device::SocketRole;
use ringport_vhost_user::{Driver, DriverConfig, driver};
use std::time::Duration;

const SOON: Reconnect =
    Reconnect::Backoff { initial: Duration::from_millis(10), max: Duration::from_millis(100) };

/// A front-end that has a link.
fn front_end(place: &Place) -> (Driver, driver::Link) {
    let config = DriverConfig { ring_size: 64, ..DriverConfig::default() };
    let mut driver = Driver::open(&place.address(), SocketRole::Connect(SOON), config).unwrap();
    let link = link_up(&mut driver);
    (driver, link)
}

#[test]
fn drivers_that_come_and_go_reach_the_wire_through_the_relay() {
    let test = "relay::drivers_that_come_and_go_reach_the_wire_through_the_relay";
    in_vm(test, Tier::T3, |inside| {
        let place = Place::new();
        let relay = Served::listen(&place, open(function(inside)));
        for round in 0..20 {
            let (driver, mut link) = front_end(&place);
            relay.link_up();
            ask(&mut link, 5);
            drop((link, driver));
            println!("round {round}: {}", relay.link_down());
        }
    });
}

#[test]
fn function_that_is_taken_away_under_its_driver_ends_the_link_and_does_not_block_who_takes_it() {
    let test = "relay::function_that_is_taken_away_under_its_driver_ends_the_link_and_does_not_block_who_takes_it";
    in_vm(test, Tier::T3, |inside| {
        let place = Place::new();
        let relay = Served::listen(&place, open(function(inside)));
        let (mut driver, mut link) = front_end(&place);
        relay.link_up();
        ask(&mut link, 2);
        let traffic = Traffic::over(link, Other::Interface);
        let removal = take_away(inside);
        assert!(relay.link_down().contains("gone"));
        // The relay goes with its device.
        drop(relay);
        eventually("sriov_numvfs is written", || removal.is_finished());
        removal.join().unwrap();
        println!("{}", traffic.end(&mut driver));
    });
}
