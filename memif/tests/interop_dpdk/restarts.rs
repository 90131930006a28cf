//! Either side restarts under traffic, again and again.
//!
//! When a link ends, testpmd 22.11 unmaps its memory while its forwarding core may be inside a
//! burst. Seen after restarts of ours: testpmd crashes; it sends frames of the last link on the next
//! one; and, with the new memory mapped where the old one was, it stores an index of the old ring in
//! the new one, at once or some hundred frames later: within the ring's length that publishes slots
//! that nobody wrote, beyond it the index runs away, which we fault. So the first frames of a link after a restart of ours under traffic may be
//! strangers, such faults are counted, and so is a testpmd that crashed, which is started anew. When
//! nothing is on its way as we leave, none of it may happen but the crash.
//!
//! A zero-copy client connects once in its life: it closes the descriptors of DPDK's own memory when
//! the link is up, and offers whatever has their numbers on the next one. We refuse that.

use crate::driver_support::Place;
use crate::support::census::Census;
use crate::support::echo::{Unwritten, echo_some, pump};
use crate::support::{Killed, Outcome, link, link_down, open};
use crate::{EchoPlan, Row, echo, table};
use nix::sys::signal::Signal;
use ringport::error::QueueError;
use ringport_bench::peers::Testpmd;
use ringport_memif::{DownReason, Link, Port};
use std::error::Error;
use std::time::{Duration, Instant};

const RESTARTS: u32 = 20;

/// Frames on each link.
const FRAMES: u64 = 2000;

#[test]
fn testpmd_restarts_under_traffic_and_each_link_works() {
    table("testpmd_restarts_under_traffic_and_each_link_works", Row::all(), |row| {
        let place = Place::new();
        let small = || row.testpmd(&place).memory(64).app_arg("--total-num-mbufs=4096");
        let (mut peer, mut port, mut up) = row.join(&place, small())?;
        let mut census = None;
        for round in 0..RESTARTS {
            echo(&mut up, &EchoPlan { frames: FRAMES, ..row.plan() })?;
            pump(&mut up, Duration::from_millis(5))?;
            // Killed in the middle, or told to end: neither may disturb us.
            let kill = round % 4 != 3;
            peer.process().signal(if kill { Signal::SIGKILL } else { Signal::SIGINT })?;
            pump(&mut up, Duration::from_millis(5))?;
            match link_down(&mut port)? {
                DownReason::PeerClosed | DownReason::PeerDisconnected { .. } => {}
                other => return Err(format!("round {round}: {other}").into()),
            }
            drop(up);
            drop(peer);
            if row.is_server() {
                // Its socket file stays, and it cannot bind to it again.
                let _ = std::fs::remove_file(&place.path);
            }
            census.get_or_insert_with(Census::take).compare()?;
            peer = Killed(small().start()?);
            up = link(&mut port)?;
            peer.start_when_up(1)?;
        }
        echo(&mut up, &row.plan())
    });
}

/// Restarts of ours, with what testpmd did.
#[derive(Default, Debug)]
struct Restarts {
    /// Nothing is on its way when we leave.
    quiet: bool,
    crashes: u32,
    strangers: u64,
    faults: u32,
}

impl Restarts {
    /// Traffic on a link, as far as testpmd lives through it.
    fn traffic(&mut self, row: &Row, peer: &mut Killed, up: &mut Link) -> Outcome {
        let carried = if self.quiet {
            echo(up, &EchoPlan { frames: FRAMES, ..row.plan() }).map(|()| 0)
        } else {
            echo_some(up, &row.plan(), FRAMES)
        };
        match carried {
            Ok(strangers) => self.strangers += strangers,
            Err(error) if !self.quiet && is_wrong_index(error.as_ref()) => self.faults += 1,
            Err(error) if peer.process().check_running().is_ok() => return Err(error),
            Err(_) => {}
        }
        Ok(())
    }

