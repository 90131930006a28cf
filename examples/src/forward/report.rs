//! What `forward` says of what went through.

use crate::end::{End, Sent};
use crate::log::Log;
use crate::show::{count, per_second, rates};
use crate::timer::Timer;
use serde::Serialize;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Report {
    log: Log,
    timer: Timer,
    /// From a to b and from b to a, when the last statistics were given.
    last: [Sent; 2],
    started: Instant,
}

/// A line of JSON.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line {
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
    pub(super) fn new(log: Log, interval: Option<Duration>) -> Self {
        let timer = Timer::new(interval);
        Self { log, timer, last: Default::default(), started: Instant::now() }
    }

    /// Time until the next statistics; `None` if there are to be none.
    pub(super) fn due(&self) -> Option<Duration> {
        self.timer.left()
    }

    /// Gives statistics when it is time.
    pub(super) fn tick(&mut self, ends: &[End; 2]) -> anyhow::Result<()> {
        let Some(time) = self.timer.come() else {
            return Ok(());
        };
        let [a_to_b, b_to_a] = flows(ends, self.last, time);
        self.last = [ends[1].sent(), ends[0].sent()];
        let line = Line::Stats { seconds: time.as_secs_f64(), a_to_b, b_to_a };
        self.log.note(&line, || {
            let dropped = a_to_b.dropped + b_to_a.dropped;
            let rates = |flow: Flow| rates(flow.packets_per_second, flow.bits_per_second);
            let (there, back) = (rates(a_to_b), rates(b_to_a));
            format!("a to b {there}   b to a {back}   dropped {}", count(dropped))
        })
    }

    /// Says what went through in all.
    pub(super) fn total(&self, ends: &[End; 2]) -> anyhow::Result<()> {
        let time = self.started.elapsed();
        let [a_to_b, b_to_a] = flows(ends, Default::default(), time);
        let line = Line::Total { seconds: time.as_secs_f64(), a_to_b, b_to_a };
        self.log.note(&line, || {
            let flow = |flow: Flow| {
                let (packets, dropped) = (count(flow.packets), count(flow.dropped));
                format!("{packets} packets, {dropped} dropped")
            };
            format!("a to b: {}\nb to a: {}", flow(a_to_b), flow(b_to_a))
        })
    }
}

/// From a to b and from b to a, since `last`.
fn flows([a, b]: &[End; 2], last: [Sent; 2], time: Duration) -> [Flow; 2] {
    let flow = |sent: Sent, last: Sent, dropped| Flow {
        packets: sent.packets,
        bytes: sent.bytes,
        dropped: dropped + sent.lost,
        packets_per_second: per_second(sent.packets - last.packets, time),
        bits_per_second: 8.0 * per_second(sent.bytes - last.bytes, time),
    };
    [flow(b.sent(), last[0], a.dropped), flow(a.sent(), last[1], b.dropped)]
}
