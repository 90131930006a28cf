//! A line on stderr that says how far things are.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Updates one line in place on a terminal; writes plain lines, and fewer, elsewhere.
#[derive(Debug)]
pub(crate) struct Progress {
    in_place: bool,
    next: Instant,
    shown: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let in_place = std::io::stderr().is_terminal() && !dumb;
        Self { in_place, next: Instant::now(), shown: false }
    }

    /// Shows what `text` makes, if enough time has passed since the last line. Keep it short: a
    /// line that wraps cannot be updated.
    pub(crate) fn live(&mut self, now: Instant, text: impl FnOnce() -> String) {
        if now >= self.next {
            self.next = now + if self.in_place { IN_PLACE } else { PLAIN };
            self.write(&text());
        }
    }

    /// Shows `text` now, and what comes next not before its time.
    pub(crate) fn stage(&mut self, text: &str) {
        self.next = Instant::now() + if self.in_place { IN_PLACE } else { PLAIN };
        self.write(text);
    }

    /// Takes the line off the terminal, before anything else is written.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            put("\r\x1b[K");
        }
    }

    fn write(&mut self, text: &str) {
        if self.in_place {
            put(&format!("\r{text}\x1b[K"));
            self.shown = true;
        } else {
            put(&format!("{text}\n"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Progress is a courtesy: where it cannot be written, work goes on.
fn put(text: &str) {
    let mut stderr = std::io::stderr();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

const IN_PLACE: Duration = Duration::from_millis(100);
const PLAIN: Duration = Duration::from_secs(1);
