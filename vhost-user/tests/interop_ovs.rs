//! Our driver on Open vSwitch with DPDK (verified with 3.1.0, DPDK 22.11): ports of both kinds, both
//! layouts, VLANs, and a switch that is killed and started again.
//!
//! What 3.1 does:
//! * A `dpdkvhostuserclient` port connects to the driver, again and again; a `dpdkvhostuser` one listens.
//! * On a bridge with its usual one flow, frames to an address that nobody sent from go to all ports of
//!   the VLAN, the bridge's own among them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test, which reports what peers did"
)]

mod device_support;

use device_support::{PATIENCE, Served};
use ringport::retry::Reconnect;
use ringport_bench::interop::echo::{self, EchoPlan, End, pump};
use ringport_bench::interop::frames::fill;
use ringport_bench::interop::table::each_row;
use ringport_bench::interop::{Outcome, wait_until};
use ringport_bench::peers::ovs::Socket;
use ringport_bench::peers::{Ovs, require_ovs};
use ringport_vhost_user::device::SocketRole;
use ringport_vhost_user::driver::Link;
use ringport_vhost_user::wire::feature;
use ringport_vhost_user::{Driver, DriverConfig, Event};
use std::fmt;
use std::time::{Duration, Instant};

/// Lengths around everything that could matter, within an MTU of 1500.
const LENS: [usize; 8] = [64, 65, 127, 128, 256, 1024, 1499, 1514];

/// How our drivers are, and how they are attached.
#[derive(Debug, Clone, Copy)]
struct Row {
    packed: bool,
    in_order: bool,
    mergeable: bool,
    socket: Socket,
}

/// A driver on a port of the bridge.
struct Attached {
    driver: Served<Driver>,
    link: Link,
}

impl Row {
    fn new(packed: bool, socket: Socket) -> Self {
        Self { packed, in_order: true, mergeable: true, socket }
    }

    /// Both layouts, both kinds of ports.
    fn all() -> impl Iterator<Item = Self> {
        [Socket::Connects, Socket::Listens]
            .into_iter()
            .flat_map(|socket| [false, true].map(|packed| Self::new(packed, socket)))
    }

    /// Adds a port and attaches a driver to it.
    fn attach(&self, ovs: &mut Ovs, port: &str, settings: &[&str]) -> Outcome<Attached> {
        ovs.add_port(port, self.socket, settings)?;
        let config = DriverConfig {
            packed: self.packed,
            in_order: self.in_order,
            mergeable: self.mergeable,
            ring_size: 512,
            timeout: Duration::from_secs(10),
            ..DriverConfig::default()
        };
        let socket = match self.socket {
            Socket::Connects => SocketRole::default(),
            Socket::Listens => SocketRole::Connect(Reconnect::Backoff {
                initial: Duration::from_millis(20),
                max: Duration::from_millis(200),
            }),
        };
        let address = ovs.socket(port).to_str().ok_or("a path")?.parse()?;
        let driver = Served::new(Driver::open(&address, socket, config)?);
        let link = self.next_link(&driver)?;
        Ok(Attached { driver, link })
    }

    /// The next link, with what was to be agreed on.
    fn next_link(&self, driver: &Served<Driver>) -> Outcome<Link> {
        let start = Instant::now();
        let link = loop {
            match driver.next() {
                Event::LinkUp(link) => break *link,
                Event::Refused(_) if start.elapsed() < PATIENCE => {}
                other => return Err(format!("no link: {other:?}").into()),
            }
        };
        let has = |bit| link.parameters.features & bit != 0;
        let agreed = [has(feature::RING_PACKED), has(feature::IN_ORDER), has(feature::MRG_RXBUF)];
        if agreed != [self.packed, self.in_order, self.mergeable] {
            return Err(format!("agreed on {:?}", link.parameters).into());
        }
        Ok(link)
    }
}

impl Attached {
    fn end(&mut self) -> End<'_> {
        End { rx: &mut self.link.rx[0], tx: &mut self.link.tx[0] }
    }

    /// Waits for the end of the link, and the one after it.
    fn reattach(self, row: &Row) -> Outcome<Self> {
        let Self { driver, mut link } = self;
        wait_until("the end of the link", || {
            Ok(pump(&mut link.rx, &mut link.tx, MOMENT).is_err().then_some(()))
        })?;
        let reason = driver.link_down();
        println!("down: {reason}");
        drop(link);
        let link = row.next_link(&driver)?;
        Ok(Self { driver, link })
    }
}

/// Long enough for a burst.
const MOMENT: Duration = Duration::from_millis(1);

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { packed, in_order, mergeable, socket } = self;
        let on = |on: &bool, text| if *on { text } else { "" };
        let layout = if *packed { "packed" } else { "split" };
        let (in_order, merges) = (on(in_order, " in order"), on(mergeable, " mergeable"));
        write!(f, "{layout}{in_order}{merges}, Open vSwitch {socket:?}")
    }
}

