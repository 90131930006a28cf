//! DPDK's testpmd: a packet generator, receiver and forwarder.
//!
//! Verified with 22.11. What its drivers and its generator do, where it matters to a comparison,
//! is in `bench/NOTES.md`.

mod args;
mod output;
mod telemetry;

pub use args::{MemifArgs, MemifRole, Mode};
pub use output::{Sample, Totals};
pub use telemetry::PortCounters;

use super::{CommandGuard, PeerError, find_program};
use args::Arguments;
use output::{parse_samples, parse_totals};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use telemetry::Telemetry;

/// How long testpmd may take to start, to answer a command, and to stop.
const DEADLINE: Duration = Duration::from_secs(20);
const PROMPT: &str = "testpmd> ";

/// Numbers the processes that one of ours started, for DPDK's file prefix.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// How testpmd is to be started.
#[derive(Debug, Clone, Default)]
pub struct Testpmd {
    args: Arguments,
}

impl Testpmd {
    /// One forwarding core on CPU 0, no port yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a memif port.
    #[must_use]
    pub fn memif(mut self, memif: MemifArgs) -> Self {
        self.args.memifs.push(memif);
        self
    }

    /// Adds any other port, as DPDK writes it: `net_vhost0,iface=/tmp/s,client=0`.
    #[must_use]
    pub fn vdev(mut self, vdev: impl Into<String>) -> Self {
        self.args.vdevs.push(vdev.into());
        self
    }

    /// What to do with packets; receive and drop them unless said otherwise.
    #[must_use]
    pub fn forward(mut self, mode: Mode) -> Self {
        self.args.mode = mode;
        self
    }

    /// Queues in each direction; one core serves all of them.
    #[must_use]
    pub fn queues(mut self, queues: u16) -> Self {
        self.args.queues = queues;
        self
    }

    /// Length of generated packets, in bytes. Longer ones than fit one of DPDK's buffers are
    /// generated in several pieces.
    #[must_use]
    pub fn packet_len(mut self, bytes: u16) -> Self {
        self.args.set_packet_len(bytes);
        self
    }

    /// Lengths of the pieces of generated packets, in bytes.
    #[must_use]
    pub fn txpkts(mut self, pieces: &[u16]) -> Self {
        self.args.txpkts = pieces.to_vec();
        self
    }

    /// Packets per burst (testpmd's default is 32).
    #[must_use]
    pub fn burst(mut self, packets: u16) -> Self {
        self.args.burst = Some(packets);
        self
    }

    /// The CPU on which testpmd polls.
    #[must_use]
    pub fn core(mut self, cpu: usize) -> Self {
        self.args.core = cpu;
        self
    }

    /// Whether to use hugepages; unless said, they are used when enough are free.
    #[must_use]
    pub fn hugepages(mut self, use_them: bool) -> Self {
        self.args.hugepages = Some(use_them);
        self
    }

    /// Memory for packet buffers, in megabytes (256 unless said otherwise).
    #[must_use]
    pub fn memory(mut self, megabytes: u32) -> Self {
        self.args.memory = megabytes;
        self
    }

    /// Data room of a packet buffer, in bytes (2048 unless said otherwise).
    #[must_use]
    pub fn mbuf_data(mut self, bytes: u16) -> Self {
        self.args.mbuf_data = Some(bytes);
        self
    }

    /// Measures cycles per packet: [`Totals::cycles_per_packet`].
    #[must_use]
    pub fn record_core_cycles(mut self) -> Self {
        self.args.app.push("--record-core-cycles".into());
        self
    }

    /// Takes commands from [`RunningTestpmd::command`]; does not start forwarding by itself.
    #[must_use]
    pub fn interactive(mut self) -> Self {
        self.args.interactive = true;
        self
    }

    /// Adds an argument for DPDK's environment layer (before `--`).
    #[must_use]
    pub fn eal_arg(mut self, arg: impl Into<String>) -> Self {
        self.args.eal.push(arg.into());
        self
    }

    /// Adds an argument for testpmd itself (after `--`).
    #[must_use]
    pub fn app_arg(mut self, arg: impl Into<String>) -> Self {
        self.args.app.push(arg.into());
        self
    }

    /// Starts testpmd and waits until its ports are set up and, unless it is interactive, it
    /// forwards. The link of a memif port may come up later: see
    /// [`wait_link_up`](RunningTestpmd::wait_link_up).
    ///
    /// # Errors
    /// When it cannot be started, or gives up; the end of its log is in the error.
    pub fn start(self) -> Result<RunningTestpmd, PeerError> {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("ringport-{}-{number}", std::process::id());
        // stdbuf makes testpmd print each line when it is complete; it becomes testpmd by exec.
        let (program, first) = match find_program("stdbuf") {
            Some(stdbuf) => (stdbuf, vec!["-oL".to_owned(), "dpdk-testpmd".to_owned()]),
            None => (PathBuf::from("dpdk-testpmd"), Vec::new()),
        };
        let mut command = Command::new(program);
        command.args(first).args(self.args.to_command_line(&prefix));
        let process = CommandGuard::spawn("dpdk-testpmd", &mut command)?;
        let interactive = self.args.interactive;
        let mut running = RunningTestpmd { process, prefix, interactive, telemetry: None };
        let ready = if interactive { PROMPT } else { "nb forwarding ports=" };
        running.process.wait_for_line(ready, DEADLINE)?;
        Ok(running)
    }
}

/// A running testpmd; it is stopped when dropped.
#[derive(Debug)]
pub struct RunningTestpmd {
    process: CommandGuard,
    prefix: String,
    interactive: bool,
    telemetry: Option<Telemetry>,
}

impl RunningTestpmd {
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
            return Err(
                self.unexpected(format!("`{command}` to a testpmd that is not interactive"))
            );
        };
        let sent = stdin.write_all(format!("{command}\n").as_bytes()).and_then(|()| stdin.flush());
        if let Err(error) = sent {
            self.process.check_running()?;
            return Err(PeerError::io(format!("sending `{command}`"), error));
        }
        self.process.wait_for_line(PROMPT, DEADLINE)?;
        let log = self.process.log();
        Ok(log.get(before..).unwrap_or_default().to_owned())
    }

    /// Stops the forwarding of an interactive testpmd, and returns what it counted since `start`.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub fn stop_forwarding(&mut self) -> Result<Totals, PeerError> {
        let printed = self.command("stop")?;
        parse_totals(&printed).ok_or_else(|| self.unexpected(printed))
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
                return Err(
                    self.unexpected(format!("port {port} is still down after {deadline:?}"))
                );
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
        parse_totals(&log).ok_or_else(|| self.unexpected("no counters when it stopped".into()))
    }

    fn telemetry(&mut self) -> Result<&mut Telemetry, PeerError> {
        if self.telemetry.is_none() {
            self.process.check_running()?;
            self.telemetry = Some(Telemetry::connect(&self.prefix)?);
        }
        self.telemetry.as_mut().ok_or_else(|| unexpected("no telemetry".into()))
    }

    fn unexpected(&self, what: String) -> PeerError {
        unexpected(what)
    }
}

fn unexpected(what: String) -> PeerError {
    PeerError::Unexpected { name: "dpdk-testpmd".into(), what }
}

impl Drop for RunningTestpmd {
    fn drop(&mut self) {
        // The rest of a process that ends anyway: a failure leaves two small files.
        let _ = self.process.stop();
        let _ = std::fs::remove_dir_all(telemetry::runtime_dir(&self.prefix));
    }
}

#[cfg(test)]
mod tests;