    fn report(&self, row: &Row) -> Outcome {
        println!("{row}: {RESTARTS} restarts of ours, testpmd: {self:?}");
        let few = self.crashes + self.faults <= RESTARTS / 2;
        if few { Ok(()) } else { Err(format!("{self:?} in {RESTARTS} restarts").into()) }
    }
}

fn is_wrong_index(error: &(dyn Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(QueueError::IndexRunaway { .. })) || error.is::<Unwritten>()
}

/// A new link of a testpmd that was started before. When that one has crashed, or its client said
/// nothing after its port was started again (seen once in hundreds of restarts), a new testpmd has to
/// get a link with the same port of ours.
fn again(
    row: &Row,
    place: &Place,
    mut peer: Killed,
    start: impl Fn() -> Testpmd,
    reconnect: impl Fn(&mut Killed) -> bool,
) -> Outcome<(Killed, Port, Link, bool)> {
    let mut port = open(&place.path, &row.ours())?;
    if peer.process().check_running().is_ok() && reconnect(&mut peer) {
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end && peer.process().check_running().is_ok() {
            if let Ok(up) = port.wait_link_up(Duration::from_millis(200)) {
                return Ok((peer, port, up, true));
            }
        }
    }
    let log = peer.log();
    println!("testpmd gave up: {}", log.get(log.len().saturating_sub(600)..).unwrap_or_default());
    drop(peer);
    if row.is_server() {
        let _ = std::fs::remove_file(&place.path);
    }
    peer = Killed(start().start()?);
    let up = link(&mut port)?;
    peer.start_when_up(1)?;
    Ok((peer, port, up, false))
}

#[test]
fn we_restart_under_traffic_and_each_link_to_a_dpdk_server_works() {
    our_restarts("we_restart_under_traffic_and_each_link_to_a_dpdk_server_works", false);
}

#[test]
fn we_restart_with_nothing_on_its_way_and_each_link_to_a_dpdk_server_is_clean() {
    our_restarts(
        "we_restart_with_nothing_on_its_way_and_each_link_to_a_dpdk_server_is_clean",
        true,
    );
}

fn our_restarts(test: &str, quiet: bool) {
    table(test, [Row::server()], |row| {
        let place = Place::new();
        let (mut peer, mut port, mut up) = row.join(&place, row.testpmd(&place))?;
        let mut restarts = Restarts { quiet, ..Restarts::default() };
        for round in 0..RESTARTS {
            restarts.traffic(row, &mut peer, &mut up)?;
            // A goodbye and queues that go last, or the other way round.
            if round % 2 == 0 {
                port.close("restart");
                drop(up);
            } else {
                drop(up);
                drop(port);
            }
            let survived;
            (peer, port, up, survived) =
                again(row, &place, peer, || row.testpmd(&place), |_| true)?;
            restarts.crashes += u32::from(!survived);
        }
        restarts.report(row)
    });
}

#[test]
fn we_restart_under_traffic_and_a_dpdk_client_told_to_restart_its_port_works() {
    let test = "we_restart_under_traffic_and_a_dpdk_client_told_to_restart_its_port_works";
    table(test, [Row::client()], |row| {
        let place = Place::new();
        let testpmd = || row.testpmd(&place);
        let (mut peer, mut port, mut up) = row.join(&place, testpmd())?;
        let mut restarts = Restarts::default();
        for round in 0..RESTARTS {
            if round == 0 || peer.command("start").is_ok() {
                restarts.traffic(row, &mut peer, &mut up)?;
            }
            drop(port);
            drop(up);
            // net_memif's client never connects again by itself.
            let commands = ["stop", "port stop 0", "port start 0"];
            let survived;
            (peer, port, up, survived) = again(row, &place, peer, testpmd, |peer| {
                commands.iter().all(|command| peer.command(command).is_ok())
            })?;
            restarts.crashes += u32::from(!survived);
        }
        restarts.report(row)
    });
}
