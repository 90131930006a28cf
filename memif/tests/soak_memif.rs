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
use ringport_bench::interop::soak::Soak;
use ringport_bench::peers::testpmd::{MemifArgs, MemifRole, Mode};
use ringport_bench::peers::{CommandGuard, PeerLock, Testpmd, require_peer};
use ringport_memif::{DownReason, Event, EventKind, Link, Port};
use std::process::Command;
use std::time::{Duration, Instant};
use support::echo::{EchoPlan, Unwritten, echo, echo_some, pump};
use support::{Killed, Outcome, link, link_down, open};

/// Kills of a process of ours, and restarts of either side with testpmd, in a full run.
const KILLS: u64 = 2000;
const RESTARTS: u64 = 500;

/// What our own peer process is told to be.
const CHILD_PORT: &str = "RINGPORT_SOAK_CHILD_PORT";

/// One of the five that share the time.
fn soak(name: &'static str, wanted: u64) -> Soak {
    Soak::new(name, wanted, 5)
}

/// A number below `limit` that differs each time.
fn random(state: &mut u64, limit: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state % limit
}

/// Not a test: what this program does when it is started as a peer.
#[test]
#[ignore = "the peer process of the others"]
fn child_peer() {
    let Ok(text) = std::env::var(CHILD_PORT) else { return };
    let mut port = Port::open(&text).unwrap();
    let mut link: Option<Link> = None;
    loop {
        match port.poll(Some(Duration::ZERO)).unwrap() {
            Some(Event { kind: EventKind::LinkUp(up), .. }) => link = Some(*up),
            Some(Event { kind: EventKind::LinkDown(_), .. }) => link = None,
            Some(_) => {}
            None => match &mut link {
                // A fault of the queues is reported by the port.
                Some(link) => drop(pump(link, Duration::from_millis(1))),
                None => std::thread::sleep(Duration::from_micros(200)),
            },
        }
    }
}

fn start_child(port: &str) -> Outcome<CommandGuard> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--exact", "child_peer", "--ignored", "--nocapture"]).env(CHILD_PORT, port);
    Ok(CommandGuard::spawn("our peer", &mut command)?)
}

/// Kills peers of ours at any moment, from before they connect to the middle of traffic.
fn kills(name: &'static str, ours: &str, theirs: &str) -> Outcome {
    let _lock = PeerLock::acquire()?;
    let place = Place::new();
    let child_port = format!("memif:{},{theirs}", place.path.display());
    let mut soak = soak(name, KILLS / 2);
    let mut port = open(&place.path, ours)?;
    let (mut links, mut frames, mut seed) = (0, 0, 0x2545_f491_4f6c_dd1d);
    while soak.goes_on() {
        let mut child = start_child(&child_port)?;
        let mut up: Option<Link> = None;
        // Most die within the first moments of their link, some before it.
        let end = Instant::now() + Duration::from_micros(random(&mut seed, 30_000));
        while Instant::now() < end {
            match port.poll(Some(Duration::from_micros(100)))?.map(|event| event.kind) {
                Some(EventKind::LinkUp(link)) => up = Some(*link),
                Some(EventKind::LinkDown(why)) => return Err(format!("{why}").into()),
                _ => {}
            }
            if let Some(link) = &mut up {
                pump(link, Duration::from_micros(100))?;
            }
        }
        child.signal(Signal::SIGKILL)?;
        child.wait_end(Duration::from_secs(5))?;
        if let Some(mut link) = up {
            // What it published is still ours to take, and nothing of it may be a fault.
            pump(&mut link, Duration::from_micros(100))?;
            frames += link.rx.iter().map(|rx| rx.stats().packets).sum::<u64>();
            links += 1;
            match link_down(&mut port)? {
                DownReason::PeerClosed => {}
                other => return Err(format!("round {}: {other}", soak.rounds()).into()),
            }
        } else {
            settle(&mut port)?;
        }
        drop(child);
        soak.round()?;
    }
    soak.notes = format!("{links} links, {frames} frames received");
    soak.report();
    // After all of that a peer that lives works.
    let _child = start_child(&child_port)?;
    pump(&mut link(&mut port)?, Duration::from_millis(20))
}

/// A peer that was killed in its handshake: what is left of it goes away, or a link that came up
/// unseen goes down.
fn settle(port: &mut Port) -> Outcome {
    let mut up = false;
    loop {
        let patience = if up { support::PATIENCE } else { Duration::from_millis(2) };
        match port.poll(Some(patience))?.map(|event| event.kind) {
            Some(EventKind::LinkUp(_)) => up = true,
            Some(EventKind::LinkDown(_)) => up = false,
            Some(_) => {}
            None if up => return Err("a link to a dead peer".into()),
            None => return Ok(()),
        }
    }
}

#[test]
#[ignore = "takes minutes"]
fn soak_our_server_outlives_clients_that_are_killed() {
    kills("kill -9 of our client", "role=server", "role=client,reconnect=1ms-5ms").unwrap();
}

#[test]
#[ignore = "takes minutes"]
fn soak_our_client_outlives_servers_that_are_killed() {
    kills("kill -9 of our server", "role=client,reconnect=1ms-5ms", "role=server").unwrap();
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
