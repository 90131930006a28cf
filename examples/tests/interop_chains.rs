//! Chains: a memif port, `ringport forward`, and behind that DPDK's vhost-user device (testpmd 22.11.11),
//! a switch (Open vSwitch 3.1 with DPDK), or where `RINGPORT_VPP` names one, VPP (26.10-rc0). The chains
//! that end at DPDK's driver are in `interop_forward.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;
mod vpp;

use nix::sys::signal::Signal;
use ringport_bench::interop::echo::{EchoPlan, End, echo, exchange, pump};
use ringport_bench::interop::{Killed, received};
use ringport_bench::peers::ovs::Socket;
use ringport_bench::peers::testpmd::{MemifArgs, Mode, VhostArgs};
use ringport_bench::peers::{Ovs, Testpmd, require_ovs, require_peer_with_hugepages};
use ringport_memif::{Link, Port};
use std::path::Path;
use std::time::{Duration, Instant};
use support::{PATIENCE, Place, Run, objects, text, wait_for};
use vpp::Vpp;
use vpp::optional::optional_peer;

/// Hugepages that a testpmd takes, in megabytes.
const HUGEPAGES: u64 = 128;

/// Lengths around everything that could matter, up to the longest.
const LENS: [usize; 8] = [64, 65, 127, 1518, 2048, 2049, 4097, 9000];

/// So long after the last one, no frame is under way any more.
const QUIET: Duration = Duration::from_millis(200);

/// What a driver of ours is told to be: each layout, and each side of the socket.
#[derive(Debug, Clone, Copy)]
struct Leg {
    packed: bool,
    device_listens: bool,
}

impl Leg {
    const ALL: [Self; 4] = [
        Self { packed: false, device_listens: true },
        Self { packed: true, device_listens: true },
        Self { packed: false, device_listens: false },
        Self { packed: true, device_listens: false },
    ];

    /// The forwarder's port on `socket`.
    fn port(self, socket: &Path) -> String {
        let packed = if self.packed { "on" } else { "off" };
        let side = if self.device_listens { ",socket=connect,reconnect=20ms-200ms" } else { "" };
        format!("vhost:{},role=driver,packed={packed},mtu=9000{side}", socket.display())
    }

    fn testpmd(self, socket: &Path) -> Testpmd {
        let device = match self.device_listens {
            true => VhostArgs::server(socket),
            false => VhostArgs::client(socket),
        };
        let testpmd = Testpmd::new().memory(96).forward(Mode::Io).interactive().vhost(device);
        testpmd.app_arg("--total-num-mbufs=24576").app_arg("--tx-offloads=0x8000")
    }
}

/// A forwarder between the memif server at `memif` and another port.
fn forwarder(memif: &Path, other: &str) -> Run {
    forwarder_that(memif, other, &[])
}

fn forwarder_that(memif: &Path, other: &str, options: &[&str]) -> Run {
    let port = format!("memif:{},role=server", memif.display());
    let run = Run::start(&[&["forward", &port, other, "--json"], options].concat());
    wait_for("the socket", || memif.exists().then_some(()));
    run
}

/// Our own end of a chain.
fn end(memif: &Path) -> (Port, Link) {
    let port = format!("memif:{},role=client,reconnect=20ms-200ms", memif.display());
    let mut port = Port::open(&port).unwrap();
    let link = port.wait_link_up(PATIENCE).unwrap();
    (port, link)
}

/// Frames of all lengths, one after the other and mixed, each of which has to come back; returns how many.
fn bring_back(link: &mut Link, frames: u64) -> u64 {
    let mut sent = 0;
    for lens in std::iter::once(&LENS[..]).chain(LENS.chunks(1)) {
        let plan = EchoPlan { lens, frames, ..EchoPlan::default() };
        echo(&mut link.rx, &mut link.tx, &plan).unwrap();
        sent += frames;
    }
    sent
}

/// What the forwarder says at its end.
fn total(mut forwarder: Run) -> serde_json::Value {
    forwarder.signal(Signal::SIGTERM);
    let output = forwarder.end();
    assert!(output.status.success(), "{}", text(&output.stderr));
    objects(&output.stdout).into_iter().find(|line| line["event"] == "total").unwrap()
}

