//! `ringport ping` and `ringport pktgen` with real peers: DPDK's testpmd 22.11.11, and where
//! `RINGPORT_VPP` names one, VPP (verified with 26.10-rc0).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "says what was skipped")]

mod support;
mod vpp;

use nix::sys::signal::Signal;
use ringport_bench::interop::Killed;
use ringport_bench::peers::testpmd::{DataPath, MemifArgs, Mode, VirtioUserArgs};
use ringport_bench::peers::{Testpmd, require_peer_with_hugepages};
use std::time::Duration;
use support::*;
use vpp::Vpp;
use vpp::optional::optional_peer;

/// Hugepages that a testpmd takes, in megabytes.
const HUGEPAGES: u64 = 128;

/// What we listen on, for each kind of port of testpmd.
const PORTS: [&str; 2] = ["memif:SOCKET,role=server", "vhost:SOCKET,role=device"];

/// A testpmd whose only port is joined to ours.
fn testpmd(place: &Place, port: &str, mode: Mode) -> Killed {
    let path = place.path("p.sock");
    let testpmd = Testpmd::new().memory(96).forward(mode);
    let testpmd = if port.starts_with("memif:") {
        testpmd.memif(MemifArgs::client(path))
    } else {
        testpmd.virtio_user(VirtioUserArgs::client(path).data_path(DataPath::PackedMergeable))
    };
    Killed(testpmd.start().unwrap())
}

#[test]
fn dpdk_answers_arp_and_every_ping() {
    let test = "dpdk_answers_arp_and_every_ping";
    let Some(_peer) = require_peer_with_hugepages(test, "dpdk-testpmd", HUGEPAGES) else { return };
    for port in PORTS {
        let place = Place::new();
        let ping = ["ping", &place.port(port), "10.0.0.1", "--address", "10.0.0.2/24", "--json"];
        let plan = ["--count", "50", "--interval", "5ms", "--timeout", "20s", "--size", "1400"];
        let mut run = Run::start(&[&ping[..], &plan].concat());
        place.wait_socket();
        let peer = testpmd(&place, port, Mode::IcmpEcho);
        let output = run.end();
        assert_eq!(output.status.code(), Some(0), "{port}: {}", text(&output.stderr));
        let summary = objects(&output.stdout).pop().unwrap();
        assert_eq!((&summary["received"], &summary["damaged"]), (&50.into(), &0.into()));
        drop(peer);
    }
}

#[test]
fn dpdk_sends_every_frame_back_whole_and_in_order() {
    let test = "dpdk_sends_every_frame_back_whole_and_in_order";
    let Some(_peer) = require_peer_with_hugepages(test, "dpdk-testpmd", HUGEPAGES) else { return };
    for (port, mode) in [(PORTS[0], Mode::Io), (PORTS[1], Mode::Io), (PORTS[0], Mode::MacSwap)] {
        let place = Place::new();
        let bounce = ["pktgen", "bounce", &place.port(port), "--count", "300000", "--json"];
        let stream = ["--size", "60-70,imix", "--flows", "7"];
        let mut run = Run::start(&[&bounce[..], &stream].concat());
        place.wait_socket();
        let peer = testpmd(&place, port, mode);
        let output = run.end();
        assert_eq!(output.status.code(), Some(0), "{port}: {}", text(&output.stderr));
        let summary = objects(&output.stdout).pop().unwrap();
        assert_eq!(summary["received"]["packets"], 300_000, "{summary}");
        drop(peer);
    }
}

#[test]
fn rings_of_a_testpmd_are_seen_from_outside_while_packets_pass() {
    let test = "rings_of_a_testpmd_are_seen_from_outside_while_packets_pass";
    let Some(_peer) = require_peer_with_hugepages(test, "dpdk-testpmd", HUGEPAGES) else { return };
    let place = Place::new();
    let port = place.port(PORTS[0]);
    let mut run = Run::start(&["pktgen", "bounce", &port, "--count", "300000", "--json"]);
    place.wait_socket();
    let mut peer = testpmd(&place, PORTS[0], Mode::Io);
    let pid = peer.process().pid().to_string();
    let output = Run::start(&["inspect", "--pid", &pid, "--json"]).end();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let look = objects(&output.stdout).pop().unwrap();
    let sizes: Vec<_> =
        look["rings"].as_array().unwrap().iter().map(|it| &it["ring"]["size"]).collect();
    assert_eq!(sizes, [1024, 1024], "{look}");
    assert_eq!(run.end().status.code(), Some(0));
    drop(peer);
}

/// The sides of a ping: VPP's address and ours.
const ADDRESSES: [[&str; 2]; 2] = [["192.168.77.2", "192.168.77.1"], ["fd77::2", "fd77::1"]];

#[test]
fn vpp_and_we_ping_each_other_with_ethernet_and_without() {
    let test = "vpp_and_we_ping_each_other_with_ethernet_and_without";
    let Some(install) = optional_peer(test, "RINGPORT_VPP", "bin/vpp") else { return };
    for (theirs, ours) in [("", ""), (" mode ip", ",mode=ip")] {
        let place = Place::new();
        let mut vpp = Vpp::start(&install.dir, place.path("").as_path()).unwrap();
        let socket = place.path("p.sock");
        vpp.run(&format!("create memif socket id 1 filename {}", socket.display())).unwrap();
        vpp.run(&format!("create interface memif id 0 socket-id 1 master{theirs}")).unwrap();
        vpp.run("set interface state memif1/0 up").unwrap();
        for ([address, _], length) in ADDRESSES.iter().zip([24, 64]) {
            vpp.run(&format!("set interface ip address memif1/0 {address}/{length}")).unwrap();
        }
        let port = place.port(&format!("memif:SOCKET,role=client,reconnect=20ms-100ms{ours}"));
        for [target, own] in ADDRESSES {
            let ping = ["ping", &port, target, "--address", own, "--count", "5"];
            let plan = ["--interval", "20ms", "--timeout", "20s", "--size", "1400"];
            let output = Run::start(&[&ping[..], &plan].concat()).end();
            let stdout = text(&output.stdout);
            assert_eq!(output.status.code(), Some(0), "{stdout}\n{}", text(&output.stderr));
            assert!(stdout.contains("5 sent, 5 received"), "{stdout}");
        }
        let [own4, own6] = ADDRESSES.map(|[_, own]| own);
        let answer = ["ping", &port, "--answer", "--address", own4, "--address", own6];
        let mut run = Run::start(&answer);
        run.wait_stderr("port: up");
        for [_, own] in ADDRESSES {
            // The first ones are lost while VPP asks where we are.
            let said = wait_for("VPP to get all replies", || {
                let mut running = vpp.begin(&format!("ping {own} repeat 3 interval 0.02")).unwrap();
                running.wait_end(Duration::from_secs(20)).unwrap();
                Some(running.log()).filter(|said| said.contains("3 sent, 3 received"))
            });
            assert!(said.contains("0% packet loss"), "{said}");
        }
        run.signal(Signal::SIGINT);
        assert_eq!(run.end().status.code(), Some(0));
        vpp.check_running().unwrap();
    }
}
