//! The plugin from ADD to GC: Debian's ovsdb-server with a stand-in for the vswitch, and Debian's
//! host-local.

#![cfg(feature = "ovs")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use ringport_bench::peers::skip;
use serde_json::{Value, json};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;
use support::DEADLINE;
use support::call::{PLUGINS, Runtime, userspace};
use support::ovsdb::Ovsdb;
use support::vswitch::FakeVswitch;

fn start(test: &str) -> Option<Ovsdb> {
    let ovsdb = Ovsdb::start(test)?;
    FakeVswitch::start(&ovsdb.address(), ovsdb.path());
    Some(ovsdb)
}

fn start_with_host_local(test: &str) -> Option<Ovsdb> {
    if !Path::new(PLUGINS).join("host-local").is_file() {
        skip(test, "host-local is not installed");
        return None;
    }
    start(test)
}

fn runtime(ovsdb: &Ovsdb, version: &str) -> Runtime {
    Runtime::new(ovsdb.path(), &ovsdb.address(), version)
}

fn nothing_left(ovsdb: &Ovsdb, runtime: &Runtime) {
    assert_eq!(runtime.leftovers(), Vec::<std::path::PathBuf>::new());
    assert!(ovsdb.names("Interface").is_empty());
    assert!(ovsdb.names("Bridge").is_empty());
}

#[test]
fn add_check_del_leave_nothing() {
    let Some(ovsdb) = start_with_host_local("add_check_del_leave_nothing") else { return };
    let runtime = runtime(&ovsdb, "1.1.0").with_host_local();
    let result = runtime.call("ADD").ok().json();
    assert_eq!(result["cniVersion"], "1.1.0");
    let socket = runtime.dir().join("0123456789ab-net1");
    assert_eq!(result["interfaces"][1]["name"], "net1");
    assert_eq!(result["interfaces"][1]["socketPath"], socket.to_str().unwrap());
    assert_eq!(result["ips"].as_array().unwrap().len(), 2);
    assert_eq!(result["ips"][0]["interface"], 1);
    assert_eq!(ovsdb.names("Port"), ["0123456789ab-net1", "br0"]);

    let mut with_result = runtime.conf.clone();
    with_result["prevResult"] = result;
    runtime.call_with("CHECK", &with_result).ok();
    runtime.call_with("DEL", &with_result).ok();
    nothing_left(&ovsdb, &runtime);
    runtime.call("DEL").ok();
}

#[test]
fn container_data_has_the_opposite_mode_and_the_addresses() {
    let Some(ovsdb) = start_with_host_local("container_data") else { return };
    let runtime = runtime(&ovsdb, "0.3.1").with_host_local();
    runtime.call("ADD").ok();
    let file = runtime.dir().join("configData-0123456789ab-net1.json");
    let data: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(data["containerId"], runtime.container);
    assert_eq!(data["name"], "net");
    assert_eq!(
        data["config"],
        json!({
            "iftype": "vhostuser", "netType": "interface", "memif": {},
            "vhost": {"mode": "server", "socketfile": "0123456789ab-net1"}, "bridge": {}
        })
    );
    assert_eq!(data["ipResult"]["cniVersion"], "1.1.0");
    assert_eq!(data["ipResult"]["ips"].as_array().unwrap().len(), 2);
    runtime.call("DEL").ok();
}

#[test]
fn result_is_in_the_configurations_own_version() {
    let Some(ovsdb) = start_with_host_local("result_is_in_the_own_version") else { return };
    for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let runtime = runtime(&ovsdb, version).with_host_local();
        let result = runtime.call("ADD").ok().json();
        assert_eq!(result["cniVersion"], version);
        assert_eq!(result.get("ip4").is_some(), version < "0.3.0", "{version}");
        runtime.call("DEL").ok();
    }
}

#[test]
fn server_port_gets_its_socket_moved_to_the_container() {
    let Some(ovsdb) = start("server_port_gets_its_socket_moved") else { return };
    let mut runtime = runtime(&ovsdb, "1.0.0");
    runtime.conf["host"]["vhost"] = json!({"mode": "server"});
    runtime.conf["host"]["socket"] = json!({"mode": "0660"});
    runtime.call("ADD").ok();
    let socket = runtime.dir().join("0123456789ab-net1");
    let mode = std::os::unix::fs::PermissionsExt::mode(&socket.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o660);
    assert!(!ovsdb.path().join("0123456789ab-net1").exists());
    runtime.call("DEL").ok();
    nothing_left(&ovsdb, &runtime);
}