/// Throws away what an earlier link left on its way, until nothing has come for a while.
fn settle(link: &mut Link) {
    let mut last = Instant::now();
    while last.elapsed() < QUIET {
        if !link.rx[0].rx_burst(64).unwrap().is_empty() {
            last = Instant::now();
        }
    }
}

#[test]
fn frames_go_from_memif_to_a_device_and_back_whole_and_in_order() {
    let test = "frames_go_from_memif_to_a_device_and_back_whole_and_in_order";
    let Some(_peer) = require_peer_with_hugepages(test, "dpdk-testpmd", HUGEPAGES) else { return };
    for leg in Leg::ALL {
        let place = Place::new();
        let (memif, vhost) = (place.path("m.sock"), place.path("v.sock"));
        let forwarder = forwarder(&memif, &leg.port(&vhost));
        let mut peer = Killed(leg.testpmd(&vhost).start().unwrap());
        peer.start_when_up(1).unwrap();
        let (_port, mut link) = end(&memif);
        let sent = bring_back(&mut link, 1000);
        let total = total(forwarder);
        for way in ["a_to_b", "b_to_a"] {
            assert_eq!(total[way]["packets"], sent, "{leg:?}: {total}");
            assert_eq!(total[way]["dropped"], 0, "{leg:?}: {total}");
        }
    }
}

#[test]
fn packets_go_round_between_memif_and_a_device_of_dpdk() {
    let test = "packets_go_round_between_memif_and_a_device_of_dpdk";
    let Some(_peer) = require_peer_with_hugepages(test, "dpdk-testpmd", HUGEPAGES) else { return };
    for leg in Leg::ALL {
        let place = Place::new();
        let (memif, vhost) = (place.path("m.sock"), place.path("v.sock"));
        let forwarder = forwarder(&memif, &leg.port(&vhost));
        let peer = leg.testpmd(&vhost).memif(MemifArgs::client(&memif));
        let mut peer = Killed(peer.start().unwrap());
        for port in [0, 1] {
            peer.wait_link_up(port, PATIENCE).unwrap();
        }
        peer.command("start tx_first 4").unwrap();
        for port in [0, 1] {
            let counters = received(&mut peer, port, 100_000).unwrap();
            assert!(counters.rx_packets >= 100_000, "{leg:?} port {port}: {counters:?}");
        }
        peer.command("stop").unwrap();
        let total = total(forwarder);
        for way in ["a_to_b", "b_to_a"] {
            assert_eq!(total[way]["dropped"], 0, "{leg:?}: {total}");
        }
    }
}

#[test]
fn chain_works_again_when_any_part_of_it_has_restarted_under_traffic() {
    let test = "chain_works_again_when_any_part_of_it_has_restarted_under_traffic";
    let Some(_peer) = require_peer_with_hugepages(test, "dpdk-testpmd", HUGEPAGES) else { return };
    for leg in Leg::ALL {
        let place = Place::new();
        let (memif, vhost) = (place.path("m.sock"), place.path("v.sock"));
        let start = || {
            let mut peer = Killed(leg.testpmd(&vhost).start().unwrap());
            peer.start_when_up(1).unwrap();
            peer
        };
        let mut middle = forwarder(&memif, &leg.port(&vhost));
        let mut peer = start();
        let (mut port, mut link) = end(&memif);
        for part in ["device", "our end", "forwarder", "device"] {
            bring_back(&mut link, 100);
            pump(&mut link.rx, &mut link.tx, Duration::from_millis(5)).unwrap();
            match part {
                "device" => {
                    drop(peer);
                    if leg.device_listens {
                        std::fs::remove_file(&vhost).unwrap();
                    }
                    peer = start();
                }
                "our end" => {
                    drop((port, link));
                    (port, link) = end(&memif);
                }
                _ => {
                    drop(middle);
                    middle = forwarder(&memif, &leg.port(&vhost));
                    drop(link);
                    link = port.wait_link_up(PATIENCE).unwrap();
                    peer.wait_link_up(0, PATIENCE).unwrap();
                }
            }
            settle(&mut link);
        }
        bring_back(&mut link, 100);
        drop((port, middle, peer));
    }
}

