//! memif and vhost-user in one process and on one thread, for as long as `./ci.sh soak` is told:
//! ports whose peers are killed, stopped and restarted, ports that are closed and opened, strangers
//! that say nonsense at their sockets, beside ports that nothing happens to. What is sent comes back,
//! whole and in order; packets are lost only where a link ended; descriptors, mappings and memory stay.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "a test, which reports what it saw"
)]

#[path = "soak_together/any_port.rs"]
mod any_port;
#[path = "soak_together/lane.rs"]
mod lane;

use any_port::{AnyPort, Happened};
use lane::{Fate, Lane};
use ringport::burst::forward;
use ringport_bench::interop::census::{Census, resident_kb};
use ringport_bench::interop::{Outcome, PATIENCE};
use std::time::{Duration, Instant};

/// What a peer process is told to be.
const CHILD_PORT: &str = "RINGPORT_SOAK_CHILD_PORT";

/// Between two turns of all lanes; each sends at most one burst a turn.
const TURN: Duration = Duration::from_millis(1);

/// Links end this often before the first look at what the process holds.
const WARM_UP: u64 = 50;

/// Memory that the run may take and keep, in kilobytes.
const GROWTH_MAX_KB: u64 = 4096;

/// Name, our port, the peer's; `@` is the socket.
const PORTS: [(&str, &str, &str); 6] = [
    ("memif server", "memif:@,role=server", "memif:@,role=client,reconnect=1ms-5ms"),
    ("memif client", "memif:@,role=client,reconnect=1ms-5ms", "memif:@,role=server"),
    (
        "vhost-user device, split",
        "vhost:@,role=device",
        "vhost:@,role=driver,socket=connect,reconnect=1ms-5ms,packed=off",
    ),
    (
        "vhost-user device, packed",
        "vhost:@,role=device",
        "vhost:@,role=driver,socket=connect,reconnect=1ms-5ms",
    ),
    (
        "vhost-user driver, split",
        "vhost:@,role=driver,socket=connect,reconnect=1ms-5ms,packed=off",
        "vhost:@,role=device",
    ),
    (
        "vhost-user driver, packed",
        "vhost:@,role=driver,socket=connect,reconnect=1ms-5ms",
        "vhost:@,role=device",
    ),
];

/// Not a test: what this program does when it is started as a peer. Sends everything back.
#[test]
#[ignore = "the peer process of the other"]
fn child_peer() {
    let Ok(text) = std::env::var(CHILD_PORT) else { return };
    let mut port = AnyPort::open(&text).unwrap();
    let mut link = None;
    loop {
        match port.poll(Duration::ZERO).unwrap() {
            Happened::Up(up) => link = Some(up),
            Happened::Down(_) => link = None,
            Happened::Else => {}
            Happened::Nothing => {
                // A fault of the queues is reported by the port.
                let moved = link.as_mut().is_some_and(|(rx, tx)| {
                    forward(rx, tx, 256).is_ok_and(|forwarded| forwarded.packets > 0)
                });
                if !moved {
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        }
    }
}

#[test]
#[ignore = "takes as long as it is told: ./ci.sh soak"]
fn soak_links_of_both_protocols_lose_nothing_while_others_end() {
    run().unwrap();
}

fn run() -> Outcome {
    let minutes = std::env::var("RINGPORT_SOAK_MINUTES").ok().and_then(|it| it.parse().ok());
    let time = Duration::from_secs_f64(minutes.unwrap_or(30.0) * 60.0);
    let place = tempfile::tempdir()?;
    let mut lanes = Vec::new();
    for fate in [Fate::Steady, Fate::Troubled] {
        for (at, port) in PORTS.into_iter().enumerate() {
            let socket = place.path().join(format!("{fate:?}{at}.sock"));
            lanes.push(Lane::start(port, fate, socket, lanes.len())?);
        }
    }
    let start = Instant::now();
    let (mut baseline, mut looks, mut said) = (None, 0, start);
    while start.elapsed() < time {
        for lane in &mut lanes {
            lane.turn()?;
        }
        std::thread::sleep(TURN);
        if said.elapsed() > Duration::from_secs(20) && all_up(&mut lanes)? {
            looks += u64::from(look(&mut baseline, &lanes)?);
            eprintln!("after {} s: {}", start.elapsed().as_secs(), summary(&lanes));
            said = Instant::now();
        }
    }
    settle(&mut lanes)?;
    report(&lanes, baseline, looks, start.elapsed())
}

/// Whether every lane has its link; waits for those that are on their way, without trouble meanwhile.
fn all_up(lanes: &mut [Lane]) -> Outcome<bool> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        for lane in lanes.iter_mut() {
            lane.quiet_turn()?;
        }
        if lanes.iter().all(Lane::is_up) {
            return Ok(true);
        }
        std::thread::sleep(TURN);
    }
    let down: Vec<_> = lanes.iter().filter(|lane| !lane.is_up()).map(Lane::name).collect();
    Err(format!("no link for {PATIENCE:?}: {down:?}").into())
}

/// Compares what this process holds with the first look, if there was one.
fn look(baseline: &mut Option<(Census, u64)>, lanes: &[Lane]) -> Outcome<bool> {
    match baseline {
        None if lanes.iter().map(Lane::ends).sum::<u64>() < WARM_UP => Ok(false),
        None => {
            *baseline = Some((Census::take(), resident_kb()));
            Ok(false)
        }
        Some((census, _)) => census.compare().map(|()| true),
    }
}

/// Everything that was sent comes back.
fn settle(lanes: &mut [Lane]) -> Outcome {
    let start = Instant::now();
    all_up(lanes)?;
    while lanes.iter().any(|lane| lane.outstanding() > 0) {
        for lane in lanes.iter_mut() {
            lane.receive_turn()?;
        }
        if start.elapsed() > 2 * PATIENCE {
            return Err(format!("not everything came back: {}", summary(lanes)).into());
        }
        std::thread::sleep(TURN);
    }
    Ok(())
}

fn summary(lanes: &[Lane]) -> String {
    let sum = |of: fn(&Lane) -> u64| lanes.iter().map(of).sum::<u64>();
    format!(
        "{} frames came back, {} links ended, {} frames went with them, {} kB",
        sum(Lane::returned),
        sum(Lane::ends),
        sum(Lane::lost),
        resident_kb()
    )
}

fn report(lanes: &[Lane], baseline: Option<(Census, u64)>, looks: u64, time: Duration) -> Outcome {
    let Some((census, before)) = baseline else { return Err("too short to tell".into()) };
    let after = resident_kb();
    println!(
        "| port | peer is | links ended | frames came back | lost with a link | longest silence |"
    );
    println!("|---|---|---|---|---|---|");
    for lane in lanes {
        println!("{}", lane.row());
    }
    println!(
        "\n{} s, {looks} looks: each time {census}; memory {before} kB after {WARM_UP} ends, {after} kB",
        time.as_secs()
    );
    assert!(after <= before + GROWTH_MAX_KB, "memory grew from {before} to {after} kB");
    for lane in lanes {
        assert_eq!(lane.sent(), lane.returned() + lane.lost(), "{}", lane.name());
    }
    Ok(())
}
