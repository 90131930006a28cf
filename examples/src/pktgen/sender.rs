//! The side that sends.

use super::frame::{Frame, Head, PROBE, Shape, monotonic};
use super::load::{Bucket, Rate};
use crate::drive::Rest;
use crate::end::Sent;
use crate::port::Link;
use anyhow::bail;
use ringport::burst::{BURST_MAX, PushError};
use std::time::{Duration, Instant};

/// What to send.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) frame: Frame,
    /// At least one.
    pub(super) shapes: Vec<Shape>,
    /// At least one.
    pub(super) flows: u16,
    pub(super) rate: Option<Rate>,
    pub(super) count: Option<u64>,
    pub(super) time: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Sender {
    plan: Plan,
    /// From the first frame on.
    bucket: Option<Bucket>,
    first: Option<Instant>,
    last: Option<Instant>,
    /// When the last frame was sent, if it was.
    done: Option<Instant>,
    /// Of the next frame: which shape, and in each flow the number.
    shape: usize,
    numbers: Vec<u64>,
    /// The queue of the next burst, and the flow that each queue goes on with.
    queue: usize,
    turns: Vec<usize>,
    /// Slots that a frame takes, as far as was seen.
    slots: usize,
    /// Times in a row that frames were due and none was sent.
    full: u32,
    /// When the next probe is due.
    probe: Instant,
    pub(super) sent: Sent,
}

/// Frames sent at a time.
const BURST: usize = 64;

impl Sender {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            numbers: vec![0; plan.flows.into()],
            plan,
            bucket: None,
            first: None,
            last: None,
            done: None,
            shape: 0,
            queue: 0,
            turns: Vec::new(),
            slots: 1,
            full: 0,
            probe: Instant::now(),
            sent: Sent::default(),
        }
    }

    pub(super) fn first(&self) -> Option<Instant> {
        self.first
    }

    /// When frames were sent last.
    pub(super) fn last(&self) -> Option<Instant> {
        self.last
    }

    /// When everything was sent.
    pub(super) fn done_at(&self) -> Option<Instant> {
        self.done
    }

    /// Sends what is due, one burst or `room` at most; returns how many frames.
    pub(super) fn send(&mut self, link: &mut Link, room: usize) -> anyhow::Result<usize> {
        if self.done.is_some() {
            return Ok(0);
        }
        let now = Instant::now();
        self.first.get_or_insert(now);
        let due = self.due(now).min(room);
        if due == 0 {
            return Ok(0);
        }
        let sent = self.burst(link, due)?;
        if sent > 0 {
            self.last = Some(now);
        }
        self.bucket.iter_mut().for_each(|bucket| bucket.spend(sent));
        if self.plan.count.is_some_and(|count| self.sent.packets >= count) {
            self.done = Some(now);
        }
        Ok(sent)
    }

    /// Asks, if it is time, whether the peer sends frames back; returns how many frames that took.
    pub(super) fn probe(&mut self, link: &mut Link, now: Instant) -> anyhow::Result<usize> {
        let tx = link.tx.first_mut().filter(|_| now >= self.probe);
        let Some(Ok(mut out)) = tx.map(|tx| tx.tx_burst(BURST_MAX)) else { return Ok(0) };
        let (shape, head) = (self.plan.shapes[0], Head { flow: PROBE, number: 0, sent: 0 });
        match out.push(self.plan.frame.stamp(shape, head)) {
            Ok(()) | Err(PushError::Full) => {}
            Err(error) => bail!("a frame of {} bytes cannot be sent: {error}", shape.len),
        }
        self.probe = now + PROBE_EVERY;
        Ok(out.commit())
    }

    /// When the next probe is due.
    pub(super) fn next_probe(&self) -> Instant {
        self.probe
    }

    /// How many frames may be sent now.
    fn due(&mut self, now: Instant) -> usize {
        let passed = self.first.map_or(Duration::ZERO, |first| now - first);
        if self.plan.time.is_some_and(|time| passed >= time) {
            self.done = Some(now);
            return 0;
        }
        if let (Some(rate), None) = (self.plan.rate, &self.bucket) {
            self.bucket = Some(Bucket::new(rate, now));
        }
        let left = self.plan.count.map_or(u64::MAX, |count| count - self.sent.packets);
        let due = self.bucket.as_mut().map_or(BURST, |bucket| bucket.allows(now).min(BURST));
        due.min(usize::try_from(left).unwrap_or(BURST))
    }

    /// Sends up to `due` frames on the next queue. Each flow has its own, so that it stays in order.
    fn burst(&mut self, link: &mut Link, due: usize) -> anyhow::Result<usize> {
        let flows = self.numbers.len();
        let queues = link.tx_in_use.clamp(1, flows);
        self.queue = (self.queue + 1) % queues;
        self.turns.resize(queues, 0);
        let flow = &mut self.turns[self.queue];
        // An error means that the link has ended.
        let slots = (due * self.slots).min(BURST_MAX);
        let Some(Ok(mut out)) = link.tx.get_mut(self.queue).map(|tx| tx.tx_burst(slots)) else {
            return Ok(0);
        };
        let all_free = out.free() == slots;
        let now = monotonic();
        while out.packets() < due {
            // Flows that come first in their queue have its number.
            if *flow % queues != self.queue || *flow >= flows {
                *flow = self.queue;
            }
            let shape = self.plan.shapes[self.shape];
            let head = Head {
                flow: u16::try_from(*flow).unwrap_or_default(),
                number: self.numbers[*flow],
                sent: now,
            };
            match out.push(self.plan.frame.stamp(shape, head)) {
                Ok(()) => {}
                Err(PushError::Full) => break,
                Err(error) => bail!("a frame of {} bytes cannot be sent: {error}", shape.len),
            }
            self.numbers[*flow] += 1;
            *flow += queues;
            self.shape = (self.shape + 1) % self.plan.shapes.len();
            self.sent.bytes += shape.len as u64;
        }
        let sent = out.commit();
        self.sent.packets += sent as u64;
        if sent < due && all_free {
            self.slots = (self.slots * 2).min(BURST_MAX);
        }
        self.full = if sent == 0 { self.full.saturating_add(1) } else { 0 };
        Ok(sent)
    }

    /// What there is to wait for; `None` when everything was sent.
    pub(super) fn rest(&mut self, now: Instant) -> Option<Rest> {
        if self.done.is_some() {
            return None;
        }
        let left = self.bucket.as_ref().map_or(Duration::ZERO, |bucket| bucket.left(now));
        Some(match left.checked_sub(WAKE_UP) {
            Some(time) if !time.is_zero() => Rest::Idle(Some(time)),
            // Nothing rings when a ring has room again.
            _ if self.full > FULL_MAX => Rest::Blocked,
            _ => Rest::Soon,
        })
    }
}

const PROBE_EVERY: Duration = Duration::from_millis(50);

/// What sleeping may take longer than asked for; shorter waits are not slept.
const WAKE_UP: Duration = Duration::from_micros(80);

/// Bursts that found no room before the peer is taken for one that does not read.
const FULL_MAX: u32 = 20_000;
