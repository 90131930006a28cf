//! What tools say: lines for people, or one JSON object a line on stdout for programs.

use crate::port::Facts;
use crate::show::plural;
use anyhow::Context;
use serde::Serialize;
use std::io::Write;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Log {
    json: bool,
}

/// What happened to a port.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum PortLine<'a> {
    Open { port: &'a str, name: String },
    Up { port: &'a str, link: &'a Facts },
    Down { port: &'a str, reason: &'a str },
    Refused { port: &'a str, reason: &'a str },
    Trouble { port: &'a str, what: &'a str },
}

impl Log {
    /// `json`: objects instead of text.
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Says something beside the results: as text on stderr.
    pub(crate) fn note(
        self,
        line: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        if self.json {
            return object(line);
        }
        writeln!(std::io::stderr(), "{}", text()).context("cannot write to stderr")
    }

    /// Says a result: as text on stdout.
    pub(crate) fn say(
        self,
        line: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        if self.json {
            return object(line);
        }
        writeln!(std::io::stdout(), "{}", text()).context("cannot write to stdout")
    }

    pub(crate) fn up(self, port: &str, link: &Facts) -> anyhow::Result<()> {
        self.note(&PortLine::Up { port, link }, || {
            let (rx, tx) = (plural(link.rx_queues, "ring"), plural(link.tx_queues, "ring"));
            // A kernel's interface is no process.
            let pid = if link.pid == 0 { String::new() } else { format!(" (pid {})", link.pid) };
            format!("{port}: up, {}{pid}, {rx} in and {tx} out", link.peer)
        })
    }
}

fn object(line: &impl Serialize) -> anyhow::Result<()> {
    let line = serde_json::to_string(line)?;
    writeln!(std::io::stdout(), "{line}").context("cannot write to stdout")
}