/// A plan for frames that an MTU of 1500 lets pass.
fn short_frames() -> EchoPlan<'static> {
    EchoPlan {
        lens: &[64, 65, 127, 1499, 1514],
        frames: 3000,
        slots_in_flight: 64,
        ..EchoPlan::default()
    }
}

#[test]
fn frames_go_between_two_memif_ports_over_a_switch_that_also_restarts() {
    let test = "frames_go_between_two_memif_ports_over_a_switch_that_also_restarts";
    let Some(_peer) = require_ovs(test) else { return };
    let mut ovs = Ovs::start().unwrap();
    let place = Place::new();
    let legs = [("a", Socket::Connects, false), ("b", Socket::Listens, true)];
    let chains = legs.map(|(name, socket, packed)| {
        ovs.add_port(name, socket, &[]).unwrap();
        let leg = Leg { packed, device_listens: socket == Socket::Listens };
        let memif = place.path(name);
        (forwarder(&memif, &leg.port(&ovs.socket(name))), end(&memif))
    });
    let [(_forwarder_a, (_port_a, mut a)), (_forwarder_b, (_port_b, mut b))] = chains;
    for round in 0..2 {
        if round > 0 {
            ovs.restart().unwrap();
        }
        let [a, b] = [&mut a, &mut b].map(|link| End { rx: &mut link.rx[0], tx: &mut link.tx[0] });
        let outcome = exchange(a, b, &short_frames());
        outcome.unwrap_or_else(|error| panic!("round {round}: {error}; {}", ovs.log()));
    }
}

/// Where VPP is at either end of its chain, of which it must not know that both are its own.
const VPPS: [&str; 2] = ["192.168.79.1", "192.168.79.2"];

#[test]
fn vpp_pings_itself_from_memif_through_a_forwarder_to_vhost_user() {
    let test = "vpp_pings_itself_from_memif_through_a_forwarder_to_vhost_user";
    let Some(install) = optional_peer(test, "RINGPORT_VPP", "bin/vpp") else { return };
    for leg in Leg::ALL {
        let place = Place::new();
        let (memif, vhost) = (place.path("m.sock"), place.path("v.sock"));
        let mut vpp = Vpp::start(&install.dir, &place.path("")).unwrap();
        let side = if leg.device_listens { " server" } else { "" };
        let packed = if leg.packed { " packed" } else { "" };
        for command in [
            &format!("create memif socket id 1 filename {}", memif.display()),
            "create interface memif id 0 socket-id 1 slave",
            &format!("create vhost-user socket {}{side}{packed}", vhost.display()),
            "ip table add 1",
            "set interface ip table VirtualEthernet0/0/0 1",
            &format!("set interface ip address memif1/0 {}/24", VPPS[0]),
            &format!("set interface ip address VirtualEthernet0/0/0 {}/24", VPPS[1]),
            "set interface mtu packet 9000 memif1/0",
            "set interface state memif1/0 up",
            "set interface state VirtualEthernet0/0/0 up",
        ] {
            vpp.run(command).unwrap();
        }
        // It does not sleep: VPP reads the eventfds by which it calls, and who has not woken yet sleeps on.
        let mut forwarder = forwarder_that(&memif, &leg.port(&vhost), &["--poll"]);
        for size in [56, 1400, 2100, 8900] {
            // The first ones are lost while VPP asks where it is.
            let ping = format!("ping {} size {size} repeat 20 interval 0.05", VPPS[1]);
            let start = Instant::now();
            loop {
                let mut running = vpp.begin(&ping).unwrap();
                running.wait_end(PATIENCE).unwrap();
                let said = running.log();
                if said.contains("20 sent, 20 received") {
                    break;
                }
                assert!(start.elapsed() < PATIENCE, "{leg:?}: {said}");
            }
        }
        vpp.check_running().unwrap();
        forwarder.signal(Signal::SIGTERM);
        assert!(forwarder.end().status.success());
    }
}
