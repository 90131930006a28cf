//! The plugin on a real Open vSwitch with DPDK, without hugepages.

#![cfg(feature = "ovs")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use serde_json::{Value, json};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use support::call::Runtime;
use support::ovs_dpdk::Vswitch;
use support::ovsdb::Ovsdb;
use support::until;

#[test]
fn ports_of_both_modes_come_and_go() {
    let test = "ports_of_both_modes_come_and_go";
    let Some(ovsdb) = Ovsdb::start(test) else { return };
    let Some(vswitch) = Vswitch::start(test, &ovsdb) else { return };
    let mut runtime = Runtime::new(ovsdb.path(), &ovsdb.address(), "1.1.0");
    // The bridge is a device of the machine as well: its name must be nobody else's.
    let bridge = format!("rp{}", std::process::id());
    runtime.conf["host"]["bridge"] = json!({"bridgeName": bridge, "vlanId": 5});
    runtime.conf["ovs"]["runDir"] = json!(ovsdb.path());
    runtime.call("STATUS").ok();

    let mut results: Vec<(String, Value)> = Vec::new();
    for (mode, container) in [("client", "one"), ("server", "two")] {
        runtime.container = container.to_owned();
        runtime.conf["host"]["vhost"] = json!({"mode": mode});
        let result = runtime.call("ADD").ok().json();
        let mut conf = runtime.conf.clone();
        conf["prevResult"] = result.clone();
        runtime.call_with("CHECK", &conf).ok();
        results.push((container.to_owned(), result));
    }
    // The vswitch listens on the socket that was moved.
    let socket = results[1].1["interfaces"][1]["socketPath"].as_str().unwrap().to_owned();
    UnixStream::connect(socket).unwrap();

    for (container, _) in results {
        runtime.container = container;
        runtime.call("DEL").ok();
    }
    assert_eq!(runtime.leftovers(), Vec::<PathBuf>::new());
    assert!(ovsdb.names("Bridge").is_empty());
    let device = Path::new("/sys/class/net").join(bridge);
    until("the bridge's device is gone", || !device.exists());
    drop(vswitch);
}
