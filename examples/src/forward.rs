//! `ringport forward`: packets both ways between two ports.

mod end;
mod pace;
mod report;

use crate::port::PortName;
use crate::signals::Signals;
use crate::wait;
use clap::Args;
use end::End;
use pace::{Next, Pace};
use report::Report;
use std::os::fd::AsFd;
use std::time::Duration;

#[derive(Debug, Args)]
#[command(after_help = "\
A port whose peer is not there is waited for, and one that lost its peer connects again; meanwhile \
packets for it stay where they are. Ends with exit code 0 on SIGINT (Ctrl-C) and SIGTERM.")]
pub(crate) struct Options {
    /// One port, such as memif:/run/a.sock,role=client,id=0
    #[arg(value_name = "PORT")]
    a: PortName,
    /// The other port
    #[arg(value_name = "PORT")]
    b: PortName,
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
    let signals = Signals::catch()?;
    let mut report = Report::new(options.json, options.stats.map(Duration::from_secs));
    let mut a = End::open("a", &options.a, &mut report)?;
    let mut b = End::open("b", &options.b, &mut report)?;
    let pace = Pace::new(options.poll);
    forward(&mut a, &mut b, options.burst.into(), pace, &signals, &mut report)?;
    report.total(&a, &b)?;
    a.close();
    b.close();
    Ok(())
}

/// Forwards until a signal comes.
fn forward(
    a: &mut End,
    b: &mut End,
    burst: usize,
    mut pace: Pace,
    signals: &Signals,
    report: &mut Report,
) -> anyhow::Result<()> {
    loop {
        // Packets. While there are any, most rounds end here.
        let moved = a.move_to(b, burst) + b.move_to(a, burst);
        let timeout = match pace.next(moved) {
            Next::Packets => continue,
            Next::Look => Some(Duration::ZERO),
            // Ask for doorbells first; sleep only if nothing came in between.
            Next::Sleep if a.arm(b) | b.arm(a) => Some(pace.blocked()),
            Next::Sleep => report.due(),
        };
        // Everything else: Ctrl-C, links that come and go, statistics.
        let doorbells = [a.doorbells(b), b.doorbells(a)].concat();
        match wait::readable([signals.as_fd(), a.as_fd(), b.as_fd()], &doorbells, timeout)? {
            [true, _, _] => return Ok(()),
            [_, true, _] => a.attend(b, burst, report)?,
            [_, _, true] => b.attend(a, burst, report)?,
            [false, false, false] => {}
        }
        report.tick(a, b)?;
    }
}
