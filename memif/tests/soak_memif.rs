//! Long counts: restarts and kills, with descriptors, mappings and memory flat at the end. Run by
//! `./ci.sh soak [MINUTES]`, which sets `RINGPORT_SOAK_MINUTES`; results are recorded in `SOAK.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "a test, which reports what peers did"
)]

mod driver_support;
mod support;

use driver_support::Place;
use nix::sys::signal::Signal;
use ringport::error::QueueError;
use ringport_bench::interop::kills::{kills, live};
use ringport_bench::interop::soak::Soak;
use ringport_bench::peers::testpmd::{MemifArgs, MemifRole, Mode};
use ringport_bench::peers::{PeerLock, Testpmd, require_peer};
use std::time::Duration;
use support::echo::{EchoPlan, Unwritten, echo, echo_some, pump};
use support::{Killed, Outcome, link, link_down, open};

/// Kills of processes of ours in each role, and restarts of either side with testpmd, in a full run.
const KILLS: u64 = 5000;
const RESTARTS: u64 = 500;

/// One of the five that share the time.
fn soak(name: &'static str, wanted: u64) -> Soak {
    Soak::new(name, wanted, 5)
}

/// Not a test: what this program does when it is started as a peer.
#[test]
#[ignore = "the peer process of the others"]
fn child_peer() {
    live().unwrap();
}

/// Kills peers of ours at any moment, from before they connect to the middle of traffic.
fn kill(name: &'static str, ours: &str, theirs: &str) -> Outcome {
    let _lock = PeerLock::acquire()?;
    let place = Place::new();
    let port = |options: &str| format!("memif:{},{options}", place.path.display());
    kills(soak(name, KILLS), &port(ours), &port(theirs))
}

#[test]
#[ignore = "takes minutes"]
fn soak_our_server_outlives_clients_that_are_killed() {
    kill("kill -9 of our client", "role=server", "role=client,reconnect=1ms-5ms").unwrap();
}

#[test]
#[ignore = "takes minutes"]
fn soak_our_client_outlives_servers_that_are_killed() {
    kill("kill -9 of our server", "role=client,reconnect=1ms-5ms", "role=server").unwrap();
}

fn testpmd(role: MemifRole, place: &Place) -> Outcome<Killed> {
    let testpmd = Testpmd::new().memif(MemifArgs::new(role, &place.path)).memory(64);
    let testpmd = testpmd.app_arg("--total-num-mbufs=4096").forward(Mode::Io).interactive();
    Ok(Killed(testpmd.start()?))
}

/// testpmd is killed and started again, under traffic.
fn testpmd_restarts(name: &'static str, role: MemifRole, ours: &str) -> Outcome {
    let Some(_peer) = require_peer(name, "dpdk-testpmd") else { return Ok(()) };
    let place = Place::new();
    let mut soak = soak(name, RESTARTS);
    let mut port = open(&place.path, ours)?;
    let mut frames = 0;
    while soak.goes_on() {
        let mut peer = testpmd(role, &place)?;
        let mut up = link(&mut port)?;
        peer.start_when_up(1)?;
        let plan = EchoPlan { frames: 2000, ..EchoPlan::default() };
        echo(&mut up, &plan)?;
        pump(&mut up, Duration::from_millis(2))?;
        peer.process().signal(Signal::SIGKILL)?;
        pump(&mut up, Duration::from_millis(2))?;
        frames += up.rx[0].stats().packets;
        link_down(&mut port)?;
        drop((up, peer));
        if role == MemifRole::Server {
            // Its socket file stays, and it cannot bind to it again.
            std::fs::remove_file(&place.path)?;
        }
        soak.round()?;
    }
    soak.notes = format!("{frames} frames came back");
    soak.report();
    Ok(())
}

#[test]
#[ignore = "takes minutes"]
fn soak_our_server_outlives_testpmd_clients() {
    testpmd_restarts("kill -9 of a testpmd client", MemifRole::Client, "role=server").unwrap();
}

#[test]
#[ignore = "takes minutes"]
fn soak_our_client_outlives_testpmd_servers() {
    let ours = "role=client,reconnect=5ms-20ms";
    testpmd_restarts("kill -9 of a testpmd server", MemifRole::Server, ours).unwrap();
}

/// We restart under traffic. What testpmd 22.11 does then is told in `interop_dpdk/restarts.rs`, and
/// counted here.
fn our_restarts(name: &'static str) -> Outcome {
    let Some(_peer) = require_peer(name, "dpdk-testpmd") else { return Ok(()) };
    let place = Place::new();
    let mut soak = soak(name, RESTARTS);
    let mut peer = testpmd(MemifRole::Server, &place)?;
    let (mut crashes, mut faults, mut strangers) = (0, 0, 0);
    let mut started = false;
    while soak.goes_on() {
        let mut port = open(&place.path, "role=client,reconnect=5ms-20ms")?;
        let life: Outcome<u64> = link(&mut port).and_then(|mut up| {
            if !started {
                peer.start_when_up(1)?;
                started = true;
            }
            let strangers = echo_some(&mut up, &EchoPlan::default(), 2000)?;
            pump(&mut up, Duration::from_millis(2))?;
            Ok(strangers)
        });
        drop(port);
        match life {
            Ok(count) => strangers += count,
            Err(error) if error.is::<QueueError>() || error.is::<Unwritten>() => faults += 1,
            Err(error) if peer.process().check_running().is_ok() => return Err(error),
            Err(_) => {
                crashes += 1;
                drop(peer);
                std::fs::remove_file(&place.path)?;
                (peer, started) = (testpmd(MemifRole::Server, &place)?, false);
            }
        }
        // The telemetry connection to a new testpmd is another descriptor than to the old one.
        if started {
            soak.round()?;
        }
    }
    soak.notes = format!(
        "testpmd crashed {crashes} times, left {faults} wrong indices and {strangers} frames of \
         earlier links"
    );
    soak.report();
    Ok(())
}

#[test]
#[ignore = "takes minutes"]
fn soak_testpmd_server_outlives_our_clients() {
    our_restarts("restart of our client with a testpmd server").unwrap();
}
