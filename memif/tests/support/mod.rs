//! What the tests against real peers share: numbered frames, echo runs, censuses, tables.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test takes what it needs")]

pub mod echo;
pub mod inet;
pub mod optional;
pub mod pings;
pub mod station;
pub mod vpp;

pub use ringport_bench::interop::{
    Killed, Outcome, PATIENCE, census, chain, frames, received, table, wait_until,
};
use ringport_memif::{DownReason, EventKind, Link, Port};
use std::path::Path;
use std::time::Duration;

/// Opens our port. `options` is everything behind the socket, without the leading comma.
pub fn open(socket: &Path, options: &str) -> Outcome<Port> {
    Ok(Port::open(&format!("memif:{},{options}", socket.display()))?)
}

/// Waits for a link, with the first error that was met on the way should none come.
pub fn link(port: &mut Port) -> Outcome<Link> {
    Ok(port.wait_link_up(PATIENCE).map_err(|error| format!("no link: {}", chain(&error)))?)
}

/// Waits until the link is down, and returns why. Refusals on the way are passed over.
pub fn link_down(port: &mut Port) -> Outcome<DownReason> {
    wait_until("the link to go down", || {
        match port.poll(Some(Duration::from_millis(1)))?.map(|event| event.kind) {
            Some(EventKind::LinkDown(reason)) => Ok(Some(reason)),
            Some(EventKind::LinkUp(_)) => Err("a link came up".into()),
            _ => Ok(None),
        }
    })
}
