//! Where a capture goes: a file, or a pipe whose reader may be slow, or gone.

use crate::signals::Signals;
use crate::values::Misuse;
use crate::wait::writable;
use anyhow::{Context, bail};
use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::Duration;

/// Collects bytes, and writes them without ever waiting where Ctrl-C could not be seen.
#[derive(Debug)]
pub(super) struct Sink {
    file: File,
    /// Bytes that can be written at once when some can.
    step: usize,
    buffer: Vec<u8>,
}

/// What came of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushed {
    /// Everything is written.
    All,
    /// A signal came first.
    Signal,
    /// Nobody reads any more.
    Closed,
}

impl Sink {
    /// Opens the named file, or stdout: for lines unless there is a name, and the name is `-`.
    pub(super) fn open(name: Option<&str>) -> anyhow::Result<Self> {
        let file = match name {
            Some("-") if std::io::stdout().is_terminal() => {
                bail!(Misuse("--write - goes to a terminal: pipe it into a reader".into()));
            }
            Some("-") | None => {
                let stdout = std::io::stdout().as_fd().try_clone_to_owned();
                File::from(stdout.context("cannot write to stdout")?)
            }
            Some(path) => File::create(path).with_context(|| format!("cannot write to {path}"))?,
        };
        let is_file = file.metadata().is_ok_and(|about| about.is_file());
        let step = if is_file { usize::MAX } else { PIPE_STEP };
        Ok(Self { file, step, buffer: Vec::with_capacity(2 * FULL) })
    }

    /// Lets `write` append something.
    pub(super) fn put(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.buffer);
    }

    /// Whether it is time to flush.
    pub(super) fn is_full(&self) -> bool {
        self.buffer.len() >= FULL
    }

    /// Writes everything, unless a signal comes.
    pub(super) fn flush(&mut self, signals: &Signals) -> anyhow::Result<Flushed> {
        self.write(Some(signals), None)
    }

    /// Writes everything, as long as somebody reads.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        self.write(None, Some(FINISH)).map(drop)
    }

    fn write(
        &mut self,
        signals: Option<&Signals>,
        patience: Option<Duration>,
    ) -> anyhow::Result<Flushed> {
        let mut written = 0;
        let mut outcome = Flushed::All;
        while written < self.buffer.len() {
            if !writable(self.file.as_fd(), signals.map(AsFd::as_fd), patience)? {
                outcome = Flushed::Signal;
                break;
            }
            let rest = &self.buffer[written..];
            match self.file.write(&rest[..rest.len().min(self.step)]) {
                Ok(0) => bail!("cannot write the capture: nothing is taken"),
                Ok(count) => written += count,
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted | ErrorKind::WouldBlock => {}
                    ErrorKind::BrokenPipe => {
                        self.buffer.clear();
                        return Ok(Flushed::Closed);
                    }
                    _ => return Err(error).context("cannot write the capture"),
                },
            }
        }
        self.buffer.drain(..written);
        Ok(outcome)
    }
}

/// Bytes collected before they are written.
const FULL: usize = 1 << 16;

/// What a pipe takes without waiting when it takes anything: PIPE_BUF on Linux (pipe(7)).
const PIPE_STEP: usize = 4096;

/// How long a reader may pause at the end.
const FINISH: Duration = Duration::from_secs(1);
