//! Against DPDK's virtio driver (verified with testpmd 22.11.11): every data path that it has, both
//! socket roles, one to eight queue pairs, every length, restarts of either side under traffic.
//!
//! What 22.11 does:
//! * A driver without merged buffers cannot be sent what is longer than one of its buffers; the queue
//!   says so. One that merges them takes 9000 bytes in buffers of 2048.
//! * It sends packets in several descriptors only with `--tx-offloads=0x8000` (`MULTI_SEGS`).
//! * A driver that listens does nothing else until a device has connected, and goes on when another
//!   one connects later: split rings where the last one was, packed ones from the start.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test, which reports what peers did"
)]

mod device_support;
#[path = "interop_dpdk/restarts.rs"]
mod restarts;

use device_support::{Place, Served};
use ringport_bench::interop::echo::{EchoPlan, echo};
use ringport_bench::interop::table::each_row;
use ringport_bench::interop::{Killed, Outcome};
use ringport_bench::peers::testpmd::{DataPath, Mode, VirtioUserArgs};
use ringport_bench::peers::{Testpmd, require_peer_with_hugepages, skip};
use ringport_vhost_user::device::SocketRole;
use ringport_vhost_user::{Device, DeviceConfig, Link};
use std::fmt;

/// Lengths around everything that could matter: cache lines, the copy kernels.
const LENS: [usize; 6] = [64, 65, 128, 256, 1024, 1518];

/// As above, where buffers are merged: around one buffer, and up to the longest.
const LONG_LENS: [usize; 10] = [64, 65, 128, 256, 1024, 1518, 2048, 2049, 4096, 9000];

/// Hugepages that a testpmd takes, in megabytes.
const HUGEPAGES: u64 = 128;

/// One link between testpmd's driver and our device.
#[derive(Debug, Clone, Copy)]
struct Row {
    path: DataPath,
    /// Which side connects.
    connects: Side,
    pairs: u16,
    /// Whether we sleep on our doorbells.
    sleeps: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Driver,
    Device,
}

impl Row {
    fn new(path: DataPath) -> Self {
        Self { path, connects: Side::Driver, pairs: 1, sleeps: false }
    }

    /// Every path, as far as this CPU has it.
    fn every_path(test: &str) -> Vec<Self> {
        let runs = |path: &DataPath| {
            let runs = path.runs_here();
            if !runs {
                skip(test, &format!("{path:?}: this CPU has no AVX-512"));
            }
            runs
        };
        DataPath::ALL.into_iter().filter(runs).map(Self::new).collect()
    }

    fn config(&self) -> DeviceConfig {
        DeviceConfig { queue_pairs: self.pairs, ..DeviceConfig::default() }
    }

    fn merges(&self) -> bool {
        use DataPath as P;
        matches!(
            self.path,
            P::SplitMergeable
                | P::SplitInOrderMergeable
                | P::PackedMergeable
                | P::PackedInOrderMergeable
                | P::PackedOddRing
        )
    }

