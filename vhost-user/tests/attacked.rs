//! Peers that keep us busy: other links of the same thread go on, and lose nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod attacks;
mod device_support;

use attacks::{against_devices, against_drivers, device, driver, under};
use device_support::Place;
use std::time::Duration;

/// How long each attack goes on.
const A_WHILE: Duration = Duration::from_millis(200);

#[test]
fn front_ends_that_keep_a_device_busy_hold_no_other_link_up() {
    for attack in against_devices() {
        let place = Place::new();
        let [_, rates] = under(&attack, &place, &mut device(&place), A_WHILE).unwrap();
        rates.check().unwrap_or_else(|error| panic!("{}: {error}", attack.name));
    }
}

#[test]
fn devices_that_keep_a_driver_busy_hold_no_other_link_up() {
    for attack in against_drivers() {
        let place = Place::new();
        let [_, rates] = under(&attack, &place, &mut driver(&place), A_WHILE).unwrap();
        rates.check().unwrap_or_else(|error| panic!("{}: {error}", attack.name));
    }
}
