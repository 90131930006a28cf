//! What went wrong on Open vSwitch in the plugin that this one replaces, and must not here. Debian's
//! ovsdb-server, with a stand-in for the vswitch. The others are in `old_bugs.rs`.

#![cfg(feature = "ovs")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use ringport_bench::peers::skip;
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use support::DEADLINE;
use support::call::{PLUGINS, Runtime};
use support::ovsdb::Ovsdb;
use support::vswitch::FakeVswitch;

fn start(test: &str) -> Option<(Ovsdb, Runtime)> {
    let ovsdb = Ovsdb::start(test)?;
    FakeVswitch::start(&ovsdb.address(), ovsdb.path());
    let runtime = Runtime::new(ovsdb.path(), &ovsdb.address(), "1.1.0");
    Some((ovsdb, runtime))
}

fn nothing_left(ovsdb: &Ovsdb, runtime: &Runtime) {
    assert_eq!(runtime.leftovers(), Vec::<PathBuf>::new());
    assert!(ovsdb.names("Interface").is_empty());
    assert!(ovsdb.names("Bridge").is_empty());
}

/// Files of an interface were looked for by a pattern that also fitted those of others whose names
/// begin alike: deleting `net1` took the sockets of `net`, `net2` and `net10` away.
#[test]
fn del_of_net1_leaves_sockets_and_data_of_net_and_net2_and_net10() {
    let Some((ovsdb, mut runtime)) = start("del_of_net1_leaves") else { return };
    runtime.conf["host"]["vhost"] = json!({"mode": "server"});
    let names = ["net1", "net", "net2", "net10"];
    for name in names {
        name.clone_into(&mut runtime.if_name);
        runtime.call("ADD").ok();
    }
    for (gone, name) in names.iter().enumerate() {
        (*name).clone_into(&mut runtime.if_name);
        runtime.call("DEL").ok();
        for other in &names[gone + 1..] {
            let socket = runtime.dir().join(format!("0123456789ab-{other}"));
            let data = runtime.dir().join(format!("configData-0123456789ab-{other}.json"));
            assert!(socket.exists() && data.exists(), "{other} after {name}");
        }
        let ports = ovsdb.names("Port");
        assert_eq!(ports.len(), if gone == 3 { 0 } else { 4 - gone }, "{ports:?}");
    }
    nothing_left(&ovsdb, &runtime);
}

/// Cutting twelve characters out of a shorter ID ended that plugin without an error in JSON.
#[test]
fn short_container_id_works_and_leaves_files_of_others() {
    let Some((ovsdb, mut runtime)) = start("short_container_id_works") else { return };
    runtime.container = "c1".to_owned();
    runtime.call("ADD").ok();
    let other = runtime.dir().join("c1-net10");
    std::fs::write(&other, "").unwrap();
    runtime.call("DEL").ok();
    assert_eq!(runtime.leftovers(), [runtime.dir()]);
    assert!(other.exists() && ovsdb.names("Bridge").is_empty());
}

/// Whatever failed after the port was made left the port.
#[test]
fn failed_add_gives_everything_back() {
    if !Path::new(PLUGINS).join("host-local").is_file() {
        skip("failed_add_gives_everything_back", "host-local is not installed");
        return;
    }
    let Some((ovsdb, runtime)) = start("failed_add_gives_everything_back") else { return };
    let mut runtime = runtime.with_host_local();
    runtime.conf["ipam"]["ranges"] = json!([[{"subnet": "nonsense"}]]);
    assert!(!runtime.call("ADD").success);
    nothing_left(&ovsdb, &runtime);
    runtime.container = "bad-container".to_owned();
    assert_eq!(runtime.call("ADD").code(), 100);
    nothing_left(&ovsdb, &runtime);
}

/// DEL failed for ever when the container's directory was gone, as it is with the volume of a pod.
#[test]
fn del_succeeds_without_the_directory_of_the_container() {
    let Some((ovsdb, runtime)) = start("del_succeeds_without_the_directory") else { return };
    runtime.call("ADD").ok();
    std::fs::remove_dir_all(runtime.base.join("shared")).unwrap();
    runtime.call("DEL").ok();
    nothing_left(&ovsdb, &runtime);
}

/// A bridge without ports was deleted, whoever had made it.
#[test]
fn empty_bridge_of_an_administrator_stays() {
    let Some((ovsdb, runtime)) = start("empty_bridge_of_an_administrator") else { return };
    let insert = vec![
        json!({"op": "insert", "table": "Bridge", "uuid-name": "b",
               "row": {"name": "br0", "datapath_type": "netdev"}}),
        json!({"op": "mutate", "table": "Open_vSwitch", "where": [],
               "mutations": [["bridges", "insert", ["set", [["named-uuid", "b"]]]]]}),
    ];
    ovsdb.database(DEADLINE).transact(insert).unwrap();
    runtime.call("ADD").ok();
    runtime.call("DEL").ok();
    runtime.collect_all().ok();
    assert_eq!(ovsdb.names("Bridge"), ["br0"]);
    assert!(ovsdb.names("Port").is_empty());
    assert_eq!(runtime.leftovers(), Vec::<PathBuf>::new());
}

