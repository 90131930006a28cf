//! `ringport pktgen`: what it sends, and what it finds wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use nix::sys::signal::Signal;
use ringport_memif::{Link, Port};
use serde_json::Value;
use support::*;

const SERVER: &str = "memif:SOCKET,role=server";
const CLIENT: &str = "memif:SOCKET,role=client";

#[track_caller]
fn summary(output: &std::process::Output) -> Value {
    objects(&output.stdout).pop().unwrap()
}

#[test]
fn what_is_sent_arrives_over_every_kind_of_port() {
    let pairs = [
        (SERVER, CLIENT),
        ("memif:SOCKET,role=server,mode=ip", "memif:SOCKET,role=client,mode=ip,rings=3"),
        ("vhost:SOCKET,role=device", "vhost:SOCKET,role=driver,socket=connect"),
    ];
    for (listening, connecting) in pairs {
        let place = Place::new();
        let count = ["--count", "30000", "--json"];
        let recv = ["pktgen", "recv", &place.port(listening), "--idle", "15s"];
        let mut recv = Run::start(&[&recv[..], &count].concat());
        place.wait_socket();
        let send = ["pktgen", "send", &place.port(connecting), "--flows", "5"];
        let sizes = ["--size", "64-300,imix,2047-2050,9000"];
        let mut send = Run::start(&[&send[..], &sizes, &count].concat());
        let (received, sent) = (recv.end(), send.end());
        assert_eq!(sent.status.code(), Some(0), "{}", text(&sent.stderr));
        assert_eq!(received.status.code(), Some(0), "{}", text(&received.stderr));
        let (sent, received) = (summary(&sent), summary(&received));
        assert_eq!(sent["sent"]["packets"], 30_000);
        assert_eq!(received["received"]["packets"], 30_000, "{received}");
        assert_eq!(received["received"]["bytes"], sent["sent"]["bytes"]);
        let faults = ["lost", "duplicated", "reordered", "wrong_length", "wrong_payload", "other"];
        assert!(faults.iter().all(|key| received["received"][key] == 0), "{received}");
        let latency = ["min_ns", "median_ns", "p99_ns", "p999_ns", "max_ns"];
        let latency = latency.map(|key| received["latency"][key].as_u64().unwrap());
        assert!(latency[0] > 0 && latency.is_sorted(), "{received}");
        assert!(sent["received"].is_null() && received["sent"].is_null());
    }
}

/// What `pktgen send` sends, frame by frame.
fn frames(count: &str, size: &str) -> Vec<Vec<u8>> {
    let place = Place::new();
    let mut port = Port::open(&place.port(SERVER)).unwrap();
    let send = ["pktgen", "send", &place.port(CLIENT), "--count", count, "--size", size];
    let mut run = Run::start(&send);
    let mut link = port.wait_link_up(PATIENCE).unwrap();
    let wanted: usize = count.parse().unwrap();
    let mut frames = Vec::new();
    wait_for("the frames", || {
        let burst = link.rx[0].rx_burst(64).unwrap();
        frames.extend(burst.packets().map(|packet| packet.detach().to_vec()));
        (frames.len() >= wanted).then_some(())
    });
    assert_eq!(run.end().status.code(), Some(0));
    frames
}

fn send_all(link: &mut Link, frames: &[Vec<u8>]) {
    for frame in frames {
        wait_for("room in the ring", || {
            let mut out = link.tx[0].tx_burst(8).unwrap();
            out.push(frame).ok()?;
            out.commit();
            Some(())
        });
    }
}

/// Sends `frames` to a receiver; returns its exit code, its summary and its error.
fn receive(frames: &[Vec<u8>], options: &[&str]) -> (Option<i32>, Value, String) {
    let place = Place::new();
    let recv = ["pktgen", "recv", &place.port(SERVER), "--json", "--idle", "300ms"];
    let mut run = Run::start(&[&recv[..], options].concat());
    place.wait_socket();
    let mut port = Port::open(&place.port(CLIENT)).unwrap();
    let mut link = port.wait_link_up(PATIENCE).unwrap();
    send_all(&mut link, frames);
    let output = run.end();
    (output.status.code(), summary(&output)["received"].clone(), text(&output.stderr))
}

#[test]
fn everything_wrong_is_counted_and_ends_with_exit_code_1() {
    let good = frames("40", "200");
    assert_eq!(receive(&good, &[]).0, Some(0));
    type Change = fn(&mut Vec<Vec<u8>>);
    let changes: [(&str, Change); 6] = [
        ("lost", |frames| drop(frames.remove(20))),
        ("duplicated", |frames| frames.insert(20, frames[19].clone())),
        ("duplicated", |frames| frames.insert(20, frames[3].clone())),
        ("reordered", |frames| frames.swap(20, 21)),
        ("wrong_length", |frames| frames[20].truncate(190)),
        ("wrong_payload", |frames| frames[20][150] ^= 1),
    ];
    for (fault, change) in changes {
        let mut bad = good.clone();
        change(&mut bad);
        let (code, found, error) = receive(&bad, &[]);
        assert_eq!((code, &found[fault]), (Some(1), &1.into()), "{fault}: {found}");
        assert!(error.contains("error: packets were "), "{error}");
    }
}

#[test]
fn fewer_frames_than_expected_are_lost_and_other_packets_are_not_frames() {
    let mut some = frames("10", "64");
    some.insert(5, vec![0xff; 60]);
    some.insert(5, vec![8; 3]);
    let (code, found, error) = receive(&some, &["--count", "12"]);
    assert_eq!((code, &found["packets"], &found["other"]), (Some(1), &10.into(), &2.into()));
    assert!(error.contains("packets were 2 lost"), "{error}");
    assert_eq!(receive(&some, &["--count", "10"]).0, Some(0));
}

