//! What the data plane needs of the kernel: the calls that `port/SANDBOX.md` lists, and nothing else.
//! A process of ours that may make no other call opens ports of both protocols in both roles, moves
//! packets, sleeps, loses its peer and gets it back.
#![cfg(target_arch = "x86_64")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

#[path = "soak_together/any_port.rs"]
mod any_port;

use any_port::{AnyPort, Happened, Queues};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use ringport::burst::forward;
use ringport_bench::interop::PATIENCE;
use ringport_bench::interop::frames::{Checker, fill};
use ringport_bench::peers::skip;
use seccompiler::{TargetArch, apply_filter_all_threads, compile_from_json};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const DOCUMENT: &str = include_str!("../../port/SANDBOX.md");

/// What a child is told to do.
const CHILD: &str = "RINGPORT_SANDBOX_CHILD";

/// Our two ports, which are each other's peers.
const PAIRS: [[&str; 2]; 3] = [
    ["memif:@,role=server", "memif:@,role=client,reconnect=1ms-5ms"],
    ["vhost:@,role=device", "vhost:@,role=driver,socket=connect,reconnect=1ms-5ms,packed=off"],
    ["vhost:@,role=device", "vhost:@,role=driver,socket=connect,reconnect=1ms-5ms"],
];

const FRAMES: u64 = 2000;

/// For the directory that the child makes for its socket.
const OF_THE_TEST: [&str; 3] = ["mkdir", "getdents64", "unlinkat"];

/// What podman allows in a container unless it is told otherwise.
const PROFILE: &str = "/usr/share/containers/seccomp.json";

/// The calls in the document's table, of the parts that `part` says.
fn listed(part: &str) -> Vec<&'static str> {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with(&format!("| {part}")));
    let calls = rows.flat_map(|row| row.split('|').nth(2).unwrap().split('`').skip(1).step_by(2));
    let calls: Vec<_> = calls.collect();
    assert!(!calls.is_empty(), "{part}");
    calls
}

/// From now on any other call ends this process. Filters add up.
fn allow_only(calls: &[&str]) {
    let calls: Vec<_> = calls.iter().map(|call| serde_json::json!({ "syscall": call })).collect();
    let filter = serde_json::json!({
        "all": { "mismatch_action": "kill_process", "match_action": "allow", "filter": calls }
    });
    let filter = filter.to_string();
    let programs = compile_from_json(filter.as_bytes(), TargetArch::x86_64).unwrap();
    apply_filter_all_threads(&programs["all"]).unwrap();
}

#[test]
#[ignore = "what the others start"]
fn child() {
    let Ok(what) = std::env::var(CHILD) else { return };
    let everything =
        [&listed("link")[..], &listed("packets"), &listed("runtime"), &OF_THE_TEST].concat();
    match what.split_once(' ') {
        None => {
            allow_only(&everything);
            // Not in the list.
            drop(std::net::TcpListener::bind("127.0.0.1:0"));
        }
        Some(("links", pair)) => {
            allow_only(&everything);
            join_part_and_join(&PAIRS[pair.parse::<usize>().unwrap()]);
        }
        Some((_, pair)) => {
            let (_place, mut ends) = pair_up(&PAIRS[pair.parse::<usize>().unwrap()]);
            exchange(&mut ends);
            allow_only(&[listed("packets"), listed("runtime")].concat());
            exchange(&mut ends);
            // The ends of the links would be more than packets.
            std::process::exit(0);
        }
    }
}

/// Runs the child, and tells how it ended.
fn run(what: &str) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(CHILD, what).output().unwrap()
}

#[track_caller]
fn assert_runs(what: &str) {
    let output = run(what);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {} {said}", output.status);
}

#[test]
fn links_of_every_kind_come_and_go_with_the_calls_that_are_listed() {
    (0..PAIRS.len()).for_each(|pair| assert_runs(&format!("links {pair}")));
}

#[test]
fn packets_of_links_that_are_up_take_the_few_calls_that_are_listed() {
    (0..PAIRS.len()).for_each(|pair| assert_runs(&format!("packets {pair}")));
}

