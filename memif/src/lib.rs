//! memif, the shared-memory packet interface of VPP, DPDK and libmemif, in both roles.
#![forbid(unsafe_code)]

pub mod control;
pub mod error;
pub mod queue;
pub mod wire;

pub use control::{CacheLine, Direction, Mode, Offer, RegionOffer, RingOffer, Role, RunParameters};
pub use error::{ConfigError, ControlError};
pub use queue::{ClientMemoryConfig, DataConfig, LayoutError, Queues, RxMode, RxQueue, TxQueue};
