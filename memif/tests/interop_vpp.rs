//! Against a real VPP (verified with 26.10-rc0), in both roles. Runs where `RINGPORT_VPP` names one:
//! `RINGPORT_VPP/bin/vpp` with the plugins memif and ping.
//!
//! What VPP does, where memif.h leaves it open:
//! * A client (slave) tries to connect every 3 s, so a restart of our server costs up to that much.
//! * The rx-mode of an interface can be set once the link is up, and is polling again on the next.
//! * A zero-copy client fills its receive ring in steps of 32 buffers: with a ring of 16 or less it
//!   never offers one, and nothing can be sent to it; with a ring of 32 it offers all of them or
//!   none, and a packet in several buffers can wait for ever.
//! * A server (master) that is greeted and left before INIT crashes; none of our clients does that.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "a test, which reports what peers did"
)]

mod support;

use ringport_memif::{ControlError, EventKind, Port, RxQueue, TxQueue};
use std::fmt;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;
use support::inet::Host;
use support::optional::optional_peer;
use support::pings::ping_each_other;
use support::station::{NAP_MS, Station};
use support::table::each_row;
use support::vpp::Vpp;
use support::{Outcome, link, link_down, open, wait_until};
use tempfile::TempDir;

const OURS: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
const VPPS: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);

/// What VPP's interface is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Master,
    SlaveZeroCopy,
    SlaveCopying,
}

/// One link between VPP and us, and what is to travel over it.
#[derive(Debug, Clone)]
struct Row {
    role: Role,
    /// More for VPP's `create interface memif`.
    theirs: &'static str,
    /// More for our port string.
    ours: &'static str,
    /// VPP's rx-mode; empty leaves it.
    rx_mode: &'static str,
    /// Lengths of pings.
    lens: &'static [usize],
}

/// Pings that fit one buffer, and those that take several.
const LENS: [usize; 4] = [56, 1400, 2100, 7000];

impl Row {
    fn new(role: Role) -> Self {
        Self { role, theirs: "", ours: "", rx_mode: "", lens: &LENS }
    }

    fn all() -> [Self; 3] {
        [Role::Master, Role::SlaveZeroCopy, Role::SlaveCopying].map(Self::new)
    }

    /// What VPP is told to create the interface.
    fn create(&self) -> String {
        let role = match self.role {
            Role::Master => "master",
            Role::SlaveZeroCopy => "slave",
            Role::SlaveCopying => "slave no-zero-copy",
        };
        format!("create interface memif id 7 socket-id 1 {role}{}", self.theirs)
    }

    /// What our port is opened with.
    fn options(&self) -> String {
        let role = if self.role == Role::Master {
            "role=client,reconnect=20ms-100ms"
        } else {
            "role=server"
        };
        format!("{role},id=7{}", self.ours)
    }

    fn station(&self, port: &mut Port) -> Outcome<Station<RxQueue, TxQueue>> {
        let ip_mode = self.ours.contains("mode=ip");
        let host = Host { mac: [2, 0, 0, 0, 0x77, 1], ip: OURS, ip_mode };
        let link = link(port)?;
        let nap = (!self.ours.contains("rx-mode=polling")).then_some(NAP_MS);
        Ok(Station::new(host, link.rx, link.tx, nap))
    }

    /// Tells VPP everything; our server has to be there before its client comes up, or it waits 3 s.
    fn configure(&self, vpp: &Vpp, socket: &Path) -> Outcome<Port> {
        vpp.run(&format!("create memif socket id 1 filename {}", socket.display()))?;
        let ours = |_: &Vpp| open(socket, &self.options());
        let early = if self.role == Role::Master { None } else { Some(ours(vpp)?) };
        vpp.run(&self.create())?;
        vpp.run("set interface state memif1/7 up")?;
        vpp.run(&format!("set interface ip address memif1/7 {VPPS}/24"))?;
        early.map_or_else(|| ours(vpp), Ok)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, theirs, ours, rx_mode, .. } = self;
        write!(f, "VPP {role:?}{theirs}, rx-mode {rx_mode:?}, ours {ours:?}")
    }
}

/// The whole life of one link.
fn run(row: &Row, install: &Path) -> Outcome {
    let dir = TempDir::new()?;
    let mut vpp = Vpp::start(install, dir.path())?;
    let mut port = row.configure(&vpp, &dir.path().join("memif.sock"))?;
    let mut station = row.station(&mut port)?;
    if !row.rx_mode.is_empty() {
        vpp.run(&format!("set interface rx-mode memif1/7 {}", row.rx_mode))?;
    }
    ping_each_other(&vpp, &mut station, VPPS, row.lens)?;
    vpp.check_running()
}

