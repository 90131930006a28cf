//! One link between testpmd's driver and our device.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part")]

use crate::device_support::{Place, Served};
use ringport_bench::interop::echo::{EchoPlan, echo, echo_some};
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
fn next_link(peer: &mut Killed, device: &Served, patience: Duration) -> Outcome<Link> {
    let end = Instant::now() + patience;
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

/// Restarts of our device, whose driver listens and goes on with the next one.
///
/// testpmd 22.11 sets its rings up anew while its forwarding core may be inside a burst. Seen after
/// restarts under traffic: frames of earlier links, also in the middle of a link, where they lay in
/// a ring; descriptors of length zero, and frames that are lost with them; a testpmd that crashed, or
/// accepted us and said nothing. So under traffic a link that does not work is counted, and testpmd
/// started anew. When nothing is on its way as we leave, none of it may happen.
///
/// With packed rings it takes 2048 new buffers after each restart and never gives the old ones back;
/// when its pool is empty it sends packets of length zero. So it is started anew in time.
#[derive(Debug)]
pub struct DeviceRestarts {
    pub row: Row,
    /// Nothing is on its way when we leave.
    pub quiet: bool,
    /// Frames of earlier links.
    pub strangers: u64,
    /// Links that did not work.
    pub failures: u64,
    /// What the last one was like.
    pub last_failure: String,
}

impl DeviceRestarts {
    pub fn new(path: DataPath, quiet: bool) -> Self {
        let row = Row { connects: Side::Device, ..Row::new(path) };
        Self { row, quiet, strangers: 0, failures: 0, last_failure: String::new() }
    }

    /// Restarts as long as `goes_on` says, which is called when nothing of a link is left.
    pub fn run(&mut self, frames: u64, mut goes_on: impl FnMut() -> Outcome<bool>) -> Outcome {
        let place = Place::new();
        let (mut peer, mut device, mut link) = self.row.join(&place)?;
        for restart in 1.. {
            let carried = self.traffic(&mut link, frames).map_err(|error| {
                let stats = (link.rx[0].stats(), link.tx[0].stats());
                format!("{error}; {stats:?}; testpmd: {:?}", peer.counters(0)).into()
            });
            drop((device, link));
            if !goes_on()? {
                return carried;
            }
            wait_noticed(&mut peer);
            device = self.row.device(&place);
            let next = carried.and_then(|()| next_link(&mut peer, &device, SHORT_PATIENCE));
            let worn_out = self.row.path.is_packed() && restart % PACKED_RESTARTS_MAX == 0;
            match next {
                Ok(next) if !worn_out => {
                    link = next;
                    continue;
                }
                Ok(_) => {}
                Err(error) if self.quiet => return Err(error),
                Err(error) => {
                    self.failures += 1;
                    self.last_failure = error.to_string();
                }
            }
            drop((device, peer));
            let _ = std::fs::remove_file(&place.path);
            (peer, device, link) = self.row.join(&place)?;
        }
        Ok(())
    }

    fn traffic(&mut self, link: &mut Link, frames: u64) -> Outcome {
        let plan = EchoPlan { frames, patience: SHORT_PATIENCE, ..self.row.plan() };
        if self.quiet {
            return echo(&mut link.rx, &mut link.tx, &plan);
        }
        // The driver's ring still has what it sent, and sends what it received.
        let plan = EchoPlan { strangers_max: 2048, ..plan };
        self.strangers += echo_some(&mut link.rx, &mut link.tx, &plan, frames)?;
        Ok(())
    }
}

/// Waits until a driver has noticed that its device is gone. It closes the connection some time after
/// that, whichever that is by then: a device that is back too soon is thrown out again.
fn wait_noticed(peer: &mut Killed) {
    let end = Instant::now() + SHORT_PATIENCE;
    while peer.wait_link_up(0, Duration::ZERO).is_ok() && Instant::now() < end {}
    std::thread::sleep(Duration::from_millis(20));
}

/// Restarts of a device with packed rings that one testpmd has buffers for.
const PACKED_RESTARTS_MAX: u32 = 8;

const SHORT_PATIENCE: Duration = Duration::from_secs(2);
