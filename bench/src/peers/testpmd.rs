//! DPDK's testpmd: a packet generator, receiver and forwarder.
//!
//! Verified with 22.11. What its drivers and its generator do, where it matters to a comparison,
//! is in `bench/NOTES.md`.

mod args;
mod output;
mod running;
mod telemetry;
mod virtio;

pub use args::{MemifArgs, MemifRole, Mode, VhostArgs, VirtioUserArgs};
pub use output::{Sample, Totals};
pub use running::RunningTestpmd;
pub use telemetry::PortCounters;
pub use virtio::{DataPath, Feature, RxPath, TxPath, VirtioDriver};

use super::{CommandGuard, PeerError, find_program};
use args::{Arguments, PortArgs};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long testpmd may take to start, to answer a command, and to stop.
const DEADLINE: Duration = Duration::from_secs(20);

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
        self.args.ports.push(PortArgs::Memif(memif));
        self
    }

    /// Adds the driver of a vhost-user device.
    #[must_use]
    pub fn virtio_user(mut self, driver: VirtioUserArgs) -> Self {
        self.args.ports.push(PortArgs::VirtioUser(driver));
        self
    }

    /// Adds a vhost-user device.
    #[must_use]
    pub fn vhost(mut self, device: VhostArgs) -> Self {
        self.args.ports.push(PortArgs::Vhost(device));
        self
    }

    /// Adds any other port, as DPDK writes it: `net_ring0`.
    #[must_use]
    pub fn vdev(mut self, vdev: impl Into<String>) -> Self {
        self.args.ports.push(PortArgs::Other(vdev.into()));
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
        let mut running = self.spawn()?;
        running.wait_ready()?;
        Ok(running)
    }

    /// Starts testpmd and does not wait. One whose virtio driver listens does nothing else until a
    /// device has connected:
    ///
    /// ```no_run
    /// # use ringport_bench::peers::{PeerError, Testpmd, testpmd::VirtioUserArgs};
    /// # fn main() -> Result<(), PeerError> {
    /// let driver = VirtioUserArgs::server("/tmp/v.sock");
    /// let mut peer = Testpmd::new().virtio_user(driver).spawn()?;
    /// peer.wait_listening()?;
    /// // ... connect a device ...
    /// peer.wait_ready()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(self) -> Result<RunningTestpmd, PeerError> {
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
        Ok(RunningTestpmd::new(process, prefix, self.args.interactive))
    }
}

fn unexpected(what: String) -> PeerError {
    PeerError::Unexpected { name: "dpdk-testpmd".into(), what }
}

#[cfg(test)]
mod tests;
