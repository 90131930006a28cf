//! The plugin under callers that no package has, where a path to one is given: Multus (verified with
//! 4.0.2) as `RINGPORT_MULTUS`, cnitool (verified with 1.1.2) as `RINGPORT_CNITOOL`. ovsdb-server and
//! host-local are Debian's, the vswitch is a stand-in, so is the API server.

#![cfg(all(feature = "ovs", feature = "kubernetes"))]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use ringport_bench::peers::peer_by_path;
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::apiserver::{FakeApiServer, UID, User, pod};
use support::call::{Answer, PLUGINS, Runtime, answer};
use support::namespaces::Namespaces;
use support::ovsdb::Ovsdb;
use support::vswitch::FakeVswitch;

const DATA: &str = "userspace/configuration-data";
const MAPPED: &str = "userspace/mapped-dir";
const MAC: &str = "02:00:00:00:00:07";

/// A caller, and what it is to call the plugin about: a container with a namespace, on a vswitch.
struct Scene {
    caller: PathBuf,
    ovsdb: Ovsdb,
    runtime: Runtime,
    namespaces: Namespaces,
}

fn start(test: &str, variable: &str) -> Option<Scene> {
    let caller = peer_by_path(test, variable, "")?;
    let ovsdb = Ovsdb::start(test)?;
    let namespaces = Namespaces::make(test, 1)?;
    FakeVswitch::start(&ovsdb.address(), ovsdb.path());
    let mut runtime = Runtime::new(ovsdb.path(), &ovsdb.address(), "1.0.0").with_host_local();
    runtime.netns = Some(namespaces.path(0));
    runtime.plugins = ovsdb.path().join("bin");
    std::fs::create_dir(&runtime.plugins).unwrap();
    symlink(env!("CARGO_BIN_EXE_userspace"), runtime.plugins.join("userspace")).unwrap();
    symlink(Path::new(PLUGINS).join("host-local"), runtime.plugins.join("host-local")).unwrap();
    Some(Scene { caller, ovsdb, runtime, namespaces })
}

impl Scene {
    #[track_caller]
    fn nothing_left(&self) {
        assert_eq!(self.runtime.leftovers(), Vec::<PathBuf>::new());
        assert_eq!(self.ovsdb.names("Interface"), Vec::<String>::new());
    }
}

/// Multus, whose default network and one more are networks of the plugin, and the pod's API server.
struct Multus {
    scene: Scene,
    api: FakeApiServer,
    conf: Value,
}

impl Multus {
    fn start(test: &str) -> Option<Self> {
        let mut scene = start(test, "RINGPORT_MULTUS")?;
        let at = |name: &str| scene.ovsdb.path().join(name);
        let api = FakeApiServer::start(scene.ovsdb.path());
        let mut pod = pod();
        pod["spec"]["volumes"][0]["hostPath"]["path"] = json!(at("shared"));
        api.set_pod(pod);
        let kubeconfig = api.kubeconfig(User::Token);
        scene.runtime.if_name = "eth0".to_owned();
        scene.runtime.args = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=pod-1;\
             K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID={UID}",
            scene.runtime.container
        );
        let delegate = |name: &str| {
            let mut conf = scene.runtime.conf.clone();
            conf["name"] = json!(name);
            conf["kubeconfig"] = json!(kubeconfig);
            conf
        };
        // Without a kubeconfig of its own it takes its delegates from here.
        let conf = json!({
            "cniVersion": "1.0.0", "name": "multus-cni-network", "type": "multus",
            "cniDir": at("multus"), "confDir": at("net.d"), "binDir": scene.runtime.plugins,
            "logFile": at("multus.log"), "logToStderr": false,
            "delegates": [delegate("net"), delegate("other")],
        });
        Some(Self { scene, api, conf })
    }

    fn call(&self, verb: &str, previous: Option<&Value>) -> Answer {
        let mut conf = self.conf.clone();
        if let Some(previous) = previous {
            conf["prevResult"] = previous.clone();
        }
        let mut command = Command::new(&self.scene.caller);
        command.env_clear().env("CNI_COMMAND", verb);
        answer(self.scene.runtime.attachment(&mut command), &conf.to_string())
    }

    /// Names of the interfaces that the pod's annotation describes.
    fn annotated(&self) -> Vec<String> {
        let text = self.api.annotation(DATA);
        let list: Vec<Value> =
            if text.is_empty() { Vec::new() } else { serde_json::from_str(&text).unwrap() };
        list.iter().map(|it| it["ifName"].as_str().unwrap().to_owned()).collect()
    }

    #[track_caller]
    fn nothing_left(&self) {
        self.scene.nothing_left();
        assert_eq!(self.annotated(), Vec::<String>::new());
    }
}

