//! Two hundred ADDs and as many DELs at once, on Debian's ovsdb-server and host-local.

#![cfg(feature = "ovs")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use support::load::Load;

#[test]
fn two_hundred_attachments_of_fifty_namespaces_at_once_leave_nothing() {
    let test = "two_hundred_attachments_of_fifty_namespaces_at_once_leave_nothing";
    let Some(load) = Load::start(test) else { return };
    let [added, deleted] = load.round();
    println!("200 ADDs in {added:.1} s, 200 DELs in {deleted:.1} s");
}
