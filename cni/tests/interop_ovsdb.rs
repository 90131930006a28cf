//! The client of OVSDB against Debian's ovsdb-server. What needs an answer of the vswitch gets it
//! from a stand-in; that it never comes is tested without one.

#![cfg(feature = "ovs")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use ringport_cni::conf::Mode;
use ringport_cni::engines::ovs::{Database, OvsError, PortSpec};
use ringport_cni::state::Owner;
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use support::DEADLINE;
use support::ovsdb::Ovsdb;
use support::vswitch::FakeVswitch;

fn port(name: &str) -> PortSpec {
    PortSpec {
        owner: Owner::new("n", name, "net1"),
        name: name.to_owned(),
        bridge: "br0".to_owned(),
        mode: Mode::Client,
        socket: PathBuf::from("/s").join(name),
        vlan: None,
        trunk: Vec::new(),
        mtu: None,
        ingress_rate: None,
        ingress_burst: None,
    }
}

fn with_vswitch(test: &str) -> Option<(Ovsdb, Database)> {
    let ovsdb = Ovsdb::start(test)?;
    FakeVswitch::start(&ovsdb.address(), ovsdb.path());
    let database = ovsdb.database(DEADLINE);
    Some((ovsdb, database))
}

#[test]
fn first_port_makes_the_bridge_and_last_port_takes_it_away() {
    let Some((ovsdb, mut database)) = with_vswitch("first_port_makes_the_bridge") else { return };
    assert!(database.add_port(&port("a")).unwrap() > 0);
    assert!(database.add_port(&port("b")).unwrap() > 0);
    assert_eq!(ovsdb.names("Bridge"), ["br0"]);
    assert_eq!(ovsdb.names("Interface"), ["a", "b", "br0"]);
    database.remove_port("a", "br0", Some(&port("a").owner)).unwrap();
    assert_eq!(ovsdb.names("Port"), ["b", "br0"]);
    database.remove_port("b", "br0", Some(&port("b").owner)).unwrap();
    assert!(ovsdb.names("Bridge").is_empty());
    assert!(ovsdb.names("Interface").is_empty());
}

#[test]
fn removing_what_is_absent_is_success() {
    let Some(ovsdb) = Ovsdb::start("removing_what_is_absent_is_success") else { return };
    let mut database = ovsdb.database(DEADLINE);
    database.remove_port("a", "br0", Some(&port("a").owner)).unwrap();
    database.remove_port("a", "br0", None).unwrap();
}

#[test]
fn bridge_of_an_administrator_stays_when_it_becomes_empty() {
    let Some((ovsdb, mut database)) = with_vswitch("bridge_of_an_administrator_stays") else {
        return;
    };
    insert_bridge(&mut database, "netdev");
    database.add_port(&port("a")).unwrap();
    database.remove_port("a", "br0", Some(&port("a").owner)).unwrap();
    assert_eq!(ovsdb.names("Bridge"), ["br0"]);
}

#[test]
fn bridge_of_the_kernel_datapath_is_refused_untouched() {
    let Some((ovsdb, mut database)) = with_vswitch("bridge_of_the_kernel_datapath") else { return };
    insert_bridge(&mut database, "system");
    let error = database.add_port(&port("a")).unwrap_err();
    assert!(matches!(error, OvsError::Datapath { .. }), "{error}");
    assert!(ovsdb.names("Port").is_empty());
}

fn insert_bridge(database: &mut Database, datapath: &str) {
    database
        .transact(vec![
            json!({"op": "insert", "table": "Bridge", "uuid-name": "b",
                   "row": {"name": "br0", "datapath_type": datapath}}),
            json!({"op": "mutate", "table": "Open_vSwitch", "where": [],
                   "mutations": [["bridges", "insert", ["set", [["named-uuid", "b"]]]]]}),
        ])
        .unwrap();
}

#[test]
fn port_of_somebody_else_is_neither_taken_over_nor_removed() {
    let Some((ovsdb, mut database)) = with_vswitch("port_of_somebody_else") else { return };
    database.add_port(&port("a")).unwrap();
    let mut other = port("a");
    other.owner.container_id = "other".to_owned();
    assert!(matches!(database.add_port(&other), Err(OvsError::Foreign { .. })));
    database.remove_port("a", "br0", Some(&other.owner)).unwrap();
    assert_eq!(ovsdb.names("Port"), ["a", "br0"]);
}

