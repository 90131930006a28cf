//! Child processes that cannot outlive us.
#![expect(
    unsafe_code,
    reason = "asks the kernel, between fork and exec, to kill the child with us"
)]

use super::PeerError;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a child may take to end after SIGINT.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// How often a child is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How much of a log goes into an error, in bytes.
const LOG_TAIL: usize = 4000;

/// A child process: interrupted, then killed, then reaped on drop, and killed by the kernel when
/// the thread that started it ends. What it prints goes to a file.
#[derive(Debug)]
pub struct CommandGuard {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    log: PathBuf,
    /// Where in the log the next [`wait_for_line`](Self::wait_for_line) starts, in bytes.
    seen: u64,
    status: Option<ExitStatus>,
    _dir: TempDir,
}

impl CommandGuard {
    /// Starts `command` with its output to a file, its input from a pipe. `name` is for messages.
    ///
    /// # Errors
    /// When the program or the file cannot be made.
    pub fn spawn(name: &str, command: &mut Command) -> Result<Self, PeerError> {
        let failed = |source| PeerError::io(format!("starting {name}"), source);
        let dir = tempfile::Builder::new().prefix("ringport-peer-").tempdir().map_err(failed)?;
        let log = dir.path().join("log");
        let out = File::create(&log).map_err(failed)?;
        let err = out.try_clone().map_err(failed)?;
        command.stdin(Stdio::piped()).stdout(out).stderr(err);
        // SAFETY: between fork and exec only async-signal-safe functions may be called; prctl is
        // one, and the closure allocates nothing.
        unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
        let mut child = command.spawn().map_err(failed)?;
        let stdin = child.stdin.take();
        Ok(Self { name: name.into(), child, stdin, log, seen: 0, status: None, _dir: dir })
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        // Process ids are positive and at most 2^22.
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX))
    }

    /// The file with everything that the child printed.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Everything that the child printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The child's input, until [`close_stdin`](Self::close_stdin).
    pub fn stdin(&mut self) -> Option<&mut ChildStdin> {
        self.stdin.as_mut()
    }

    /// Ends the child's input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits for a line that contains `pattern`, printed after the last one that was waited for,
    /// and returns it.
    ///
    /// # Errors
    /// When the child ends first, or the deadline passes. Both carry the end of the log.
    pub fn wait_for_line(
        &mut self,
        pattern: &str,
        deadline: Duration,
    ) -> Result<String, PeerError> {
        let end = Instant::now() + deadline;
        loop {
            let ended = self.try_wait()?;
            if let Some(line) = self.next_line(pattern)? {
                return Ok(line);
            }
            if let Some(status) = ended {
                return Err(self.ended(status));
            }
            if Instant::now() >= end {
                let (name, pattern) = (self.name.clone(), pattern.to_owned());
                return Err(PeerError::Silent { name, pattern, deadline, log: self.log_tail() });
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Fails when the child has ended.
    ///
    /// # Errors
    /// [`PeerError::Ended`] with the end of its log.
    pub fn check_running(&mut self) -> Result<(), PeerError> {
        match self.try_wait()? {
            None => Ok(()),
            Some(status) => Err(self.ended(status)),
        }
    }

    /// Sends a signal. A child that has ended gets none.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<(), PeerError> {
        if self.try_wait()?.is_none() {
            let failed = |errno: nix::Error| {
                PeerError::io(format!("{signal} to {}", self.name), errno.into())
            };
            kill(self.pid(), signal).map_err(failed)?;
        }
        Ok(())
    }

    /// Stops all threads of the child until [`resume`](Self::resume).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn pause(&mut self) -> Result<(), PeerError> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets the child run on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn resume(&mut self) -> Result<(), PeerError> {
        self.signal(Signal::SIGCONT)
    }

    /// Ends the child: SIGINT, and SIGKILL when that does not help within five seconds.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn stop(&mut self) -> Result<ExitStatus, PeerError> {
        self.stop_within(STOP_DEADLINE)
    }

    /// As [`stop`](Self::stop), with another deadline than five seconds.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn stop_within(&mut self, deadline: Duration) -> Result<ExitStatus, PeerError> {
        self.signal(Signal::SIGINT)?;
        self.signal(Signal::SIGCONT)?;
        if let Some(status) = self.wait_end(deadline)? {
            return Ok(status);
        }
        self.signal(Signal::SIGKILL)?;
        let status =
            self.child.wait().map_err(|e| PeerError::io(format!("reaping {}", self.name), e))?;
        self.status = Some(status);
        Ok(status)
    }

    /// Waits until the child has ended by itself; `None` when it has not within `deadline`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn wait_end(&mut self, deadline: Duration) -> Result<Option<ExitStatus>, PeerError> {
        let end = Instant::now() + deadline;
        loop {
            let status = self.try_wait()?;
            if status.is_some() || Instant::now() >= end {
                return Ok(status);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn try_wait(&mut self) -> Result<Option<ExitStatus>, PeerError> {
        if self.status.is_none() {
            let looked = self.child.try_wait();
            self.status =
                looked.map_err(|e| PeerError::io(format!("waiting for {}", self.name), e))?;
        }
        Ok(self.status)
    }

    /// The next complete line with `pattern`; what was printed before it is passed over. A prompt
    /// counts as a line although it has no end.
    fn next_line(&mut self, pattern: &str) -> Result<Option<String>, PeerError> {
        let fresh = self.read_from(self.seen).map_err(|e| PeerError::io("reading a log", e))?;
        let Some(at) = find(&fresh, pattern.as_bytes()) else { return Ok(None) };
        let start = fresh[..at].iter().rposition(|&b| b == b'\n').map_or(0, |n| n + 1);
        let after = at + pattern.len();
        let is_prompt = pattern.ends_with("> ");
        let end = match fresh[after..].iter().position(|&b| b == b'\n') {
            _ if is_prompt => after,
            Some(len) => after + len,
            None => return Ok(None),
        };
        self.seen += end as u64;
        Ok(Some(String::from_utf8_lossy(&fresh[start..end]).into_owned()))
    }

    fn read_from(&self, offset: u64) -> io::Result<Vec<u8>> {
        let mut file = File::open(&self.log)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn ended(&self, status: ExitStatus) -> PeerError {
        PeerError::Ended {
            name: self.name.clone(),
            status: status.to_string(),
            log: self.log_tail(),
        }
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let from = log.len().saturating_sub(LOG_TAIL);
        let from = (from..log.len()).find(|&at| log.is_char_boundary(at)).unwrap_or(log.len());
        log[from..].to_owned()
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len().max(1)).position(|window| window == pattern)
}

impl Drop for CommandGuard {
    fn drop(&mut self) {
        // Nobody is left to hear about a failure; the kernel kills the child when we end.
        let _ = self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> CommandGuard {
        CommandGuard::spawn("sh", Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn lines_are_found_in_order_and_once() {
        let mut child = shell("echo one; echo two >&2; echo one more; exec sleep 60");
        let deadline = Duration::from_secs(5);
        assert_eq!(child.wait_for_line("one", deadline).unwrap(), "one");
        assert_eq!(child.wait_for_line("one", deadline).unwrap(), "one more");
        let missing = child.wait_for_line("one", Duration::from_millis(50));
        assert!(matches!(missing, Err(PeerError::Silent { .. })), "{missing:?}");
        assert!(child.log().contains("two"));
    }

    #[test]
    fn child_that_ends_early_is_reported_with_its_log() {
        let mut child = shell("echo last words; exit 3");
        let Err(error) = child.wait_for_line("never", Duration::from_secs(5)) else {
            panic!("a line that was never printed")
        };
        let text = error.to_string();
        assert!(text.contains("exit status: 3") && text.contains("last words"), "{text}");
    }

    #[test]
    fn child_that_ignores_sigint_is_killed_even_when_paused() {
        let mut child = shell("trap '' INT; echo ready; while :; do sleep 0.01; done");
        child.wait_for_line("ready", Duration::from_secs(5)).unwrap();
        child.pause().unwrap();
        let status = child.stop_within(Duration::from_millis(50)).unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }

    #[test]
    fn paused_child_ends_and_is_reaped_on_drop() {
        let mut child = shell("echo ready; exec sleep 60");
        child.wait_for_line("ready", Duration::from_secs(5)).unwrap();
        child.pause().unwrap();
        let pid = child.pid();
        drop(child);
        assert_eq!(kill(pid, None), Err(nix::errno::Errno::ESRCH));
    }
}