#[test]
fn reconcile_moves_a_socket_that_a_restarted_switch_has_made_anew() {
    let Some(ovsdb) = start("reconcile_moves_a_socket") else { return };
    let mut runtime = runtime(&ovsdb, "1.0.0");
    runtime.conf["host"]["vhost"] = json!({"mode": "server"});
    runtime.conf["host"]["socket"] = json!({"mode": "0660"});
    runtime.call("ADD").ok();
    let records = ovsdb.path().join("data");
    let reconcile = || userspace(&["reconcile", records.to_str().unwrap()]).ok().json();
    assert_eq!(reconcile()["restored"], json!([]));

    let (made, socket) = ("0123456789ab-net1", runtime.dir().join("0123456789ab-net1"));
    assert!(UnixStream::connect(&socket).is_err(), "the one of before listens no more");
    let _listener = UnixListener::bind(ovsdb.path().join(made)).unwrap();
    assert_eq!(reconcile()["restored"].as_array().unwrap().len(), 1);
    UnixStream::connect(&socket).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&socket.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o660);
    assert_eq!(reconcile()["there"].as_array().unwrap().len(), 1);
    runtime.call("DEL").ok();
    nothing_left(&ovsdb, &runtime);
}

#[test]
fn second_add_of_an_attachment_is_refused_and_leaves_the_first() {
    let Some(ovsdb) = start("second_add_is_refused") else { return };
    let runtime = runtime(&ovsdb, "1.0.0");
    runtime.call("ADD").ok();
    assert_eq!(runtime.call("ADD").code(), 101);
    assert_eq!(ovsdb.names("Port").len(), 2);
    runtime.call("DEL").ok();
    nothing_left(&ovsdb, &runtime);
}

#[test]
fn container_whose_id_begins_as_another_ones_is_refused_and_leaves_that_one() {
    let Some(ovsdb) = start("container_whose_id_begins_as_another_ones") else { return };
    let mut runtime = runtime(&ovsdb, "1.0.0");
    runtime.container = "default-container1".to_owned();
    runtime.call("ADD").ok();
    let files = runtime.leftovers();
    runtime.container = "default-container2".to_owned();
    let answer = runtime.call("ADD");
    assert_eq!(answer.code(), 101);
    assert!(answer.stdout.contains("default-container1"), "{answer:?}");
    runtime.call("DEL").ok();
    assert_eq!(runtime.leftovers(), files);
    assert_eq!(ovsdb.names("Port").len(), 2);
    runtime.container = "default-container1".to_owned();
    runtime.call("DEL").ok();
    nothing_left(&ovsdb, &runtime);
}

#[test]
fn check_tells_a_port_that_was_removed_and_an_unknown_attachment() {
    let Some(ovsdb) = start("check_tells_a_port_that_was_removed") else { return };
    let runtime = runtime(&ovsdb, "1.0.0");
    let mut conf = runtime.conf.clone();
    conf["prevResult"] = json!({"cniVersion": "1.0.0"});
    assert_eq!(runtime.call_with("CHECK", &conf).code(), 3);
    conf["prevResult"] = runtime.call("ADD").ok().json();
    ovsdb.database(DEADLINE).remove_port("0123456789ab-net1", "br0", None).unwrap();
    let answer = runtime.call_with("CHECK", &conf);
    assert_eq!(answer.code(), 102);
    assert!(answer.stdout.contains("is not there"), "{answer:?}");
    runtime.call("DEL").ok();
    nothing_left(&ovsdb, &runtime);
}

#[test]
fn gc_keeps_what_is_named_and_collects_records_and_ports() {
    let Some(ovsdb) = start("gc_keeps_what_is_named") else { return };
    let mut runtime = runtime(&ovsdb, "1.1.0");
    for container in ["keep", "drop", "lost"] {
        runtime.container = container.to_owned();
        runtime.call("ADD").ok();
    }
    // As if the data directory had been lost: only the port's mark is left.
    std::fs::remove_file(ovsdb.path().join("data/records/net/lost:net1.json")).unwrap();
    assert_eq!(runtime.call("GC").code(), 7);
    let mut conf = runtime.conf.clone();
    conf["cni.dev/valid-attachments"] = json!([{"containerID": "keep", "ifname": "net1"}]);
    runtime.call_with("GC", &conf).ok();
    assert_eq!(ovsdb.names("Port"), ["br0", "keep-net1"]);
    runtime.container = "keep".to_owned();
    runtime.call("DEL").ok();
    assert!(ovsdb.names("Bridge").is_empty());
}

#[test]
fn del_after_an_outage_takes_away_what_del_during_it_could_not() {
    let Some(mut ovsdb) = start("del_during_an_outage") else { return };
    let runtime = runtime(&ovsdb, "1.0.0");
    runtime.call("ADD").ok();
    ovsdb.stop();
    assert_eq!(runtime.call("DEL").code(), 11);
    assert!(!runtime.leftovers().is_empty());
    ovsdb.restart();
    runtime.call("DEL").ok();
    nothing_left(&ovsdb, &runtime);
}

