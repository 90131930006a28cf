//! Addresses from Debian's IPAM plugin `static`; the vswitch is the fake VPP.

#![cfg(feature = "vpp")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod support;

use ringport_bench::peers::skip;
use serde_json::{Value, json};
use std::path::Path;
use support::call::{PLUGINS, Runtime, plugin};
use support::vpp::lab::Lab;

/// A routed network with these addresses, unless `static` is not here.
fn start(test: &str, ipam: Value) -> Option<(Lab, Runtime)> {
    if !Path::new(PLUGINS).join("static").is_file() {
        skip(test, "the IPAM plugin static is not installed");
        return None;
    }
    let lab = Lab::fake(test).unwrap();
    let mut runtime = lab.memif();
    runtime.conf["host"]["netType"] = json!("interface");
    runtime.conf["ipam"] = ipam;
    runtime.conf["ipam"]["type"] = json!("static");
    Some((lab, runtime))
}

/// CHECK, then DEL, which leaves nothing.
fn check_and_del(lab: &Lab, runtime: &Runtime, result: Value) {
    let mut conf = runtime.conf.clone();
    conf["prevResult"] = result;
    runtime.call_with("CHECK", &conf).ok();
    runtime.call_with("DEL", &conf).ok();
    lab.nothing_left(runtime);
}

#[test]
fn addresses_routes_and_dns_of_the_configuration_are_in_the_result_and_gateways_on_vpp() {
    let ipam = json!({
        "addresses": [
            {"address": "10.4.0.5/24", "gateway": "10.4.0.1"},
            {"address": "fd04::5/64", "gateway": "fd04::1"},
            // On the link, and nowhere else.
            {"address": "10.5.0.5/24"},
        ],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "192.0.2.0/24", "gw": "10.4.0.9"}],
        "dns": {"nameservers": ["10.4.0.2"], "domain": "example.org"},
    });
    let test = "addresses_routes_and_dns_of_the_configuration";
    let Some((lab, runtime)) = start(test, ipam) else { return };
    let result = runtime.call("ADD").ok().json();
    let addresses: Vec<_> =
        result["ips"].as_array().unwrap().iter().map(|ip| ip["address"].clone()).collect();
    assert_eq!(addresses, ["10.4.0.5/24", "fd04::5/64", "10.5.0.5/24"]);
    assert!(result["ips"].as_array().unwrap().iter().all(|ip| ip["interface"] == 1), "{result}");
    assert_eq!(result["routes"][1], json!({"dst": "192.0.2.0/24", "gw": "10.4.0.9"}));
    assert_eq!(result["dns"]["nameservers"], json!(["10.4.0.2"]));
    assert_eq!(lab.gateways(), ["10.4.0.1/24", "fd04::1/64"]);
    check_and_del(&lab, &runtime, result);
}

#[test]
fn addresses_of_the_runtime_win() {
    let ipam = json!({"addresses": [{"address": "10.4.0.5/24"}]});
    let Some((lab, mut runtime)) = start("addresses_of_the_runtime_win", ipam) else { return };
    runtime.conf["capabilities"] = json!({"ips": true});
    runtime.conf["runtimeConfig"] = json!({"ips": ["10.6.0.7/16", "fd06::7/64"]});
    let result = runtime.call("ADD").ok().json();
    assert_eq!(result["ips"].as_array().unwrap().len(), 2, "{result}");
    assert_eq!(result["ips"][0]["address"], "10.6.0.7/16");
    assert_eq!(lab.gateways(), Vec::<String>::new());
    check_and_del(&lab, &runtime, result);
}

#[test]
fn addresses_of_cni_args_reach_the_delegate() {
    let Some((lab, runtime)) = start("addresses_of_cni_args", json!({})) else { return };
    let netns = lab.path().join("netns");
    std::fs::write(&netns, "").unwrap();
    let vars = |verb| {
        [
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", runtime.container.as_str()),
            ("CNI_IFNAME", "net1"),
            ("CNI_NETNS", netns.to_str().unwrap()),
            ("CNI_PATH", PLUGINS),
            ("CNI_ARGS", "IgnoreUnknown=1;IP=10.7.0.5/24;GATEWAY=10.7.0.1;K8S_POD_NAME=p"),
        ]
    };
    let result = plugin(&vars("ADD"), &runtime.conf.to_string()).ok().json();
    assert_eq!(result["ips"][0]["address"], "10.7.0.5/24");
    assert_eq!(lab.gateways(), ["10.7.0.1/24"]);
    // DEL has the arguments in its record.
    runtime.call("DEL").ok();
    lab.nothing_left(&runtime);
}

#[test]
fn result_is_in_every_version_that_static_has_and_has_not() {
    let ipam = json!({"addresses": [{"address": "10.4.0.5/24", "gateway": "10.4.0.1"}]});
    let Some((lab, mut runtime)) = start("result_is_in_every_version", ipam) else { return };
    for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        runtime.conf["cniVersion"] = json!(version);
        let result = runtime.call("ADD").ok().json();
        assert_eq!(result["cniVersion"], version);
        let address = if version < "0.3.0" {
            result["ip4"]["ip"].clone()
        } else {
            result["ips"][0]["address"].clone()
        };
        assert_eq!(address, "10.4.0.5/24", "{version}");
        runtime.call("DEL").ok();
        lab.nothing_left(&runtime);
    }
}

#[test]
fn refusal_of_static_is_told_and_leaves_nothing() {
    for (ipam, code) in [
        (json!({"addresses": [{"address": "nonsense"}]}), 999),
        // It gives no address, and finds that all right.
        (json!({}), 103),
    ] {
        let Some((lab, runtime)) = start("refusal_of_static", ipam) else { return };
        assert_eq!(runtime.call("ADD").code(), code);
        lab.nothing_left(&runtime);
    }
}
