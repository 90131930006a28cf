//! A real VPP, as the tests of memif start it, and drivers of ours on its interfaces.
#![allow(dead_code, unreachable_pub, reason = "as the tests of memif have it")]

#[path = "../../../memif/tests/support/inet.rs"]
pub mod inet;
#[path = "../../../memif/tests/support/optional.rs"]
mod optional;
#[path = "../../../memif/tests/support/pings.rs"]
mod pings;
#[path = "../../../memif/tests/support/station.rs"]
mod station;
#[path = "../../../memif/tests/support/vpp.rs"]
mod vpp;

pub use optional::optional_peer;
pub use pings::ping_each_other;
pub use ringport_bench::interop::{Outcome, PATIENCE, wait_until};
pub use station::Station;
pub use vpp::Vpp;

use crate::device_support::Served;
use inet::Host;
use ringport_bench::interop::echo::End;
use ringport_vhost_user::driver::{Link, RxQueue, TxQueue};
use ringport_vhost_user::{Driver, Event, PortConfig, RoleConfig};
use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tempfile::TempDir;

pub const OURS: Ipv4Addr = Ipv4Addr::new(192, 168, 78, 1);
pub const VPPS: Ipv4Addr = Ipv4Addr::new(192, 168, 78, 2);

/// One link between VPP and a driver of ours.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Whether VPP listens, or we do.
    pub vpp_listens: bool,
    pub packed: bool,
    /// More for VPP's `create vhost-user`.
    pub theirs: &'static str,
    /// More for our port string.
    pub ours: &'static str,
    /// VPP's rx-mode; empty leaves it.
    pub rx_mode: &'static str,
    /// Pairs that are agreed on.
    pub pairs: usize,
    /// Lengths of pings.
    pub lens: &'static [usize],
}

/// Naps short enough for an answer whose call was lost.
const NAP_MS: u16 = 20;

/// Pings that fit one buffer, and those that take several; the last is almost what VPP's interface takes.
pub const LENS: [usize; 4] = [56, 1400, 2100, 8900];

impl Row {
    pub fn new(packed: bool, vpp_listens: bool) -> Self {
        let (theirs, ours, rx_mode) = ("", "", "");
        Self { vpp_listens, packed, theirs, ours, rx_mode, pairs: 1, lens: &LENS }
    }

    /// Both layouts, both socket roles.
    pub fn all() -> impl Iterator<Item = Self> {
        [true, false]
            .into_iter()
            .flat_map(|listens| [false, true].map(|packed| Self::new(packed, listens)))
    }

    /// Both layouts, on sockets of VPP's.
    pub fn layouts() -> impl Iterator<Item = Self> + Clone {
        [false, true].into_iter().map(|packed| Self::new(packed, true))
    }

    /// The rx-mode that works with `event-idx`, besides the usual one.
    pub fn event_idx_mode(&self) -> &'static str {
        if self.packed { "interrupt" } else { "polling" }
    }

    /// Our driver on the interface whose socket is `socket`.
    pub fn open(&self, socket: &Path) -> Outcome<Served<Driver>> {
        let side = if self.vpp_listens { ",socket=connect,reconnect=20ms-100ms" } else { "" };
        let (socket, ours) = (socket.display(), self.ours);
        let port: PortConfig = format!("vhost:{socket},role=driver{side}{ours}").parse()?;
        let RoleConfig::Driver(config) = port.role else { return Err("not a driver".into()) };
        Ok(Served::new(Driver::open(&port.address, port.socket, config)?))
    }

    /// The next link, with what was to be agreed on.
    pub fn next_link(&self, driver: &Served<Driver>) -> Outcome<Link> {
        let (start, mut refusal) = (Instant::now(), None);
        let link = loop {
            match driver.next() {
                Event::LinkUp(link) => break *link,
                Event::Refused(reason) if start.elapsed() < PATIENCE => refusal = Some(reason),
                other => return Err(format!("no link: {other:?}, before {refusal:?}").into()),
            }
        };
        let (rx, tx) = (link.rx.len(), link.tx.len());
        if (link.parameters.packed, rx, tx) != (self.packed, self.pairs, self.pairs) {
            return Err(format!("{rx} and {tx} queues, {:?}", link.parameters).into());
        }
        Ok(link)
    }

    pub fn station(&self, link: Link) -> Station<RxQueue, TxQueue> {
        let host = Host { mac: [2, 0, 0, 0, 0x78, 1], ip: OURS, ip_mode: false };
        let nap = (!self.ours.contains("rx-mode=polling")).then_some(NAP_MS);
        Station::new(host, link.rx, link.tx, nap)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { theirs, ours, rx_mode, .. } = self;
        let listens = if self.vpp_listens { "VPP" } else { "driver" };
        let layout = if self.packed { "packed" } else { "split" };
        write!(f, "{layout}, {listens} listens, VPP's {theirs:?} {rx_mode:?}, ours {ours:?}")
    }
}

