//! Our driver with DPDK's device (verified with testpmd 22.11.11 and its net_vhost): both kinds of
//! rings, both socket roles, one pair and more, every length, restarts of either side.
//!
//! What 22.11 does:
//! * A device that listens takes no path that is there, and goes on without its socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test, which reports what peers did"
)]

mod device_support;

use device_support::{PATIENCE, Place, Served};
use nix::sys::signal::Signal;
use ringport::retry::Reconnect;
use ringport_bench::interop::census::Census;
use ringport_bench::interop::echo::{EchoPlan, echo, pump};
use ringport_bench::interop::table::each_row;
use ringport_bench::interop::{Killed, Outcome};
use ringport_bench::peers::testpmd::{Mode, VhostArgs};
use ringport_bench::peers::{Testpmd, require_peer_with_hugepages};
use ringport_vhost_user::device::SocketRole;
use ringport_vhost_user::driver::Link;
use ringport_vhost_user::wire::feature;
use ringport_vhost_user::{DownReason, Driver, DriverConfig, Event};
use std::fmt;
use std::time::{Duration, Instant};

/// Hugepages that a testpmd takes, in megabytes.
const HUGEPAGES: u64 = 128;

/// Lengths around everything that could matter: cache lines, the copy kernels.
const LENS: [usize; 8] = [64, 65, 127, 128, 256, 1024, 1499, 1500];

/// As above, where buffers are merged: around one buffer, and up to the longest.
const LONG_LENS: [usize; 12] = [64, 65, 127, 128, 256, 1024, 1500, 2048, 2049, 4096, 4097, 9000];

/// One link between our driver and testpmd's device.
#[derive(Debug, Clone, Copy)]
struct Row {
    packed: bool,
    in_order: bool,
    mergeable: bool,
    ring_size: u16,
    /// Whether the device listens, or we do.
    device_listens: bool,
    pairs: u16,
    /// Whether we sleep on our doorbells.
    sleeps: bool,
}

