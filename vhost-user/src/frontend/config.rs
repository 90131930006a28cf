//! What a front-end wants.

use crate::wire::ProtocolFeatures;
use std::time::Duration;

/// What a front-end wants, and what it insists on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrontendConfig {
    /// Virtio features wanted. Bit 30 is added when the back-end has it.
    pub features: u64,
    /// Virtio features without which a back-end is refused.
    pub required_features: u64,
    /// Protocol features wanted.
    pub protocol_features: ProtocolFeatures,
    /// Pairs of rings, 1 to 128; the back-end may have fewer.
    pub queue_pairs: u16,
    /// Whether a ring for commands is wanted, of a back-end that has
    /// [`CTRL_VQ`](crate::wire::feature::CTRL_VQ). Most that have it leave that ring to their
    /// front-ends, and refuse one.
    pub control_ring: bool,
    /// Longest packet that the back-end is told of, without its Ethernet header, in bytes.
    pub mtu: Option<u16>,
    /// How long the back-end may take: to negotiate, to start all rings, to stop them.
    pub timeout: Duration,
}
