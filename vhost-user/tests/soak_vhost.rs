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
#[path = "interop_dpdk_driver/row.rs"]
mod driver_row;
#[path = "interop_dpdk/row.rs"]
mod row;

use device_support::Place;
use nix::sys::signal::Signal;
use ringport_bench::interop::echo::{EchoPlan, echo, pump};
use ringport_bench::interop::kills::{kills, live};
use ringport_bench::interop::soak::Soak;
use ringport_bench::interop::{Killed, Outcome};
use ringport_bench::peers::testpmd::DataPath;
use ringport_bench::peers::{PeerLock, require_peer};
use row::{DeviceRestarts, Row};
use std::time::Duration;

const RESTARTS: u64 = 500;

/// Kills of processes of ours on each side.
const KILLS: u64 = 5000;

/// Frames on each link.
const FRAMES: u64 = 2000;

/// The tests here, which share the time.
const SOAKS: u32 = 8;

/// Not a test: what this program does when it is started as a peer.
#[test]
#[ignore = "the peer process of the others"]
fn child_peer() {
    live().unwrap();
}

/// Kills peers of ours at any moment, from before they connect to the middle of traffic.
fn kill_ours(name: &'static str, ours: &str, theirs: &str) -> Outcome {
    let _lock = PeerLock::acquire()?;
    let place = Place::new();
    let port = |options: &str| format!("vhost:{},{options}", place.path.display());
    kills(Soak::new(name, KILLS, SOAKS), &port(ours), &port(theirs))
}

#[test]
#[ignore = "takes minutes: ./ci.sh soak"]
fn our_device_outlives_drivers_that_are_killed() {
    let driver = "role=driver,socket=connect,reconnect=1ms-5ms";
    kill_ours("kill -9 of our driver", "role=device", driver).unwrap();
}

#[test]
#[ignore = "takes minutes: ./ci.sh soak"]
fn our_driver_outlives_devices_that_are_killed() {
    let driver = "role=driver,socket=connect,reconnect=1ms-5ms";
    kill_ours("kill -9 of our device", driver, "role=device").unwrap();
}

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

/// The other way round: our driver, and testpmd's device that is killed, beside a link of our own.
fn kill_devices(name: &'static str, packed: bool, device_listens: bool) -> Outcome {
    let Some(_peer) = require_peer(name, "dpdk-testpmd") else { return Ok(()) };
    let row = driver_row::Row { device_listens, ..driver_row::Row::new(packed) };
    let mut soak = Soak::new(name, RESTARTS, SOAKS);
    let moved = row.restarts(FRAMES, || {
        soak.round()?;
        Ok(soak.goes_on())
    })?;
    let came = soak.rounds() * FRAMES;
    soak.notes = format!("{came} frames came back; {moved} on another link, all of them");
    soak.report();
    Ok(())
}

#[test]
#[ignore = "takes minutes: ./ci.sh soak"]
fn killed_devices_with_split_rings_leave_nothing() {
    kill_devices("kill -9 of a testpmd device, split rings", false, true).unwrap();
}

#[test]
#[ignore = "takes minutes: ./ci.sh soak"]
fn killed_devices_with_packed_rings_leave_nothing() {
    kill_devices("kill -9 of a testpmd device, packed rings", true, false).unwrap();
}
