//! Against libmemif's own example, icmp_responder (verified with 4.0), in both roles. Runs where
//! `RINGPORT_LIBMEMIF` names one: `RINGPORT_LIBMEMIF/bin/icmp_responder`.
//!
//! What it does, where memif.h leaves it open:
//! * It answers pings with a checksum that is wrong (it sums eight bytes, the old checksum among
//!   them). The payload is what counts here.
//! * It takes packets of one descriptor only; what arrives in several is answered in pieces that are
//!   no pings. So no ping here is longer than a buffer.
//! * It asks libmemif for buffers of 2048 bytes for any answer, whatever a slot holds. With smaller
//!   slots libmemif chains two, and an answer shorter than the first is sent with a second descriptor
//!   of length zero. We take that for a fault, VPP for a bad descriptor. So slots are not smaller here.
//! * In either role it ends with its first link.
//! * As a server it advertises hundreds of rings and hangs up on a client that brings more than one.
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

use ringport_bench::peers::CommandGuard;
use ringport_memif::{DownReason, Port, RxQueue, TxQueue};
use std::fmt;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::inet::Host;
use support::optional::optional_peer;
use support::station::{NAP_MS, Station};
use support::table::each_row;
use support::{Outcome, link, link_down, open, wait_until};
use tempfile::TempDir;

const OURS: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
const THEIRS: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

/// One link between icmp_responder and us.
struct Row {
    /// Its role, as it calls it.
    role: &'static str,
    ours: &'static str,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "libmemif {}, ours {:?}", self.role, self.ours)
    }
}

impl Row {
    fn is_master(&self) -> bool {
        self.role == "master"
    }

    fn responder(&self, install: &Path, socket: &Path) -> Outcome<CommandGuard> {
        let mut command = Command::new(install.join("bin/icmp_responder"));
        command.args(["-r", self.role, "-i", "5", "-a", "192.168.1.1", "-s"]).arg(socket);
        Ok(CommandGuard::spawn("icmp_responder", &mut command)?)
    }

    fn port(&self, socket: &Path) -> Outcome<Port> {
        let role =
            if self.is_master() { "role=client,reconnect=20ms-100ms" } else { "role=server" };
        open(socket, &format!("{role},id=5{}", self.ours))
    }

    fn join(&self, install: &Path, socket: &Path) -> Outcome<(CommandGuard, Port)> {
        if !self.is_master() {
            let port = self.port(socket)?;
            return Ok((self.responder(install, socket)?, port));
        }
        let responder = self.responder(install, socket)?;
        wait_until("its socket", || Ok(socket.exists().then_some(())))?;
        Ok((responder, self.port(socket)?))
    }
}

fn station(port: &mut Port, ours: &str) -> Outcome<Station<RxQueue, TxQueue>> {
    let host = Host { mac: [2, 0, 0, 0, 0x55, 1], ip: OURS, ip_mode: false };
    let link = link(port)?;
    let nap = (!ours.contains("rx-mode=polling")).then_some(NAP_MS);
    Ok(Station::new(host, link.rx, link.tx, nap))
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for role in ["master", "slave"] {
        for ours in [",rx-mode=polling", ",rx-mode=interrupt", ",rx-mode=adaptive"] {
            rows.push(Row { role, ours });
        }
    }
    for ours in [",ring-size=64", ",ring-size=8,buffer-size=4096", ",headroom=64,buffer-size=2112"]
    {
        rows.push(Row { role: "master", ours });
    }
    rows
}

#[test]
fn icmp_responder_answers_our_pings_in_both_roles() {
    let test = "icmp_responder_answers_our_pings_in_both_roles";
    let Some(peer) = optional_peer(test, "RINGPORT_LIBMEMIF", "bin/icmp_responder") else {
        return;
    };
    each_row(rows(), |row| {
        let dir = TempDir::new()?;
        let (mut responder, mut port) = row.join(&peer.dir, &dir.path().join("m.sock"))?;
        let mut station = station(&mut port, row.ours)?;
        let mac = station.resolve(THEIRS)?;
        // More than once round the ring.
        for sequence in 1..=3000u16 {
            let len = [56, 18, 1400, 1][usize::from(sequence) % 4];
            station.ping(mac, THEIRS, sequence, len)?;
        }
        Ok(responder.check_running()?)
    });
}

#[test]
fn link_goes_down_when_icmp_responder_is_killed_and_returns_with_the_next_one() {
    let test = "link_goes_down_when_icmp_responder_is_killed_and_returns_with_the_next_one";
    let Some(peer) = optional_peer(test, "RINGPORT_LIBMEMIF", "bin/icmp_responder") else {
        return;
    };
    let rows = ["master", "slave"].map(|role| Row { role, ours: "" });
    each_row(rows, |row| {
        let dir = TempDir::new()?;
        let socket = dir.path().join("m.sock");
        let (mut responder, mut port) = row.join(&peer.dir, &socket)?;
        let mut one = station(&mut port, "")?;
        let mac = one.resolve(THEIRS)?;
        one.ping(mac, THEIRS, 1, 56)?;
        responder.signal(nix::sys::signal::Signal::SIGKILL)?;
        match link_down(&mut port)? {
            DownReason::PeerClosed | DownReason::PeerDisconnected { .. } => {}
            other => return Err(format!("{other}").into()),
        }
        drop((one, responder));
        if row.is_master() {
            // It cannot bind to a file that is there.
            std::fs::remove_file(&socket)?;
        }
        let _responder = row.responder(&peer.dir, &socket)?;
        let mut next = station(&mut port, "")?;
        let mac = next.resolve(THEIRS)?;
        next.ping(mac, THEIRS, 2, 56).map(drop)
    });
}

#[test]
fn our_goodbye_ends_icmp_responder_in_both_roles() {
    let test = "our_goodbye_ends_icmp_responder_in_both_roles";
    let Some(peer) = optional_peer(test, "RINGPORT_LIBMEMIF", "bin/icmp_responder") else {
        return;
    };
    let rows = ["master", "slave"].map(|role| Row { role, ours: "" });
    each_row(rows, |row| {
        let dir = TempDir::new()?;
        let socket = dir.path().join("m.sock");
        let (mut responder, mut port) = row.join(&peer.dir, &socket)?;
        drop(station(&mut port, "")?);
        port.close("enough");
        let status = responder.wait_end(Duration::from_secs(5))?;
        match status.map(|status| status.success()) {
            Some(true) => Ok(()),
            other => Err(format!("{other:?}: {}", responder.log()).into()),
        }
    });
}