/// A VPP with vhost-user interfaces.
pub struct Lab {
    pub vpp: Vpp,
    dir: TempDir,
}

/// A driver of ours on an interface, and its link.
pub struct Attached {
    pub driver: Served<Driver>,
    pub link: Link,
}

impl Attached {
    /// The end of a bridge that sends on queue `queue`. VPP, which has one thread here, answers on the
    /// first one only.
    pub fn end(&mut self, queue: usize) -> End<'_> {
        End { rx: &mut self.link.rx[0], tx: &mut self.link.tx[queue] }
    }
}

impl Lab {
    pub fn start(install: &Path) -> Outcome<Self> {
        let dir = TempDir::new()?;
        Ok(Self { vpp: Vpp::start(install, dir.path())?, dir })
    }

    pub fn socket(&self, interface: usize) -> PathBuf {
        self.dir.path().join(format!("v{interface}.sock"))
    }

    /// Makes interface number `interface` and brings it up.
    pub fn create(&self, row: &Row, interface: usize) -> Outcome {
        let side = if row.vpp_listens { " server" } else { "" };
        let packed = if row.packed { " packed" } else { "" };
        let (socket, theirs) = (self.socket(interface), row.theirs);
        let create = format!("create vhost-user socket {}{side}{packed}{theirs}", socket.display());
        self.vpp.run(&create)?;
        self.vpp.run(&format!("set interface state {} up", name(interface)))
    }

    /// As [`create`](Self::create), with VPP's address.
    pub fn create_host(&self, row: &Row) -> Outcome {
        self.create(row, 0)?;
        self.vpp.run(&format!("set interface ip address {} {VPPS}/24", name(0)))
    }

    /// An interface of a bridge.
    pub fn create_bridged(&self, row: &Row, interface: usize) -> Outcome {
        self.create(row, interface)?;
        self.vpp.run(&format!("set interface l2 bridge {} 1", name(interface)))
    }

    /// Has `create` make an interface for a driver of ours. Where we listen we do so before: VPP tries to
    /// connect at once, then every 3 s.
    pub fn attach(
        &self,
        row: &Row,
        interface: usize,
        create: impl FnOnce() -> Outcome,
    ) -> Outcome<Attached> {
        let socket = self.socket(interface);
        let early = if row.vpp_listens { None } else { Some(row.open(&socket)?) };
        create()?;
        let driver = early.map_or_else(|| row.open(&socket), Ok)?;
        let link = row.next_link(&driver)?;
        if !row.rx_mode.is_empty() {
            let name = name(interface);
            self.vpp.run(&format!("set interface rx-mode {name} {}", row.rx_mode))?;
        }
        Ok(Attached { driver, link })
    }

    /// Kills VPP, as a crash would, and starts another one, which has no interfaces yet.
    pub fn restart(self) -> Outcome<Self> {
        Ok(Self { vpp: self.vpp.restart()?, dir: self.dir })
    }
}

/// What VPP calls an interface.
pub fn name(interface: usize) -> String {
    format!("VirtualEthernet0/0/{interface}")
}