#[test]
fn port_that_the_vswitch_cannot_make_is_gone_again_and_its_reason_told() {
    let Some((ovsdb, mut database)) = with_vswitch("port_that_the_vswitch_cannot_make") else {
        return;
    };
    let error = database.add_port(&port("bad")).unwrap_err();
    assert!(error.to_string().contains("could not open network device"), "{error}");
    assert!(ovsdb.names("Interface").is_empty());
}

#[test]
fn vswitch_that_does_not_run_is_a_timeout_and_leaves_nothing() {
    let Some(ovsdb) = Ovsdb::start("vswitch_that_does_not_run") else { return };
    let mut database = ovsdb.database(Duration::from_millis(300));
    let begin = Instant::now();
    let error = database.add_port(&port("a")).unwrap_err();
    assert!(matches!(error, OvsError::Unapplied { .. }), "{error}");
    assert!(begin.elapsed() < DEADLINE);
    assert!(ovsdb.names("Bridge").is_empty());
}

#[test]
fn vlan_mtu_and_policing_reach_the_database_and_are_checked() {
    let Some((ovsdb, mut database)) = with_vswitch("vlan_mtu_and_policing") else { return };
    let wanted = PortSpec {
        vlan: Some(7),
        trunk: vec![9, 8],
        mtu: Some(9000),
        ingress_rate: Some(1000),
        ingress_burst: Some(100),
        ..port("a")
    };
    database.add_port(&wanted).unwrap();
    assert_eq!(database.differences(&wanted).unwrap(), Vec::<String>::new());
    let columns = ["ingress_policing_rate", "ingress_policing_burst", "mtu_request"];
    let rows = database.select("Interface", &json!([["name", "==", "a"]]), &columns).unwrap();
    assert_eq!(
        rows,
        [json!({"ingress_policing_rate": 1000, "ingress_policing_burst": 100,
                "mtu_request": 9000})]
    );
    let port_columns = ["vlan_mode", "tag"];
    let rows = database.select("Port", &json!([["name", "==", "a"]]), &port_columns).unwrap();
    assert_eq!(rows, [json!({"vlan_mode": "native-untagged", "tag": 7})]);
    let other = PortSpec { vlan: None, mtu: None, socket: PathBuf::from("/t"), ..wanted.clone() };
    assert_eq!(database.differences(&other).unwrap().len(), 3);
    database.remove_port("a", "br0", None).unwrap();
    assert_eq!(database.differences(&wanted).unwrap(), ["port a is not there"]);
    drop(ovsdb);
}

#[test]
fn ports_of_a_network_are_listed_with_owner_and_bridge() {
    let Some((_ovsdb, mut database)) = with_vswitch("ports_of_a_network_are_listed") else {
        return;
    };
    let mut elsewhere = port("b");
    elsewhere.owner.network = "m".to_owned();
    database.add_port(&port("a")).unwrap();
    database.add_port(&elsewhere).unwrap();
    let listed = database.ports_of("n").unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].name.as_str(), listed[0].bridge.as_str()), ("a", "br0"));
    assert_eq!(listed[0].owner, port("a").owner);
}

#[test]
fn many_at_once_on_one_bridge_all_succeed_and_leave_nothing() {
    let Some((ovsdb, _)) = with_vswitch("many_at_once_on_one_bridge") else { return };
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let ovsdb = &ovsdb;
            scope.spawn(move || {
                for round in 0..4 {
                    let port = port(&format!("p{worker}-{round}"));
                    ovsdb.database(DEADLINE).add_port(&port).unwrap();
                    let mut database = ovsdb.database(DEADLINE);
                    database.remove_port(&port.name, "br0", Some(&port.owner)).unwrap();
                }
            });
        }
    });
    assert!(ovsdb.names("Interface").is_empty());
    assert!(ovsdb.names("Bridge").is_empty());
}

#[test]
fn database_is_reached_over_tcp() {
    let Some(ovsdb) = Ovsdb::start("database_is_reached_over_tcp") else { return };
    let address = format!("tcp:127.0.0.1:{}", ovsdb.tcp_port());
    let mut database = Database::connect(&address, DEADLINE).unwrap();
    assert!(!database.vswitch().unwrap().dpdk);
}

#[test]
fn absent_database_is_an_error_naming_the_address() {
    let error = Database::connect("unix:/nonexistent/db.sock", DEADLINE).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/db.sock"), "{error}");
}
