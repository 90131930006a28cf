//! The data plane: receive and transmit queues over memif rings.
//!
//! A ring has two free-running indices. `head` is always written by the client, `tail` always by
//! the server, in both directions (head - tail slots are with the server):
//!
//! | direction, our role | we work on | our index | the peer's | bias |
//! |---|---|---|---|---|
//! | C2S, server (receive) | packets up to `head` | `tail` | `head` | none |
//! | S2C, server (transmit) | empties up to `head` | `tail` | `head` | none |
//! | C2S, client (transmit) | slots up to `tail` + ring size | `head` | `tail` | peer's |
//! | S2C, client (receive) | packets up to `tail` | `head` = position + ring size | `tail` | own |
//!
//! The client owns the buffers: it keeps its slots' geometry in a private table and never reads it
//! back. The server checks each descriptor that it reads against the announced regions.
//!
//! A burst costs one load of the peer's index (none while cached credit lasts), a 16-byte descriptor
//! read and one or two cache lines of payload a packet, and one store of our index.
//!
//! Spec: [moving packets](crate::protocol#moving-packets).

mod descriptor;
mod layout;
mod ring;
mod rx;
mod tx;

#[cfg(test)]
mod tests;

pub use layout::{ClientMemory, LayoutError, server_queues};
pub use rx::RxQueue;
pub use tx::TxQueue;

use ringport::pool::Pool;
use ringport::shm::{Backing, MemoryPolicy};
use std::sync::Arc;

/// When a receive queue asks the peer for doorbells.
///
/// Spec: [doorbells](crate::protocol#doorbells).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RxMode {
    /// Never: the caller polls. [`arm`](ringport::burst::PacketRx::arm) always says that packets
    /// may be waiting.
    Polling,
    /// For every burst that the peer publishes.
    Interrupt,
    /// Only between [`arm`](ringport::burst::PacketRx::arm) and the next packet.
    #[default]
    Adaptive,
}

/// What the queues of a link are to be like, in either role.
#[derive(Debug, Clone)]
pub struct DataConfig {
    /// When receive queues ask for doorbells.
    pub rx_mode: RxMode,
    /// What memory of the peer's is accepted (server).
    pub policy: MemoryPolicy,
    /// Most slots of one packet, received or sent.
    pub chain_max: u16,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self { rx_mode: RxMode::default(), policy: MemoryPolicy::Guarded, chain_max: 256 }
    }
}

/// How far apart a client's buffers lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BufferSpacing {
    /// An odd number of cache lines apart. At a distance of 2048 bytes the first lines of all
    /// packets compete for 2 of a CPU's 64 cache sets; so they use all of them.
    #[default]
    Staggered,
    /// Back to back, as other implementations lay them out.
    Packed,
}

impl BufferSpacing {
    /// Distance between the starts of two buffers, in bytes.
    fn stride(self, buffer_size: u32) -> u64 {
        const LINE: u64 = 64;
        let lines = u64::from(buffer_size).div_ceil(LINE);
        match self {
            Self::Packed => u64::from(buffer_size),
            Self::Staggered => (lines | 1) * LINE,
        }
    }
}

/// What memory a client makes for a link.
#[derive(Debug, Clone)]
pub struct ClientMemoryConfig {
    /// Size of a buffer, in bytes. With a pool: at most the size of its buffers.
    pub buffer_size: u32,
    /// Bytes left free in front of each packet that the server writes. With a pool it is the pool's
    /// headroom instead, so that buffers fit every port on it.
    pub headroom: u16,
    /// How far apart buffers lie.
    pub spacing: BufferSpacing,
    /// Distance between the parts of a ring that different sides write.
    pub cache_line: crate::CacheLine,
    /// What kind of pages.
    pub backing: Backing,
    /// Buffers come from here instead of memory made for the link.
    pub pool: Option<Arc<Pool>>,
}

impl Default for ClientMemoryConfig {
    fn default() -> Self {
        Self {
            buffer_size: 2048,
            headroom: 0,
            spacing: BufferSpacing::Staggered,
            cache_line: crate::CacheLine::B64,
            backing: Backing::Pages,
            pool: None,
        }
    }
}

/// The queues of one link, in the order of their ring indices.
#[derive(Debug, Default)]
pub struct Queues {
    /// What the peer sends arrives here.
    pub rx: Vec<RxQueue>,
    /// What we send leaves here.
    pub tx: Vec<TxQueue>,
}
