//! A testpmd that runs.

use super::output::{Sample, Totals, parse_samples, parse_totals};
use super::telemetry::{self, PortCounters, Telemetry};
use super::virtio::{VirtioDriver, parse_driver};
use super::{DEADLINE, unexpected};
use crate::peers::{CommandGuard, PeerError};
use std::time::Duration;

const PROMPT: &str = "testpmd> ";
/// How long to wait before a prompt is taken for one that was cut in two.
const PROMPT_PATIENCE: Duration = Duration::from_secs(3);
/// How long after a prompt another one may follow.
const PROMPT_FOLLOWS: Duration = Duration::from_millis(200);

/// A running testpmd; it is stopped when dropped.
#[derive(Debug)]
pub struct RunningTestpmd {
    process: CommandGuard,
    prefix: String,
    interactive: bool,
    telemetry: Option<Telemetry>,
}

impl RunningTestpmd {
    pub(super) fn new(process: CommandGuard, prefix: String, interactive: bool) -> Self {
        Self { process, prefix, interactive, telemetry: None }
    }

    /// Waits until a virtio driver listens for its device, after [`spawn`](super::Testpmd::spawn).
    ///
    /// # Errors
    /// When it gives up or does not; the end of its log is in the error.
    pub fn wait_listening(&mut self) -> Result<(), PeerError> {
        self.process.wait_for_line("waiting for client connection", DEADLINE)?;
        Ok(())
    }

    /// Waits until the ports are set up and, unless it is interactive, testpmd forwards; after
    /// [`spawn`](super::Testpmd::spawn).
    ///
    /// # Errors
    /// When it gives up or does not; the end of its log is in the error.
    pub fn wait_ready(&mut self) -> Result<(), PeerError> {
        if self.interactive {
            return self.wait_prompt();
        }
        self.process.wait_for_line("nb forwarding ports=", DEADLINE)?;
        Ok(())
    }

    /// Waits for the prompt. testpmd prints it letter by letter, and what its other threads log may
    /// come in between: then an empty command makes another one.
    fn wait_prompt(&mut self) -> Result<(), PeerError> {
        use std::io::Write;
        match self.process.wait_for_line(PROMPT, PROMPT_PATIENCE) {
            Err(PeerError::Silent { .. }) => {}
            other => return other.map(drop),
        }
        if let Some(stdin) = self.process.stdin() {
            // Whether it is still there is seen by what it prints.
            let _ = stdin.write_all(b"\n").and_then(|()| stdin.flush());
        }
        self.process.wait_for_line(PROMPT, DEADLINE)?;
        // It may have been late only: then another one follows.
        while self.process.wait_for_line(PROMPT, PROMPT_FOLLOWS).is_ok() {}
        Ok(())
    }

    /// What the virtio driver of a port agreed upon with its device, and which paths it took. (When
    /// testpmd has several such ports, features and ring size are those of the last one.)
    ///
    /// # Errors
    /// When the port is none or not set up, or its path has an unknown name.
    pub fn virtio_driver(&self, port: u16) -> Result<VirtioDriver, PeerError> {
        parse_driver(&self.process.log(), port)
    }

    /// The process.
    pub fn process(&mut self) -> &mut CommandGuard {
        &mut self.process
    }

    /// Runs a command of an interactive testpmd, and returns what it printed.
    ///
    /// # Errors
    /// When testpmd is not interactive, has ended, or does not answer.
    pub fn command(&mut self, command: &str) -> Result<String, PeerError> {
        use std::io::Write;
        let before = self.process.log().len();
        let Some(stdin) = self.process.stdin().filter(|_| self.interactive) else {
            return Err(unexpected(format!("`{command}` to a testpmd that is not interactive")));
        };
        let sent = stdin.write_all(format!("{command}\n").as_bytes()).and_then(|()| stdin.flush());
        if let Err(error) = sent {
            self.process.check_running()?;
            return Err(PeerError::io(format!("sending `{command}`"), error));
        }
        self.wait_prompt()?;
        let log = self.process.log();
        Ok(log.get(before..).unwrap_or_default().to_owned())
    }

    /// Stops the forwarding of an interactive testpmd, and returns what it counted since `start`.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub fn stop_forwarding(&mut self) -> Result<Totals, PeerError> {
        let printed = self.command("stop")?;
        parse_totals(&printed).ok_or_else(|| unexpected(printed))
    }

    /// Exact counters of a port now, over DPDK's telemetry socket: about 0.3 ms.
    ///
    /// # Errors
    /// When the socket does not answer.
    pub fn counters(&mut self, port: u16) -> Result<PortCounters, PeerError> {
        self.telemetry()?.counters(port)
    }

    /// Waits until a port's link is up.
    ///
    /// # Errors
    /// When it is not within `deadline`, or testpmd ends.
    pub fn wait_link_up(&mut self, port: u16, deadline: Duration) -> Result<(), PeerError> {
        let end = std::time::Instant::now() + deadline;
        while !self.telemetry()?.link_is_up(port)? {
            self.process.check_running()?;
            if std::time::Instant::now() >= end {
                return Err(unexpected(format!("port {port} is still down after {deadline:?}")));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The samples of port 0 that testpmd printed so far, one a second, oldest first.
    #[must_use]
    pub fn stats(&self) -> Vec<Sample> {
        parse_samples(&self.process.log(), 0)
    }

    /// Stops all threads until [`resume`](Self::resume); connections stay.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn pause(&mut self) -> Result<(), PeerError> {
        self.process.pause()
    }

    /// Runs on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn resume(&mut self) -> Result<(), PeerError> {
        self.process.resume()
    }

    /// Everything that testpmd printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Stops testpmd, and returns what it counted while it forwarded.
    ///
    /// Stop it before the other end of its link: DPDK's memif driver forgets its counters when the
    /// link goes down, and 22.11 can crash when that happens while it forwards. (An interactive
    /// testpmd may be told `stop` first; its counters then stay.)
    ///
    /// # Errors
    /// When it had ended before, or printed no counters.
    pub fn stop(mut self) -> Result<Totals, PeerError> {
        self.process.check_running()?;
        if self.interactive {
            self.process.resume()?;
            let _ = self.command("stop")?;
            if let Some(stdin) = self.process.stdin() {
                // When it has gone already there is nothing to ask.
                let _ = std::io::Write::write_all(stdin, b"quit\n");
            }
            self.process.wait_end(DEADLINE)?;
        }
        self.process.stop_within(DEADLINE)?;
        let log = self.process.log();
        parse_totals(&log).ok_or_else(|| unexpected("no counters when it stopped".into()))
    }

    fn telemetry(&mut self) -> Result<&mut Telemetry, PeerError> {
        if self.telemetry.is_none() {
            self.process.check_running()?;
            self.telemetry = Some(Telemetry::connect(&self.prefix)?);
        }
        self.telemetry.as_mut().ok_or_else(|| unexpected("no telemetry".into()))
    }
}

impl Drop for RunningTestpmd {
    fn drop(&mut self) {
        // The rest of a process that ends anyway: a failure leaves two small files.
        let _ = self.process.stop();
        let _ = std::fs::remove_dir_all(telemetry::runtime_dir(&self.prefix));
    }
}
