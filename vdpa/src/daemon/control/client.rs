//! The side that tells.

use super::lines::Lines;
use super::{ANSWER_MAX, Answer, Command};
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use thiserror::Error;

/// A connection to a daemon.
#[derive(Debug)]
pub struct ControlClient(Lines<'static>);

/// Why a command has no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Nobody is there.
    #[error("no daemon takes commands at {}: does it run, and may we write its socket?", path.display())]
    NoDaemon {
        /// Where it was to be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It was there, and did not answer.
    #[error("the daemon did not answer")]
    NoAnswer(#[source] io::Error),
    /// It answered something that cannot be.
    #[error("the daemon's answer is none")]
    Absurd(#[source] serde_json::Error),
}

/// How long an answer may take: more than any command does.
const PATIENCE: Duration = Duration::from_secs(30);

impl ControlClient {
    /// Connects.
    ///
    /// # Errors
    /// [`ControlError::NoDaemon`].
    pub fn connect(socket: &Path) -> Result<Self, ControlError> {
        let lines = UnixStream::connect(socket).and_then(|stream| Lines::new(stream, None));
        let path = || socket.to_owned();
        lines.map(Self).map_err(|source| ControlError::NoDaemon { path: path(), source })
    }

    /// Gives a command, and waits for its answer.
    ///
    /// # Errors
    /// [`ControlError`]. That the daemon refuses is an answer.
    pub fn tell(&mut self, command: &Command) -> Result<Answer, ControlError> {
        let mut line = serde_json::to_vec(command).map_err(ControlError::Absurd)?;
        line.push(b'\n');
        let deadline = Instant::now() + PATIENCE;
        self.0.send(&line, deadline).map_err(ControlError::NoAnswer)?;
        let closed = || ControlError::NoAnswer(ErrorKind::UnexpectedEof.into());
        let answer = self.0.next(ANSWER_MAX, deadline).map_err(ControlError::NoAnswer)?;
        serde_json::from_slice(&answer.ok_or_else(closed)?).map_err(ControlError::Absurd)
    }
}
