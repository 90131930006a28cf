//! Two hundred ADDs and as many DELs at once, on Debian's ovsdb-server and host-local, with a stand-in for
//! the vswitch and with Open vSwitch itself.

#![cfg(feature = "ovs")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::time::{Duration, Instant};
use support::load::Load;

/// How long Open vSwitch may take for all.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn two_hundred_attachments_of_fifty_namespaces_at_once_leave_nothing() {
    let test = "two_hundred_attachments_of_fifty_namespaces_at_once_leave_nothing";
    let Some(load) = Load::start(test) else { return };
    let [added, deleted] = load.round();
    println!("200 ADDs in {added:.1} s, 200 DELs in {deleted:.1} s");
}

/// All of them are there at once: ports of vhost-user are no Ethernet devices of DPDK, of which Debian's
/// has 32. What bounds them is in `interop_ovs_dpdk.rs`.
#[test]
fn two_hundred_attachments_at_once_on_the_real_vswitch_leave_nothing() {
    let test = "two_hundred_attachments_at_once_on_the_real_vswitch_leave_nothing";
    let Some(load) = Load::start_real(test) else { return };
    let begin = Instant::now();
    let [added, deleted] = load.round();
    println!("200 ADDs in {added:.1} s, 200 DELs in {deleted:.1} s");
    assert!(begin.elapsed() < LIMIT);
}