#[test]
fn call_that_is_not_listed_ends_the_process() {
    assert_eq!(run("stranger").status.signal(), Some(Signal::SIGSYS as i32));
}

#[test]
fn calls_that_are_listed_are_allowed_in_a_container_of_podman() {
    let test = "calls_that_are_listed_are_allowed_in_a_container_of_podman";
    let Ok(profile) = std::fs::read(PROFILE) else {
        return skip(test, &format!("there is no {PROFILE}: podman is not installed"));
    };
    let profile: serde_json::Value = serde_json::from_slice(&profile).unwrap();
    let allowed = |call: &str| {
        profile["syscalls"].as_array().unwrap().iter().any(|rule| {
            // Those with a condition are for containers with capabilities.
            let always = rule["includes"].as_object().is_none_or(|it| it.is_empty());
            let names = rule["names"].as_array().unwrap();
            always && rule["action"] == "SCMP_ACT_ALLOW" && names.iter().any(|name| name == call)
        })
    };
    for call in [listed("link"), listed("packets"), listed("runtime")].concat() {
        assert!(allowed(call), "{call}");
    }
    assert!(!allowed("kexec_load"));
}

struct End {
    port: AnyPort,
    queues: Option<Queues>,
}

impl End {
    fn open(port: &str, place: &TempDir) -> Self {
        let socket = place.path().join("s").display().to_string();
        Self { port: AnyPort::open(&port.replace('@', &socket)).unwrap(), queues: None }
    }
}

fn pair_up(pair: &[&str; 2]) -> (TempDir, [End; 2]) {
    let place = tempfile::tempdir().unwrap();
    let mut ends = pair.map(|port| End::open(port, &place));
    join(&mut ends);
    (place, ends)
}

/// Waits until both have their link.
fn join(ends: &mut [End; 2]) {
    let start = Instant::now();
    while ends.iter().any(|end| end.queues.is_none()) {
        assert!(start.elapsed() < PATIENCE, "no link");
        for end in ends.iter_mut() {
            match end.port.poll(Duration::from_millis(1)).unwrap() {
                Happened::Up(queues) => end.queues = Some(queues),
                Happened::Down(_) => end.queues = None,
                Happened::Else | Happened::Nothing => {}
            }
        }
    }
}

/// From one to the other and back.
fn exchange(ends: &mut [End; 2]) {
    let [(near_rx, near_tx), (far_rx, far_tx)] =
        ends.each_mut().map(|end| end.queues.as_mut().unwrap());
    let mut frame = [0; 300];
    let (mut sent, mut checker, start) = (0, Checker::new(0), Instant::now());
    while checker.count() < FRAMES {
        assert!(start.elapsed() < PATIENCE, "{} frames came back", checker.count());
        let mut burst = near_tx.tx_burst(32.min((FRAMES - sent) as usize)).unwrap();
        for number in (sent..).take(burst.free()) {
            fill(&mut frame, 0, number);
            burst.push(&frame).unwrap();
        }
        sent += burst.commit() as u64;
        forward(far_rx, far_tx, 64).unwrap();
        if !near_rx.arm().unwrap() {
            // Rung already, or soon.
            let mut bell = [PollFd::new(near_rx.doorbell(), PollFlags::POLLIN)];
            poll(&mut bell, PollTimeout::from(1_u8)).unwrap();
        }
        let burst = near_rx.rx_burst(64).unwrap();
        for packet in burst.packets() {
            checker.take(&packet, |_| 300).unwrap();
        }
        let count = burst.len();
        burst.release(count);
    }
}

fn join_part_and_join(pair: &[&str; 2]) {
    let (place, mut ends) = pair_up(pair);
    exchange(&mut ends);
    // The one that connects comes again.
    ends[0].queues = None;
    ends[1].queues = None;
    let [_, second] = &mut ends;
    *second = End::open(pair[1], &place);
    join(&mut ends);
    exchange(&mut ends);
}
