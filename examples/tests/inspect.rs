//! `ringport inspect` at ports of ours, from inside and from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use nix::sys::signal::Signal;
use serde_json::Value;
use std::path::Path;
use support::*;

/// The port that is looked at, its peer's, and the layout of the rings.
const PORTS: [(&str, &str, &str); 4] = [
    ("memif:SOCKET,role=server", "memif:SOCKET,role=client", "memif"),
    ("vhost:SOCKET,role=device", "vhost:SOCKET,role=driver,socket=connect,packed=off", "split"),
    ("vhost:SOCKET,role=device", "vhost:SOCKET,role=driver,socket=connect", "packed"),
    ("vhost:SOCKET,role=driver", "vhost:SOCKET,role=device,socket=connect", "packed"),
];

/// The first look that a program wrote.
fn look(stdout: &[u8]) -> Value {
    objects(stdout).into_iter().find(|it| it["event"] == "look").unwrap()
}

#[test]
fn rings_features_and_counters_of_every_kind_of_port_are_shown() {
    for (ours, theirs, layout) in PORTS {
        let place = Place::new();
        let ours = place.port(ours);
        let mut run = Run::start(&["inspect", &ours, "--json"]);
        place.wait_socket();
        let _peer = Run::start(&["pktgen", "recv", &place.port(theirs)]);
        let output = run.end();
        assert_eq!(output.status.code(), Some(0), "{ours}: {}", text(&output.stderr));
        let look = look(&output.stdout);
        let rings = look["rings"].as_array().unwrap();
        assert_eq!(rings.len(), 2, "{look}");
        for (ring, direction) in rings.iter().zip(["in", "out"]) {
            assert_eq!(
                (&ring["direction"], &ring["ring"]["layout"]),
                (&direction.into(), &layout.into())
            );
            assert!(ring["ring"]["size"].as_u64().unwrap() >= 256, "{ring}");
            assert_eq!(ring["counters"]["packets"], 0);
        }
        let features = look["link"]["features"].to_string();
        match layout {
            "memif" => {
                assert_eq!(rings[0]["ring"]["words"]["head"], rings[0]["ring"]["words"]["tail"]);
                assert!(features.contains("64-byte lines"));
            }
            "split" => assert!(features.contains("MRG_RXBUF") && !features.contains("RING_PACKED")),
            _ => assert!(features.contains("RING_PACKED"), "{features}"),
        }
    }
}

#[test]
fn looks_go_on_until_they_are_enough_and_count_what_is_taken() {
    let place = Place::new();
    let port = place.port("memif:SOCKET,role=server");
    let options = ["inspect", &port, "--take", "--every", "1", "--count", "3", "--json"];
    let mut run = Run::start(&options);
    place.wait_socket();
    let peer = place.port("memif:SOCKET,role=client");
    let _sender = Run::start(&["pktgen", "send", &peer, "--rate", "10k"]);
    let output = run.end();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let looks: Vec<_> =
        objects(&output.stdout).into_iter().filter(|it| it["event"] == "look").collect();
    assert_eq!(looks.len(), 3);
    let packets = looks.iter().map(|it| it["rings"][0]["counters"]["packets"].as_u64().unwrap());
    assert!(packets.is_sorted_by(|earlier, later| earlier < later), "{looks:?}");
}

#[test]
fn people_read_words_by_name_and_only_counters_that_count() {
    let place = Place::new();
    let mut run = Run::start(&["inspect", &place.port("memif:SOCKET,role=server")]);
    place.wait_socket();
    let _peer = Run::start(&["pktgen", "recv", &place.port("memif:SOCKET,role=client")]);
    let shown = text(&run.end().stdout);
    assert!(
        shown.contains("agreed on: 64-byte lines\nin 0: memif ring of 1024, flags "),
        "{shown}"
    );
    assert!(!shown.contains("bad_bounds"), "{shown}");
}

#[test]
fn rings_of_another_process_are_seen_from_outside_and_go_on() {
    let place = Place::new();
    let server = place.port("memif:SOCKET,role=server,ring-size=256");
    let mut other = Run::start(&["pktgen", "recv", &server, "--count", "600", "--json"]);
    place.wait_socket();
    let client = place.port("memif:SOCKET,role=client,ring-size=256");
    let mut peer = Run::start(&["pktgen", "send", &client, "--count", "600", "--rate", "1k"]);
    let pid = other.pid().to_string();
    let rings = wait_for("the rings", || {
        let output = Run::start(&["inspect", "--pid", &pid, "--json"]).end();
        let rings = (output.status.code() == Some(0)).then(|| look(&output.stdout)["rings"].take());
        // They are seen before the client has given its slots away.
        rings.filter(|rings| rings[1]["ring"]["words"]["head"] == 256)
    });
    let rings = rings.as_array().unwrap();
    assert_eq!(rings.len(), 2, "{rings:?}");
    assert!(rings.iter().all(|ring| ring["ring"]["size"] == 256), "{rings:?}");
    assert!(rings.iter().all(|ring| ring["memory"].as_str().unwrap().contains("memfd:")));
    // From the server to the client nothing is sent: all slots are the server's to fill.
    assert_eq!(rings[1]["ring"]["words"]["tail"], 0);
    assert_eq!(peer.end().status.code(), Some(0));
    let output = other.end();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn process_without_rings_or_none_at_all_is_an_error_that_says_so() {
    let quiet = Run::start(&["inspect", "memif:/nowhere/at/all.sock,role=client"]);
    for (pid, reason) in [
        (quiet.pid().to_string(), "has no memif rings"),
        (i32::MAX.to_string(), "cannot read /proc/"),
    ] {
        let output = Run::start(&["inspect", "--pid", &pid]).end();
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(reason), "{}", text(&output.stderr));
    }
    assert!(Path::new("/proc").join(quiet.pid().to_string()).exists());
}

#[test]
fn inspection_ends_at_once_on_a_signal() {
    let place = Place::new();
    let mut run = Run::start(&["inspect", &place.port("memif:SOCKET,role=server"), "--every", "1"]);
    place.wait_socket();
    run.signal(Signal::SIGINT);
    assert_eq!(run.end().status.code(), Some(0));
}
