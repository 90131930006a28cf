//! How fast other links of the same thread are while peers keep it busy. Run by `./ci.sh soak`; the
//! results are recorded in `SOAK.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test, which reports what it measured"
)]

mod attacks;
mod device_support;

use attacks::{against_devices, against_drivers, device, driver, under};
use device_support::Place;
use ringport_bench::peers::PeerLock;
use std::time::Duration;

const A_WHILE: Duration = Duration::from_secs(3);

#[test]
#[ignore = "takes minutes: ./ci.sh soak"]
fn soak_links_beside_a_device_that_is_attacked() {
    let _lock = PeerLock::acquire().unwrap();
    for attack in against_devices() {
        let place = Place::new();
        let [quiet, attacked] = under(&attack, &place, &mut device(&place), A_WHILE).unwrap();
        println!("{}", attacked.row(&attack.name, &quiet));
        attacked.check().unwrap();
    }
}

#[test]
#[ignore = "takes a minute: ./ci.sh soak"]
fn soak_links_beside_a_driver_that_is_attacked() {
    let _lock = PeerLock::acquire().unwrap();
    for attack in against_drivers() {
        let place = Place::new();
        let [quiet, attacked] = under(&attack, &place, &mut driver(&place), A_WHILE).unwrap();
        println!("{}", attacked.row(&attack.name, &quiet));
        attacked.check().unwrap();
    }
}