#[test]
fn multus_adds_checks_and_deletes_two_interfaces_of_a_pod() {
    let Some(multus) = Multus::start("multus_adds_checks_and_deletes") else { return };
    let result = multus.call("ADD", None).ok().json();
    // It returns that of its default network.
    assert_eq!(result["interfaces"][1]["name"], "eth0", "{result}");
    assert_eq!(result["ips"].as_array().unwrap().len(), 2, "{result}");
    assert_eq!(multus.annotated(), ["eth0", "net1"]);
    assert_eq!(multus.api.annotation(MAPPED), "/var/run/app/0123456789ab");
    let ports = ["0123456789ab-eth0", "0123456789ab-net1"];
    let on_vswitch = multus.scene.ovsdb.names("Port");
    assert!(ports.iter().all(|it| on_vswitch.iter().any(|port| port == it)), "{on_vswitch:?}");

    multus.call("CHECK", Some(&result)).ok();
    multus.call("DEL", Some(&result)).ok();
    multus.nothing_left();
    multus.call("DEL", None).ok();
}

/// The networks of a pod are objects in the cluster, and its status says what it got.
#[test]
fn multus_shows_device_and_addresses_of_a_network_that_the_pod_asks_for() {
    let test = "multus_shows_device_and_addresses";
    let Some(mut multus) = Multus::start(test) else { return };
    let mut network = multus.conf["delegates"][1].take();
    network["capabilities"] = json!({"deviceID": true, "CNIDeviceInfoFile": true, "mac": true});
    multus.api.add_network("fast", &network);
    let wanted = json!([{"name": "fast", "namespace": "ns", "mac": MAC, "deviceID": "vhost-7"}]);
    multus.api.annotate("k8s.v1.cni.cncf.io/networks", &wanted.to_string());
    multus.conf["kubeconfig"] = json!(multus.api.kubeconfig(User::Token));
    multus.conf["delegates"] =
        json!([{"cniVersion": "1.0.0", "name": "default", "type": "loopback"}]);
    let loopback = Path::new(PLUGINS).join("loopback");
    symlink(loopback, multus.scene.runtime.plugins.join("loopback")).unwrap();

    let result = multus.call("ADD", None).ok().json();
    let status = multus.api.annotation("k8s.v1.cni.cncf.io/network-status");
    let status: Value = serde_json::from_str(&status).unwrap();
    let shown = &status[1];
    assert_eq!(shown["name"], "ns/fast", "{status}");
    assert_eq!((&shown["interface"], &shown["mac"]), (&json!("net1"), &json!(MAC)));
    assert_eq!(shown["ips"].as_array().unwrap().len(), 2, "{status}");
    assert_eq!(shown["device-info"]["type"], "vhost-user", "{status}");
    let device = &shown["device-info"]["vhost-user"];
    assert_eq!(device["mode"], "server", "{status}");
    assert!(device["path"].as_str().unwrap().starts_with("/var/run/app/"), "{status}");
    assert_eq!(multus.annotated(), ["net1"]);
    multus.call("DEL", Some(&result)).ok();
    multus.nothing_left();
}

#[test]
fn interface_that_multus_added_is_taken_back_when_the_next_one_is_refused() {
    let Some(mut multus) = Multus::start("interface_that_multus_added") else { return };
    multus.conf["delegates"][1]["host"]["iftype"] = json!("memif");
    let refused = multus.call("ADD", None);
    // With the words of the plugin, as pods' events show them.
    assert!(!refused.success && refused.stdout.contains("host.iftype"), "{refused:?}");
    multus.nothing_left();
}

#[test]
fn del_by_multus_succeeds_when_the_pod_and_its_namespace_are_gone() {
    let Some(mut multus) = Multus::start("del_by_multus_succeeds") else { return };
    let result = multus.call("ADD", None).ok().json();
    multus.api.stop();
    multus.scene.namespaces.remove(0);
    multus.call("DEL", Some(&result)).ok();
    multus.scene.nothing_left();
}

#[test]
fn cnitool_adds_checks_and_deletes_with_what_it_has_for_capabilities() {
    let Some(scene) = start("cnitool_adds_checks", "RINGPORT_CNITOOL") else { return };
    let networks = scene.ovsdb.path().join("net.d");
    std::fs::create_dir(&networks).unwrap();
    let mut conf = scene.runtime.conf.clone();
    conf["capabilities"] = json!({"mac": true});
    let list = json!({"cniVersion": "1.0.0", "name": "net", "plugins": [conf]});
    std::fs::write(networks.join("net.conflist"), list.to_string()).unwrap();
    let call = |verb: &str| {
        let mut command = Command::new(&scene.caller);
        command
            .env_clear()
            .env("CNI_PATH", &scene.runtime.plugins)
            .env("NETCONFPATH", &networks)
            .env("CNI_IFNAME", "net1")
            .env("CNI_ARGS", "IgnoreUnknown=1")
            .env("CAP_ARGS", json!({"mac": MAC}).to_string())
            .args([verb, "net"])
            .arg(scene.namespaces.path(0));
        answer(&mut command, "")
    };
    let result = call("add").ok().json();
    assert_eq!(result["cniVersion"], "1.0.0");
    assert_eq!(result["interfaces"][1]["mac"], MAC, "{result}");
    assert!(result["ips"][0]["address"].as_str().unwrap().starts_with("10.9.0."), "{result}");
    call("check").ok();
    call("del").ok();
    scene.nothing_left();
    // It has forgotten the result.
    call("del").ok();
}
