//! `ringport forward`: packets both ways between two ports.

mod report;

use crate::drive::{self, Rest, Work};
use crate::end::End;
use crate::log::Log;
use crate::port::PortName;
use crate::signals::Signals;
use clap::Args;
use report::Report;
use ringport::burst;
use std::ops::ControlFlow;
use std::time::Duration;

#[derive(Debug, Args)]
#[command(after_help = "\
A port whose peer is not there is waited for, and one that lost its peer connects again; meanwhile \
packets for it stay where they are. Ends with exit code 0 on SIGINT (Ctrl-C) and SIGTERM.

Examples:
  ringport forward memif:/run/a.sock,role=client vhost:/run/vm.sock,role=device --stats 1
  ringport forward memif:/run/a.sock,role=client vdpa:0000:83:00.2")]
pub(crate) struct Options {
    /// One port, such as memif:/run/a.sock,role=client,id=0
    #[arg(value_name = "PORT")]
    a: PortName,
    /// The other port
    #[arg(value_name = "PORT")]
    b: PortName,
    #[command(flatten)]
    how: How,
}

/// How packets are forwarded, and what is said of it.
#[derive(Debug, Args)]
pub(crate) struct How {
    /// Most packets to move at a time
    #[arg(long, value_name = "N", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=256))]
    burst: u16,
    /// Say every SECONDS on stderr what went through
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    stats: Option<u64>,
    /// Write events and statistics to stdout instead, one JSON object a line
    #[arg(long)]
    json: bool,
    /// Never sleep: lower latency, for a whole core
    #[arg(long)]
    poll: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    between([&options.a, &options.b], &options.how)
}

/// Forwards both ways between two ports until a signal comes.
pub(crate) fn between(ports: [&PortName; 2], how: &How) -> anyhow::Result<()> {
    let signals = Signals::catch()?;
    let log = Log::new(how.json);
    let mut ends = drive::open(["a", "b"], ports, log)?;
    let report = Report::new(log, how.stats.map(Duration::from_secs));
    let mut work = Forward { burst: how.burst.into(), report };
    drive::drive(&mut ends, &mut work, &signals, log, how.poll)?;
    work.report.total(&ends)?;
    ends.into_iter().for_each(End::close);
    Ok(())
}

#[derive(Debug)]
struct Forward {
    burst: usize,
    report: Report,
}

impl Work<2> for Forward {
    fn round(&mut self, [a, b]: &mut [End; 2]) -> anyhow::Result<ControlFlow<(), usize>> {
        Ok(ControlFlow::Continue(forward(a, b, self.burst) + forward(b, a, self.burst)))
    }

    fn rest(&mut self, [a, b]: &mut [End; 2]) -> anyhow::Result<Rest> {
        // Packets that could not go on wake nobody.
        let waiting = a.is_up() && b.is_up() && (a.arm() | b.arm());
        Ok(if waiting { Rest::Blocked } else { Rest::Idle(self.report.due()) })
    }

    fn tick(&mut self, ends: &[End; 2]) -> anyhow::Result<ControlFlow<()>> {
        self.report.tick(ends)?;
        Ok(ControlFlow::Continue(()))
    }
}

/// Moves one burst from each receive queue to the other port, and returns how many packets are done
/// with. Nothing moves unless both have a link.
fn forward(from: &mut End, to: &mut End, burst: usize) -> usize {
    let (Some(rx), Some(tx)) = (&mut from.link, &mut to.link) else {
        return 0;
    };
    let mut moved = 0;
    let tx_queues = tx.tx_in_use.max(1);
    for (at, rx) in rx.rx.iter_mut().enumerate() {
        let Some(tx) = tx.tx.get_mut(at % tx_queues) else {
            return 0;
        };
        // An error means that one of the two links has ended: its port is about to say so.
        let done = burst::forward(&mut **rx, &mut **tx, burst).unwrap_or_default();
        from.dropped += done.dropped as u64;
        moved += done.packets + done.dropped;
    }
    moved
}
