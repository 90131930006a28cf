//! Peers that keep us busy: other links of the same thread go on, and lose nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod attacks;
mod driver_support;

use attacks::{AGAINST_CLIENTS, AGAINST_SERVERS, client, server, under};
use driver_support::Place;
use std::time::Duration;

/// How long each attack goes on.
const A_WHILE: Duration = Duration::from_millis(300);

#[test]
fn clients_that_keep_a_server_busy_hold_no_other_link_up() {
    for attack in &AGAINST_SERVERS {
        let place = Place::new();
        let mut server = server(&place);
        let [_, rates] = under(attack, &place, &mut server, A_WHILE).unwrap();
        rates.check().unwrap_or_else(|error| panic!("{}: {error}", attack.name));
    }
}

#[test]
fn servers_that_keep_a_client_busy_hold_no_other_link_up() {
    for attack in &AGAINST_CLIENTS {
        let place = Place::new();
        let mut target = client(&place);
        let [_, rates] = under(attack, &place, &mut target, A_WHILE).unwrap();
        rates.check().unwrap_or_else(|error| panic!("{}: {error}", attack.name));
    }
}
