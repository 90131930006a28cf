//! What a driver is told.

use crate::control::{Limits, Mode};
use crate::error::ConfigError;
use crate::queue::{ClientMemoryConfig, DataConfig};
use crate::wire::{LOG2_RING_SIZE_MAX, Name, REGIONS_MAX, RINGS_MAX, Secret};
use ringport::port_string::{ItemError, check_range};
pub use ringport::retry::Reconnect;
use ringport::scm::PeerCredentials;
use ringport::socket::{SocketAddress, SocketOptions};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Time that a handshake may take unless configured otherwise.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// One socket that clients connect to.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// Name of our application, which clients are told.
    pub name: Name,
    /// File permissions, owner, and backlog.
    pub socket: SocketOptions,
    /// Whose connections are taken.
    pub peers: PeerPolicy,
    /// Most connections in their handshake at one time. At the limit the oldest one that has not yet
    /// named an interface makes room.
    pub pending_max: usize,
    /// Time from accept to CONNECTED.
    pub handshake_timeout: Duration,
}

impl Default for ListenerConfig {
    fn default() -> Self {
        Self {
            name: Name::new(DEFAULT_NAME),
            socket: SocketOptions::default(),
            peers: PeerPolicy::Any,
            pending_max: 16,
            handshake_timeout: HANDSHAKE_TIMEOUT,
        }
    }
}

/// One interface that a client may take.
#[derive(Debug, Clone)]
pub struct InterfaceConfig {
    /// Number by which clients ask for it.
    pub id: u32,
    /// What packets start with.
    pub mode: Mode,
    /// What a client must know; empty admits everybody who reaches the socket.
    pub secret: Secret,
    /// Name of the interface, which its client is told.
    pub if_name: Name,
    /// What a client may share.
    pub limits: Limits,
    /// What the queues are to be like.
    pub data: DataConfig,
}

impl InterfaceConfig {
    /// An Ethernet interface without a secret that takes whatever the protocol allows.
    #[must_use]
    pub fn new(id: u32) -> Self {
        Self {
            id,
            mode: Mode::Ethernet,
            secret: Secret::default(),
            if_name: Name::of(&format_args!("memif{id}")),
            limits: Limits::default(),
            data: DataConfig::default(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        check_range("regions", limits.regions, 1, REGIONS_MAX)?;
        check_range("c2s", limits.c2s_rings, 1, RINGS_MAX)?;
        check_range("s2c", limits.s2c_rings, 1, RINGS_MAX)?;
        check_range("log2-ring-size", limits.log2_ring_size, 1, LOG2_RING_SIZE_MAX)?;
        Ok(())
    }
}

/// One interface that we take from a server.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Number of the interface.
    pub id: u32,
    /// What packets start with.
    pub mode: Mode,
    /// What the server wants to hear; empty sends none.
    pub secret: Secret,
    /// Name of our application, which the server is told.
    pub name: Name,
    /// Name of the interface, which the server is told.
    pub if_name: Name,
    /// Rings that we send on; the server may take fewer.
    pub c2s_rings: u16,
    /// Rings that we receive from; the server may take fewer.
    pub s2c_rings: u16,
    /// Base-2 logarithm of the ring size; the server may want less.
    pub log2_ring_size: u8,
    /// What memory to make.
    pub memory: ClientMemoryConfig,
    /// What the queues are to be like.
    pub data: DataConfig,
    /// What to do when there is no link.
    pub reconnect: Reconnect,
    /// Time from connect to CONNECTED.
    pub handshake_timeout: Duration,
}

impl ClientConfig {
    /// One ring of 1024 descriptors each way, Ethernet, no secret.
    #[must_use]
    pub fn new(id: u32) -> Self {
        Self {
            id,
            mode: Mode::Ethernet,
            secret: Secret::default(),
            name: Name::new(DEFAULT_NAME),
            if_name: Name::of(&format_args!("memif{id}")),
            c2s_rings: 1,
            s2c_rings: 1,
            log2_ring_size: 10,
            memory: ClientMemoryConfig::default(),
            data: DataConfig::default(),
            reconnect: Reconnect::default(),
            handshake_timeout: HANDSHAKE_TIMEOUT,
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        check_range("c2s", self.c2s_rings, 1, RINGS_MAX)?;
        check_range("s2c", self.s2c_rings, 1, RINGS_MAX)?;
        check_range("log2-ring-size", self.log2_ring_size, 1, LOG2_RING_SIZE_MAX)?;
        let memory = &self.memory;
        check_range("buffer-size", memory.buffer_size, BUFFER_SIZE_MIN, BUFFER_SIZE_MAX)?;
        let most = memory.buffer_size - 1;
        check_range("headroom", u32::from(memory.headroom), 0, most)?;
        if let Reconnect::Backoff { initial, max } = self.reconnect
            && (initial.is_zero() || initial > max)
        {
            return Err(ItemError::OutOfRange {
                key: "reconnect",
                value: millis(initial),
                min: 1,
                max: millis(max),
            }
            .into());
        }
        Ok(())
    }
}

/// Whose connections a server takes. Asked once for each connection, before HELLO.
#[derive(Clone, Default)]
pub enum PeerPolicy {
    /// Everybody's who may open the socket.
    #[default]
    Any,
    /// Those of processes with one of these user ids.
    Uids(Vec<u32>),
    /// Those for which this returns true.
    Check(Arc<dyn Fn(&PeerCredentials) -> bool + Send + Sync>),
}

impl PeerPolicy {
    pub(crate) fn admits(&self, peer: &PeerCredentials) -> bool {
        match self {
            Self::Any => true,
            Self::Uids(uids) => uids.contains(&peer.uid),
            Self::Check(check) => check(peer),
        }
    }
}

impl fmt::Debug for PeerPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("Any"),
            Self::Uids(uids) => f.debug_tuple("Uids").field(uids).finish(),
            Self::Check(_) => f.write_str("Check(..)"),
        }
    }
}

/// One interface in either role: what a port string says.
#[derive(Debug, Clone)]
pub struct PortConfig {
    /// Where the socket is.
    pub address: SocketAddress,
    /// What to be.
    pub role: RoleConfig,
}

/// The configuration of a role.
#[derive(Debug, Clone)]
pub enum RoleConfig {
    /// Listens for one interface.
    Server(ListenerConfig, InterfaceConfig),
    /// Connects.
    Client(ClientConfig),
}

impl PortConfig {
    /// A server with one interface.
    #[must_use]
    pub fn server(address: SocketAddress, id: u32) -> Self {
        let role = RoleConfig::Server(ListenerConfig::default(), InterfaceConfig::new(id));
        Self { address, role }
    }

    /// A client of one interface.
    #[must_use]
    pub fn client(address: SocketAddress, id: u32) -> Self {
        Self { address, role: RoleConfig::Client(ClientConfig::new(id)) }
    }

    /// The interface's number.
    #[must_use]
    pub fn id(&self) -> u32 {
        match &self.role {
            RoleConfig::Server(_, interface) => interface.id,
            RoleConfig::Client(client) => client.id,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Bytes of the smallest buffer that makes sense: a smallest Ethernet frame.
pub(crate) const BUFFER_SIZE_MIN: u32 = 64;

/// Bytes of the largest one: VPP and DPDK keep the length of a descriptor's packet in 16 bits.
pub(crate) const BUFFER_SIZE_MAX: u32 = 65_535;

const DEFAULT_NAME: &str = concat!("ringport ", env!("CARGO_PKG_VERSION"));
