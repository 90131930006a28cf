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
mod driver_support;

use attacks::{AGAINST_CLIENTS, AGAINST_SERVERS, Attack, Target, client, server, under};
use driver_support::Place;
use ringport_bench::peers::PeerLock;
use std::time::Duration;

const A_WHILE: Duration = Duration::from_secs(3);

fn measure<T: Target>(attacks: &[Attack], target: fn(&Place) -> T) {
    let _lock = PeerLock::acquire().unwrap();
    for attack in attacks {
        let place = Place::new();
        let [quiet, attacked] = under(attack, &place, &mut target(&place), A_WHILE).unwrap();
        println!("{}", attacked.row(attack.name, &quiet));
        attacked.check().unwrap();
    }
}

#[test]
#[ignore = "takes a minute: ./ci.sh soak"]
fn soak_links_beside_a_server_that_is_attacked() {
    measure(&AGAINST_SERVERS, server);
}

#[test]
#[ignore = "takes a minute: ./ci.sh soak"]
fn soak_links_beside_a_client_that_is_attacked() {
    measure(&AGAINST_CLIENTS, client);
}
