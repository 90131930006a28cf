//! What is refused, and what defaults become.

use super::*;
use crate::conf::parse;
use crate::env::Verb;
use serde_json::{Value, json};

fn env() -> CallEnv {
    CallEnv {
        verb: Verb::Add,
        container_id: "0123456789abcdef".to_owned(),
        if_name: "net1".to_owned(),
        netns: String::new(),
        args: String::new(),
        path: Vec::new(),
        netns_override: false,
    }
}

fn plan(change: &Value) -> Result<Plan, CniError> {
    let mut conf = json!({
        "cniVersion": "1.0.0", "type": "userspace", "name": "n", "sharedDir": "/s",
        "host": {"engine": "ovs-dpdk", "iftype": "vhostuser"}
    });
    merge(&mut conf, change);
    Plan::new(&parse(conf.to_string().as_bytes()).unwrap(), &env())
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

#[test]
fn defaults_are_a_client_port_on_br0_with_the_usual_names() {
    let plan = plan(&json!({})).unwrap();
    assert_eq!(plan.bridge, "br0");
    assert_eq!(plan.port, "0123456789ab-net1");
    assert_eq!(plan.socket, PathBuf::from("/s/0123456789ab/0123456789ab-net1"));
    assert_eq!(plan.host_mode, Mode::Client);
    assert_eq!(plan.vlan, None);
}

#[test]
fn tls_needs_three_absolute_paths_and_nothing_else_takes_them() {
    let all = json!({"db": "ssl:h:6640", "privateKey": "/k", "certificate": "/c", "caCert": "/a"});
    assert!(plan(&json!({"ovs": all})).is_ok());
    for key in ["privateKey", "certificate", "caCert"] {
        for (at, file) in [("ssl:h:6640", ""), ("ssl:h:6640", "f"), ("tcp:h:6640", "/f")] {
            let mut ovs = if at.starts_with("ssl") { all.clone() } else { json!({}) };
            ovs["db"] = json!(at);
            ovs[key] = json!(file);
            let error = plan(&json!({"ovs": ovs})).expect_err(key);
            assert_eq!(error.code, 7, "{error}");
            assert!(error.details.starts_with(&format!("ovs.{key} = ")), "{error}");
        }
    }
}

#[test]
fn impossible_combinations_are_code_7_naming_the_key() {
    let long = "/s/".to_owned() + &"x".repeat(100);
    refused([
        ("host.iftype", json!({"host": {"iftype": "memif"}})),
        ("host.netType", json!({"host": {"netType": "interface"}})),
        ("host.bridge.bridgeName", json!({"host": {"bridge": {"bridgeName": "a/b"}}})),
        ("host.bridge.bridgeName", json!({"host": {"bridge": {"bridgeName": "b".repeat(16)}}})),
        ("host.bridge.vlanId", json!({"host": {"bridge": {"vlanId": 4095}}})),
        ("host.bridge.trunk", json!({"host": {"bridge": {"trunk": [1, 0]}}})),
        ("host.mtu", json!({"host": {"mtu": 67}})),
        ("host.mac", json!({"host": {"mac": "01:00:00:00:00:01"}})),
        ("runtimeConfig.mac", json!({"runtimeConfig": {"mac": "2:0:0:0:0:1"}})),
        ("host.ingressBurst", json!({"host": {"ingressBurst": 1}})),
        ("host.rxMode", json!({"host": {"rxMode": "polling"}})),
        ("host.vhost.group", json!({"host": {"vhost": {"group": "no-such-group"}}})),
        ("host.socket.mode", json!({"host": {"socket": {"mode": "0888"}}})),
        ("host.vhost.socketfile", json!({"host": {"vhost": {"socketfile": "../x"}}})),
        ("sharedDir", json!({"sharedDir": long})),
        ("sharedDir", json!({"sharedDir": "/s/../etc"})),
        ("sharedDir", json!({"sharedDir": "s"})),
        (
            "runtimeConfig.CNIDeviceInfoFile",
            json!({"runtimeConfig": {"CNIDeviceInfoFile": "/var/run/../x"}}),
        ),
        ("runtimeConfig.CNIDeviceInfoFile", json!({"runtimeConfig": {"CNIDeviceInfoFile": "x"}})),
        ("ovs.db", json!({"ovs": {"db": "pssl:6640"}})),
        ("ipam.type", json!({"ipam": {"type": "dhcp"}})),
        ("ipam.type", json!({"ipam": {"type": "../../bin/sh"}})),
    ]);
}

#[test]
fn impossible_combinations_on_vpp_are_code_7_naming_the_key() {
    let vpp = |more: Value| {
        let mut conf = json!({"host": {"engine": "vpp", "iftype": "memif", "netType": "bridge",
            "bridge": {"bridgeName": "4"}, "memif": {"role": "master"}}});
        merge(&mut conf, &more);
        conf
    };
    refused([
        ("host.netType", vpp(json!({"host": {"netType": ""}}))),
        ("host.bridge.bridgeName", vpp(json!({"host": {"bridge": {"bridgeName": "br0"}}}))),
        ("host.bridge.bridgeName", vpp(json!({"host": {"bridge": {"bridgeName": "0"}}}))),
        ("host.memif.mode", vpp(json!({"host": {"memif": {"mode": "ip"}}}))),
        ("host.memif.ringSize", vpp(json!({"host": {"memif": {"ringSize": 1000}}}))),
        ("host.memif.secret", vpp(json!({"host": {"memif": {"secret": "s".repeat(24)}}}))),
        (
            "host.memif.abstract",
            vpp(json!({"host": {"memif": {"abstract": true}, "socket": {"uid": 1}}})),
        ),
        (
            "host.memif.socketfile",
            vpp(json!({"host": {"memif": {"abstract": true, "socketfile": "a,b"}}})),
        ),
        ("host.bridge.bridgeName", vpp(json!({"host": {"bridge": {"bridgeName": "16777216"}}}))),
        (
            "host.bridge.bridgeName",
            vpp(json!({"host": {"bridge": {"bridgeName": "4096", "vlanId": 7}}})),
        ),
        (
            "host.bridge.bridgeName",
            vpp(json!({"host": {"bridge": {"bridgeName": "4096", "trunk": [7]}}})),
        ),
        ("host.bridge.vlanId", vpp(json!({"host": {"bridge": {"vlanId": 4095}}}))),
        ("host.bridge.trunk", vpp(json!({"host": {"bridge": {"trunk": [4095]}}}))),
        (
            "host.bridge.vlanId",
            vpp(json!({"host": {"netType": "interface", "bridge": {"vlanId": 7}}})),
        ),
        (
            "host.bridge.trunk",
            vpp(json!({"host": {"netType": "interface", "bridge": {"trunk": [7]}}})),
        ),
        (
            "host.rxPlacement",
            vpp(json!({"host": {"rxPlacement": [
                {"queue": 0, "worker": 0}, {"queue": 1, "worker": 1}, {"queue": 0, "worker": 1}
            ]}})),
        ),
        ("host.ingressRate", vpp(json!({"host": {"ingressRate": 1}}))),
        ("vpp.api", vpp(json!({"vpp": {"api": "api.sock"}}))),
        ("host.memif.role", vpp(json!({"host": {"memif": {"role": null}}}))),
    ]);
}

/// Sees that each change is refused for its key.
fn refused<const N: usize>(cases: [(&str, Value); N]) {
    for (key, change) in cases {
        let error = plan(&change).expect_err(key);
        assert_eq!(error.code, 7, "{key}: {error}");
        assert!(error.details.starts_with(key), "{key}: {error}");
    }
}

#[test]
fn path_of_107_bytes_is_taken_and_of_108_refused() {
    let fixed = "/0123456789ab/0123456789ab-net1".len();
    let of = |len: usize| format!("/{}", "x".repeat(len - fixed - 1));
    assert!(plan(&json!({"sharedDir": of(107)})).is_ok());
    assert!(plan(&json!({"sharedDir": of(108)})).is_err());
}

#[test]
fn mac_of_the_runtime_wins() {
    let plan = plan(&json!({"runtimeConfig": {"mac": "02:00:00:00:00:0A"},
        "host": {"mac": "02:00:00:00:00:02"}}));
    assert_eq!(plan.unwrap().mac.as_deref(), Some("02:00:00:00:00:0a"));
}

#[test]
fn mac_in_cni_args_comes_after_the_runtimes_and_before_the_configurations() {
    let with = |args: &str, runtime: &str| {
        let conf = json!({
            "cniVersion": "1.0.0", "type": "userspace", "name": "n", "sharedDir": "/s",
            "host": {"engine": "ovs-dpdk", "iftype": "vhostuser", "mac": "02:00:00:00:00:01"},
            "runtimeConfig": {"mac": runtime}
        });
        let env = CallEnv { args: args.to_owned(), ..env() };
        Plan::new(&parse(conf.to_string().as_bytes()).unwrap(), &env).map(|plan| plan.mac.unwrap())
    };
    assert_eq!(with("", "").unwrap(), "02:00:00:00:00:01");
    assert_eq!(with("IgnoreUnknown=1;MAC=02:00:00:00:00:02", "").unwrap(), "02:00:00:00:00:02");
    assert_eq!(with("MAC=02:00:00:00:00:02", "02:00:00:00:00:03").unwrap(), "02:00:00:00:00:03");
    let error = with("MAC=ff:ff:ff:ff:ff:ff", "").unwrap_err();
    assert_eq!(error.code, 7);
    assert!(error.details.starts_with("CNI_ARGS.MAC"), "{error}");
}

#[test]
fn vlans_of_different_bridges_have_different_bridge_domains() {
    assert_eq!(vlan_domain(1, 1), Some(4097));
    assert_eq!(vlan_domain(1, 4094), Some(8190));
    assert_eq!(vlan_domain(2, 1), Some(8193));
    assert_eq!(vlan_domain(4095, 4094), Some(16_777_214));
    assert_eq!(vlan_domain(4096, 1), None);
    assert_eq!(vlan_domain(0, 1), None);
}

#[test]
fn vlan_0_means_none() {
    assert_eq!(plan(&json!({"host": {"bridge": {"vlanId": 0}}})).unwrap().vlan, None);
    assert_eq!(plan(&json!({"host": {"bridge": {"vlanId": 7}}})).unwrap().vlan, Some(7));
}
