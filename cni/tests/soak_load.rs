//! Load for a long time. Run by `./ci.sh soak [MINUTES]`, which sets `RINGPORT_SOAK_MINUTES`.

#![cfg(feature = "ovs")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use ringport_bench::interop::soak::Soak;
use support::load::Load;

/// Rounds of a full run, each with two hundred attachments.
const ROUNDS: u64 = 200;

#[test]
#[ignore = "takes long"]
fn attachments_that_come_and_go_by_the_hundred_leave_nothing() {
    let test = "attachments_that_come_and_go_by_the_hundred_leave_nothing";
    let Some(load) = Load::start(test) else { return };
    let mut soak = Soak::new("200 attachments at once", ROUNDS, 5);
    while soak.goes_on() {
        load.round();
        soak.round().unwrap();
    }
    soak.report();
}
