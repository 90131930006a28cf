//! Conversion both ways.

use super::*;
use serde_json::json;

fn full() -> CniResult {
    CniResult {
        interfaces: vec![Interface {
            name: "net1".to_owned(),
            mac: "02:00:00:00:00:01".to_owned(),
            mtu: Some(1500),
            sandbox: "/var/run/netns/a".to_owned(),
            socket_path: "/s/net1".to_owned(),
            ..Interface::default()
        }],
        ips: vec![
            Ip {
                interface: Some(0),
                address: "10.0.0.2/24".to_owned(),
                gateway: "10.0.0.1".to_owned(),
            },
            Ip { interface: Some(0), address: "fd00::2/64".to_owned(), ..Ip::default() },
        ],
        routes: vec![Route {
            dst: "0.0.0.0/0".to_owned(),
            others: json!({"mtu": 1400}).as_object().unwrap().clone(),
            ..Route::default()
        }],
        dns: Map::new(),
    }
}

#[test]
fn newest_version_keeps_everything() {
    let written = full().to_json(CniVersion::V1_1_0);
    assert_eq!(CniResult::from_json(&written).unwrap(), full());
    assert_eq!(written["interfaces"][0]["socketPath"], "/s/net1");
    assert_eq!(written["dns"], json!({}));
}

#[test]
fn version_1_0_0_has_no_socket_path_and_no_family() {
    let written = full().to_json(CniVersion::V1_0_0);
    assert_eq!(
        written["interfaces"][0],
        json!({"name": "net1", "mac": "02:00:00:00:00:01", "sandbox": "/var/run/netns/a"})
    );
    assert_eq!(written["ips"][0].get("version"), None);
    assert_eq!(written["routes"][0], json!({"dst": "0.0.0.0/0"}));
}

#[test]
fn versions_from_0_3_0_to_0_4_0_say_the_family() {
    for version in [CniVersion::V0_3_0, CniVersion::V0_3_1, CniVersion::V0_4_0] {
        let written = full().to_json(version);
        assert_eq!(written["cniVersion"], version.as_str());
        assert_eq!(written["ips"][0]["version"], "4");
        assert_eq!(written["ips"][1]["version"], "6");
    }
}

#[test]
fn oldest_versions_have_one_address_of_each_family() {
    for version in [CniVersion::V0_1_0, CniVersion::V0_2_0] {
        let written = full().to_json(version);
        assert_eq!(
            written,
            json!({
                "cniVersion": version.as_str(),
                "ip4": {"ip": "10.0.0.2/24", "gateway": "10.0.0.1",
                        "routes": [{"dst": "0.0.0.0/0"}]},
                "ip6": {"ip": "fd00::2/64"},
                "dns": {}
            })
        );
        let back = CniResult::from_json(&written).unwrap();
        assert_eq!(back.ips.len(), 2);
        assert_eq!(back.routes.len(), 1);
    }
}

#[test]
fn every_version_is_read_back_with_its_addresses() {
    for version in CniVersion::ALL {
        let back = CniResult::from_json(&full().to_json(version)).unwrap();
        let addresses: Vec<String> = back.ips.into_iter().map(|ip| ip.address).collect();
        assert_eq!(addresses, ["10.0.0.2/24", "fd00::2/64"], "{version}");
    }
}

#[test]
fn addresses_of_a_delegate_belong_to_our_interface() {
    let mut ours = CniResult::default();
    ours.add_addresses(full(), 3);
    assert!(ours.ips.iter().all(|ip| ip.interface == Some(3)));
}
