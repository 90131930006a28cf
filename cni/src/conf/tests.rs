//! Configurations of every generation, as people have them.

use super::*;
use crate::version::CniVersion;
use serde_json::json;

fn parsed(conf: &Value) -> Parsed {
    parse(conf.to_string().as_bytes()).unwrap()
}

fn refused(conf: &Value) -> crate::CniError {
    parse(conf.to_string().as_bytes()).unwrap_err()
}

fn vpp_memif() -> Value {
    json!({
        "cniVersion": "0.3.1", "type": "userspace", "name": "memif-network",
        "kubeconfig": "/etc/cni/net.d/multus.d/multus.kubeconfig",
        "logFile": "/var/log/userspace.log", "logLevel": "debug", "sharedDir": "/run/x",
        "host": {
            "engine": "vpp", "iftype": "memif", "netType": "bridge",
            "memif": {"role": "master", "mode": "ethernet", "socketfile": "a.sock"},
            "bridge": {"bridgeName": "4", "bridgeId": 4, "vlanId": 0}
        },
        "container": {
            "engine": "vpp", "iftype": "memif", "netType": "interface",
            "memif": {"role": "slave", "mode": "ethernet"}
        },
        "ipam": {"type": "host-local", "subnet": "10.1.1.0/24"}
    })
}

#[test]
fn every_key_of_the_newest_generation_is_known() {
    let parsed = parsed(&vpp_memif());
    assert_eq!(parsed.unknown, Vec::<String>::new());
    assert_eq!(parsed.version, CniVersion::V0_3_1);
    assert_eq!(parsed.conf.host.memif.role, Some(MemifRole::Server));
    assert_eq!(parsed.conf.ipam.unwrap().plugin, "host-local");
}

#[test]
fn names_of_interfaces_in_the_configuration_are_taken_silently() {
    for key in ["if0name", "ifName"] {
        let mut conf = vpp_memif();
        conf[key] = json!("net0");
        assert!(parsed(&conf).unknown.is_empty(), "{key}");
    }
}

#[test]
fn oldest_form_becomes_a_server_port_on_br0() {
    let conf = json!({
        "type": "vhostuser", "name": "mynet", "if0name": "net0", "cniDir": "/tmp/v",
        "vhost": {"vhost_tool": "/opt/tools/ovs-config.py", "vhostname": "a", "vhostmac": "b",
                  "ifname": "c", "ifmac": "02:00:00:00:00:01"}
    });
    let parsed = parsed(&conf);
    assert_eq!(parsed.unknown, Vec::<String>::new());
    assert_eq!(parsed.version, CniVersion::V0_1_0);
    assert_eq!(parsed.conf.host.engine, Some(Engine::Ovs));
    assert_eq!(parsed.conf.host.vhost.mode, Some(Mode::Server));
    assert_eq!(parsed.conf.shared_dir, "/tmp/v");
}

#[test]
fn unknown_keys_are_reported_with_their_path() {
    let mut conf = vpp_memif();
    conf["host"]["memif"]["rôle"] = json!(1);
    conf["LocalMTU"] = json!(1500);
    let mut unknown = parsed(&conf).unknown;
    unknown.sort();
    assert_eq!(unknown, ["LocalMTU", "host.memif.rôle"]);
}

#[test]
fn null_is_as_good_as_absent() {
    let mut conf = vpp_memif();
    conf["host"]["vhost"] = Value::Null;
    conf["prevResult"] = Value::Null;
    assert!(parsed(&conf).conf.prev_result.is_none());
}

#[test]
fn wrong_value_is_refused_naming_key_value_and_choices() {
    let mut conf = vpp_memif();
    conf["host"]["memif"]["role"] = json!("boss");
    let error = refused(&conf);
    assert_eq!(error.code, 7);
    for part in ["host.memif.role", "boss", "master"] {
        assert!(error.details.contains(part), "{part}: {error}");
    }
}

#[test]
fn secret_of_the_wrong_type_is_not_shown() {
    let mut conf = vpp_memif();
    conf["host"]["memif"]["secret"] = json!(["hunter2"]);
    let error = refused(&conf);
    assert_eq!(error.code, 7);
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn secret_does_not_appear_in_debug_output() {
    let mut conf = vpp_memif();
    conf["host"]["memif"]["secret"] = json!("hunter2");
    assert!(!format!("{:?}", parsed(&conf).conf).contains("hunter2"));
}

#[test]
fn bad_json_is_code_6_and_bad_name_code_7() {
    assert_eq!(parse(b"{").unwrap_err().code, 6);
    assert_eq!(parse(b"[]").unwrap_err().code, 6);
    let error = parse(br#"{"name": "../x", "type": "userspace"}"#).unwrap_err();
    assert_eq!((error.code, error.details.as_str()), (7, "../x"));
    assert_eq!(parse(br#"{"type": "userspace"}"#).unwrap_err().code, 7);
}

#[test]
fn name_is_looked_at_before_the_version() {
    let error = parse(br#"{"name": "", "cniVersion": "9.9.9"}"#).unwrap_err();
    assert_eq!(error.code, 7);
    let error = parse(br#"{"name": "a", "cniVersion": "9.9.9"}"#).unwrap_err();
    assert_eq!(error.code, 1);
}

#[test]
fn schema_describes_nested_keys() {
    let text = schema().to_string();
    for key in ["sharedDir", "vhost_tool", "bridgeName", "CNIDeviceInfoFile", "rxPlacement"] {
        assert!(text.contains(key), "{key}");
    }
}
