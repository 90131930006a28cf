//! `ringport tap` between kernels' network stacks: each interface is in a network namespace of its
//! own. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod host;
mod support;

use host::{Host, hosts};
use nix::sys::signal::Signal;
use ringport_bench::peers::CommandGuard;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::*;

/// Bytes of a transfer.
const MANY: usize = 8 << 20;
/// Longest frame with an MTU of 1500.
const FRAME_MAX: usize = 1514;

/// Two hosts, each with an interface at one end of two joined ports.
struct Pair {
    _place: Place,
    hosts: [Host; 2],
    runs: [Run; 2],
}

impl Pair {
    /// The second port connects to the first.
    fn new(hosts: [Host; 2], ports: [&str; 2]) -> Self {
        let place = Place::new();
        let start = |at: usize| {
            let (port, netns) = (place.port(ports[at]), hosts[at].path());
            let address = format!("10.0.0.{}/24", at + 1);
            Run::start(&[
                "tap",
                &port,
                "--name",
                "t0",
                "--address",
                &address,
                "--netns",
                &netns,
                "--json",
            ])
        };
        let first = start(0);
        place.wait_socket();
        let runs = [first, start(1)];
        Self { hosts, runs, _place: place }
    }

    /// Pings both ways.
    #[track_caller]
    fn ping(&self) {
        let [a, b] = &self.hosts;
        a.ping([10, 0, 0, 2]);
        b.ping([10, 0, 0, 1]);
    }

    /// Sends [`MANY`] bytes by TCP from the second host to the first, and returns how many frames
    /// longer than [`FRAME_MAX`] the first one got.
    #[track_caller]
    fn transfer(&self) -> usize {
        let [a, b] = &self.hosts;
        let listener = a.run(|| std::net::TcpListener::bind("10.0.0.1:5000").unwrap());
        let mut to = b.run(|| std::net::TcpStream::connect("10.0.0.1:5000").unwrap());
        let (mut from, _) = listener.accept().unwrap();
        to.set_write_timeout(Some(PATIENCE)).unwrap();
        from.set_read_timeout(Some(PATIENCE)).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let counter = a.count_longer(FRAME_MAX, Arc::clone(&over));
        let sent: Vec<u8> = bytes().take(MANY).collect();
        let received = std::thread::scope(|scope| {
            scope.spawn(|| {
                to.write_all(&sent).unwrap();
                drop(to);
            });
            let mut received = Vec::new();
            from.read_to_end(&mut received).unwrap();
            received
        });
        over.store(true, Ordering::Relaxed);
        assert!(received == sent, "{} bytes of {MANY}, or others", received.len());
        counter.join().unwrap()
    }

    /// Ends both, and returns what each said last.
    #[track_caller]
    fn end(mut self) -> [serde_json::Value; 2] {
        self.runs.each_mut().map(|run| {
            run.signal(Signal::SIGINT);
            let output = run.end();
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            objects(&output.stdout).pop().unwrap()
        })
    }
}

/// Bytes that do not repeat soon.
fn bytes() -> impl Iterator<Item = u8> {
    let next = |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    std::iter::successors(Some(1u64), next).map(|state| state.to_be_bytes()[0])
}

/// What left the interface of a run, by its last words.
fn from_tap(total: &serde_json::Value) -> (u64, u64) {
    let number = |key: &str| total["b_to_a"][key].as_u64().unwrap();
    (number("packets"), number("bytes"))
}

#[test]
fn kernels_ping_and_talk_tcp_over_memif_in_frames_of_the_mtu() {
    let Some(hosts) = hosts("kernels_ping_and_talk_tcp_over_memif_in_frames_of_the_mtu") else {
        return;
    };
    let pair = Pair::new(hosts, ["memif:SOCKET,role=server", "memif:SOCKET,role=client"]);
    pair.ping();
    assert_eq!(pair.transfer(), 0, "frames longer than the MTU");
    let [first, second] = pair.end();
    assert_eq!(
        (first["a_to_b"]["dropped"].as_u64(), first["event"].as_str()),
        (Some(0), Some("total"))
    );
    let (packets, bytes) = from_tap(&second);
    assert!(bytes > MANY as u64 && bytes <= packets * FRAME_MAX as u64, "{second}");
}

#[test]
fn segments_cross_vhost_user_uncut() {
    let Some(hosts) = hosts("segments_cross_vhost_user_uncut") else { return };
    let ports = [
        "vhost:SOCKET,role=device,offload=segmentation",
        "vhost:SOCKET,role=driver,socket=connect,offload=segmentation",
    ];
    let pair = Pair::new(hosts, ports);
    pair.ping();
    // Some: who counts misses what does not fit into its buffer. The totals below count all.
    assert!(pair.transfer() > 0, "no frame is longer than the MTU");
    let [first, second] = pair.end();
    assert_eq!(first["a_to_b"]["dropped"], 0, "{first}");
    let (packets, bytes) = from_tap(&second);
    assert!(bytes > MANY as u64 && bytes > packets * FRAME_MAX as u64, "{second}");
}

