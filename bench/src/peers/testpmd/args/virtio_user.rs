//! A virtio driver of testpmd, for a vhost-user device.

use super::SocketRole;
use crate::peers::testpmd::DataPath;
use std::path::{Path, PathBuf};

/// A `net_virtio_user` port of testpmd: the driver (front-end) of somebody else's device.
#[derive(Debug, Clone)]
pub struct VirtioUserArgs {
    role: SocketRole,
    path: PathBuf,
    queue_pairs: Option<u16>,
    ring_size: u16,
    packed: bool,
    mergeable: bool,
    in_order: bool,
    vectorized: bool,
    mac: Option<String>,
}

impl VirtioUserArgs {
    /// A driver that connects to a device that listens at `path` already. Split rings of 1024, and
    /// what DPDK wants unless told otherwise: mergeable receive buffers, descriptors in order.
    #[must_use]
    pub fn client(path: impl AsRef<Path>) -> Self {
        Self::new(SocketRole::Connects, path.as_ref())
    }

    /// A driver that listens at `path`, with the same rings. testpmd does nothing else until a device
    /// has connected: see [`Testpmd::spawn`](crate::peers::Testpmd::spawn).
    #[must_use]
    pub fn server(path: impl AsRef<Path>) -> Self {
        Self::new(SocketRole::Listens, path.as_ref())
    }

    fn new(role: SocketRole, path: &Path) -> Self {
        Self {
            role,
            path: path.to_owned(),
            queue_pairs: None,
            ring_size: 1024,
            packed: false,
            mergeable: true,
            in_order: true,
            vectorized: false,
            mac: None,
        }
    }

    /// Asks for what makes the driver use `path`; what it then used says
    /// [`virtio_driver`](crate::peers::testpmd::RunningTestpmd::virtio_driver).
    #[must_use]
    pub fn data_path(mut self, path: DataPath) -> Self {
        let wants = path.wants();
        self.packed = wants.packed;
        self.mergeable = wants.mergeable;
        self.in_order = wants.in_order;
        self.vectorized = wants.vectorized;
        if let Some(size) = wants.ring_size {
            self.ring_size = size;
        }
        self
    }

    /// Descriptors in each ring; DPDK refuses split rings of other sizes than powers of two.
    #[must_use]
    pub fn ring_size(mut self, descriptors: u16) -> Self {
        self.ring_size = descriptors;
        self
    }

    /// Queue pairs that the driver can use; as many as testpmd uses unless said.
    #[must_use]
    pub fn queue_pairs(mut self, pairs: u16) -> Self {
        self.queue_pairs = Some(pairs);
        self
    }

    /// The port's MAC address, where the device names none.
    #[must_use]
    pub fn mac(mut self, mac: impl Into<String>) -> Self {
        self.mac = Some(mac.into());
        self
    }

    /// The paths that the driver took are in its log at this level only; AVX-512 is used when it is
    /// asked for twice.
    pub(super) fn eal_args(&self) -> &'static [&'static str] {
        const LOG: &str = "--log-level=pmd.net.virtio.init:debug";
        if self.packed && self.vectorized {
            &[LOG, "--force-max-simd-bitwidth=512"]
        } else {
            &[LOG]
        }
    }

    pub(super) fn to_vdev(&self, number: usize, queues: u16) -> String {
        let flags = [
            ("server", self.role == SocketRole::Listens),
            ("packed_vq", self.packed),
            ("mrg_rxbuf", self.mergeable),
            ("in_order", self.in_order),
            ("vectorized", self.vectorized),
        ];
        let mut vdev = format!(
            "net_virtio_user{number},path={},queues={},queue_size={}",
            self.path.display(),
            self.queue_pairs.unwrap_or(queues),
            self.ring_size,
        );
        for (name, on) in flags {
            vdev += &format!(",{name}={}", u8::from(on));
        }
        if let Some(mac) = &self.mac {
            vdev += &format!(",mac={mac}");
        }
        vdev
    }
}
