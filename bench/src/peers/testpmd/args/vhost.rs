//! A vhost-user device of testpmd.

use super::SocketRole;
use std::path::{Path, PathBuf};

/// A `net_vhost` port of testpmd: the device (back-end), whose driver is somebody else.
#[derive(Debug, Clone)]
pub struct VhostArgs {
    role: SocketRole,
    path: PathBuf,
    queue_pairs: Option<u16>,
}

impl VhostArgs {
    /// A device that listens at `path`.
    #[must_use]
    pub fn server(path: impl AsRef<Path>) -> Self {
        Self::new(SocketRole::Listens, path.as_ref())
    }

    /// A device that connects to a driver that listens at `path`, and tries again every second.
    #[must_use]
    pub fn client(path: impl AsRef<Path>) -> Self {
        Self::new(SocketRole::Connects, path.as_ref())
    }

    fn new(role: SocketRole, path: &Path) -> Self {
        Self { role, path: path.to_owned(), queue_pairs: None }
    }

    /// Queue pairs that the device offers; as many as testpmd uses unless said.
    #[must_use]
    pub fn queue_pairs(mut self, pairs: u16) -> Self {
        self.queue_pairs = Some(pairs);
        self
    }

    pub(super) fn to_vdev(&self, number: usize, queues: u16) -> String {
        let connects = u8::from(self.role == SocketRole::Connects);
        let queues = self.queue_pairs.unwrap_or(queues);
        format!("net_vhost{number},iface={},client={connects},queues={queues}", self.path.display())
    }
}
