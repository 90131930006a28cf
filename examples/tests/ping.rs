//! `ringport ping` against another one, and against odd packets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use nix::sys::signal::Signal;
use ringport_memif::{Link, Port};
use serde_json::Value;
use std::time::{Duration, Instant};
use support::*;

/// Ports of two processes that are joined: the one that listens, and the other.
const PAIRS: [(&str, &str); 3] = [
    ("memif:SOCKET,role=server", "memif:SOCKET,role=client"),
    ("memif:SOCKET,role=server,mode=ip", "memif:SOCKET,role=client,mode=ip"),
    ("vhost:SOCKET,role=device", "vhost:SOCKET,role=driver,socket=connect"),
];

const ANSWERING: [&str; 4] = ["--address", "10.0.0.1/24", "--address", "fd00::1/64"];
const ASKING: [&str; 4] = ["--address", "10.0.0.2/24", "--address", "fd00::2/64"];

fn summary(output: &std::process::Output) -> Value {
    objects(&output.stdout).pop().unwrap()
}

#[test]
fn two_of_ours_ping_each_other_over_every_kind_of_port() {
    for (listening, connecting) in PAIRS {
        let place = Place::new();
        let (listening, connecting) = (place.port(listening), place.port(connecting));
        let mut other = Run::start(&[&["ping", &listening, "--answer"], &ANSWERING[..]].concat());
        place.wait_socket();
        for (target, size) in [("10.0.0.1", "56"), ("fd00::1", "0"), ("10.0.0.1", "5001")] {
            let options = ["ping", &connecting, target, "--count", "3", "--interval", "10ms"];
            let more = ["--size", size, "--timeout", "20s"];
            let mut run = Run::start(&[&options[..], &more, &ASKING].concat());
            let output = run.end();
            let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
            assert_eq!(output.status.code(), Some(0), "{stdout}\n{stderr}");
            assert!(
                stdout.contains(&format!("{size} bytes from {target}: number 3, ")),
                "{stdout}"
            );
            assert!(stdout.contains("3 sent, 3 received, 0.0 % lost"), "{stdout}");
            assert!(stdout.contains("round trip: min "), "{stdout}");
        }
        other.signal(Signal::SIGINT);
        let output = other.end();
        assert_eq!(output.status.code(), Some(0));
        let stdout = text(&output.stdout);
        // Each of the three asks for the address once too, where there are any.
        let expected = if listening.contains("mode=ip") { 9 } else { 12 };
        assert!(stdout.contains(&format!("answered {expected} questions of others")), "{stdout}");
    }
}