#[test]
fn tap_is_a_port_of_every_tool() {
    let Some([a, b]) = hosts("tap_is_a_port_of_every_tool") else { return };
    let port = |host: &Host, last: u8| {
        format!("tap:t0,mtu=9000,address=10.0.0.{last}/24,netns={}", host.path())
    };
    let mut run = Run::start(&["forward", &port(&a, 1), &port(&b, 2), "--json"]);
    a.ping([10, 0, 0, 2]);
    b.ping([10, 0, 0, 1]);
    run.signal(Signal::SIGTERM);
    let output = run.end();
    assert_eq!(output.status.code(), Some(0));
    let total = objects(&output.stdout).pop().unwrap();
    assert!(total["a_to_b"]["packets"].as_u64().unwrap() >= 2, "{total}");
    let path = format!("tap:t0,address=10.0.0.1/24,netns={}", a.path());
    let mut run =
        Run::start(&["ping", &path, "10.0.0.1", "--address", "10.0.0.9/24", "--count", "3"]);
    let output = run.end();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// Where cargo puts examples beside tests.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples/http")
}

fn web_server(socket: &Path) -> CommandGuard {
    let mut command = Command::new(example());
    command.arg(format!("memif:{},role=server", socket.display()));
    command.args(["--address", "10.0.0.2/24"]);
    CommandGuard::spawn("http", &mut command).unwrap()
}

#[test]
fn web_server_on_a_memif_answers_a_client_of_the_kernel() {
    let Some([host, _]) = hosts("web_server_on_a_memif_answers_a_client_of_the_kernel") else {
        return;
    };
    let place = Place::new();
    let _server = web_server(&place.path("p.sock"));
    place.wait_socket();
    let (port, netns) = (place.port("memif:SOCKET,role=client"), host.path());
    let _tap = Run::start(&["tap", &port, "--address", "10.0.0.1/24", "--netns", &netns]);
    let mut stream =
        host.run(|| wait_for("a connection", || std::net::TcpStream::connect("10.0.0.2:80").ok()));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("not seen a packet of it.\n"), "{answer}");
}

#[test]
fn interface_that_is_deleted_under_traffic_ends_the_program_with_a_reason() {
    let test = "interface_that_is_deleted_under_traffic_ends_the_program_with_a_reason";
    let Some(hosts) = hosts(test) else { return };
    let mut pair = Pair::new(hosts, ["memif:SOCKET,role=server", "memif:SOCKET,role=client"]);
    pair.ping();
    let over = Arc::new(AtomicBool::new(false));
    let senders = pair.hosts.each_ref().map(|host| host.flood(Arc::clone(&over)));
    pair.hosts[0].ip("link delete t0");
    let output = pair.runs[0].end();
    over.store(true, Ordering::Relaxed);
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(error_line(&output).contains("port b has no link and is not to reconnect"));
    let lines = objects(&output.stdout);
    let down = lines.iter().find(|line| line["event"] == "down" && line["port"] == "b").unwrap();
    assert_eq!(down["reason"], "interface t0 is gone");
}

#[test]
fn interface_that_is_deleted_while_nobody_is_there_ends_the_program() {
    let test = "interface_that_is_deleted_while_nobody_is_there_ends_the_program";
    let Some([host, _]) = hosts(test) else { return };
    let place = Place::new();
    let (port, netns) = (place.port("memif:SOCKET,role=client"), host.path());
    let mut run = Run::start(&["tap", &port, "--name", "t0", "--netns", &netns]);
    wait_for("the interface", || host.has("t0").then_some(()));
    run.wait_stderr("b: up, interface t0");
    host.ip("link delete t0");
    let output = run.end();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("b: down, interface t0 is gone"), "{output:?}");
}

#[test]
fn impossible_interfaces_are_refused() {
    let port = "memif:/run/a.sock,role=client";
    for (arguments, code, named) in [
        (&["tap", port, "--name", "a/b"][..], 2, "\"a/b\" cannot be an interface's name"),
        (&["tap", port, "--mtu", "67"], 2, "'67'"),
        (&["tap", port, "--address", "10.0.0.1"], 2, "'10.0.0.1'"),
        (&["tap", "memif:/run/a.sock,role=client,mode=ip"], 2, "IP packets"),
        (&["tap", port, "--netns", "/run/no/netns"], 1, "network namespace /run/no/netns"),
        (&["tap"], 2, "<PORT>"),
    ] {
        let output = Run::start(arguments).end();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(named), "{stderr}");
    }
}
