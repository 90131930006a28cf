//! memif, the shared-memory packet interface of VPP, DPDK and libmemif, in both roles.
#![forbid(unsafe_code)]

pub mod address;
pub mod config;
pub mod control;
pub mod driver;
pub mod error;
pub mod port_string;
pub mod queue;
mod socket;
#[cfg(feature = "tokio")]
pub mod tokio;
pub mod wire;

pub use address::SocketAddress;
pub use config::{ClientConfig, InterfaceConfig, ListenerConfig, PortConfig};
pub use control::{CacheLine, Direction, Mode, Offer, RegionOffer, RingOffer, Role, RunParameters};
pub use driver::{Client, DownReason, Event, EventKind, Link, Listener, Port};
pub use error::{ConfigError, ControlError};
pub use queue::{ClientMemoryConfig, DataConfig, LayoutError, Queues, RxMode, RxQueue, TxQueue};
pub use socket::SocketOptions;
