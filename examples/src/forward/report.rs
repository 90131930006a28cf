//! What `forward` says: lines on stderr for people, or JSON lines on stdout for programs.

use super::end::{End, Sent};
use crate::port::{Facts, PortName};
use crate::show::{count, per_second, plural};
use anyhow::Context;
use serde::Serialize;
use std::io::Write;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Report {
    json: bool,
    interval: Option<Duration>,
    since: Instant,
    /// From a to b and from b to a, when the last statistics were given.
    last: [Sent; 2],
    started: Instant,
}

/// A line of JSON.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    Open { port: &'a str, name: String },
    Up { port: &'a str, link: &'a Facts },
    Down { port: &'a str, reason: &'a str },
    Refused { port: &'a str, reason: &'a str },
    Trouble { port: &'a str, what: &'a str },
    Stats { seconds: f64, a_to_b: Flow, b_to_a: Flow },
    Total { seconds: f64, a_to_b: Flow, b_to_a: Flow },
}

/// One direction.
#[derive(Debug, Clone, Copy, Serialize)]
struct Flow {
    /// Since the start.
    packets: u64,
    bytes: u64,
    dropped: u64,
    /// In the time that the line is about.
    packets_per_second: f64,
    bits_per_second: f64,
}

impl Report {
    pub(super) fn new(json: bool, interval: Option<Duration>) -> Self {
        let now = Instant::now();
        Self { json, interval, since: now, last: Default::default(), started: now }
    }

    pub(super) fn opened(&self, port: &str, name: &PortName) -> anyhow::Result<()> {
        let line = Line::Open { port, name: name.to_string() };
        self.write(&line, || format!("{port}: {name}"))
    }

    pub(super) fn up(&self, port: &str, link: &Facts) -> anyhow::Result<()> {
        self.write(&Line::Up { port, link }, || {
            let (rx, tx) = (plural(link.rx_queues, "ring"), plural(link.tx_queues, "ring"));
            format!("{port}: up, {} (pid {}), {rx} in and {tx} out", link.peer, link.pid)
        })
    }

    pub(super) fn down(&self, port: &str, reason: &str) -> anyhow::Result<()> {
        self.write(&Line::Down { port, reason }, || format!("{port}: down, {reason}"))
    }

    pub(super) fn refused(&self, port: &str, reason: &str) -> anyhow::Result<()> {
        self.write(&Line::Refused { port, reason }, || format!("{port}: no link, {reason}"))
    }

    pub(super) fn trouble(&self, port: &str, what: &str) -> anyhow::Result<()> {
        self.write(&Line::Trouble { port, what }, || format!("{port}: {what}"))
    }

    /// Time until the next statistics; `None` if there are to be none.
    pub(super) fn due(&self) -> Option<Duration> {
        self.interval.map(|interval| interval.saturating_sub(self.since.elapsed()))
    }

    /// Gives statistics when it is time.
    pub(super) fn tick(&mut self, a: &End, b: &End) -> anyhow::Result<()> {
        if !self.due().is_some_and(|left| left.is_zero()) {
            return Ok(());
        }
        let time = self.since.elapsed();
        let (a_to_b, b_to_a) = flows(a, b, self.last, time);
        self.since = Instant::now();
        self.last = [b.sent(), a.sent()];
        let line = Line::Stats { seconds: time.as_secs_f64(), a_to_b, b_to_a };
        self.write(&line, || {
            let dropped = a_to_b.dropped + b_to_a.dropped;
            let (there, back) = (rates(&a_to_b), rates(&b_to_a));
            format!("a to b {there}   b to a {back}   dropped {}", count(dropped))
        })
    }

    /// Says what went through in all.
    pub(super) fn total(&self, a: &End, b: &End) -> anyhow::Result<()> {
        let time = self.started.elapsed();
        let (a_to_b, b_to_a) = flows(a, b, Default::default(), time);
        let line = Line::Total { seconds: time.as_secs_f64(), a_to_b, b_to_a };
        self.write(&line, || {
            let flow = |flow: Flow| {
                let (packets, dropped) = (count(flow.packets), count(flow.dropped));
                format!("{packets} packets, {dropped} dropped")
            };
            format!("a to b: {}\nb to a: {}", flow(a_to_b), flow(b_to_a))
        })
    }

    fn write(&self, line: &Line<'_>, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        if self.json {
            let line = serde_json::to_string(line)?;
            writeln!(std::io::stdout(), "{line}").context("cannot write to stdout")
        } else {
            writeln!(std::io::stderr(), "{}", text()).context("cannot write to stderr")
        }
    }
}

fn flows(a: &End, b: &End, last: [Sent; 2], time: Duration) -> (Flow, Flow) {
    let flow = |sent: Sent, last: Sent, dropped| Flow {
        packets: sent.packets,
        bytes: sent.bytes,
        dropped,
        packets_per_second: per_second(sent.packets - last.packets, time),
        bits_per_second: 8.0 * per_second(sent.bytes - last.bytes, time),
    };
    (flow(b.sent(), last[0], a.dropped), flow(a.sent(), last[1], b.dropped))
}

fn rates(flow: &Flow) -> String {
    let (mpps, gbps) = (flow.packets_per_second / 1e6, flow.bits_per_second / 1e9);
    format!("{mpps:7.3} Mpps {gbps:7.3} Gb/s")
}
