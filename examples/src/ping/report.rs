//! What `ping` says.

use super::asker::{Asker, Reply};
use crate::log::Log;
use crate::show::{count, plural, time};
use crate::times::Spread;
use serde::Serialize;
use std::net::IpAddr;

#[derive(Debug)]
pub(super) struct Report {
    log: Log,
    /// Questions of others that we answered.
    pub(super) answered: u64,
}

/// A line of JSON.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line {
    Reply { number: u64, from: IpAddr, bytes: usize, nanoseconds: u64 },
    Timeout { number: u64 },
    Summary(Summary),
}

#[derive(Debug, Serialize)]
struct Summary {
    #[serde(flatten)]
    replies: Option<Replies>,
    answered: u64,
}

#[derive(Debug, Serialize)]
struct Replies {
    target: IpAddr,
    sent: u64,
    received: u64,
    lost_percent: f64,
    duplicates: u64,
    damaged: u64,
    round_trip: Option<Spread>,
}

impl Report {
    pub(super) fn new(log: Log) -> Self {
        Self { log, answered: 0 }
    }

    pub(super) fn reply(&self, reply: &Reply) -> anyhow::Result<()> {
        let &Reply { number, from, bytes, nanoseconds } = reply;
        self.log.say(&Line::Reply { number, from, bytes, nanoseconds }, || {
            format!("{bytes} bytes from {from}: number {number}, {}", time(nanoseconds))
        })
    }

    pub(super) fn timeout(&self, number: u64) -> anyhow::Result<()> {
        self.log.say(&Line::Timeout { number }, || format!("no reply to number {number}"))
    }

    /// Says what came of it all.
    pub(super) fn summary(&self, asker: Option<&Asker>) -> anyhow::Result<()> {
        let answered = self.answered;
        let replies = asker.map(Replies::of);
        let text = replies.as_ref().map(Replies::text);
        self.log.say(&Line::Summary(Summary { replies, answered }), || {
            let others = plural(usize::try_from(answered).unwrap_or(usize::MAX), "question");
            let others = format!("answered {others} of others");
            match text {
                Some(text) if answered == 0 => text,
                Some(text) => format!("{text}\n{others}"),
                None => others,
            }
        })
    }
}

impl Replies {
    fn of(asker: &Asker) -> Self {
        let (sent, received) = (asker.sent(), asker.received());
        let lost = sent.saturating_sub(received) as f64;
        Self {
            target: asker.target(),
            sent,
            received,
            lost_percent: if sent == 0 { 0.0 } else { 100.0 * lost / sent as f64 },
            duplicates: asker.duplicates,
            damaged: asker.damaged,
            round_trip: asker.spread(),
        }
    }

    fn text(&self) -> String {
        let (sent, received) = (count(self.sent), count(self.received));
        let (target, lost) = (self.target, self.lost_percent);
        let mut text = format!("{target}: {sent} sent, {received} received, {lost:.1} % lost");
        for (number, what) in [(self.duplicates, "duplicate"), (self.damaged, "damaged")] {
            if number > 0 {
                text.push_str(&format!(", {} {what}", count(number)));
            }
        }
        match self.round_trip {
            Some(spread) => format!("{text}\nround trip: {spread}"),
            None => text,
        }
    }
}
