//! `ringport pktgen`: frames at a rate, and whether they arrive.

mod flows;
mod frame;
mod load;
mod options;
mod receiver;
mod report;
mod sender;

pub use flows::{Flows, Found};
pub use frame::{Frame, Head, Path, Read, Reader, Shape, len_min};
pub(crate) use options::Options;

use crate::drive::{self, Rest, Work};
use crate::end::End;
use crate::log::Log;
use crate::signals::Signals;
use crate::timer::{Timer, sooner};
use anyhow::bail;
use options::Limits;
use receiver::Receiver;
use report::Report;
use sender::Sender;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let signals = Signals::catch()?;
    let common = options.common();
    let log = Log::new(common.json);
    let (sender, receiver) = (options.sender()?, options.receiver()?);
    let mut ends = drive::open(["port"], [&common.port], log)?;
    let stats = Timer::new(Some(common.stats));
    let (limits, window) = (options.limits(), options.window());
    let report = Report::new(log);
    let mut work = Traffic { sender, receiver, limits, window, given_up: 0, stats, report };
    drive::drive(&mut ends, &mut work, &signals, log, common.poll)?;
    ends.into_iter().for_each(End::close);
    work.report.summary(work.sender.as_ref(), work.receiver.as_ref())?;
    match work.faults() {
        Some(faults) => bail!("{faults}"),
        None => Ok(()),
    }
}

/// One of the two, or both.
#[derive(Debug)]
struct Traffic {
    sender: Option<Sender>,
    receiver: Option<Receiver>,
    limits: Limits,
    /// Most frames that may be under way to a peer that sends them back, and how many of those are
    /// not waited for any more.
    window: u64,
    given_up: u64,
    stats: Timer,
    report: Report,
}

impl Work<1> for Traffic {
    fn round(&mut self, [end]: &mut [End; 1]) -> anyhow::Result<ControlFlow<(), usize>> {
        let Some(link) = &mut end.link else { return Ok(ControlFlow::Continue(0)) };
        let mut done = 0;
        if let Some(receiver) = &mut self.receiver {
            done += receiver.receive(link);
        }
        let (room, probing) = (self.room(), self.is_probing());
        match &mut self.sender {
            Some(sender) if probing => done += sender.probe(link, Instant::now())?,
            Some(sender) => done += sender.send(link, room)?,
            None => {}
        }
        Ok(ControlFlow::Continue(done))
    }

    fn rest(&mut self, [end]: &mut [End; 1]) -> anyhow::Result<Rest> {
        if self.receiver.is_some() && end.arm() {
            return Ok(Rest::Soon);
        }
        let now = Instant::now();
        let limit = self.ends_at().map(|time| time.saturating_duration_since(now));
        let mut limit = sooner(self.stats.left(), limit);
        let (full, probing) = (self.room() == 0, self.is_probing());
        if full {
            // What comes back makes room, and rings; what does not is given up.
            limit = sooner(limit, Some(STRAGGLERS));
        }
        let sender = self.sender.as_mut().filter(|_| end.is_up() && !full);
        if let Some(sender) = sender.as_ref().filter(|_| probing) {
            let next = sender.next_probe().saturating_duration_since(now);
            return Ok(Rest::Idle(sooner(limit, Some(next))));
        }
        Ok(match sender.and_then(|sender| sender.rest(now)) {
            Some(Rest::Idle(time)) => Rest::Idle(sooner(time, limit)),
            Some(rest) => rest,
            None => Rest::Idle(limit),
        })
    }

    fn tick(&mut self, _: &[End; 1]) -> anyhow::Result<ControlFlow<()>> {
        if let Some(time) = self.stats.come() {
            self.report.rates(self.sender.as_ref(), self.receiver.as_ref(), time)?;
        }
        let over = self.ends_at().is_some_and(|time| Instant::now() >= time);
        Ok(if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn link_up(&mut self, _: usize) {
        self.receiver.iter_mut().for_each(Receiver::link_up);
    }
}

impl Traffic {
    /// Whether it is not known yet that the peer sends frames back. One that is only starting may
    /// lose everything.
    fn is_probing(&self) -> bool {
        self.sender.is_some() && self.receiver.as_ref().is_some_and(|receiver| !receiver.probed)
    }

    /// How many frames may be sent now, as far as the window goes.
    fn room(&mut self) -> usize {
        let (Some(sender), Some(receiver)) = (&self.sender, &self.receiver) else {
            return usize::MAX;
        };
        let missing = sender.sent.packets.saturating_sub(receiver.found.packets);
        let under_way = missing.saturating_sub(self.given_up);
        if under_way >= self.window {
            let heard = receiver.last().max(sender.last());
            if heard.is_some_and(|heard| heard.elapsed() > STRAGGLERS) {
                self.given_up = missing;
            }
        }
        usize::try_from(self.window.saturating_sub(under_way)).unwrap_or(usize::MAX)
    }

    /// When there is nothing left to do, as far as that is known.
    fn ends_at(&self) -> Option<Instant> {
        match (&self.sender, &self.receiver) {
            // What was sent may still be on its way.
            (Some(sender), Some(receiver)) => {
                let done = sender.done_at()?;
                let all = receiver.found.packets >= sender.sent.packets;
                let last = receiver.last().map_or(done, |last| last.max(done));
                Some(if all { done } else { last + STRAGGLERS })
            }
            (Some(sender), None) => Some(sender.done_at()? + LINGER),
            (None, Some(receiver)) => self.limits.ends_at(receiver),
            (None, None) => None,
        }
    }

    /// What is wrong with what arrived, if anything is.
    fn faults(&self) -> Option<String> {
        let receiver = self.receiver.as_ref()?;
        if self.sender.as_ref().is_some_and(|sender| sender.first().is_none()) {
            return Some("nothing came back".into());
        }
        let mut found = receiver.found;
        let expected = self.sender.as_ref().map(|sender| sender.sent.packets);
        if let Some(expected) = expected.or(self.limits.count) {
            found.lost = found.lost.max(expected.saturating_sub(found.packets));
        }
        let faults = found.faults().into_iter().filter(|&(count, _)| count > 0);
        let faults: Vec<_> = faults.map(|(count, what)| format!("{count} {what}")).collect();
        (!faults.is_empty()).then(|| format!("packets were {}", faults.join(", ")))
    }
}

/// How long frames that do not come back are waited for.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// How long the peer has for the last frames in the ring, which go with the link.
const LINGER: Duration = Duration::from_millis(200);
