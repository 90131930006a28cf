//! One link between our driver and testpmd's device.
#![allow(dead_code, reason = "each test program uses a part")]

use crate::device_support::{PATIENCE, Place, Served};
use nix::sys::signal::Signal;
use ringport::retry::Reconnect;
use ringport_bench::interop::echo::{EchoPlan, echo, pump};
use ringport_bench::interop::victim::Victim;
use ringport_bench::interop::{Killed, Outcome};
use ringport_bench::peers::Testpmd;
use ringport_bench::peers::testpmd::{Mode, VhostArgs};
use ringport_vhost_user::device::SocketRole;
use ringport_vhost_user::driver::Link;
use ringport_vhost_user::wire::feature;
use ringport_vhost_user::{DownReason, Driver, DriverConfig, Event};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Lengths around everything that could matter: cache lines, the copy kernels.
const LENS: [usize; 8] = [64, 65, 127, 128, 256, 1024, 1499, 1500];

/// As above, where buffers are merged: around one buffer, and up to the longest.
const LONG_LENS: [usize; 12] = [64, 65, 127, 128, 256, 1024, 1500, 2048, 2049, 4096, 4097, 9000];

/// One link between our driver and testpmd's device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) packed: bool,
    pub(crate) in_order: bool,
    pub(crate) mergeable: bool,
    pub(crate) ring_size: u16,
    /// Whether the device listens, or we do.
    pub(crate) device_listens: bool,
    pub(crate) pairs: u16,
    /// Whether we sleep on our doorbells.
    pub(crate) sleeps: bool,
}

impl Row {
    pub(crate) fn new(packed: bool) -> Self {
        Self {
            packed,
            in_order: true,
            mergeable: true,
            ring_size: 512,
            device_listens: true,
            pairs: 1,
            sleeps: false,
        }
    }

    /// A device that sends everything back once it is told to start.
    pub(crate) fn testpmd(&self, place: &Place) -> Testpmd {
        let device = if self.device_listens {
            VhostArgs::server(&place.path)
        } else {
            VhostArgs::client(&place.path)
        };
        let testpmd = Testpmd::new().vhost(device).queues(self.pairs).memory(96);
        testpmd.forward(Mode::Io).interactive().app_arg("--total-num-mbufs=24576")
    }

    pub(crate) fn driver(&self, place: &Place) -> Served<Driver> {
        let config = DriverConfig {
            queue_pairs: self.pairs,
            ring_size: self.ring_size,
            packed: self.packed,
            in_order: self.in_order,
            mergeable: self.mergeable,
            mtu: Some(9000),
            timeout: Duration::from_secs(10),
            ..DriverConfig::default()
        };
        let socket = if self.device_listens {
            SocketRole::Connect(Reconnect::Backoff {
                initial: Duration::from_millis(20),
                max: Duration::from_millis(200),
            })
        } else {
            SocketRole::default()
        };
        Served::open(place, socket, config)
    }

    /// Starts both sides, checks what was agreed on, and has the device forward.
    pub(crate) fn join(&self, place: &Place) -> Outcome<(Killed, Served<Driver>, Link)> {
        let driver = self.driver(place);
        let mut peer = Killed(self.testpmd(place).start()?);
        let link = self.link(&mut peer, &driver)?;
        Ok((peer, driver, link))
    }

    /// The next link, on which the device forwards.
    pub(crate) fn link(&self, peer: &mut Killed, driver: &Served<Driver>) -> Outcome<Link> {
        let start = Instant::now();
        let link = loop {
            match driver.next() {
                Event::LinkUp(link) => break *link,
                Event::Refused(_) if start.elapsed() < PATIENCE => {
                    peer.process().check_running()?;
                }
                other => return Err(format!("no link: {other:?}").into()),
            }
        };
        let has = |bit| link.parameters.features & bit != 0;
        let agreed = [has(feature::RING_PACKED), has(feature::IN_ORDER), has(feature::MRG_RXBUF)];
        if agreed != [self.packed, self.in_order, self.mergeable] {
            return Err(format!("agreed on {:?}", link.parameters).into());
        }
        if (link.rx.len(), link.tx.len()) != (self.pairs.into(), self.pairs.into()) {
            return Err(format!("{} queues", link.rx.len()).into());
        }
        peer.start_when_up(1)?;
        Ok(link)
    }