/// Whether the bridge was there, making it, and joining it were steps of their own: a DEL in between
/// took it away, and an ADD was lost.
#[test]
fn bridge_that_comes_and_goes_loses_no_port_of_others() {
    let Some((ovsdb, _)) = start("bridge_that_comes_and_goes") else { return };
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let ovsdb = &ovsdb;
            scope.spawn(move || {
                let mut runtime = Runtime::new(ovsdb.path(), &ovsdb.address(), "1.1.0");
                for round in 0..8 {
                    runtime.container = format!("c{worker}-{round}");
                    let result = runtime.call("ADD").ok().json();
                    runtime.check(&result).ok();
                    runtime.call("DEL").ok();
                }
            });
        }
    });
    nothing_left(&ovsdb, &Runtime::new(ovsdb.path(), &ovsdb.address(), "1.1.0"));
}

/// Where the directory was had to be found out again at DEL, from a pod that may be gone.
#[test]
fn del_removes_what_add_made_whatever_the_configuration_says_by_then() {
    let Some((ovsdb, mut runtime)) = start("del_removes_what_add_made") else { return };
    runtime.conf["host"]["vhost"] = json!({"mode": "server"});
    runtime.call("ADD").ok();
    runtime.conf["sharedDir"] = json!(ovsdb.path().join("elsewhere"));
    runtime.conf["host"]["bridge"] = json!({"bridgeName": "other"});
    runtime.conf["host"]["vhost"] = json!({"mode": "client", "socketfile": "other"});
    runtime.conf["ovs"]["db"] = json!("unix:/nonexistent/db.sock");
    runtime.netns = Some("/nonexistent/netns".into());
    runtime.call("DEL").ok();
    nothing_left(&ovsdb, &runtime);
}

/// `vlanId` was read and forgotten. The MTU and the MAC address of the container's end could not be
/// configured at all.
#[test]
fn vlan_mtu_and_mac_of_the_configuration_have_effect() {
    let Some((ovsdb, mut runtime)) = start("vlan_mtu_and_mac") else { return };
    runtime.conf["host"]["bridge"] = json!({"bridgeName": "br1", "vlanId": 7});
    runtime.conf["host"]["mtu"] = json!(9000);
    runtime.conf["container"] = json!({"mac": "02:00:00:00:00:05"});
    let result = runtime.call("ADD").ok().json();
    let row = |table: &str, columns: &[&str]| {
        let by_name = json!([["name", "==", "0123456789ab-net1"]]);
        ovsdb.database(DEADLINE).select(table, &by_name, columns).unwrap()
    };
    assert_eq!(row("Port", &["tag"]), [json!({"tag": 7})]);
    assert_eq!(row("Interface", &["mtu_request"]), [json!({"mtu_request": 9000})]);
    assert_eq!(result["interfaces"][1]["mac"], "02:00:00:00:00:05");
    assert_eq!(result["interfaces"][1]["mtu"], 9000);
    runtime.check(&result).ok();
    runtime.call("DEL").ok();
    nothing_left(&ovsdb, &runtime);
}

/// The vswitch's directory was a constant, and a socket that could not be moved out of it was none of
/// ADD's business: it succeeded, and there was no socket.
#[test]
fn socket_that_cannot_be_moved_fails_add_and_leaves_nothing() {
    let Some((ovsdb, mut runtime)) = start("socket_that_cannot_be_moved") else { return };
    runtime.conf["host"]["vhost"] = json!({"mode": "server"});
    // The database says where.
    runtime.call("ADD").ok();
    assert!(runtime.dir().join("0123456789ab-net1").exists());
    runtime.call("DEL").ok();
    runtime.conf["ovs"]["runDir"] = json!("/nonexistent");
    let answer = runtime.call("ADD");
    assert_eq!(answer.code(), 5);
    assert!(answer.stdout.contains("/nonexistent/0123456789ab-net1"), "{answer:?}");
    nothing_left(&ovsdb, &runtime);
}

/// A directory on another file system than the vswitch's.
#[test]
fn socket_that_would_have_to_cross_file_systems_fails_add_and_leaves_nothing() {
    let Some((ovsdb, mut runtime)) = start("socket_that_would_have_to_cross") else { return };
    let device = |path: &Path| path.metadata().map(|it| it.dev()).unwrap_or_default();
    let shm = Path::new("/dev/shm");
    if !shm.is_dir() || device(shm) == device(ovsdb.path()) {
        let why = "/dev/shm is no file system of its own";
        skip("socket_that_would_have_to_cross", why);
        return;
    }
    let elsewhere = tempfile::tempdir_in(shm).unwrap();
    runtime.conf["host"]["vhost"] = json!({"mode": "server"});
    runtime.conf["sharedDir"] = json!(elsewhere.path());
    let answer = runtime.call("ADD");
    assert_eq!(answer.code(), 5);
    assert!(answer.stdout.contains("cannot move the socket to"), "{answer:?}");
    nothing_left(&ovsdb, &runtime);
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    // A client port's socket is the container's own: it may be anywhere.
    runtime.conf["host"]["vhost"] = json!({"mode": "client"});
    let result: Value = runtime.call("ADD").ok().json();
    runtime.check(&result).ok();
    runtime.call("DEL").ok();
    nothing_left(&ovsdb, &runtime);
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}
