//! `ringport inspect`: what a port and its peer agreed on, and how the rings stand.

mod outside;
mod show;

use crate::drive::{self, Rest, Work};
use crate::end::End;
use crate::log::Log;
use crate::port::{Link, PortName};
use crate::signals::Signals;
use crate::timer::Timer;
use clap::Args;
use ringport::error::QueueError;
use show::Look;
use std::ops::ControlFlow;
use std::time::Duration;

#[derive(Debug, Args)]
#[command(after_help = "\
With PORT it is the port's peer, waits for the link, and looks once, or --every so often. Packets that \
come stay in the ring unless --take is given.

With --pid it looks at the memif rings of another process from outside, which notices nothing: of \
ours as of VPP, DPDK and libmemif. Needs the rights of a debugger (same user, or root). The rings of \
vhost-user have no mark by which they could be found: give the PORT.

Words have the names of the specifications. Of memif: head is the client's index, tail the server's, \
flags 1 that no doorbell is wanted. next is where this side works.

Example: ringport inspect vhost:/run/vm.sock,role=device --every 1
Example: ringport inspect --pid 4711")]
pub(crate) struct Options {
    /// The port, such as memif:/run/a.sock,role=client,id=0
    #[arg(value_name = "PORT", required_unless_present = "pid")]
    port: Option<PortName>,
    /// Look at the memif rings of this process
    #[arg(long, value_name = "PID", conflicts_with_all = ["port", "take"])]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
    /// Look again every SECONDS, until Ctrl-C
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    every: Option<u64>,
    /// Stop after so many looks
    #[arg(long, value_name = "N", requires = "every")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Take packets that come, and throw them away
    #[arg(long)]
    take: bool,
    /// Write looks to stdout as JSON, one object a line
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let log = Log::new(options.json);
    let every = options.every.map(Duration::from_secs);
    let looks = if every.is_some() { options.count } else { Some(1) };
    match (&options.port, options.pid) {
        (Some(port), _) => inside(port, every, looks, options.take, log),
        (None, Some(pid)) => outside::run(pid, every, looks, log),
        (None, None) => Ok(()),
    }
}

/// Looks at a port of our own.
fn inside(
    port: &PortName,
    every: Option<Duration>,
    looks: Option<u64>,
    take: bool,
    log: Log,
) -> anyhow::Result<()> {
    let signals = Signals::catch()?;
    let mut ends = drive::open(["port"], [port], log)?;
    let mut work = Inspection { due: false, timer: Timer::new(every), left: looks, take, log };
    drive::drive(&mut ends, &mut work, &signals, log, false)?;
    ends.into_iter().for_each(End::close);
    Ok(())
}

struct Inspection {
    /// There is a link that was not looked at yet.
    due: bool,
    timer: Timer,
    /// Looks that are left; `None`: no end.
    left: Option<u64>,
    take: bool,
    log: Log,
}

impl Work<1> for Inspection {
    fn round(&mut self, [end]: &mut [End; 1]) -> anyhow::Result<ControlFlow<(), usize>> {
        let Some(link) = &mut end.link else { return Ok(ControlFlow::Continue(0)) };
        // The end of a link is an event of its port.
        let packets = turn(link, self.take).unwrap_or(0);
        Ok(ControlFlow::Continue(packets))
    }

    fn rest(&mut self, [end]: &mut [End; 1]) -> anyhow::Result<Rest> {
        if self.due {
            return Ok(Rest::Soon);
        }
        if self.take && end.arm() {
            return Ok(Rest::Soon);
        }
        Ok(Rest::Idle(self.timer.left()))
    }

    fn tick(&mut self, [end]: &[End; 1]) -> anyhow::Result<ControlFlow<()>> {
        let again = self.timer.come().is_some();
        let Some(link) = &end.link else { return Ok(ControlFlow::Continue(())) };
        if !again && !self.due {
            return Ok(ControlFlow::Continue(()));
        }
        self.due = false;
        Look::at(link).say(self.log)?;
        self.left = self.left.map(|left| left - 1);
        Ok(if self.left == Some(0) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn link_up(&mut self, _at: usize) {
        self.due = true;
    }
}

/// Lets queues follow what happened to their rings; takes packets if asked to.
fn turn(link: &mut Link, take: bool) -> Result<usize, QueueError> {
    let mut packets = 0;
    for rx in &mut link.rx {
        let burst = rx.rx_burst(if take { 64 } else { 0 })?;
        let here = burst.len();
        burst.release(here);
        packets += here;
    }
    for tx in &mut link.tx {
        drop(tx.tx_burst(0)?);
    }
    Ok(packets)
}
