//! Our driver with DPDK's device (verified with testpmd 22.11.11 and its net_vhost): both kinds of
//! rings, both socket roles, one pair and more, every length, restarts of either side.
//!
//! What 22.11 does:
//! * A device that listens takes no path that is there, and goes on without its socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test, which reports what peers did"
)]

mod device_support;
#[path = "interop_dpdk_driver/row.rs"]
mod row;

use device_support::{Place, frame, leave, receive, send};
use ringport_bench::interop::Outcome;
use ringport_bench::interop::census::Census;
use ringport_bench::interop::echo::{EchoPlan, echo};
use ringport_bench::interop::table::each_row;
use ringport_bench::peers::require_peer_with_hugepages;
use ringport_vhost_user::Event;
use row::Row;

/// Hugepages that a testpmd takes, in megabytes.
const HUGEPAGES: u64 = 128;

/// Runs a table; all of them need testpmd with hugepages.
fn table(test: &str, rows: impl IntoIterator<Item = Row>, run: impl FnMut(&Row) -> Outcome) {
    let Some(_peer) = require_peer_with_hugepages(test, "dpdk-testpmd", HUGEPAGES) else { return };
    each_row(rows, run);
}

/// Split and packed.
fn layouts() -> impl Iterator<Item = Row> {
    [false, true].into_iter().map(Row::new)
}

#[test]
fn frames_of_every_length_come_back_whole_and_in_order() {
    let test = "frames_of_every_length_come_back_whole_and_in_order";
    let rows = layouts().flat_map(|row| {
        [(true, true), (true, false), (false, true), (false, false)]
            .map(|(in_order, mergeable)| Row { in_order, mergeable, ..row })
    });
    table(test, rows, |row| row.echo(2000));
}

#[test]
fn device_that_connects_to_a_listening_driver_carries_frames() {
    let test = "device_that_connects_to_a_listening_driver_carries_frames";
    table(test, layouts().map(|row| Row { device_listens: false, ..row }), |row| row.echo(1000));
}

#[test]
fn rings_of_every_size_wrap_many_times_in_order() {
    let test = "rings_of_every_size_wrap_many_times_in_order";
    let split = [64, 1024, 32768].map(|ring_size| Row { ring_size, ..Row::new(false) });
    let packed = [64, 1000, 32768].map(|ring_size| Row { ring_size, ..Row::new(true) });
    table(test, split.into_iter().chain(packed), |row| {
        let place = Place::new();
        let (_peer, _driver, mut link) = row.join(&place)?;
        let plan = EchoPlan { frames: 200_000, slots_in_flight: 32, ..row.plan() };
        echo(&mut link.rx, &mut link.tx, &plan)
    });
}

#[test]
fn every_number_of_pairs_carries_frames() {
    let test = "every_number_of_pairs_carries_frames";
    let rows = layouts().flat_map(|row| [2, 8].map(|pairs| Row { pairs, ..row }));
    table(test, rows, |row| row.echo(500));
}

#[test]
fn driver_that_sleeps_on_its_doorbells_misses_nothing() {
    let test = "driver_that_sleeps_on_its_doorbells_misses_nothing";
    table(test, layouts().map(|row| Row { sleeps: true, ..row }), |row| row.echo(1000));
}

#[test]
fn device_restarts_under_traffic_and_each_link_works_while_another_loses_nothing() {
    let test = "device_restarts_under_traffic_and_each_link_works_while_another_loses_nothing";
    let rows =
        layouts().flat_map(|row| [true, false].map(|device_listens| Row { device_listens, ..row }));
    table(test, rows, |row| {
        let mut left = 5;
        let moved = row.restarts(2000, || {
            left -= 1;
            Ok(left > 0)
        })?;
        if moved > 0 { Ok(()) } else { Err("nothing moved elsewhere".into()) }
    });
}

#[test]
fn driver_restarts_and_each_link_works() {
    let test = "driver_restarts_and_each_link_works";
    let rows =
        layouts().flat_map(|row| [true, false].map(|device_listens| Row { device_listens, ..row }));
    table(test, rows, |row| {
        let place = Place::new();
        let (mut peer, mut driver, mut link) = row.join(&place)?;
        let mut census = None;
        for round in 0..10 {
            echo(&mut link.rx, &mut link.tx, &EchoPlan { frames: 2000, ..row.plan() })?;
            let last = leave(driver, round % 2 == 0)?;
            drop((link, last));
            census.get_or_insert_with(Census::take).compare()?;
            driver = row.driver(&place);
            link = row.link(&mut peer, &driver)?;
        }
        echo(&mut link.rx, &mut link.tx, &row.plan())
    });
}

/// Frames that are sent on a disabled pair stay in the ring until it is enabled again: DPDK 22.11
/// neither takes them nor gives their buffers back before.
#[test]
fn pairs_are_taken_out_of_use_and_back_while_the_device_runs() {
    let test = "pairs_are_taken_out_of_use_and_back_while_the_device_runs";
    table(test, layouts().map(|row| Row { pairs: 2, ..row }), |row| {
        let place = Place::new();
        let (_peer, driver, mut link) = row.join(&place)?;
        let set = |pairs: u16| match driver.ask(move |driver| driver.set_queue_pairs(pairs)) {
            Err(error) => Err(error.to_string()),
            Ok(()) => match driver.next() {
                Event::PairsEnabled(enabled) if enabled == pairs => Ok(()),
                other => Err(format!("{pairs} pairs: {other:?}")),
            },
        };
        for round in 0..3 {
            set(1)?;
            send(&mut link.tx[1], &[frame(60, round), frame(1500, round)]);
            let plan = EchoPlan { frames: 2000, ..row.plan() };
            echo(&mut link.rx[..1], &mut link.tx[..1], &plan)?;
            if !link.rx[1].rx_burst(32)?.is_empty() {
                return Err("a packet on a disabled pair".into());
            }
            set(2)?;
            let back = receive(&mut link.rx[1], 2);
            if back != [frame(60, round), frame(1500, round)] {
                return Err("what was sent on the disabled pair did not come back".into());
            }
            echo(&mut link.rx, &mut link.tx, &plan)?;
        }
        Ok(())
    });
}
