//! What `pktgen` says.

use super::flows::Found;
use super::receiver::Receiver;
use super::sender::Sender;
use crate::end::Sent;
use crate::log::Log;
use crate::show::{count, per_second, rates};
use crate::times::Spread;
use serde::Serialize;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Report {
    log: Log,
    /// Sent and received, when rates were given last.
    last: [Sent; 2],
}

/// A line of JSON. A side that this process does not have is null.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line {
    Stats { seconds: f64, sent: Option<Side>, received: Option<Side> },
    Summary { sent: Option<Side>, received: Option<Side>, latency: Option<Spread> },
}

/// One direction.
#[derive(Debug, Clone, Copy, Serialize)]
struct Side {
    /// From its first frame on: of a summary to its last one, else in the time that the line is about.
    seconds: f64,
    packets_per_second: f64,
    bits_per_second: f64,
    #[serde(flatten)]
    count: Count,
}

/// Since the start.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
enum Count {
    Sent { packets: u64, bytes: u64 },
    Received(Found),
}

impl Report {
    pub(super) fn new(log: Log) -> Self {
        Self { log, last: Default::default() }
    }

    /// Says what went through in the last `time`.
    pub(super) fn rates(
        &mut self,
        sender: Option<&Sender>,
        receiver: Option<&Receiver>,
        time: Duration,
    ) -> anyhow::Result<()> {
        let sent = sender.map(|sender| Side::new(sent(sender), self.last[0], time));
        let received = receiver.map(|receiver| Side::new(received(receiver), self.last[1], time));
        self.last = [sent.map(|side| side.count.all()), received.map(|side| side.count.all())]
            .map(Option::unwrap_or_default);
        self.log.note(&Line::Stats { seconds: time.as_secs_f64(), sent, received }, || {
            let sides = [("sent", sent), ("received", received)];
            let sides = sides.iter().filter_map(|&(name, side)| Some((name, side?)));
            let sides: Vec<_> = sides.map(|(name, side)| side.text(name)).collect();
            sides.join("   ")
        })
    }

    /// Says what came of it all.
    pub(super) fn summary(
        &self,
        sender: Option<&Sender>,
        receiver: Option<&Receiver>,
    ) -> anyhow::Result<()> {
        let none = Sent::default();
        let sent = sender.map(|sender| {
            let time = sender.first().zip(sender.last());
            Side::new(sent(sender), none, time.map_or(Duration::ZERO, |(first, last)| last - first))
        });
        let received = receiver.map(|receiver| {
            let time = receiver.first().zip(receiver.last());
            let time = time.map_or(Duration::ZERO, |(first, last)| last - first);
            Side::new(received(receiver), none, time)
        });
        let latency = receiver.and_then(|receiver| receiver.times.spread());
        self.log.say(&Line::Summary { sent, received, latency }, || {
            let mut lines = Vec::new();
            lines.extend(sent.map(|side| side.total("sent")));
            lines.extend(received.map(|side| side.total("received")));
            lines.extend(latency.map(|spread| format!("latency: {spread}")));
            lines.join("\n")
        })
    }
}

fn sent(sender: &Sender) -> Count {
    Count::Sent { packets: sender.sent.packets, bytes: sender.sent.bytes }
}

fn received(receiver: &Receiver) -> Count {
    Count::Received(receiver.found)
}

impl Count {
    fn all(self) -> Sent {
        match self {
            Self::Sent { packets, bytes } => Sent { packets, bytes, ..Sent::default() },
            Self::Received(found) => {
                Sent { packets: found.packets, bytes: found.bytes, ..Sent::default() }
            }
        }
    }

    /// What is wrong, if anything is; behind a comma.
    fn faults(self) -> String {
        let Self::Received(found) = self else { return String::new() };
        let other = (found.other, "other packets");
        let all = found.faults().into_iter().chain([other]).filter(|&(number, _)| number > 0);
        all.map(|(number, what)| format!(", {} {what}", count(number))).collect()
    }
}

impl Side {
    fn new(count: Count, last: Sent, time: Duration) -> Self {
        let now = count.all();
        Self {
            seconds: time.as_secs_f64(),
            packets_per_second: per_second(now.packets - last.packets, time),
            bits_per_second: 8.0 * per_second(now.bytes - last.bytes, time),
            count,
        }
    }

    fn text(&self, name: &str) -> String {
        let rates = rates(self.packets_per_second, self.bits_per_second);
        format!("{name} {rates}{}", self.count.faults())
    }

    fn total(&self, name: &str) -> String {
        let packets = count(self.count.all().packets);
        let (rates, seconds) = (rates(self.packets_per_second, self.bits_per_second), self.seconds);
        format!("{name}: {packets} packets in {seconds:.3} s,{rates}{}", self.count.faults())
    }
}
