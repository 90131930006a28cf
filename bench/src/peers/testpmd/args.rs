//! testpmd's command line.

mod memif;
mod vhost;
mod virtio_user;

pub use memif::{MemifArgs, MemifRole};
pub use vhost::VhostArgs;
pub use virtio_user::VirtioUserArgs;

use crate::peers::free_hugepages_mb;

/// Longest piece of a generated packet, in bytes: DPDK's buffers hold 2048, less headroom.
const PIECE_MAX: u16 = 1800;
/// `RTE_ETH_TX_OFFLOAD_MULTI_SEGS`.
const TX_OFFLOAD_MULTI_SEGS: &str = "0x8000";

/// Who waits for the other at a UNIX socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SocketRole {
    Listens,
    Connects,
}

/// A port of testpmd.
#[derive(Debug, Clone)]
pub(super) enum PortArgs {
    Memif(MemifArgs),
    VirtioUser(VirtioUserArgs),
    Vhost(VhostArgs),
    /// As DPDK writes it.
    Other(String),
}

impl PortArgs {
    /// As DPDK writes it, for the port `number` of testpmd, which uses so many queue pairs.
    fn to_vdev(&self, number: usize, queues: u16) -> String {
        match self {
            Self::Memif(memif) => memif.to_vdev(number),
            Self::VirtioUser(driver) => driver.to_vdev(number, queues),
            Self::Vhost(device) => device.to_vdev(number, queues),
            Self::Other(vdev) => vdev.clone(),
        }
    }

    /// Whether another process maps DPDK's own memory.
    fn shares_memory(&self) -> bool {
        match self {
            Self::Memif(memif) => memif.shares_memory(),
            Self::VirtioUser(_) => true,
            Self::Vhost(_) | Self::Other(_) => false,
        }
    }

    /// What DPDK's environment layer must be told for this port.
    fn eal_args(&self) -> &'static [&'static str] {
        match self {
            Self::VirtioUser(driver) => driver.eal_args(),
            _ => &[],
        }
    }
}

/// What testpmd does with packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Generates packets on every port.
    TxOnly,
    /// Receives and drops.
    #[default]
    RxOnly,
    /// Hands packets on to the other port; with one port, back out of it.
    Io,
    /// As [`Io`](Self::Io), with Ethernet addresses rewritten.
    Mac,
    /// As [`Io`](Self::Io), with Ethernet addresses exchanged.
    MacSwap,
    /// Answers ARP requests and ICMP echo requests, drops the rest.
    IcmpEcho,
}

impl Mode {
    fn as_str(self) -> &'static str {
        match self {
            Self::TxOnly => "txonly",
            Self::RxOnly => "rxonly",
            Self::Io => "io",
            Self::Mac => "mac",
            Self::MacSwap => "macswap",
            Self::IcmpEcho => "icmpecho",
        }
    }
}

/// Everything that becomes the command line.
#[derive(Debug, Clone)]
pub(super) struct Arguments {
    /// In the order of their numbers.
    pub(super) ports: Vec<PortArgs>,
    pub(super) mode: Mode,
    pub(super) queues: u16,
    pub(super) txpkts: Vec<u16>,
    pub(super) burst: Option<u16>,
    pub(super) core: usize,
    pub(super) hugepages: Option<bool>,
    pub(super) memory: u32,
    pub(super) mbuf_data: Option<u16>,
    pub(super) interactive: bool,
    pub(super) eal: Vec<String>,
    pub(super) app: Vec<String>,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            ports: Vec::new(),
            mode: Mode::default(),
            queues: 1,
            txpkts: Vec::new(),
            burst: None,
            core: 0,
            hugepages: None,
            memory: 256,
            mbuf_data: None,
            interactive: false,
            eal: Vec::new(),
            app: Vec::new(),
        }
    }
}

impl Arguments {
    pub(super) fn set_packet_len(&mut self, bytes: u16) {
        let pieces = bytes.div_ceil(PIECE_MAX).max(1);
        let (each, rest) = (bytes / pieces, bytes % pieces);
        self.txpkts = (0..pieces).map(|piece| each + u16::from(piece < rest)).collect();
    }

    pub(super) fn to_command_line(&self, prefix: &str) -> Vec<String> {
        let mut line = self.eal_part(prefix);
        line.push("--".into());
        line.extend(self.app_part());
        line
    }

    fn eal_part(&self, prefix: &str) -> Vec<String> {
        // Two lcores on one CPU: the first one only waits, the second one forwards.
        let lcores = format!("0@{0},1@{0}", self.core);
        let memory = self.memory.to_string();
        let mut line: Vec<String> =
            ["--no-pci", "-m", &memory, "--file-prefix", prefix, "--lcores", &lcores]
                .map(String::from)
                .into();
        line.extend(self.memory_part().iter().copied().map(String::from));
        line.extend(self.ports.iter().flat_map(PortArgs::eal_args).copied().map(String::from));
        let ports = self.ports.iter().enumerate();
        line.extend(ports.map(|(n, port)| format!("--vdev={}", port.to_vdev(n, self.queues))));
        line.extend(self.eal.iter().cloned());
        line
    }

    /// Memory that leaves no files, and that a peer can map if it has to. Seen with 22.11:
    ///
    /// * A file for each hugepage, which is the default, is too many for a vhost-user memory table:
    ///   virtio_user logs "Failed to set memory table", and the port stays "up" and drops
    ///   everything. One file for all segments serves.
    /// * Without hugepages DPDK's memory is one memfd as it is, and virtio_user works on it; only
    ///   `--in-memory` is then refused ("--legacy-mem is not compatible with --in-memory").
    fn memory_part(&self) -> &'static [&'static str] {
        let enough = || free_hugepages_mb() >= u64::from(self.memory);
        if !self.hugepages.unwrap_or_else(enough) {
            &["--no-huge"]
        } else if self.ports.iter().any(PortArgs::shares_memory) {
            &["--in-memory", "--single-file-segments"]
        } else {
            &["--in-memory"]
        }
    }

    fn app_part(&self) -> Vec<String> {
        let mut line: Vec<String> = [
            "--nb-cores=1",
            "--no-lsc-interrupt",
            "--disable-link-check",
            "--total-num-mbufs=8192",
        ]
        .map(String::from)
        .into();
        line.push(format!("--forward-mode={}", self.mode.as_str()));
        line.push(format!("--rxq={}", self.queues));
        line.push(format!("--txq={}", self.queues));
        if self.interactive {
            line.push("-i".into());
        } else {
            line.extend(["--auto-start", "--stats-period", "1"].map(String::from));
        }
        if !self.txpkts.is_empty() {
            let pieces: Vec<String> = self.txpkts.iter().map(u16::to_string).collect();
            line.push(format!("--txpkts={}", pieces.join(",")));
        }
        if self.txpkts.len() > 1 {
            line.push(format!("--tx-offloads={TX_OFFLOAD_MULTI_SEGS}"));
        }
        if let Some(burst) = self.burst {
            line.push(format!("--burst={burst}"));
        }
        if let Some(bytes) = self.mbuf_data {
            // testpmd counts the headroom of 128 bytes.
            line.push(format!("--mbuf-size={}", u32::from(bytes) + 128));
        }
        line.extend(self.app.iter().cloned());
        line
    }
}