#[test]
fn status_tells_whether_the_vswitch_answers() {
    let Some(ovsdb) = Ovsdb::start("status_tells_whether_the_vswitch_answers") else { return };
    let mut runtime = runtime(&ovsdb, "1.1.0");
    runtime.conf["ovs"]["timeoutMs"] = json!(200);
    let answer = runtime.call("STATUS");
    assert_eq!(answer.code(), 50);
    assert!(answer.stdout.contains("is it running"), "{answer:?}");
    runtime.conf["ovs"]["timeoutMs"] = json!(15000);
    FakeVswitch::start(&ovsdb.address(), ovsdb.path());
    runtime.call("STATUS").ok();
}

#[test]
fn record_of_the_plugin_before_us_is_read_and_its_port_removed() {
    let Some(ovsdb) = start("record_of_the_plugin_before_us") else { return };
    let mut runtime = runtime(&ovsdb, "1.0.0");
    runtime.call("ADD").ok();
    // As that plugin left it: a port under its name, and its own record.
    std::fs::remove_dir_all(ovsdb.path().join("data/records")).unwrap();
    std::fs::remove_file(runtime.dir().join("configData-0123456789ab-net1.json")).unwrap();
    std::fs::create_dir(ovsdb.path().join("data/data")).unwrap();
    let old = ovsdb.path().join("data/data/local-0123456789ab-net1.json");
    std::fs::write(&old, r#"{"vhostname":"0123456789ab-net1","vhostmac":"","ifmac":""}"#).unwrap();
    runtime.conf["host"]["bridge"] = json!({"bridgeName": "br0"});
    runtime.call("DEL").ok();
    assert!(!old.exists());
    nothing_left(&ovsdb, &runtime);
}

/// The delays spread over the whole of an ADD; where each falls differs from run to run.
#[test]
fn add_killed_at_any_time_is_collected_by_gc_and_by_del() {
    let Some(ovsdb) = start_with_host_local("add_killed_at_any_time") else { return };
    let mut runtime = runtime(&ovsdb, "1.1.0").with_host_local();
    let mut gc = runtime.conf.clone();
    gc["cni.dev/valid-attachments"] = json!([]);
    for round in 0..40 {
        runtime.container = format!("container-{round:04}");
        runtime.killed_after("ADD", Duration::from_micros(1000 * round));
        if round % 2 == 0 {
            runtime.call_with("GC", &gc).ok();
        } else {
            runtime.call("DEL").ok();
        }
        nothing_left(&ovsdb, &runtime);
    }
}

#[test]
fn many_containers_at_once_get_different_addresses_and_leave_nothing() {
    let Some(ovsdb) = start_with_host_local("many_containers_at_once") else { return };
    let mut addresses: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|worker| {
                let mut runtime = runtime(&ovsdb, "1.0.0").with_host_local();
                scope.spawn(move || {
                    let mut addresses = Vec::new();
                    for round in 0..5 {
                        runtime.container = format!("c{worker}-{round}");
                        let result = runtime.call("ADD").ok().json();
                        addresses.push(result["ips"][0]["address"].as_str().unwrap().to_owned());
                    }
                    for round in 0..5 {
                        runtime.container = format!("c{worker}-{round}");
                        runtime.call("DEL").ok();
                    }
                    addresses
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 40);
    nothing_left(&ovsdb, &runtime(&ovsdb, "1.0.0"));
}

#[test]
fn result_of_the_plugin_before_is_passed_on() {
    let Some(ovsdb) = start_with_host_local("result_of_the_plugin_before") else { return };
    let runtime = runtime(&ovsdb, "1.0.0").with_host_local();
    let mut conf = runtime.conf.clone();
    conf["prevResult"] = json!({
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "eth0", "sandbox": "/n"}],
        "ips": [{"address": "192.0.2.1/24", "interface": 0}],
    });
    let result = runtime.call_with("ADD", &conf).ok().json();
    assert_eq!(result["interfaces"].as_array().unwrap().len(), 3);
    assert_eq!(result["ips"][0]["interface"], 0);
    assert_eq!(result["ips"][1]["interface"], 2);
    runtime.call("DEL").ok();
    nothing_left(&ovsdb, &runtime);
}

#[test]
fn del_killed_at_any_time_is_finished_by_the_next_one() {
    let Some(ovsdb) = start_with_host_local("del_killed_at_any_time") else { return };
    let mut runtime = runtime(&ovsdb, "1.0.0").with_host_local();
    for round in 0..30 {
        runtime.container = format!("container-{round:04}");
        runtime.call("ADD").ok();
        runtime.killed_after("DEL", Duration::from_micros(700 * round));
        runtime.call("DEL").ok();
        nothing_left(&ovsdb, &runtime);
    }
}