#[test]
fn replies_are_objects_and_so_is_the_summary() {
    let place = Place::new();
    let (listening, connecting) = (place.port(PAIRS[0].0), place.port(PAIRS[0].1));
    let other = Run::start(&[&["ping", &listening, "--answer"], &ANSWERING[..]].concat());
    place.wait_socket();
    let options = ["ping", &connecting, "10.0.0.1", "--count", "200", "--interval", "0", "--json"];
    let output = Run::start(&[&options[..], &["--timeout", "20s"], &ASKING].concat()).end();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines = objects(&output.stdout);
    let replies = lines.iter().filter(|line| line["event"] == "reply");
    let numbers: Vec<_> = replies.map(|line| line["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=200).collect::<Vec<_>>());
    let summary = summary(&output);
    assert_eq!(summary["event"], "summary", "{summary}");
    assert_eq!((&summary["sent"], &summary["received"]), (&200.into(), &200.into()));
    assert_eq!(summary["lost_percent"], 0.0);
    let times = ["min_ns", "median_ns", "p99_ns", "max_ns"];
    let times = times.map(|key| summary["round_trip"][key].as_u64().unwrap());
    assert!(times[0] > 0 && times.is_sorted(), "{summary}");
    drop(other);
}

#[test]
fn nobody_there_is_exit_code_1_in_time() {
    let place = Place::new();
    let listening = place.port(PAIRS[0].0);
    let started = Instant::now();
    // A peer that takes packets and says nothing.
    let options = ["ping", &listening, "10.0.0.1", "--count", "2", "--interval", "20ms"];
    let mut run = Run::start(&[&options[..], &["--timeout", "300ms", "--json"], &ASKING].concat());
    place.wait_socket();
    let mut port = Port::open(&place.port(PAIRS[0].1)).unwrap();
    let mut link = port.wait_link_up(PATIENCE).unwrap();
    let asked = next_packet(&mut link);
    assert_eq!(asked[12..14], [8, 6], "{asked:02x?}");
    let output = run.end();
    assert_eq!(output.status.code(), Some(1));
    assert!(error_line(&output).contains("no reply from 10.0.0.1"));
    let summary = summary(&output);
    assert_eq!((&summary["sent"], &summary["received"]), (&2.into(), &0.into()));
    assert_eq!(summary["lost_percent"], 100.0);
    assert!(started.elapsed() >= Duration::from_millis(300));
    // Without a link nothing is asked at all, and there is an end to that as well.
    let place = Place::new();
    let options = ["ping", &place.port(PAIRS[0].0), "10.0.0.1", "--deadline", "50ms"];
    let output = Run::start(&[&options[..], &ASKING].concat()).end();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("0 sent, 0 received"));
}

#[test]
fn ctrl_c_ends_with_a_summary() {
    let place = Place::new();
    let (listening, connecting) = (place.port(PAIRS[0].0), place.port(PAIRS[0].1));
    let _other = Run::start(&[&["ping", &listening, "--answer"], &ANSWERING[..]].concat());
    place.wait_socket();
    let options = ["ping", &connecting, "10.0.0.1", "--interval", "5ms", "--timeout", "20s"];
    let mut run = Run::start(&[&options[..], &ASKING].concat());
    run.wait_stdout("number 3, ");
    run.signal(Signal::SIGINT);
    let output = run.end();
    assert_eq!(output.status.code(), Some(0));
    let stdout = text(&output.stdout);
    assert!(stdout.contains("10.0.0.1: ") && stdout.contains("round trip: "), "{stdout}");
}

#[test]
fn odd_packets_are_not_answered_and_good_ones_behind_them_are() {
    let place = Place::new();
    let listening = place.port(PAIRS[0].0);
    let mac = ["--mac", "02:00:00:00:00:01"];
    let mut run = Run::start(&[&["ping", &listening, "--answer"], &mac[..], &ANSWERING].concat());
    place.wait_socket();
    let mut port = Port::open(&place.port(PAIRS[0].1)).unwrap();
    let mut link = port.wait_link_up(PATIENCE).unwrap();
    // First it says where it is.
    assert_eq!(next_packet(&mut link)[22..32], [2, 0, 0, 0, 0, 1, 10, 0, 0, 1]);
    assert_eq!(next_packet(&mut link)[54..55], [136]);
    let mut odd = Vec::new();
    let (arp, echo) = (arp_request(), echo_request());
    odd.extend((1..42).map(|len| arp[..len].to_vec()));
    odd.extend((1..echo.len()).map(|len| echo[..len].to_vec()));
    // Wrong checksums of both headers; lengths that say more than there is.
    for (at, value) in [(24, 0), (36, 1), (16, 0xff), (17, 0xff), (14, 0x4f), (14, 0x40)] {
        let mut packet = echo.clone();
        packet[at] = value;
        odd.push(packet);
    }
    odd.push(vec![0xff; 9000]);
    odd.push(vec![0; 60]);
    for packet in &odd {
        send(&mut link, packet);
    }
    send(&mut link, &echo);
    // Nothing came before the answer to the last one.
    let answer = next_packet(&mut link);
    assert_eq!((answer[23], answer[34]), (1, 0), "{answer:02x?}");
    assert_eq!(answer[42..], echo[42..]);
    send(&mut link, &arp);
    let answer = next_packet(&mut link);
    assert_eq!((&answer[12..14], answer[21]), (&[8, 6][..], 2));
    assert_eq!(answer[22..28], [2, 0, 0, 0, 0, 1]);
    run.signal(Signal::SIGTERM);
    let output = run.end();
    assert!(text(&output.stdout).contains("answered 2 questions of others"));
}

/// Who has 10.0.0.1?
fn arp_request() -> Vec<u8> {
    let mut packet = [[0xff; 6], [2, 0, 0, 0, 0, 9]].concat();
    packet.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 9, 10, 0, 0, 9]);
    packet.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 1]);
    packet
}

/// An echo request from 10.0.0.9 to 10.0.0.1, with 32 bytes of data.
fn echo_request() -> Vec<u8> {
    let mut packet = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 9]].concat();
    packet.extend([8, 0, 0x45, 0, 0, 60, 0, 1, 0, 0, 64, 1, 0, 0, 10, 0, 0, 9, 10, 0, 0, 1]);
    packet.extend([8, 0, 0, 0, 0x12, 0x34, 0, 1]);
    packet.extend(0..32);
    for (from, to, at) in [(14, 34, 24), (34, 74, 36)] {
        let sum = packet[from..to]
            .chunks(2)
            .fold(0_u32, |sum, word| sum + u32::from(word[0]) * 256 + u32::from(word[1]));
        let sum = !u16::try_from(sum % 0xffff).unwrap();
        packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

fn send(link: &mut Link, packet: &[u8]) {
    wait_for("room in the ring", || {
        let mut out = link.tx[0].tx_burst(8).unwrap();
        out.push(packet).ok()?;
        out.commit();
        Some(())
    });
}

fn next_packet(link: &mut Link) -> Vec<u8> {
    wait_for("a packet", || {
        let burst = link.rx[0].rx_burst(1).unwrap();
        burst.packets().next().map(|packet| packet.detach().to_vec())
    })
}

#[test]
fn wrong_addresses_are_named() {
    let port = "memif:/run/a.sock,role=client";
    for (arguments, named) in [
        (&["ping", port][..], "<ADDRESS>"),
        (&["ping", port, "10.0.0.1"], "--address"),
        (&["ping", port, "10.0.0.1", "--address", "10.0.0"], "'10.0.0'"),
        (&["ping", port, "10.0.0.1", "--address", "10.0.0.2", "--mac", "02"], "'02'"),
        (&["ping", port, "10.0.0.1", "--address", "10.0.0.2", "--interval", "x"], "'x'"),
        (&["ping", port, "10.0.0.1", "--address", "10.0.0.2", "--answer"], "--answer"),
        (&["ping", port, "10.0.0.1", "--address", "fd00::2"], "kind of 10.0.0.1"),
        (&["ping", port, "10.0.1.1", "--address", "10.0.0.2/24"], "name a --gateway"),
    ] {
        let output = Run::start(arguments).end();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let stderr = text(&output.stderr);
        assert!(stderr.contains(named), "{stderr}");
    }
}
