//! As many packets one way as go through.

use super::frame::{Checker, REPORT_IT};
use super::orders::{Answer, Order};
use super::session::{Session, Watch};
use crate::cores;
use crate::port::Link;
use crate::progress::Progress;
use crate::show::per_second;
use crate::wait::Relax;
use anyhow::bail;
use serde::Serialize;
use std::time::{Duration, Instant};

/// What went through.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Flood {
    pub(super) frame_bytes: usize,
    /// From the first packet on.
    pub(super) seconds: f64,
    pub(super) packets_per_second: f64,
    pub(super) bits_per_second: f64,
    /// Packets sent; each arrived, in order and whole.
    pub(super) verified: u64,
    /// How much of the time this process, which was never idle, had its core; less than 1 where
    /// other work ran on it. Unknown if the second process runs there too.
    pub(super) core_share: Option<f64>,
}

/// Packets leased at a time.
const BURST: usize = 64;

/// Receives and checks frames of `size` bytes for `time`.
pub(super) fn measure(
    session: &mut Session,
    size: usize,
    time: Duration,
    progress: &mut Progress,
) -> anyhow::Result<Flood> {
    let Session { link, watch, relax, .. } = session;
    let mut checker = Checker::new(size);
    progress.stage(&format!("    {size:>5} bytes ..."));
    watch.order(Order::Send { len: size })?;
    let mut last = Instant::now();
    let (mut first, mut shown) = (None, (last, 0));
    let (elapsed, used, counted) = loop {
        let got = receive(link, watch, &mut checker)?;
        let now = Instant::now();
        if got == 0 {
            watch.patience(last, now)?;
            relax.relax();
        } else {
            last = now;
            first.get_or_insert_with(|| (now, cores::time_used()));
        }
        watch.glance(now)?;
        if let Some((first, used)) = first.filter(|&(first, _)| now - first >= time) {
            let used = cores::time_used().saturating_sub(used);
            break (now - first, used, checker.checked);
        }
        progress.live(now, || {
            let rate = per_second(checker.checked - shown.1, now - shown.0);
            shown = (now, checker.checked);
            rate_row(size, rate)
        });
    };
    watch.order(Order::Stop)?;
    let Answer::Done { sent } = watch.answer()? else {
        bail!("the second process answers out of order; {REPORT_IT}");
    };
    collect_rest(link, watch, &mut checker, sent)?;
    let packets_per_second = per_second(counted, elapsed);
    Ok(Flood {
        frame_bytes: size,
        seconds: elapsed.as_secs_f64(),
        packets_per_second,
        bits_per_second: bits(size, packets_per_second),
        verified: checker.checked,
        core_share: (*relax == Relax::Spin)
            .then(|| (used.as_secs_f64() / elapsed.as_secs_f64()).min(1.0)),
    })
}

/// Receives and checks one burst; returns how many packets it had.
fn receive(link: &mut Link, watch: &mut Watch, checker: &mut Checker) -> anyhow::Result<usize> {
    let burst = link.rx[0].rx_burst(BURST).map_err(|error| watch.explain(error))?;
    for packet in burst.packets() {
        checker.check(&packet)?;
    }
    Ok(burst.len())
}

/// Receives what was still on its way. Everything sent is in the ring by now.
fn collect_rest(
    link: &mut Link,
    watch: &mut Watch,
    checker: &mut Checker,
    sent: u64,
) -> anyhow::Result<()> {
    while receive(link, watch, checker)? > 0 {}
    if checker.checked != sent {
        bail!("{sent} packets were sent and {} arrived; {REPORT_IT}", checker.checked);
    }
    Ok(())
}

/// One line of the table, in the works or done.
pub(super) fn rate_row(size: usize, packets_per_second: f64) -> String {
    let (mpps, gbps) = (packets_per_second / 1e6, bits(size, packets_per_second) / 1e9);
    format!("    {size:>5} bytes{mpps:>16.3} Mpps{gbps:>11.2} Gb/s")
}

fn bits(size: usize, packets: f64) -> f64 {
    packets * size as f64 * 8.0
}
