//! One link between testpmd's driver and our device.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part")]

use crate::device_support::{PATIENCE, Place, Served};
use ringport_bench::interop::echo::{EchoPlan, echo};
use ringport_bench::interop::{Killed, Outcome};
use ringport_bench::peers::testpmd::{DataPath, Mode, VirtioUserArgs};
use ringport_bench::peers::{Testpmd, skip};
use ringport_vhost_user::device::SocketRole;
use ringport_vhost_user::{Device, DeviceConfig, Event, Link};
use std::fmt;
use std::time::{Duration, Instant};

/// Lengths around everything that could matter: cache lines, the copy kernels.
const LENS: [usize; 6] = [64, 65, 128, 256, 1024, 1518];

/// As above, where buffers are merged: around one buffer, and up to the longest.
const LONG_LENS: [usize; 10] = [64, 65, 128, 256, 1024, 1518, 2048, 2049, 4096, 9000];

/// One link between testpmd's driver and our device.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub path: DataPath,
    /// Which side connects.
    pub connects: Side,
    pub pairs: u16,
    /// Whether we sleep on our doorbells.
    pub sleeps: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Driver,
    Device,
}

impl Row {
    pub fn new(path: DataPath) -> Self {
        Self { path, connects: Side::Driver, pairs: 1, sleeps: false }
    }

    /// Every path, as far as this CPU has it.
    pub fn every_path(test: &str) -> Vec<Self> {
        let runs = |path: &DataPath| {
            let runs = path.runs_here();
            if !runs {
                skip(test, &format!("{path:?}: this CPU has no AVX-512"));
            }
            runs
        };
        DataPath::ALL.into_iter().filter(runs).map(Self::new).collect()
    }

    pub fn config(&self) -> DeviceConfig {
        DeviceConfig { queue_pairs: self.pairs, ..DeviceConfig::default() }
    }

    pub fn merges(&self) -> bool {
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

    pub fn lens(&self) -> &'static [usize] {
        if self.merges() { &LONG_LENS } else { &LENS }
    }

    /// A testpmd that sends everything back once it is told to start.
    pub fn testpmd(&self, place: &Place) -> Testpmd {
        let driver = match self.connects {
            Side::Driver => VirtioUserArgs::client(&place.path),
            Side::Device => VirtioUserArgs::server(&place.path),
        };
        let testpmd = Testpmd::new().virtio_user(driver.data_path(self.path));
        let testpmd = testpmd.queues(self.pairs).memory(96).forward(Mode::Io).interactive();
        let testpmd = testpmd.app_arg("--total-num-mbufs=24576");
        if self.merges() { testpmd.app_arg("--tx-offloads=0x8000") } else { testpmd }
    }

    pub fn device(&self, place: &Place) -> Served {
        let socket = match self.connects {
            Side::Driver => SocketRole::default(),
            Side::Device => SocketRole::Connect(ringport::retry::Reconnect::default()),
        };
        Served::new(Device::open(&place.address(), socket, self.config()).unwrap())
    }

    /// Starts both sides, whoever has to be first, checks the driver's path, and has it forward.
    pub fn join(&self, place: &Place) -> Outcome<(Killed, Served, Link)> {
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

    pub fn plan(&self) -> EchoPlan<'static> {
        EchoPlan { slots_in_flight: 256, sleeps: self.sleeps, ..EchoPlan::default() }
    }

    /// Frames of all lengths, one after the other and mixed, each of which has to come back.
    pub fn echo(&self, frames: u64) -> Outcome {
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

/// The next link of a device whose driver listens. Without interrupts the driver looks at its socket
/// when it is asked for its link.
pub fn next_link(peer: &mut Killed, device: &Served) -> Outcome<Link> {
    let end = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    while Instant::now() < end {
        let _ = peer.wait_link_up(0, Duration::ZERO);
        match device.happened() {
            Some(Event::LinkUp(link)) => return Ok(*link),
            Some(other) => seen.push(format!("{other:?}")),
            None => peer.process().check_running()?,
        }
    }
    let log = peer.log();
    let end = log
        .lines()
        .rev()
        .filter(|line| !line.contains("link_update"))
        .take(20)
        .collect::<Vec<_>>()
        .join("\n");
    Err(format!("no link; the device saw {seen:?}; testpmd's log, last line first:\n{end}").into())
}
