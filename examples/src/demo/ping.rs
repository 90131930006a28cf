//! Round trips of one small frame.

use super::frame::{Checker, Frame};
use super::orders::{Answer, Order};
use super::session::{Session, Watch};
use crate::port::Link;
use crate::wait::Relax;
use anyhow::bail;
use serde::Serialize;
use std::fmt;
use std::time::{Duration, Instant};

/// How both sides wait for packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    /// They look all the time.
    Polling,
    /// They sleep until the doorbell rings.
    Adaptive,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Polling => "polling",
            Self::Adaptive => "adaptive",
        })
    }
}

/// Times of round trips, in nanoseconds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Ping {
    pub(super) mode: Mode,
    pub(super) frame_bytes: usize,
    /// Round trips measured; a tenth of the time is spent on warming up before.
    pub(super) round_trips: usize,
    pub(super) min_ns: u64,
    pub(super) median_ns: u64,
    pub(super) p99_ns: u64,
    pub(super) max_ns: u64,
}

/// Bytes of the frame.
pub(super) const LEN: usize = 64;

/// Most round trips kept: enough for percentiles.
const TRIPS_MAX: usize = 1 << 20;

/// Sends a frame and waits for it to come back, again and again for `time`.
pub(super) fn measure(session: &mut Session, mode: Mode, time: Duration) -> anyhow::Result<Ping> {
    let Session { link, watch, relax, .. } = session;
    watch.order(Order::Echo { sleep: mode == Mode::Adaptive })?;
    let (mut frame, mut checker) = (Frame::new(LEN), Checker::new(LEN));
    let mut trips = Vec::with_capacity(TRIPS_MAX);
    let start = Instant::now();
    loop {
        let sent = Instant::now();
        let spent = sent - start;
        if trips.len() == TRIPS_MAX || spent > time && !trips.is_empty() {
            break;
        }
        watch.glance(sent)?;
        let sent = Instant::now();
        send(link, watch, frame.stamp(checker.checked))?;
        receive(link, watch, mode, *relax, &mut checker)?;
        if spent > time / 10 {
            trips.push(u64::try_from(sent.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
    }
    watch.order(Order::Stop)?;
    match watch.answer()? {
        Answer::Done { sent } if sent == checker.checked => Ok(Ping::of(mode, trips)),
        other => bail!("{} packets came back, but the other side says {other:?}", checker.checked),
    }
}

fn send(link: &mut Link, watch: &mut Watch, frame: &[u8]) -> anyhow::Result<()> {
    let mut out = link.tx[0].tx_burst(1).map_err(|error| watch.explain(error))?;
    out.push(frame)?;
    out.commit();
    Ok(())
}

/// Waits for the frame and checks it.
fn receive(
    link: &mut Link,
    watch: &mut Watch,
    mode: Mode,
    relax: Relax,
    checker: &mut Checker,
) -> anyhow::Result<()> {
    let rx = &mut *link.rx[0];
    let since = Instant::now();
    loop {
        for _ in 0..LOOKS {
            let burst = rx.rx_burst(1).map_err(|error| watch.explain(error))?;
            if let Some(packet) = burst.packets().next() {
                return checker.check(&packet);
            }
            drop(burst);
            if mode == Mode::Adaptive {
                break;
            }
            relax.relax();
        }
        if mode == Mode::Adaptive && !rx.arm().map_err(|error| watch.explain(error))? {
            watch.sleep(rx.doorbell())?;
        }
        let now = Instant::now();
        watch.patience(since, now)?;
        watch.glance(now)?;
    }
}

/// Looks at the ring between two looks at the clock.
const LOOKS: u32 = 1000;

impl Ping {
    fn of(mode: Mode, mut trips: Vec<u64>) -> Self {
        trips.sort_unstable();
        let at = |part: usize| {
            let place = (trips.len() * part / 100).min(trips.len().saturating_sub(1));
            trips.get(place).copied().unwrap_or_default()
        };
        Self {
            mode,
            frame_bytes: LEN,
            round_trips: trips.len(),
            min_ns: at(0),
            median_ns: at(50),
            p99_ns: at(99),
            max_ns: at(100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let ping = Ping::of(Mode::Polling, (1..=1000).rev().collect());
        assert_eq!((ping.min_ns, ping.median_ns, ping.p99_ns, ping.max_ns), (1, 501, 991, 1000));
        let one = Ping::of(Mode::Adaptive, vec![5]);
        assert_eq!((one.min_ns, one.median_ns, one.p99_ns, one.max_ns), (5, 5, 5, 5));
    }
}
