//! `ringport forward` between memif and vhost-user, with DPDK behind it (verified with testpmd
//! 22.11.11).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use nix::sys::signal::Signal;
use ringport_bench::interop::echo::{EchoPlan, echo};
use ringport_bench::interop::{Killed, received, wait_until};
use ringport_bench::peers::testpmd::{DataPath, MemifArgs, Mode, VirtioUserArgs};
use ringport_bench::peers::{Testpmd, require_peer_with_hugepages};
use ringport_memif::Port;
use std::path::{Path, PathBuf};
use support::{PATIENCE, Run, wait_for};

/// Hugepages that a testpmd takes, in megabytes.
const HUGEPAGES: u64 = 128;

const PATHS: [DataPath; 2] = [DataPath::SplitInOrderMergeable, DataPath::PackedMergeable];

/// The sockets of a forwarder.
struct Place {
    _directory: tempfile::TempDir,
    memif: PathBuf,
    vhost: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (memif, vhost) = (directory.path().join("m.sock"), directory.path().join("v.sock"));
        Self { _directory: directory, memif, vhost }
    }

    /// A forwarder that listens on both.
    fn forwarder(&self) -> Run {
        let memif = format!("memif:{},role=server", self.memif.display());
        let vhost = format!("vhost:{},role=device", self.vhost.display());
        let run = Run::start(&["forward", &memif, &vhost, "--json"]);
        wait_for("the sockets", || (self.memif.exists() && self.vhost.exists()).then_some(()));
        run
    }
}

fn driver(path: &Path, data_path: DataPath) -> VirtioUserArgs {
    VirtioUserArgs::client(path).data_path(data_path)
}

fn testpmd() -> Testpmd {
    let testpmd = Testpmd::new().memory(96).forward(Mode::Io).interactive();
    testpmd.app_arg("--total-num-mbufs=24576").app_arg("--tx-offloads=0x8000")
}

#[test]
fn frames_go_from_memif_to_a_driver_and_back_whole_and_in_order() {
    let test = "frames_go_from_memif_to_a_driver_and_back_whole_and_in_order";
    let Some(_peer) = require_peer_with_hugepages(test, "dpdk-testpmd", HUGEPAGES) else { return };
    for path in PATHS {
        let place = Place::new();
        let forwarder = place.forwarder();
        let mut peer = Killed(testpmd().virtio_user(driver(&place.vhost, path)).start().unwrap());
        assert_eq!(peer.virtio_driver(0).unwrap().data_path(), Some(path));
        peer.start_when_up(1).unwrap();
        let mut port = Port::open(&format!("memif:{},role=client", place.memif.display())).unwrap();
        let mut link = port.wait_link_up(PATIENCE).unwrap();
        for lens in [&[64][..], &[1518], &[9000], &[64, 65, 1500, 2048, 2049, 9000]] {
            let plan = EchoPlan { lens, frames: 3000, ..EchoPlan::default() };
            echo(&mut link.rx, &mut link.tx, &plan).unwrap();
        }
        drop(forwarder);
    }
}

#[test]
fn packets_go_round_between_two_ports_of_dpdk() {
    let test = "packets_go_round_between_two_ports_of_dpdk";
    let Some(_peer) = require_peer_with_hugepages(test, "dpdk-testpmd", HUGEPAGES) else { return };
    for path in PATHS {
        let place = Place::new();
        let mut forwarder = place.forwarder();
        let peer = testpmd().memif(MemifArgs::client(&place.memif));
        let mut peer = Killed(peer.virtio_user(driver(&place.vhost, path)).start().unwrap());
        for port in [0, 1] {
            peer.wait_link_up(port, PATIENCE).unwrap();
        }
        peer.command("start tx_first 4").unwrap();
        for port in [0, 1] {
            let counters = received(&mut peer, port, 100_000).unwrap();
            assert!(counters.rx_packets >= 100_000, "{path:?} port {port}: {counters:?}");
        }
        // What is on its way comes to rest, so both sides must have counted the same.
        peer.command("stop").unwrap();
        let counters = wait_until("the packets to come to rest", || {
            let before = [peer.counters(0)?, peer.counters(1)?];
            std::thread::sleep(std::time::Duration::from_millis(20));
            let after = [peer.counters(0)?, peer.counters(1)?];
            Ok((before == after).then_some(after))
        });
        let [memif, virtio] = counters.unwrap();
        assert_eq!((memif.tx_errors, virtio.tx_errors), (0, 0));
        forwarder.signal(Signal::SIGTERM);
        let output = forwarder.end();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        let total = said.lines().find(|line| line.contains("\"total\"")).unwrap();
        assert_eq!(total.matches("\"dropped\":0").count(), 2, "{total}");
    }
}
