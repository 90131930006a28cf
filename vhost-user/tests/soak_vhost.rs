//! Long counts: restarts of either side under traffic, with descriptors, mappings and memory flat at
//! the end. Run by `./ci.sh soak [MINUTES]`; results are recorded in `SOAK.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test, which reports what peers did"
)]

mod device_support;
#[path = "interop_dpdk/row.rs"]
mod row;

use device_support::Place;
use nix::sys::signal::Signal;
use ringport_bench::interop::echo::{EchoPlan, echo, pump};
use ringport_bench::interop::soak::Soak;
use ringport_bench::interop::{Killed, Outcome};
use ringport_bench::peers::require_peer;
use ringport_bench::peers::testpmd::DataPath;
use row::{DeviceRestarts, Row};
use std::time::Duration;

const RESTARTS: u64 = 500;

/// Frames on each link.
const FRAMES: u64 = 2000;

/// The tests here, which share the time.
const SOAKS: u32 = 4;

fn kill_drivers(name: &'static str, path: DataPath) -> Outcome {
    let Some(_peer) = require_peer(name, "dpdk-testpmd") else { return Ok(()) };
    let (row, place) = (Row::new(path), Place::new());
    let mut soak = Soak::new(name, RESTARTS, SOAKS);
    let (mut peer, device, mut link) = row.join(&place)?;
    while soak.goes_on() {
        echo(&mut link.rx, &mut link.tx, &EchoPlan { frames: FRAMES, ..row.plan() })?;
        pump(&mut link.rx, &mut link.tx, Duration::from_millis(2))?;
        peer.process().signal(Signal::SIGKILL)?;
        // Until we notice.
        while pump(&mut link.rx, &mut link.tx, Duration::from_millis(1)).is_ok() {}
        device.link_down();
        drop((link, peer));
        soak.round()?;
        peer = Killed(row.testpmd(&place).start()?);
        link = device.link_up();
        peer.start_when_up(1)?;
    }
    soak.notes = format!("{} frames came back", soak.rounds() * FRAMES);
    soak.report();
    Ok(())
}

fn restart_devices(name: &'static str, path: DataPath) -> Outcome {
    let Some(_peer) = require_peer(name, "dpdk-testpmd") else { return Ok(()) };
    let mut restarts = DeviceRestarts::new(path, false);
    let mut soak = Soak::new(name, RESTARTS, SOAKS);
    restarts.run(FRAMES, || {
        soak.round()?;
        Ok(soak.goes_on())
    })?;
    let DeviceRestarts { strangers, failures, last_failure, .. } = &restarts;
    assert!(*failures <= soak.rounds() / 2, "{restarts:?}");
    soak.notes = format!("{strangers} frames of earlier links; {failures} links did not work");
    println!("the last that did not: {last_failure}");
    soak.report();
    Ok(())
}

#[test]
#[ignore = "takes minutes: ./ci.sh soak"]
fn killed_drivers_with_split_rings_leave_nothing() {
    kill_drivers("kill -9 of a testpmd driver, split rings", DataPath::SplitInOrderMergeable)
        .unwrap();
}

#[test]
#[ignore = "takes minutes: ./ci.sh soak"]
fn killed_drivers_with_packed_rings_leave_nothing() {
    kill_drivers("kill -9 of a testpmd driver, packed rings", DataPath::PackedInOrderMergeable)
        .unwrap();
}

#[test]
#[ignore = "takes minutes: ./ci.sh soak"]
fn restarted_devices_with_split_rings_leave_nothing() {
    restart_devices("restart of our device, split rings", DataPath::SplitInOrderMergeable).unwrap();
}

#[test]
#[ignore = "takes minutes: ./ci.sh soak"]
fn restarted_devices_with_packed_rings_leave_nothing() {
    restart_devices("restart of our device, packed rings", DataPath::PackedInOrderMergeable)
        .unwrap();
}
