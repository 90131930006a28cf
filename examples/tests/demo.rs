//! `ringport demo`, as a newcomer runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};
use support::*;

/// Reads stdout until the second process is named; returns its number.
#[track_caller]
fn second_pid(run: &mut Run) -> i32 {
    let stdout = BufReader::new(run.child().stdout.as_mut().unwrap());
    let pid = stdout.lines().find_map(|line| {
        let line = line.unwrap();
        let (_, rest) = line.split_once("(pid ")?;
        rest.split_once(')')?.0.parse().ok()
    });
    pid.expect("the second process is named")
}

#[track_caller]
fn document(run: &mut Run) -> Value {
    let output = run.end();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{stderr}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn assert_sane(document: &Value) {
    let links = document["links"].as_array().unwrap();
    assert_eq!(links.len(), 3);
    let kinds = ["memif", "vhost-user, packed rings", "vhost-user, split rings"];
    for (link, protocol) in links.iter().zip(kinds) {
        assert!(link["link"]["protocol"].as_str().unwrap().starts_with(protocol), "{link}");
        assert_link_sane(link);
    }
}

#[track_caller]
fn assert_link_sane(document: &Value) {
    let rows = |key: &str| document[key].as_array().unwrap().clone();
    let number = |row: &Value, key: &str| row[key].as_f64().unwrap_or_else(|| panic!("{row}"));
    let sizes: Vec<_> = rows("throughput").iter().map(|row| number(row, "frame_bytes")).collect();
    assert_eq!(sizes, [64.0, 512.0, 1518.0, 9000.0]);
    for row in rows("throughput") {
        for key in ["seconds", "packets_per_second", "bits_per_second", "verified"] {
            assert!(number(&row, key) > 0.0, "{row}");
        }
        let bits = number(&row, "packets_per_second") * number(&row, "frame_bytes") * 8.0;
        assert!((number(&row, "bits_per_second") / bits - 1.0).abs() < 1e-9, "{row}");
    }
    let modes: Vec<_> = rows("ping").iter().map(|row| row["mode"].clone()).collect();
    assert_eq!(modes, ["polling", "adaptive"]);
    for row in rows("ping") {
        let times = ["min_ns", "median_ns", "p99_ns", "max_ns"].map(|key| number(&row, key));
        assert!(times[0] > 0.0 && times.is_sorted() && number(&row, "round_trips") > 0.0, "{row}");
    }
    assert_eq!(document["link"]["ring_size"], 1024);
    assert_eq!(document["link"]["buffer_bytes"], 2048);
}

#[test]
fn demo_ends_in_time_with_sane_results_and_leaves_nothing() {
    let start = Instant::now();
    let mut run = Run::start(&["demo", "--seconds", "4", "--json"]);
    assert_sane(&document(&mut run));
    assert!(start.elapsed() < Duration::from_secs(20));
    run.assert_no_files();
}

#[test]
fn demo_of_one_protocol_has_only_that() {
    let mut run = Run::start(&["demo", "--seconds", "2", "--json", "--protocol", "vhost-user"]);
    let document = document(&mut run);
    let links = document["links"].as_array().unwrap();
    assert_eq!(links.len(), 2);
    for link in links {
        assert!(link["link"]["protocol"].as_str().unwrap().starts_with("vhost-user"), "{link}");
        assert_link_sane(link);
    }
}

#[test]
fn demo_on_one_core_says_so_and_works() {
    // Of this thread, which the processes inherit.
    let first = std::thread::spawn(|| {
        let all = nix::sched::sched_getaffinity(Pid::from_raw(0)).unwrap();
        let core = (0..CpuSet::count()).find(|&core| all.is_set(core).unwrap()).unwrap();
        let mut one = CpuSet::new();
        one.set(core).unwrap();
        sched_setaffinity(Pid::from_raw(0), &one).unwrap();
        let mut run = Run::start(&["demo", "--seconds", "3", "--json"]);
        let document = document(&mut run);
        assert_sane(&document);
        assert!(document["links"][1]["link"]["cores"].is_null(), "{document}");
        run.assert_no_files();
    });
    first.join().unwrap();
}

#[test]
fn demo_whose_second_process_is_killed_says_so() {
    let mut run = Run::start(&["demo", "--seconds", "60"]);
    let second = second_pid(&mut run);
    std::thread::sleep(Duration::from_millis(300));
    kill(Pid::from_raw(second), Signal::SIGKILL).unwrap();
    let output = run.end();
    assert_eq!(output.status.code(), Some(1));
    let error = error_line(&output);
    assert!(error.starts_with("error: ping, "), "{error}");
    assert!(
        error.contains("the second process was killed by SIGKILL; run the demo again"),
        "{error}"
    );
    run.assert_no_files();
}

#[test]
fn interrupted_demo_leaves_nothing() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut run = Run::start(&["demo", "--seconds", "60"]);
        let second = second_pid(&mut run);
        run.signal(signal);
        let output = run.end();
        assert_eq!(output.status.code(), Some(130), "{signal}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("error"));
        wait_gone(second);
        run.assert_no_files();
    }
}

#[test]
fn killed_demo_takes_its_second_process_along() {
    let mut run = Run::start(&["demo", "--seconds", "60"]);
    let second = second_pid(&mut run);
    run.signal(Signal::SIGKILL);
    run.end();
    wait_gone(second);
    run.assert_no_files();
}

#[test]
fn stopped_second_process_is_a_timeout_and_does_not_survive() {
    let mut run = Run::start(&["demo", "--seconds", "60"]);
    let second = second_pid(&mut run);
    kill(Pid::from_raw(second), Signal::SIGSTOP).unwrap();
    let output = run.end();
    assert_eq!(output.status.code(), Some(1));
    let error = error_line(&output);
    assert!(
        error.contains("no packet for 5 s, though the link is up; run the demo again"),
        "{error}"
    );
    wait_gone(second);
    run.assert_no_files();
}

#[test]
fn places_that_cannot_be_used_are_named() {
    let run = |tmp: &str| {
        let program = env!("CARGO_BIN_EXE_ringport");
        let output = std::process::Command::new(program).arg("demo").env("TMPDIR", tmp).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(1));
        error_line(&output)
    };
    let error = run("/proc/none");
    assert!(error.contains("set TMPDIR to a directory that can be written"), "{error}");
    let long = tempfile::tempdir().unwrap();
    let long = long.path().join("p".repeat(100));
    std::fs::create_dir(&long).unwrap();
    let error = run(long.to_str().unwrap());
    assert!(error.contains("set TMPDIR to a shorter path"), "{error}");
    assert_eq!(std::fs::read_dir(&long).unwrap().count(), 0);
}

#[test]
fn bad_options_are_named() {
    for (arguments, named) in [
        (&["demo", "--seconds", "0"][..], "'0'"),
        (&["demo", "--seconds", "soon"], "'soon'"),
        (&["demo", "--sizes"], "'--sizes'"),
        (&["dance"], "'dance'"),
    ] {
        let mut run = Run::start(arguments);
        let output = run.end();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(named), "{stderr}");
    }
}
