//! What tests of this crate share: databases of Open vSwitch of their own and a stand-in for the
//! vswitch; VPPs, real and fake; a fake API server of Kubernetes.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

#[cfg(feature = "kubernetes")]
pub(crate) mod apiserver;
pub(crate) mod call;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
pub(crate) mod kill;
#[cfg(feature = "ovs")]
pub(crate) mod load;
pub(crate) mod mounts;
pub(crate) mod namespaces;
#[cfg(feature = "kubernetes")]
pub(crate) mod protobuf;
pub(crate) mod runner;
#[cfg(feature = "ovs")]
pub(crate) mod slow;
#[cfg(feature = "ovs")]
pub(crate) mod vswitch;

#[cfg(feature = "ovs")]
pub(crate) mod containers;
#[cfg(feature = "ovs")]
pub(crate) mod ovs_dpdk;
#[cfg(feature = "ovs")]
pub(crate) mod ovsdb;
#[cfg(feature = "vpp")]
pub(crate) mod vpp;
pub(crate) mod watch;

use std::time::{Duration, Instant};

/// How long anything may take on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for something that must come to pass.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
