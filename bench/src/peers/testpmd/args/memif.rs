//! A memif port of testpmd.

use std::path::{Path, PathBuf};

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

    pub(super) fn shares_memory(&self) -> bool {
        self.zero_copy
    }

    pub(super) fn to_vdev(&self, number: usize) -> String {
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
