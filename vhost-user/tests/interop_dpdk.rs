//! Against DPDK's virtio driver (verified with testpmd 22.11.11): every data path that it has, both
//! socket roles, one to eight queue pairs, every length, restarts of either side under traffic.
//!
//! What 22.11 does:
//! * A driver without merged buffers cannot be sent what is longer than one of its buffers; the queue
//!   says so. One that merges them takes 9000 bytes in buffers of 2048.
//! * It sends packets in several descriptors only with `--tx-offloads=0x8000` (`MULTI_SEGS`).
//! * A driver that listens does nothing else until a device has connected, and goes on when another
//!   one connects later: split rings where the last one was, packed ones from the start.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test, which reports what peers did"
)]

mod device_support;
#[path = "interop_dpdk/restarts.rs"]
mod restarts;
#[path = "interop_dpdk/row.rs"]
mod row;

use device_support::Place;
use ringport_bench::interop::Outcome;
use ringport_bench::interop::echo::{EchoPlan, echo};
use ringport_bench::interop::table::each_row;
use ringport_bench::peers::require_peer_with_hugepages;
use ringport_bench::peers::testpmd::DataPath;
use row::{Row, Side};

/// Hugepages that a testpmd takes, in megabytes.
const HUGEPAGES: u64 = 128;

/// Runs a table; all of them need testpmd with hugepages.
fn table(test: &str, rows: impl IntoIterator<Item = Row>, run: impl FnMut(&Row) -> Outcome) {
    let Some(_peer) = require_peer_with_hugepages(test, "dpdk-testpmd", HUGEPAGES) else { return };
    each_row(rows, run);
}

#[test]
fn every_data_path_brings_frames_of_every_length_back_whole_and_in_order() {
    let test = "every_data_path_brings_frames_of_every_length_back_whole_and_in_order";
    table(test, Row::every_path(test), |row| row.echo(2000));
}

#[test]
fn rings_wrap_many_times_in_order() {
    let test = "rings_wrap_many_times_in_order";
    table(test, Row::every_path(test), |row| {
        let place = Place::new();
        let (_peer, _device, mut link) = row.join(&place)?;
        echo(&mut link.rx, &mut link.tx, &EchoPlan { frames: 200_000, ..row.plan() })
    });
}

#[test]
fn device_that_connects_to_a_driver_carries_frames() {
    let test = "device_that_connects_to_a_driver_carries_frames";
    let paths = [DataPath::SplitInOrderMergeable, DataPath::PackedInOrderMergeable];
    let rows = paths.map(|path| Row { connects: Side::Device, ..Row::new(path) });
    table(test, rows, |row| row.echo(1000));
}

#[test]
fn every_number_of_pairs_carries_frames() {
    let test = "every_number_of_pairs_carries_frames";
    let paths = [DataPath::SplitMergeable, DataPath::PackedMergeable];
    let rows = paths
        .into_iter()
        .flat_map(|path| [2, 8].into_iter().map(move |pairs| Row { pairs, ..Row::new(path) }));
    table(test, rows, |row| row.echo(500));
}

#[test]
fn device_that_sleeps_on_its_doorbells_misses_nothing() {
    let test = "device_that_sleeps_on_its_doorbells_misses_nothing";
    let paths = [DataPath::SplitMergeable, DataPath::PackedMergeable];
    let rows = paths.map(|path| Row { sleeps: true, ..Row::new(path) });
    table(test, rows, |row| row.echo(1000));
}