/// Frames from each of two drivers to the other, each checked.
fn exchange(a: &mut Attached, b: &mut Attached, frames: u64, lens: &[usize]) -> Outcome {
    let plan = EchoPlan { lens, frames, slots_in_flight: 64, ..EchoPlan::default() };
    echo::exchange(a.end(), b.end(), &plan)
}

/// All that a row may have added.
const PORTS: [&str; 4] = ["a", "b", "c", "d"];

/// Runs a table on one switch.
fn table(test: &str, rows: impl IntoIterator<Item = Row>, run: impl Fn(&mut Ovs, &Row) -> Outcome) {
    let Some(_peer) = require_ovs(test) else { return };
    let mut ovs = Ovs::start().unwrap();
    each_row(rows, |row| {
        let outcome = run(&mut ovs, row).map_err(|error| format!("{error}; {}", ovs.log()));
        // One that failed must not fail those behind it.
        for port in PORTS {
            ovs.remove_port(port)?;
        }
        Ok(outcome?)
    });
}

#[test]
fn two_drivers_on_one_bridge_exchange_frames() {
    let rows = Row::all().chain([
        Row { in_order: false, ..Row::new(false, Socket::Connects) },
        Row { in_order: false, ..Row::new(true, Socket::Connects) },
        Row { mergeable: false, ..Row::new(false, Socket::Connects) },
        Row { mergeable: false, ..Row::new(true, Socket::Connects) },
    ]);
    table("two_drivers_on_one_bridge_exchange_frames", rows, |ovs, row| {
        let mut a = row.attach(ovs, "a", &[])?;
        let mut b = row.attach(ovs, "b", &[])?;
        for lens in std::iter::once(&LENS[..]).chain(LENS.chunks(1)) {
            exchange(&mut a, &mut b, 2000, lens).map_err(|error| format!("{lens:?}: {error}"))?;
        }
        Ok(())
    });
}

#[test]
fn vlans_are_kept_apart_and_a_trunk_has_their_tags() {
    let rows = Row::all().filter(|row| row.socket == Socket::Connects);
    table("vlans_are_kept_apart_and_a_trunk_has_their_tags", rows, |ovs, row| {
        let mut a = row.attach(ovs, "a", &["tag=7"])?;
        let mut b = row.attach(ovs, "b", &["tag=7"])?;
        let mut other = row.attach(ovs, "c", &["tag=8"])?;
        let mut trunk = row.attach(ovs, "d", &["trunks=7,8"])?;
        exchange(&mut a, &mut b, 1000, &LENS)?;
        // To everybody who may have it.
        let mut frame = [0; 100];
        fill(&mut frame, 0, 1);
        frame[..6].fill(0xff);
        let mut tagged = [&frame[..12], &[0x81, 0, 0, 7], &frame[12..]].concat();
        wait_until("a frame with its tag", || {
            let mut burst = a.link.tx[0].tx_burst(1)?;
            burst.push(&frame)?;
            burst.commit();
            std::thread::sleep(MOMENT);
            let burst = trunk.link.rx[0].rx_burst(64)?;
            let seen = |len| burst.packets().any(|packet| packet.len() == len);
            Ok(seen(tagged.len()).then_some(()))
        })?;
        // The other VLAN's, which has seen none of these so far.
        tagged[15] = 8;
        wait_until("a frame from the trunk", || {
            let mut burst = trunk.link.tx[0].tx_burst(1)?;
            burst.push(&tagged)?;
            burst.commit();
            std::thread::sleep(MOMENT);
            let burst = other.link.rx[0].rx_burst(64)?;
            let stray = burst.packets().find(|packet| packet.len() != frame.len());
            if let Some(stray) = stray {
                return Err(format!("{} bytes of another VLAN", stray.len()).into());
            }
            Ok((!burst.is_empty()).then_some(()))
        })?;
        Ok(())
    });
}

#[test]
fn switch_that_is_killed_under_traffic_and_comes_back_carries_frames_again() {
    let test = "switch_that_is_killed_under_traffic_and_comes_back_carries_frames_again";
    table(test, Row::all(), |ovs, row| {
        let mut a = row.attach(ovs, "a", &[])?;
        let mut b = row.attach(ovs, "b", &[])?;
        for round in 0..3 {
            exchange(&mut a, &mut b, 2000, &LENS).map_err(|e| format!("round {round}: {e}"))?;
            pump(&mut a.link.rx, &mut a.link.tx, MOMENT)?;
            ovs.restart()?;
            a = a.reattach(row)?;
            b = b.reattach(row)?;
        }
        exchange(&mut a, &mut b, 2000, &LENS)?;
        Ok(())
    });
}
