//! `ringport forward` between two ports of ours.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use nix::sys::signal::Signal;
use ringport::burst::PushError;
use ringport_memif::{Link, Port};
use std::path::PathBuf;
use std::time::Duration;
use support::*;
use tempfile::TempDir;

/// Two servers, one for each port of the forwarder.
struct Ends {
    directory: TempDir,
    a: Port,
    b: Port,
}

fn server(path: &std::path::Path) -> Port {
    Port::open(&format!("memif:{},role=server", path.display())).unwrap()
}

impl Ends {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a.sock"), directory.path().join("b.sock"));
        Self { a: server(&a), b: server(&b), directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        let path = self.path(name);
        format!("memif:{},role=client,ring-size=256,reconnect=5ms-20ms", path.display())
    }

    fn forwarder(&self, options: &[&str]) -> Run {
        let (a, b) = (self.name("a.sock"), self.name("b.sock"));
        Run::start(&[&["forward", &a, &b], options].concat())
    }

    fn links(&mut self) -> (Link, Link) {
        (self.a.wait_link_up(PATIENCE).unwrap(), self.b.wait_link_up(PATIENCE).unwrap())
    }
}

/// Length of packet `number`: some take several slots.
fn len_of(number: u64) -> usize {
    60 + usize::try_from(number % 50).unwrap() * 100
}

fn send(link: &mut Link, next: &mut u64, end: u64) {
    let mut out = link.tx[0].tx_burst(32).unwrap();
    while *next < end {
        let mut packet = vec![0; len_of(*next)];
        packet[..8].copy_from_slice(&next.to_be_bytes());
        match out.push(&packet) {
            Ok(()) => *next += 1,
            Err(PushError::Full) => break,
            Err(error) => panic!("{error}"),
        }
    }
    out.commit();
}

fn receive(link: &mut Link, next: &mut u64) {
    for packet in link.rx[0].rx_burst(64).unwrap().packets() {
        assert_eq!(packet.read_at(0).map(u64::from_be_bytes), Some(*next));
        assert_eq!(packet.len(), len_of(*next));
        *next += 1;
    }
}

/// Sends `count` packets each way and checks that they arrive in order.
#[track_caller]
fn exchange(a: &mut Link, b: &mut Link, count: u64) {
    let (mut sent, mut received) = ([0; 2], [0; 2]);
    wait_for("all packets", || {
        for _ in 0..100 {
            send(a, &mut sent[0], count);
            send(b, &mut sent[1], count);
            receive(b, &mut received[0]);
            receive(a, &mut received[1]);
        }
        (received == [count; 2]).then_some(())
    });
}

#[test]
fn packets_pass_in_order_both_ways_until_sigint() {
    for options in [&[][..], &["--poll"], &["--burst", "1"]] {
        let mut ends = Ends::new();
        let mut run = ends.forwarder(options);
        let (mut a, mut b) = ends.links();
        exchange(&mut a, &mut b, 20_000);
        run.signal(Signal::SIGINT);
        let output = run.end();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        assert!(stderr.contains("a to b: 20,000 packets, 0 dropped"), "{stderr}");
        assert!(stderr.contains("b to a: 20,000 packets, 0 dropped"), "{stderr}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn lone_packet_wakes_a_sleeping_forwarder() {
    let mut ends = Ends::new();
    let mut run = ends.forwarder(&[]);
    let (mut a, mut b) = ends.links();
    for _ in 0..3 {
        // Asleep: neither running nor about to.
        let mut seen = 0;
        wait_for("the forwarder to sleep", || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", run.pid())).unwrap();
            seen = if stat.contains(") S ") { seen + 1 } else { 0 };
            (seen > 20).then_some(())
        });
        exchange(&mut a, &mut b, 1);
    }
    run.signal(Signal::SIGTERM);
    assert_eq!(run.end().status.code(), Some(0));
}

#[test]
fn port_that_lost_its_peer_comes_back_and_says_so() {
    let mut ends = Ends::new();
    let mut run = ends.forwarder(&["--json", "--stats", "1"]);
    let (mut a, mut b) = ends.links();
    exchange(&mut a, &mut b, 500);
    drop(a);
    let elsewhere = server(&ends.path("elsewhere.sock"));
    std::mem::replace(&mut ends.a, elsewhere).close("restart");
    ends.a = server(&ends.path("a.sock"));
    let mut a = ends.a.wait_link_up(PATIENCE).unwrap();
    exchange(&mut a, &mut b, 500);
    std::thread::sleep(Duration::from_millis(1100));
    run.signal(Signal::SIGINT);
    let output = run.end();
    assert_eq!(output.status.code(), Some(0));
    let lines: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |event: &str| lines.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    assert_eq!(of("up").len(), 3, "{lines:?}");
    assert!(of("down")[0]["reason"].as_str().unwrap().contains("restart"), "{lines:?}");
    assert!(!of("stats").is_empty());
    assert_eq!(of("total")[0]["a_to_b"]["packets"], 1000);
    assert_eq!(of("total")[0]["b_to_a"]["packets"], 1000);
}

#[test]
fn packets_of_a_peer_that_leaves_at_once_are_forwarded() {
    let mut ends = Ends::new();
    let mut run = ends.forwarder(&[]);
    let (mut a, mut b) = ends.links();
    // A server's link is up before its client's: only this shows that the forwarder has both.
    exchange(&mut a, &mut b, 1);
    let (mut sent, mut received) = (1, 1);
    send(&mut a, &mut sent, 21);
    assert!(sent > 2);
    drop(a);
    let elsewhere = server(&ends.path("elsewhere.sock"));
    std::mem::replace(&mut ends.a, elsewhere).close("that was all");
    wait_for("packets", || {
        receive(&mut b, &mut received);
        (received == sent).then_some(())
    });
    run.signal(Signal::SIGINT);
    assert_eq!(run.end().status.code(), Some(0));
}

#[test]
fn bad_ports_and_options_are_named() {
    let good = "memif:/run/a.sock,role=client";
    for (arguments, named) in [
        (&["forward", good][..], "<PORT>"),
        (&["forward", good, "vhost:/run/b.sock"], "key role is missing: expected device"),
        (&["forward", good, "memif:/run/b.sock,role=boss"], "role=boss: expected"),
        (&["forward", "eth0", good], "'eth0'"),
        (&["forward", good, good, "--burst", "257"], "'257'"),
        (&["forward", good, good, "--stats", "0"], "'0'"),
    ] {
        let mut run = Run::start(arguments);
        let output = run.end();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(named), "{stderr}");
    }
}

#[test]
fn port_that_cannot_be_opened_is_named() {
    let place = tempfile::tempdir().unwrap();
    let taken = place.path().join("taken.sock");
    let _server = server(&taken);
    let port = format!("memif:{},role=server", taken.display());
    let mut run = Run::start(&["forward", &port, "memif:/run/b.sock,role=client"]);
    let output = run.end();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("taken.sock") && stderr.contains("another server listens"), "{stderr}");
}

#[test]
fn port_that_is_not_to_reconnect_ends_the_program() {
    let place = tempfile::tempdir().unwrap();
    let name = |file: &str| format!("memif:{}", place.path().join(file).display());
    let (a, b) = (name("a.sock,role=client,reconnect=never"), name("b.sock,role=server"));
    let mut run = Run::start(&["forward", &a, &b]);
    let output = run.end();
    assert_eq!(output.status.code(), Some(1));
    assert!(error_line(&output).contains("port a has no link and is not to reconnect"));
    assert!(!place.path().join("b.sock").exists());
}
