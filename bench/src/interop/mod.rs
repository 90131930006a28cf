//! What the tests of every protocol against real peers share: numbered frames, echo runs, censuses,
//! tables.

pub mod allocations;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
pub mod calls;
pub mod census;
pub mod echo;
pub mod exhaustion;
pub mod frames;
pub mod kills;
pub mod ports;
pub mod soak;
pub mod table;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod traced;
pub mod victim;

use crate::peers::testpmd::{PortCounters, RunningTestpmd};
use nix::sys::signal::Signal;
use std::error::Error;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

/// How long a peer may take for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a run comes to: nothing, or what went wrong.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Waits until `step` gives something, looking every millisecond.
///
/// # Errors
/// That it waited in vain, and what `step` says.
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

/// An error with its causes, on one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A testpmd that is killed when dropped. To end by itself takes it up to a second.
#[derive(Debug)]
pub struct Killed(pub RunningTestpmd);

impl Killed {
    /// Waits for the links of the first `ports` ports, and starts to forward.
    ///
    /// # Errors
    /// When one does not come, or testpmd ends.
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
///
/// # Errors
/// When testpmd does not answer.
pub fn received(testpmd: &mut RunningTestpmd, port: u16, packets: u64) -> Outcome<PortCounters> {
    let start = Instant::now();
    while testpmd.counters(port)?.rx_packets < packets && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(5));
    Ok(testpmd.counters(port)?)
}