impl Row {
    fn new(packed: bool) -> Self {
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
    fn testpmd(&self, place: &Place) -> Testpmd {
        let device = if self.device_listens {
            VhostArgs::server(&place.path)
        } else {
            VhostArgs::client(&place.path)
        };
        let testpmd = Testpmd::new().vhost(device).queues(self.pairs).memory(96);
        testpmd.forward(Mode::Io).interactive().app_arg("--total-num-mbufs=24576")
    }

    fn driver(&self, place: &Place) -> Served<Driver> {
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
    fn join(&self, place: &Place) -> Outcome<(Killed, Served<Driver>, Link)> {
        let driver = self.driver(place);
        let mut peer = Killed(self.testpmd(place).start()?);
        let link = self.link(&mut peer, &driver)?;
        Ok((peer, driver, link))
    }

    /// The next link, on which the device forwards.
    fn link(&self, peer: &mut Killed, driver: &Served<Driver>) -> Outcome<Link> {
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

    fn plan(&self) -> EchoPlan<'static> {
        EchoPlan { slots_in_flight: 256, sleeps: self.sleeps, ..EchoPlan::default() }
    }

    /// Frames of all lengths, one after the other and mixed, each of which has to come back.
    fn echo(&self, frames: u64) -> Outcome {
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

/// Runs a table; all of them need testpmd with hugepages.
fn table(test: &str, rows: impl IntoIterator<Item = Row>, run: impl FnMut(&Row) -> Outcome) {
    let Some(_peer) = require_peer_with_hugepages(test, "dpdk-testpmd", HUGEPAGES) else { return };
    each_row(rows, run);
}

/// Split and packed.
fn layouts() -> impl Iterator<Item = Row> {
    [false, true].into_iter().map(Row::new)
}

#[test]
fn frames_of_every_length_come_back_whole_and_in_order() {
    let test = "frames_of_every_length_come_back_whole_and_in_order";
    let rows = layouts().flat_map(|row| {
        [(true, true), (true, false), (false, true), (false, false)]
            .map(|(in_order, mergeable)| Row { in_order, mergeable, ..row })
    });
    table(test, rows, |row| row.echo(2000));
}

#[test]
fn device_that_connects_to_a_listening_driver_carries_frames() {
    let test = "device_that_connects_to_a_listening_driver_carries_frames";
    table(test, layouts().map(|row| Row { device_listens: false, ..row }), |row| row.echo(1000));
}

#[test]
fn rings_of_every_size_wrap_many_times_in_order() {
    let test = "rings_of_every_size_wrap_many_times_in_order";
    let split = [64, 1024, 32768].map(|ring_size| Row { ring_size, ..Row::new(false) });
    let packed = [64, 1000, 32768].map(|ring_size| Row { ring_size, ..Row::new(true) });
    table(test, split.into_iter().chain(packed), |row| {
        let place = Place::new();
        let (_peer, _driver, mut link) = row.join(&place)?;
        let plan = EchoPlan { frames: 200_000, slots_in_flight: 32, ..row.plan() };
        echo(&mut link.rx, &mut link.tx, &plan)
    });
}

#[test]
fn every_number_of_pairs_carries_frames() {
    let test = "every_number_of_pairs_carries_frames";
    let rows = layouts().flat_map(|row| [2, 8].map(|pairs| Row { pairs, ..row }));
    table(test, rows, |row| row.echo(500));
}

#[test]
fn driver_that_sleeps_on_its_doorbells_misses_nothing() {
    let test = "driver_that_sleeps_on_its_doorbells_misses_nothing";
    table(test, layouts().map(|row| Row { sleeps: true, ..row }), |row| row.echo(1000));
}

#[test]
fn device_restarts_under_traffic_and_each_link_works() {
    let test = "device_restarts_under_traffic_and_each_link_works";
    let rows =
        layouts().flat_map(|row| [true, false].map(|device_listens| Row { device_listens, ..row }));
    table(test, rows, |row| {
        let place = Place::new();
        let (mut peer, driver, mut link) = row.join(&place)?;
        for round in 0..5 {
            echo(&mut link.rx, &mut link.tx, &EchoPlan { frames: 2000, ..row.plan() })?;
            pump(&mut link.rx, &mut link.tx, Duration::from_millis(5))?;
            peer.process().signal(Signal::SIGKILL)?;
            // Until we notice.
            while pump(&mut link.rx, &mut link.tx, Duration::from_millis(1)).is_ok() {}
            match driver.link_down() {
                DownReason::PeerClosed => {}
                other => return Err(format!("round {round}: {other}").into()),
            }
            drop((link, peer));
            if row.device_listens {
                std::fs::remove_file(&place.path)?;
            }
            peer = Killed(row.testpmd(&place).start()?);
            link = row.link(&mut peer, &driver)?;
        }
        echo(&mut link.rx, &mut link.tx, &row.plan())
    });
}

#[test]
fn driver_restarts_and_each_link_works() {
    let test = "driver_restarts_and_each_link_works";
    let rows =
        layouts().flat_map(|row| [true, false].map(|device_listens| Row { device_listens, ..row }));
    table(test, rows, |row| {
        let place = Place::new();
        let (mut peer, mut driver, mut link) = row.join(&place)?;
        let mut census = None;
        for round in 0..10 {
            echo(&mut link.rx, &mut link.tx, &EchoPlan { frames: 2000, ..row.plan() })?;
            let mut last = driver.into_inner();
            if round % 2 == 0 {
                // In order, otherwise at once.
                last.stop();
                let end = last.poll(Some(PATIENCE))?;
                if !matches!(end, Some(Event::LinkDown(DownReason::Closed))) {
                    return Err(format!("round {round}: {end:?}").into());
                }
            }
            drop((link, last));
            census.get_or_insert_with(Census::take).compare()?;
            driver = row.driver(&place);
            link = row.link(&mut peer, &driver)?;
        }
        echo(&mut link.rx, &mut link.tx, &row.plan())
    });
}