fn table(test: &str, rows: impl IntoIterator<Item = Row>) {
    let Some(peer) = optional_peer(test, "RINGPORT_VPP", "bin/vpp") else { return };
    each_row(rows, |row| run(row, &peer.dir));
}

#[test]
fn vpp_and_we_ping_each_other_in_every_role_and_rx_mode() {
    let modes = [
        ("polling", ",rx-mode=polling"),
        ("interrupt", ",rx-mode=interrupt"),
        ("adaptive", ",rx-mode=adaptive"),
        ("interrupt", ",rx-mode=polling"),
        ("polling", ",rx-mode=interrupt"),
    ];
    let rows = modes
        .into_iter()
        .flat_map(|(rx_mode, ours)| Row::all().map(|row| Row { rx_mode, ours, ..row }));
    table("vpp_and_we_ping_each_other_in_every_role_and_rx_mode", rows);
}

#[test]
fn vpp_and_we_ping_each_other_over_rings_and_buffers_of_every_size() {
    let mut rows = Vec::new();
    for ours in [",ring-size=16", ",ring-size=32", ",ring-size=64", ",ring-size=16384"] {
        rows.push(Row { ours, ..Row::new(Role::Master) });
    }
    for theirs in [" ring-size 32", " ring-size 64", " ring-size 16384"] {
        // Once fewer buffers are left than a long packet takes, a ring of 32 is never refilled.
        let lens = if theirs == " ring-size 32" { &LENS[..2] } else { &LENS };
        rows.push(Row { theirs, lens, ..Row::new(Role::SlaveZeroCopy) });
        rows.push(Row { theirs, ..Row::new(Role::SlaveCopying) });
    }
    rows.push(Row { theirs: " ring-size 16", ..Row::new(Role::SlaveCopying) });
    for theirs in [" buffer-size 512", " buffer-size 4096"] {
        rows.push(Row { theirs, ..Row::new(Role::SlaveCopying) });
    }
    for ours in [",buffer-size=512", ",buffer-size=9216", ",rings=4", ",memory=hugepages"] {
        rows.push(Row { ours, ..Row::new(Role::Master) });
    }
    for row in Row::all().into_iter().skip(1) {
        rows.push(Row { theirs: " rx-queues 4 tx-queues 4", ..row });
    }
    table("vpp_and_we_ping_each_other_over_rings_and_buffers_of_every_size", rows);
}

#[test]
fn vpp_and_we_ping_each_other_in_ip_mode_and_with_a_secret() {
    let rows = Row::all().into_iter().flat_map(|row| {
        let ip = Row { theirs: " mode ip", ours: ",mode=ip", ..row.clone() };
        [ip, Row { theirs: " secret s3cret", ours: ",secret=s3cret", ..row }]
    });
    table("vpp_and_we_ping_each_other_in_ip_mode_and_with_a_secret", rows);
}

#[test]
fn wrong_secret_id_or_mode_is_refused_in_words_on_both_sides() {
    let test = "wrong_secret_id_or_mode_is_refused_in_words_on_both_sides";
    let Some(peer) = optional_peer(test, "RINGPORT_VPP", "bin/vpp") else { return };
    let mut rows = Vec::new();
    for row in [Row::new(Role::Master), Row::new(Role::SlaveZeroCopy)] {
        let refused = [
            (" secret s3cret", ",secret=wrong", "incorrect secret"),
            (" mode ip", "", "mode mismatch"),
        ];
        rows.extend(refused.map(|(theirs, ours, _)| Row { theirs, ours, ..row.clone() }));
    }
    rows.push(Row { theirs: " secret s3cret", ..Row::new(Role::Master) });
    rows.push(Row { ours: ",secret=s3cret", ..Row::new(Role::SlaveZeroCopy) });
    each_row(rows, |row| {
        let dir = TempDir::new()?;
        let mut vpp = Vpp::start(&peer.dir, dir.path())?;
        let mut port = row.configure(&vpp, &dir.path().join("memif.sock"))?;
        let expected = match (row.theirs, row.ours) {
            (" mode ip", _) => "mode mismatch",
            (_, ",secret=wrong") => "incorrect secret",
            _ => "secret required",
        };
        let said = wait_until("a refusal", || {
            match port.poll(Some(Duration::from_millis(10)))?.map(|event| event.kind) {
                Some(EventKind::Refused(ControlError::Refused(why))) => Ok(Some(why.to_string())),
                Some(EventKind::Refused(ControlError::Rejected { text, .. })) => {
                    Ok(Some(text.to_string()))
                }
                Some(EventKind::LinkUp(_)) => Err("a link".into()),
                _ => Ok(None),
            }
        })?;
        vpp.check_running()?;
        if said == expected { Ok(()) } else { Err(format!("said {said:?}").into()) }
    });
}

