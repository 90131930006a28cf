//! The guest's second serial line, on which its init takes commands.
//!
//! `NUMBER COMMAND` is answered by what the command prints and `#NUMBER STATUS`; each start by `#boot`.

use super::running::Answer;
use super::{DEADLINE, unexpected};
use crate::peers::{CommandGuard, PeerError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often something that is not there yet is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How much of what was printed goes into an error, in bytes.
const TAIL: usize = 2000;

/// Connects to a socket of `process`, as soon as it listens.
pub(super) fn connect(path: &Path, process: &mut CommandGuard) -> Result<UnixStream, PeerError> {
    let end = Instant::now() + DEADLINE;
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() >= end => {
                return Err(PeerError::io(format!("connecting to {}", path.display()), error));
            }
            Err(_) => process.check_running()?,
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

#[derive(Debug)]
pub(super) struct Shell {
    stream: UnixStream,
    /// What was read and not looked at yet.
    fresh: Vec<u8>,
    /// Commands so far.
    number: u32,
}

impl Shell {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, fresh: Vec::new(), number: 0 }
    }

    /// Waits until init is there, again.
    pub(super) fn wait_boot(&mut self, deadline: Duration) -> Result<(), PeerError> {
        self.read_past("#boot\n", deadline).map(drop)
    }

    /// Runs a command of one line.
    pub(super) fn run(&mut self, command: &str, deadline: Duration) -> Result<Answer, PeerError> {
        self.number += 1;
        let line = format!("{} {command}\n", self.number);
        let sent = self.stream.write_all(line.as_bytes());
        sent.map_err(|error| PeerError::io(format!("telling a guest `{command}`"), error))?;
        let text = self.read_past(&format!("\n#{} ", self.number), deadline)?;
        let status = self.read_past("\n", deadline)?;
        let status = status.trim().parse().map_err(|_| unexpected(format!("status {status:?}")))?;
        Ok(Answer { status, text })
    }

    /// What was printed up to `mark`, without that.
    fn read_past(&mut self, mark: &str, deadline: Duration) -> Result<String, PeerError> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(at) = find(&self.fresh, mark.as_bytes()) {
                let rest = self.fresh.split_off(at + mark.len());
                let mut text = std::mem::replace(&mut self.fresh, rest);
                text.truncate(at);
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.silent(mark, deadline));
            }
            self.read(left)?;
        }
    }

    /// Reads what there is within `patience`; nothing is no error.
    fn read(&mut self, patience: Duration) -> Result<(), PeerError> {
        let failed = |error| PeerError::io("reading a guest's serial line", error);
        self.stream.set_read_timeout(Some(patience)).map_err(failed)?;
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(unexpected("QEMU has closed its serial line".into())),
            Ok(len) => {
                self.fresh.extend_from_slice(&bytes[..len]);
                Ok(())
            }
            Err(error)
                if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind()) =>
            {
                Ok(())
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn silent(&self, mark: &str, deadline: Duration) -> PeerError {
        let from = self.fresh.len().saturating_sub(TAIL);
        PeerError::Silent {
            name: "guest".into(),
            pattern: mark.trim().to_owned(),
            deadline,
            log: String::from_utf8_lossy(&self.fresh[from..]).into_owned(),
        }
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len().max(1)).position(|window| window == pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_whatever_comes_between_them() {
        let (ours, mut guest) = UnixStream::pair().unwrap();
        guest.write_all(b"noise\n#boot\nsome\nlines\n#1 0\n#2 of the output\n\n#2 7\n").unwrap();
        let mut shell = Shell::new(ours);
        shell.wait_boot(DEADLINE).unwrap();
        let answer = |status, text: &str| Answer { status, text: text.into() };
        assert_eq!(shell.run("a", DEADLINE).unwrap(), answer(0, "some\nlines"));
        assert_eq!(shell.run("b", DEADLINE).unwrap(), answer(7, "#2 of the output\n"));
        let silent = shell.run("c", Duration::from_millis(10));
        assert!(matches!(silent, Err(PeerError::Silent { .. })), "{silent:?}");
    }
}
