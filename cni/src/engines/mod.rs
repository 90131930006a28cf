//! Vswitches.

#[cfg(feature = "ovs")]
pub mod ovs;

/// The mark by which we know what we made on a vswitch.
pub const MARK: &str = "ringport-cni";
