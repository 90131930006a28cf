//! What the tests against real peers share: numbered frames, echo runs, censuses, tables.
#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]

pub mod census;
pub mod echo;
pub mod frames;
pub mod inet;
pub mod optional;
pub mod station;
pub mod table;
pub mod vpp;

use nix::sys::signal::Signal;
use ringport_bench::peers::testpmd::{PortCounters, RunningTestpmd};
use ringport_memif::{DownReason, EventKind, Link, Port};
use std::error::Error;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a peer may take for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a run comes to: nothing, or what went wrong.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Waits until `step` gives something, looking every millisecond.
pub fn wait_until<T>(what: &str, mut step: impl FnMut() -> Outcome<Option<T>>) -> Outcome<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = step()? {
            return Ok(found);
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("waited in vain for {what}").into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Opens our port. `options` is everything behind the socket, without the leading comma.
pub fn open(socket: &Path, options: &str) -> Outcome<Port> {
    Ok(Port::open(&format!("memif:{},{options}", socket.display()))?)
}

/// Waits for a link, with the first error that was met on the way should none come.
pub fn link(port: &mut Port) -> Outcome<Link> {
    Ok(port.wait_link_up(PATIENCE).map_err(|error| format!("no link: {}", chain(&error)))?)
}

/// An error with its causes, on one line.
pub fn chain(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
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

/// A testpmd that is killed when dropped. To end by itself takes it up to a second.
#[derive(Debug)]
pub struct Killed(pub RunningTestpmd);

impl Killed {
    /// Waits for the links of the first `ports` ports, and starts to forward.
    pub fn start_when_up(&mut self, ports: u16) -> Outcome {
        for port in 0..ports {
            self.wait_link_up(port, PATIENCE)?;
        }
        self.command("start")?;
        Ok(())
    }
}

impl Deref for Killed {
    type Target = RunningTestpmd;

    fn deref(&self) -> &RunningTestpmd {
        &self.0
    }
}

impl DerefMut for Killed {
    fn deref_mut(&mut self) -> &mut RunningTestpmd {
        &mut self.0
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // What has ended already needs no signal.
        let _ = self.0.process().signal(Signal::SIGKILL);
    }
}

/// Waits until testpmd has received `packets` on a port, and returns what it counted then. Any that
/// come on top of them are waited for a moment.
pub fn received(testpmd: &mut RunningTestpmd, port: u16, packets: u64) -> Outcome<PortCounters> {
    let start = Instant::now();
    while testpmd.counters(port)?.rx_packets < packets && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(5));
    Ok(testpmd.counters(port)?)
}
