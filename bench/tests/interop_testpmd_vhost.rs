//! testpmd's vhost-user device and driver against each other (verified with 22.11.11): the peers that
//! our own device and driver are tested with do what they are asked for.
//!
//! What 22.11 does:
//! * A driver that cannot share its memory says so in its log only: its port is up and drops what it
//!   is given, and the device's link stays down. The module starts it so that it can.
//! * A driver that listens (`server=1`) does nothing else until a device has connected.
//! * Vector instructions are used with packed rings only when DPDK is told that it may use 512 bits.
//!   With split rings they are used for receiving only, and not in order.
//! * `in_order` and `mrg_rxbuf` are on unless turned off; of packed rings the log does not say whether
//!   they are used in order, the negotiated features do.
#![allow(clippy::unwrap_used, reason = "a test")]

use ringport_bench::peers::testpmd::{DataPath, Mode, RunningTestpmd, VhostArgs, VirtioUserArgs};
use ringport_bench::peers::{PeerError, Testpmd, require_peer, skip};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);
/// More than all rings hold together, so that each was used again and again.
const PACKETS: u64 = 100_000;

/// Who waits at the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listener {
    Device,
    Driver,
}

/// A device and a driver that send everything back that they receive.
#[derive(Debug, Clone, Copy)]
struct Pair {
    path: DataPath,
    listener: Listener,
    queues: u16,
    /// Whether to use them when there are enough.
    hugepages: bool,
}

impl Pair {
    fn new(path: DataPath) -> Self {
        Self { path, listener: Listener::Device, queues: 1, hugepages: true }
    }

    /// Both forward on demand, on a core each.
    fn testpmd(&self, core: usize) -> Testpmd {
        let testpmd = Testpmd::new().forward(Mode::Io).core(core).queues(self.queues).memory(96);
        let testpmd = testpmd.interactive();
        if self.hugepages { testpmd } else { testpmd.hugepages(false) }
    }

    /// Starts both, whoever has to be first: device and driver.
    fn start(&self, socket: &PathBuf) -> Result<[RunningTestpmd; 2], PeerError> {
        let (device, driver) = (self.testpmd(0), self.testpmd(1));
        if self.listener == Listener::Device {
            let device = device.vhost(VhostArgs::server(socket)).start()?;
            let args = VirtioUserArgs::client(socket).data_path(self.path);
            return Ok([device, driver.virtio_user(args).start()?]);
        }
        let args = VirtioUserArgs::server(socket).data_path(self.path);
        let mut driver = driver.virtio_user(args).spawn()?;
        driver.wait_listening()?;
        let device = device.vhost(VhostArgs::client(socket)).start()?;
        driver.wait_ready()?;
        Ok([device, driver])
    }

    /// Has packets go round until each side received enough, and checks the driver's path.
    fn run(&self) {
        let dir = TempDir::new().unwrap();
        let [mut device, mut driver] = self.start(&dir.path().join("v.sock")).unwrap();
        device.wait_link_up(0, PATIENCE).unwrap();
        driver.wait_link_up(0, PATIENCE).unwrap();
        let chosen = driver.virtio_driver(0).unwrap();
        assert_eq!(chosen.data_path(), Some(self.path), "{self:?}: {chosen:?}");
        device.command("start").unwrap();
        driver.command("start tx_first 4").unwrap();
        let end = Instant::now() + PATIENCE;
        while driver.counters(0).unwrap().rx_packets < PACKETS {
            assert!(Instant::now() < end, "{self:?}: {:?}", driver.counters(0));
        }
        let sent = device.stop_forwarding().unwrap();
        let received = driver.stop_forwarding().unwrap();
        assert!(sent.rx_packets >= PACKETS, "{self:?}: {sent:?}");
        assert!(received.rx_packets >= PACKETS && received.tx_packets >= PACKETS, "{received:?}");
        assert!(sent.tx_packets >= received.rx_packets, "{self:?}: {sent:?} {received:?}");
    }
}

#[test]
fn every_data_path_is_taken_and_carries_packets_both_ways() {
    let test = "every_data_path_is_taken_and_carries_packets_both_ways";
    let Some(_peer) = require_peer(test, "dpdk-testpmd") else { return };
    for path in DataPath::ALL {
        if path.runs_here() {
            Pair::new(path).run();
        } else {
            skip(test, &format!("{path:?}: this CPU has no AVX-512"));
        }
    }
}

#[test]
fn driver_that_listens_is_joined_by_a_device() {
    let test = "driver_that_listens_is_joined_by_a_device";
    let Some(_peer) = require_peer(test, "dpdk-testpmd") else { return };
    for path in [DataPath::SplitInOrderMergeable, DataPath::PackedInOrderMergeable] {
        Pair { listener: Listener::Driver, ..Pair::new(path) }.run();
    }
}

#[test]
fn several_queue_pairs_carry_packets() {
    let test = "several_queue_pairs_carry_packets";
    let Some(_peer) = require_peer(test, "dpdk-testpmd") else { return };
    for path in [DataPath::SplitMergeable, DataPath::PackedMergeable] {
        Pair { queues: 4, ..Pair::new(path) }.run();
    }
}

#[test]
fn pair_without_hugepages_carries_packets() {
    let test = "pair_without_hugepages_carries_packets";
    let Some(_peer) = require_peer(test, "dpdk-testpmd") else { return };
    Pair { hugepages: false, ..Pair::new(DataPath::SplitInOrderMergeable) }.run();
}
