//! The plugin on a real Open vSwitch with DPDK, without hugepages.

#![cfg(feature = "ovs")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use serde_json::{Value, json};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use support::DEADLINE;
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

/// DPDK's vhost library has 1024 sockets.
const SOCKETS: usize = 1024;

#[test]
fn port_beyond_what_dpdk_takes_is_refused_with_its_reason_until_there_is_room() {
    let test = "port_beyond_what_dpdk_takes_is_refused";
    let Some(ovsdb) = Ovsdb::start(test) else { return };
    let Some(vswitch) = Vswitch::start(test, &ovsdb) else { return };
    let bridge = format!("rpf{}", std::process::id());
    let mut runtime = Runtime::new(ovsdb.path(), &ovsdb.address(), "1.1.0");
    runtime.conf["host"]["bridge"] = json!({"bridgeName": bridge});
    runtime.conf["ovs"]["timeoutMs"] = json!(60_000);
    let without_a_number = json!({"op": "select", "table": "Interface", "where": [["ofport", "==", -1]],
               "columns": ["name", "error"]});
    let mut database = ovsdb.database(3 * DEADLINE);
    let found = database.apply(full_bridge(&bridge, ovsdb.path()), vec![without_a_number]);
    assert_eq!(found.unwrap(), [json!({"rows": []})]);

    let answer = runtime.call("ADD");
    assert_eq!(answer.code(), 100, "{answer:?}");
    let details = answer.json()["details"].as_str().unwrap().to_owned();
    assert!(details.contains("could not add network device"), "{details}");
    assert_eq!(runtime.leftovers(), Vec::<PathBuf>::new());
    assert_eq!(ovsdb.names("Port").len(), SOCKETS + 1);

    database.restart_clock();
    database.remove_port("filler-7", &bridge, None).unwrap();
    let result = runtime.call("ADD").ok().json();
    runtime.check(&result).ok();
    runtime.call("DEL").ok();
    assert_eq!(runtime.leftovers(), Vec::<PathBuf>::new());
    // Or ending it would take longer than it is given.
    database.restart_clock();
    let nothing = json!({"op": "update", "table": "Open_vSwitch", "where": [],
                         "row": {"bridges": ["set", []]}});
    database.apply(vec![nothing], Vec::new()).unwrap();
    assert!(!vswitch.ports().contains("filler"));
}

/// A bridge of somebody else's with as many ports as there can be.
fn full_bridge(bridge: &str, directory: &Path) -> Vec<Value> {
    let fillers = (0..SOCKETS).map(|it| format!("filler-{it}"));
    let mut ports = vec![json!(["named-uuid", "port"])];
    let mut operations = vec![
        insert("Interface", "interface", json!({"name": bridge, "type": "internal"})),
        insert("Port", "port", json!({"name": bridge, "interfaces": ["named-uuid", "interface"]})),
    ];
    for (number, name) in fillers.enumerate() {
        let (interface, port) = (format!("interface{number}"), format!("port{number}"));
        let path = directory.join(&name);
        let row = json!({"name": name, "type": "dpdkvhostuserclient",
                         "options": ["map", [["vhost-server-path", path]]]});
        operations.push(insert("Interface", &interface, row));
        let row = json!({"name": name, "interfaces": ["named-uuid", interface]});
        operations.push(insert("Port", &port, row));
        ports.push(json!(["named-uuid", port]));
    }
    let row = json!({"name": bridge, "datapath_type": "netdev", "ports": ["set", ports]});
    operations.push(insert("Bridge", "bridge", row));
    operations.push(json!({"op": "update", "table": "Open_vSwitch", "where": [],
                           "row": {"bridges": ["named-uuid", "bridge"]}}));
    operations
}

fn insert(table: &str, name: &str, row: Value) -> Value {
    json!({"op": "insert", "table": table, "uuid-name": name, "row": row})
}
