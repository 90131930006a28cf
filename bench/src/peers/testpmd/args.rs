//! testpmd's command line.

use crate::peers::free_hugepages_mb;
use std::path::{Path, PathBuf};

/// Longest piece of a generated packet, in bytes: DPDK's buffers hold 2048, less headroom.
const PIECE_MAX: u16 = 1800;
/// `RTE_ETH_TX_OFFLOAD_MULTI_SEGS`.
const TX_OFFLOAD_MULTI_SEGS: &str = "0x8000";

/// Which side of a memif link testpmd is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemifRole {
    /// Listens.
    Server,
    /// Connects; the server must listen already.
    Client,
}

/// A memif port of testpmd.
#[derive(Debug, Clone)]
pub struct MemifArgs {
    role: MemifRole,
    socket: PathBuf,
    id: u32,
    log2_ring_size: u8,
    buffer_size: u16,
    zero_copy: bool,
    secret: Option<String>,
    mac: Option<String>,
}

impl MemifArgs {
    /// A server listening at `socket`: id 0, rings of 2^10, buffers of 2048 bytes.
    #[must_use]
    pub fn server(socket: impl AsRef<Path>) -> Self {
        Self::new(MemifRole::Server, socket.as_ref())
    }

    /// A client that connects to `socket`: id 0, rings of 2^10, buffers of 2048 bytes.
    #[must_use]
    pub fn client(socket: impl AsRef<Path>) -> Self {
        Self::new(MemifRole::Client, socket.as_ref())
    }

    /// In a role named at run time.
    #[must_use]
    pub fn new(role: MemifRole, socket: &Path) -> Self {
        Self {
            role,
            socket: socket.to_owned(),
            id: 0,
            log2_ring_size: 10,
            buffer_size: 2048,
            zero_copy: false,
            secret: None,
            mac: None,
        }
    }

    /// The interface id on the socket.
    #[must_use]
    pub fn id(mut self, id: u32) -> Self {
        self.id = id;
        self
    }

    /// Ring size; a server's is the most it accepts.
    #[must_use]
    pub fn log2_ring_size(mut self, log2: u8) -> Self {
        self.log2_ring_size = log2;
        self
    }

    /// Buffer size, in bytes; a server's means nothing.
    #[must_use]
    pub fn buffer_size(mut self, bytes: u16) -> Self {
        self.buffer_size = bytes;
        self
    }

    /// Shares DPDK's own buffers with the server instead of copying (client only; hugepages).
    #[must_use]
    pub fn zero_copy(mut self) -> Self {
        self.zero_copy = true;
        self
    }

    /// The secret that both sides must name.
    #[must_use]
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        self.secret = Some(secret.into());
        self
    }

    /// The port's MAC address.
    #[must_use]
    pub fn mac(mut self, mac: impl Into<String>) -> Self {
        self.mac = Some(mac.into());
        self
    }

    fn to_vdev(&self, number: usize) -> String {
        let role = match self.role {
            MemifRole::Server => "server",
            MemifRole::Client => "client",
        };
        let mut vdev = format!(
            "net_memif{number},role={role},id={},socket={},socket-abstract=no,bsize={},rsize={}",
            self.id,
            self.socket.display(),
            self.buffer_size,
            self.log2_ring_size,
        );
        let options = [
            ("zero-copy", self.zero_copy.then(|| "yes".to_owned())),
            ("secret", self.secret.clone()),
            ("mac", self.mac.clone()),
        ];
        for (name, value) in options.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            vdev += &format!(",{name}={value}");
        }
        vdev
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
    pub(super) memifs: Vec<MemifArgs>,
    pub(super) vdevs: Vec<String>,
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
            memifs: Vec::new(),
            vdevs: Vec::new(),
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
        let mut line: Vec<String> = [
            "--no-pci",
            "--in-memory",
            "-m",
            &memory,
            "--file-prefix",
            prefix,
            "--lcores",
            &lcores,
        ]
        .map(String::from)
        .into();
        let enough = || free_hugepages_mb() >= u64::from(self.memory);
        if !self.hugepages.unwrap_or_else(enough) {
            line.push("--no-huge".into());
        }
        if self.memifs.iter().any(|memif| memif.zero_copy) {
            line.push("--single-file-segments".into());
        }
        let memifs = self.memifs.iter().enumerate().map(|(number, memif)| memif.to_vdev(number));
        line.extend(memifs.chain(self.vdevs.iter().cloned()).map(|vdev| format!("--vdev={vdev}")));
        line.extend(self.eal.iter().cloned());
        line
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
