//! What the demo found: a table as it goes, or one JSON document at the end.

use super::Joint;
use super::flood::{Flood, rate_row};
use super::ping::{self, Mode, Ping};
use super::session::LinkUp;
use crate::show::{count, plural, time};
use anyhow::Context;
use serde::Serialize;
use std::io::Write;

#[derive(Debug, Serialize)]
pub(super) struct Results {
    #[serde(skip)]
    json: bool,
    /// One of each kind.
    links: Vec<LinkResults>,
}

/// What was found on one link.
#[derive(Debug, Serialize)]
pub(super) struct LinkResults {
    #[serde(skip)]
    json: bool,
    #[serde(skip)]
    joint: Joint,
    link: Option<LinkUp>,
    ping: Vec<Ping>,
    throughput: Vec<Flood>,
}

impl Results {
    pub(super) fn new(json: bool) -> Self {
        Self { json, links: Vec::new() }
    }

    /// For the link that comes next.
    pub(super) fn begin(&self, joint: Joint) -> anyhow::Result<LinkResults> {
        if !self.links.is_empty() && !self.json {
            write("")?;
        }
        let (link, ping, throughput) = (None, Vec::new(), Vec::new());
        Ok(LinkResults { json: self.json, joint, link, ping, throughput })
    }

    pub(super) fn add(&mut self, link: LinkResults) {
        self.links.push(link);
    }

    pub(super) fn end(&self) -> anyhow::Result<()> {
        if self.json {
            let text = serde_json::to_string_pretty(self)?;
            return write(&text);
        }
        write("\nEvery packet arrived, in order and whole.")?;
        let floods = self.links.iter().flat_map(|link| &link.throughput);
        let share = floods.filter_map(|flood| flood.core_share).fold(1.0, f64::min);
        if share < QUIET {
            let lost = (1.0 - share) * 100.0;
            write(&format!(
                "Other work took up to {lost:.0} % of the core: a quiet machine would do better."
            ))?;
        }
        Ok(())
    }
}

impl LinkResults {
    pub(super) fn link(&mut self, up: &LinkUp) -> anyhow::Result<()> {
        self.link = Some(up.clone());
        let cores = match up.cores {
            Some([first, second]) => format!("on cores {first} and {second}"),
            None => "sharing one core".to_owned(),
        };
        let facts = &up.facts;
        let rings = plural(facts.rx_queues, "ring");
        let buffers = facts.buffer_bytes.map(|bytes| format!(", buffers of {bytes} bytes"));
        self.say(&format!(
            "Two processes joined by {}, {cores}\n\n  \
             link up   {:.1} ms after the second process (pid {}) was started\n  \
             agreed    {}, {rings} of {} descriptors each way{}\n",
            self.joint.name(),
            up.up_after_ms,
            facts.pid,
            facts.protocol,
            facts.ring_size,
            buffers.unwrap_or_default(),
        ))
    }

    pub(super) fn ping_title(&self) -> anyhow::Result<()> {
        let title = format!("round trip, {} bytes", ping::LEN);
        self.say(&format!("  {title:<28}{:>11}{:>11}{:>11}{:>12}", "min", "median", "p99", "max"))
    }

    pub(super) fn ping(&mut self, ping: Ping) -> anyhow::Result<()> {
        let how = match ping.mode {
            Mode::Polling => "polling",
            Mode::Adaptive => "sleeping until a doorbell",
        };
        let [min, median, p99, max] =
            [ping.min_ns, ping.median_ns, ping.p99_ns, ping.max_ns].map(time);
        self.ping.push(ping);
        self.say(&format!("    {how:<26}{min:>11}{median:>11}{p99:>11}{max:>12}"))
    }

    pub(super) fn flood_title(&self) -> anyhow::Result<()> {
        self.say("\n  one way, each packet checked")
    }

    pub(super) fn flood(&mut self, flood: Flood) -> anyhow::Result<()> {
        let row = rate_row(flood.frame_bytes, flood.packets_per_second);
        let packets = count(flood.verified);
        self.throughput.push(flood);
        self.say(&format!("{row}{packets:>18} packets"))
    }

    fn say(&self, text: &str) -> anyhow::Result<()> {
        if self.json { Ok(()) } else { write(text) }
    }
}

fn write(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).context("cannot write to stdout")
}

/// Share of its core that a busy process gets on a quiet machine.
const QUIET: f64 = 0.9;