    fn lens(&self) -> &'static [usize] {
        if self.merges() { &LONG_LENS } else { &LENS }
    }

    /// A testpmd that sends everything back once it is told to start.
    fn testpmd(&self, place: &Place) -> Testpmd {
        let driver = match self.connects {
            Side::Driver => VirtioUserArgs::client(&place.path),
            Side::Device => VirtioUserArgs::server(&place.path),
        };
        let testpmd = Testpmd::new().virtio_user(driver.data_path(self.path));
        let testpmd = testpmd.queues(self.pairs).memory(96).forward(Mode::Io).interactive();
        let testpmd = testpmd.app_arg("--total-num-mbufs=24576");
        if self.merges() { testpmd.app_arg("--tx-offloads=0x8000") } else { testpmd }
    }

    fn device(&self, place: &Place) -> Served {
        let socket = match self.connects {
            Side::Driver => SocketRole::default(),
            Side::Device => SocketRole::Connect(ringport::retry::Reconnect::default()),
        };
        Served::new(Device::open(&place.address(), socket, self.config()).unwrap())
    }

    /// Starts both sides, whoever has to be first, checks the driver's path, and has it forward.
    fn join(&self, place: &Place) -> Outcome<(Killed, Served, Link)> {
        let (peer, device) = match self.connects {
            Side::Driver => {
                let device = self.device(place);
                (self.testpmd(place).start()?, device)
            }
            Side::Device => {
                let mut peer = self.testpmd(place).spawn()?;
                peer.wait_listening()?;
                let device = self.device(place);
                peer.wait_ready()?;
                (peer, device)
            }
        };
        let mut peer = Killed(peer);
        let driver = peer.virtio_driver(0)?;
        if driver.data_path() != Some(self.path) {
            return Err(format!("the driver took another path: {driver:?}").into());
        }
        let link = device.link_up();
        peer.start_when_up(1)?;
        Ok((peer, device, link))
    }

    fn plan(&self) -> EchoPlan<'static> {
        EchoPlan { slots_in_flight: 256, sleeps: self.sleeps, ..EchoPlan::default() }
    }

    /// Frames of all lengths, one after the other and mixed, each of which has to come back.
    fn echo(&self, frames: u64) -> Outcome {
        let place = Place::new();
        let (mut peer, _device, mut link) = self.join(&place)?;
        let lens = self.lens();
        let runs = std::iter::once(lens).chain(lens.chunks(1));
        for lens in runs {
            let plan = EchoPlan { lens, frames, ..self.plan() };
            if let Err(error) = echo(&mut link.rx, &mut link.tx, &plan) {
                let counters = peer.counters(0);
                return Err(format!("frames of {lens:?}: {error}; testpmd: {counters:?}").into());
            }
        }
        Ok(())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, connects, pairs, sleeps } = self;
        let sleeps = if *sleeps { " asleep" } else { "" };
        write!(f, "{path:?}, {connects:?} connects, {pairs} pairs, ours{sleeps}")
    }
}

/// Runs a table; all of them need testpmd with hugepages.
fn table(test: &str, rows: impl IntoIterator<Item = Row>, run: impl FnMut(&Row) -> Outcome) {
    let Some(_peer) = require_peer_with_hugepages(test, "dpdk-testpmd", HUGEPAGES) else { return };
    each_row(rows, run);
}

#[test]
fn every_data_path_brings_frames_of_every_length_back_whole_and_in_order() {
    let test = "every_data_path_brings_frames_of_every_length_back_whole_and_in_order";
    table(test, Row::every_path(test), |row| row.echo(2000));
}

#[test]
fn rings_wrap_many_times_in_order() {
    let test = "rings_wrap_many_times_in_order";
    table(test, Row::every_path(test), |row| {
        let place = Place::new();
        let (_peer, _device, mut link) = row.join(&place)?;
        echo(&mut link.rx, &mut link.tx, &EchoPlan { frames: 200_000, ..row.plan() })
    });
}

#[test]
fn device_that_connects_to_a_driver_carries_frames() {
    let test = "device_that_connects_to_a_driver_carries_frames";
    let paths = [DataPath::SplitInOrderMergeable, DataPath::PackedInOrderMergeable];
    let rows = paths.map(|path| Row { connects: Side::Device, ..Row::new(path) });
    table(test, rows, |row| row.echo(1000));
}

#[test]
fn every_number_of_pairs_carries_frames() {
    let test = "every_number_of_pairs_carries_frames";
    let paths = [DataPath::SplitMergeable, DataPath::PackedMergeable];
    let rows = paths
        .into_iter()
        .flat_map(|path| [2, 8].into_iter().map(move |pairs| Row { pairs, ..Row::new(path) }));
    table(test, rows, |row| row.echo(500));
}

#[test]
fn device_that_sleeps_on_its_doorbells_misses_nothing() {
    let test = "device_that_sleeps_on_its_doorbells_misses_nothing";
    let paths = [DataPath::SplitMergeable, DataPath::PackedMergeable];
    let rows = paths.map(|path| Row { sleeps: true, ..Row::new(path) });
    table(test, rows, |row| row.echo(1000));
}
