//! The loop of every tool that runs until it is told to end: packets first, then whatever else there
//! is, and sleep when there is nothing.
//!
//! A tool is a [`Work`]; [`drive`] owns everything around it: links that come and go, doorbells,
//! Ctrl-C, and when to look at each.

mod pace;

use crate::end::End;
use crate::log::Log;
use crate::port::{Event, PortName};
use crate::signals::Signals;
use crate::wait;
use pace::{Next, Pace};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::time::Duration;

/// What a tool does with its ports.
pub(crate) trait Work<const N: usize> {
    /// Does what there is to do, without waiting, and returns how many packets that were; breaks off
    /// when nothing is left to do, ever.
    fn round(&mut self, ends: &mut [End; N]) -> anyhow::Result<ControlFlow<(), usize>>;

    /// Prepares for sleep after rounds without packets: [arms](End::arm) the ends that it waits for.
    fn rest(&mut self, ends: &mut [End; N]) -> anyhow::Result<Rest>;

    /// Does what is done at times, now and then even while there are packets; breaks off when that
    /// was all.
    fn tick(&mut self, ends: &[End; N]) -> anyhow::Result<ControlFlow<()>>;

    /// Port number `at` has a new link.
    fn link_up(&mut self, _at: usize) {}
}

/// What a tool that found nothing to do waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// There is something to do at once, or too soon to sleep.
    Soon,
    /// There are packets that cannot go on, and nothing rings when they can.
    Blocked,
    /// Nothing to do until a doorbell rings, or for so long.
    Idle(Option<Duration>),
}

/// Opens ports, which the tool's output calls by `names`.
pub(crate) fn open<const N: usize>(
    names: [&'static str; N],
    ports: [&PortName; N],
    log: Log,
) -> anyhow::Result<[End; N]> {
    let mut ends = Vec::with_capacity(N);
    for (name, port) in names.into_iter().zip(ports) {
        ends.push(End::open(name, port, log)?);
    }
    ends.try_into().map_err(|_| anyhow::anyhow!("not as many ports as names"))
}

/// Works until there is nothing left to do or a signal comes, and returns whether one came.
/// `poll`: never sleeps.
pub(crate) fn drive<const N: usize>(
    ends: &mut [End; N],
    work: &mut impl Work<N>,
    signals: &Signals,
    log: Log,
    poll: bool,
) -> anyhow::Result<bool> {
    let mut pace = Pace::new(poll);
    loop {
        // Packets. While there are any, most rounds end here.
        let ControlFlow::Continue(packets) = work.round(ends)? else { return Ok(false) };
        let timeout = match pace.next(packets) {
            Next::Packets => continue,
            Next::Look => Some(Duration::ZERO),
            // Ask for doorbells first; sleep only if nothing came in between.
            Next::Sleep => match work.rest(ends)? {
                Rest::Soon => Some(pace.give_way()),
                Rest::Blocked => Some(pace.blocked()),
                Rest::Idle(limit) => limit,
            },
        };
        // Everything else: Ctrl-C, what is done at times, links that come and go.
        let ready = look(ends, signals, timeout)?;
        if ready.signal {
            return Ok(true);
        }
        if work.tick(ends)?.is_break() {
            return Ok(false);
        }
        for at in (0..N).filter(|&at| ready.ends[at]) {
            attend(ends, at, work, log)?;
        }
    }
}

/// What woke the loop.
struct Ready<const N: usize> {
    signal: bool,
    ends: [bool; N],
}

/// Waits for a signal, an event of a port, a doorbell that was asked for, or `timeout`.
fn look<const N: usize>(
    ends: &mut [End; N],
    signals: &Signals,
    timeout: Option<Duration>,
) -> anyhow::Result<Ready<N>> {
    let doorbells: Vec<_> = ends.iter().flat_map(End::doorbells).collect();
    let ports = ends.each_ref().map(AsFd::as_fd);
    let (signal, ready) = wait::readable_beside(signals.as_fd(), ports, &doorbells, timeout)?;
    ends.iter_mut().for_each(End::disarm);
    Ok(Ready { signal, ends: ready })
}

/// Deals with whatever happened to the link of port number `at`.
fn attend<const N: usize>(
    ends: &mut [End; N],
    at: usize,
    work: &mut impl Work<N>,
    log: Log,
) -> anyhow::Result<()> {
    while let Some(event) = ends[at].poll()? {
        match &event {
            Event::Up(_) => work.link_up(at),
            Event::Down(_) => drain(ends, work)?,
            _ => {}
        }
        ends[at].take(event, log)?;
    }
    Ok(())
}

/// What a peer sent before it left is still there. It may go on for ever, so there is a limit.
fn drain<const N: usize>(ends: &mut [End; N], work: &mut impl Work<N>) -> anyhow::Result<()> {
    for _ in 0..DRAIN_ROUNDS {
        if !matches!(work.round(ends)?, ControlFlow::Continue(1..)) {
            break;
        }
    }
    Ok(())
}

/// Enough for the longest ring, packet by packet.
const DRAIN_ROUNDS: usize = 1 << 15;