    pub(crate) fn plan(&self) -> EchoPlan<'static> {
        EchoPlan { slots_in_flight: 256, sleeps: self.sleeps, ..EchoPlan::default() }
    }

    /// Frames of all lengths, one after the other and mixed, each of which has to come back.
    pub(crate) fn echo(&self, frames: u64) -> Outcome {
        let place = Place::new();
        let (mut peer, _driver, mut link) = self.join(&place)?;
        let lens: &[usize] = if self.mergeable { &LONG_LENS } else { &LENS };
        for lens in std::iter::once(lens).chain(lens.chunks(1)) {
            let plan = EchoPlan { lens, frames, ..self.plan() };
            if let Err(error) = echo(&mut link.rx, &mut link.tx, &plan) {
                let counters = peer.counters(0);
                return Err(format!("frames of {lens:?}: {error}; testpmd: {counters:?}").into());
            }
        }
        Ok(())
    }
}

/// A link of this process that has nothing to do with the others: it moves frames, and loses none, until it
/// is told to stop. Returns how many.
fn elsewhere(stop: &AtomicBool) -> Result<u64, String> {
    let run = || -> Outcome<u64> {
        let (mut victim, mut frames) = (Victim::vhost()?, 0);
        while !stop.load(Ordering::Relaxed) {
            frames += victim.turn()?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(frames)
    };
    run().map_err(|error| error.to_string())
}

impl Row {
    /// Kills the device under traffic and starts another one, after which `goes_on` says whether there is
    /// another round; each link carries `frames` first. Returns how many frames another link of this process
    /// has moved meanwhile.
    pub(crate) fn restarts(
        &self,
        frames: u64,
        mut goes_on: impl FnMut() -> Outcome<bool>,
    ) -> Outcome<u64> {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let elsewhere = scope.spawn(|| elsewhere(&stop));
            let outcome = self.restart_devices(frames, &mut goes_on);
            stop.store(true, Ordering::Relaxed);
            let moved = elsewhere.join().map_err(|_| "a panic elsewhere")??;
            outcome.map(|()| moved)
        })
    }

    fn restart_devices(&self, frames: u64, goes_on: &mut dyn FnMut() -> Outcome<bool>) -> Outcome {
        let place = Place::new();
        let (mut peer, driver, mut link) = self.join(&place)?;
        loop {
            echo(&mut link.rx, &mut link.tx, &EchoPlan { frames, ..self.plan() })?;
            pump(&mut link.rx, &mut link.tx, Duration::from_millis(5))?;
            peer.process().signal(Signal::SIGKILL)?;
            // Until we notice.
            while pump(&mut link.rx, &mut link.tx, Duration::from_millis(1)).is_ok() {}
            match driver.link_down() {
                DownReason::PeerClosed => {}
                other => return Err(other.into()),
            }
            drop((link, peer));
            if !goes_on()? {
                return Ok(());
            }
            if self.device_listens {
                std::fs::remove_file(&place.path)?;
            }
            peer = Killed(self.testpmd(&place).start()?);
            link = self.link(&mut peer, &driver)?;
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layout = if self.packed { "packed" } else { "split" };
        let listens = if self.device_listens { "device" } else { "driver" };
        let on = |on, text| if on { text } else { "" };
        let (in_order, merges) = (on(self.in_order, " in order"), on(self.mergeable, " mergeable"));
        let sleeps = on(self.sleeps, ", ours asleep");
        let Self { ring_size, pairs, .. } = self;
        write!(
            f,
            "{layout}{in_order}{merges}, {ring_size} entries, {listens} listens, {pairs} pairs"
        )?;
        f.write_str(sleeps)
    }
}