/// Sends back what arrives, but not the next `keep` frames; those that only ask are not counted.
fn reflect(link: &mut Link, keep: &mut usize) {
    let (rx, tx) = (&mut link.rx[0], &mut link.tx[0]);
    let burst = rx.rx_burst(64).unwrap();
    let mut out = tx.tx_burst(burst.len()).unwrap();
    for packet in burst.packets() {
        let asks = packet.read_at(44) == Some([0xff, 0xff]);
        if !asks && *keep > 0 {
            *keep -= 1;
        } else {
            out.push_packet(&packet).unwrap();
        }
    }
    out.commit();
}

/// Frames to a reflector that keeps `keep` of them; returns how it ended.
fn bounce(options: &[&str], mut keep: usize) -> std::process::Output {
    let place = Place::new();
    let mut port = Port::open(&place.port(SERVER)).unwrap();
    let mut run = Run::start(&[&["pktgen", "bounce", &place.port(CLIENT)], options].concat());
    let mut link = port.wait_link_up(PATIENCE).unwrap();
    wait_for("the end", || {
        for _ in 0..100 {
            reflect(&mut link, &mut keep);
        }
        run.child().try_wait().unwrap()
    });
    run.end()
}

#[test]
fn frames_come_back_from_a_reflector_and_missing_ones_are_a_fault() {
    let options = ["--count", "2000", "--json", "--rate", "20k", "--flows", "3"];
    let output = bounce(&options, 0);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let all = summary(&output);
    assert_eq!(
        (&all["sent"]["packets"], &all["received"]["packets"]),
        (&2000.into(), &2000.into())
    );
    assert!(all["latency"]["min_ns"].as_u64().unwrap() > 0);
    let output = bounce(&options, 1);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("packets were 1 lost"), "{}", text(&output.stderr));
    assert_eq!(summary(&output)["sent"]["packets"], 2000);
}

#[test]
fn frames_that_do_not_come_back_are_given_up() {
    let output = bounce(&["--count", "60", "--window", "50"], usize::MAX);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("packets were 60 lost"), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("received: 0 packets"), "{}", text(&output.stdout));
}

#[test]
fn frames_wait_for_a_peer_that_sends_any_back() {
    let place = Place::new();
    let mut port = Port::open(&place.port(SERVER)).unwrap();
    let mut run = Run::start(&["pktgen", "bounce", &place.port(CLIENT), "--count", "5"]);
    let mut link = port.wait_link_up(PATIENCE).unwrap();
    let mut asked = 0;
    wait_for("three questions", || {
        let burst = link.rx[0].rx_burst(64).unwrap();
        assert!(burst.packets().all(|packet| packet.read_at(44) == Some([0xff, 0xff])));
        asked += burst.len();
        (asked >= 3).then_some(())
    });
    run.signal(Signal::SIGINT);
    let output = run.end();
    assert_eq!(output.status.code(), Some(1));
    assert!(error_line(&output).contains("nothing came back"));
}

#[test]
fn rate_is_kept_and_time_ends_it() {
    let place = Place::new();
    let mut port = Port::open(&place.port(SERVER)).unwrap();
    let send = ["pktgen", "send", &place.port(CLIENT), "--rate", "1k", "--json"];
    let mut run = Run::start(&[&send[..], &["--seconds", "500ms", "--stats", "100ms"]].concat());
    let _link = port.wait_link_up(PATIENCE).unwrap();
    let output = run.end();
    assert_eq!(output.status.code(), Some(0));
    let sent = summary(&output)["sent"]["packets"].as_u64().unwrap();
    // One at once; pauses of the machine beyond ten milliseconds are not made up for.
    assert!((100..=511).contains(&sent), "{sent}");
    let stats = objects(&output.stdout).iter().filter(|line| line["event"] == "stats").count();
    assert!(stats >= 2, "{stats}");
}

#[test]
fn ctrl_c_ends_with_a_summary() {
    let place = Place::new();
    let mut recv = Run::start(&["pktgen", "recv", &place.port(SERVER), "--stats", "50ms"]);
    place.wait_socket();
    let mut send = Run::start(&["pktgen", "send", &place.port(CLIENT), "--rate", "5k"]);
    recv.wait_stderr("received   0.0");
    send.signal(Signal::SIGINT);
    let sent = send.end();
    assert_eq!(sent.status.code(), Some(0), "{}", text(&sent.stderr));
    assert!(text(&sent.stdout).starts_with("sent: "));
    recv.signal(Signal::SIGINT);
    let received = recv.end();
    assert_eq!(received.status.code(), Some(0), "{}", text(&received.stderr));
    assert!(text(&received.stdout).contains("\nlatency: min "), "{}", text(&received.stdout));
}

#[test]
fn wrong_values_are_named() {
    let port = "memif:/run/a.sock,role=client";
    for (option, value, named) in [
        ("--size", "59", "60 to 65549 bytes here, not 59"),
        ("--size", "big", "'big'"),
        ("--rate", "0", "'0'"),
        ("--count", "0", "'0'"),
        ("--flows", "0", "'0'"),
        ("--seconds", "-1", "-1"),
        ("--from", "10.0.0.1", "'10.0.0.1'"),
        ("--to-mac", "x", "'x'"),
    ] {
        let output = Run::start(&["pktgen", "send", port, option, value]).end();
        assert_eq!(output.status.code(), Some(2), "{option} {value}");
        assert!(text(&output.stderr).contains(named), "{}", text(&output.stderr));
    }
}