#[test]
fn link_returns_after_our_restart_and_after_vpps() {
    let test = "link_returns_after_our_restart_and_after_vpps";
    let Some(peer) = optional_peer(test, "RINGPORT_VPP", "bin/vpp") else { return };
    each_row(Row::all(), |row| {
        let dir = TempDir::new()?;
        let socket = dir.path().join("memif.sock");
        let mut vpp = Vpp::start(&peer.dir, dir.path())?;
        let mut port = row.configure(&vpp, &socket)?;
        let mut station = row.station(&mut port)?;
        ping_each_other(&vpp, &mut station, VPPS, &[56])?;
        // Ours: with and without a goodbye.
        for goodbye in [true, false] {
            if goodbye {
                port.close("restart");
            } else {
                drop(port);
            }
            drop(station);
            port = open(&socket, &row.options())?;
            station = row.station(&mut port)?;
            ping_each_other(&vpp, &mut station, VPPS, &[56])?;
        }
        // VPP's: it is killed, and its successor finds us waiting.
        let old = station;
        vpp = vpp.restart()?;
        link_down(&mut port)?;
        drop(old);
        vpp.run(&format!("create memif socket id 1 filename {}", socket.display()))?;
        vpp.run(&row.create())?;
        vpp.run("set interface state memif1/7 up")?;
        vpp.run(&format!("set interface ip address memif1/7 {VPPS}/24"))?;
        station = row.station(&mut port)?;
        ping_each_other(&vpp, &mut station, VPPS, &[56, 7000])
    });
}

#[test]
fn several_interfaces_share_one_socket_of_ours() {
    use ringport_memif::{InterfaceConfig, Listener, ListenerConfig, SocketAddress};
    let test = "several_interfaces_share_one_socket_of_ours";
    let Some(peer) = optional_peer(test, "RINGPORT_VPP", "bin/vpp") else { return };
    each_row(["three of VPP's"], |_| {
        let dir = TempDir::new()?;
        let vpp = Vpp::start(&peer.dir, dir.path())?;
        let socket = dir.path().join("memif.sock");
        let address = SocketAddress::Path(socket.clone());
        let mut listener = Listener::bind(&address, ListenerConfig::default())?;
        vpp.run(&format!("create memif socket id 1 filename {}", socket.display()))?;
        for id in 0..3u8 {
            listener.add_interface(InterfaceConfig::new(id.into()))?;
            vpp.run(&format!("create interface memif id {id} socket-id 1 slave"))?;
            vpp.run(&format!("set interface state memif1/{id} up"))?;
            vpp.run(&format!("set interface ip address memif1/{id} 192.168.{id}.2/24"))?;
        }
        let mut links = wait_links(&mut listener)?;
        links.sort_by_key(|(id, _)| *id);
        for (id, link) in links {
            let at = |last| Ipv4Addr::new(192, 168, id, last);
            let host = Host { mac: [2, 0, 0, 0, 1, id], ip: at(1), ip_mode: false };
            let mut station = Station::new(host, link.rx, link.tx, Some(NAP_MS));
            let mac = station.resolve(at(2))?;
            station.ping(mac, at(2), 1, 1400)?;
        }
        Ok(())
    });
}

fn wait_links(listener: &mut ringport_memif::Listener) -> Outcome<Vec<(u8, ringport_memif::Link)>> {
    let mut links = Vec::new();
    wait_until("three links", || {
        if let Some(event) = listener.poll(Some(Duration::from_millis(10)))?
            && let (Some(id), EventKind::LinkUp(link)) = (event.id, event.kind)
        {
            links.push((u8::try_from(id)?, *link));
        }
        Ok((links.len() == 3).then_some(()))
    })?;
    Ok(links)
}
