//! What the plugin must do on any VPP.

use super::lab::Lab;
use super::proxy::At;
use crate::support::call::{Answer, PLUGINS, Running, Runtime, userspace};
use crate::support::{DEADLINE, until};
use ringport_bench::peers::skip;
use ringport_cni::conf::Secret;
use ringport_cni::engines::vpp::memif::{MemifMode, NewMemif};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// Makes a test of each scenario, with the VPP that `$start` gives.
macro_rules! vpp_scenarios {
    ($start:path: $($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                let Some(mut lab) = $start(stringify!($name)) else { return };
                $crate::support::vpp::scenarios::$name(&mut lab);
            }
        )*
    };
}
pub(crate) use vpp_scenarios;

fn check(runtime: &Runtime, result: &Value) -> Answer {
    let mut conf = runtime.conf.clone();
    conf["prevResult"] = result.clone();
    runtime.call_with("CHECK", &conf)
}

fn gc(runtime: &Runtime, keep: &Value) -> Answer {
    let mut conf = runtime.conf.clone();
    conf["cni.dev/valid-attachments"] = keep.clone();
    runtime.call_with("GC", &conf)
}

fn has_host_local(test: &str) -> bool {
    let there = Path::new(PLUGINS).join("host-local").is_file();
    if !there {
        skip(test, "host-local is not installed");
    }
    there
}

/// A network namespace of its own; it ends when dropped.
struct Namespace(Child);

impl Namespace {
    fn new() -> Self {
        let mut command = Command::new("unshare");
        let child = command.args(["--net", "sleep", "1000"]).spawn().unwrap();
        let this = Self(child);
        let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
        until("the namespace is there", || {
            std::fs::read_link(this.path()).is_ok_and(|theirs| theirs != ours)
        });
        this
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.0.id()))
    }

    /// Its UNIX sockets, as the kernel lists them.
    fn sockets(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/net/unix", self.0.id())).unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A memif of whoever is not the plugin.
fn memif(id: u32) -> NewMemif {
    NewMemif {
        server: true,
        mode: MemifMode::Ethernet,
        rx_queues: 1,
        tx_queues: 1,
        id,
        ring_size: 1024,
        buffer_size: 2048,
        secret: Secret::default(),
    }
}

pub(crate) fn memif_on_a_bridge_domain_comes_and_goes(lab: &mut Lab) {
    let mut runtime = lab.memif();
    runtime.conf["host"]["mtu"] = json!(1400);
    runtime.conf["host"]["memif"]["secret"] = json!("tiger");
    runtime.conf["host"]["memif"]["ringSize"] = json!(512);
    runtime.conf["host"]["memif"]["rxQueues"] = json!(2);
    let result = runtime.call("ADD").ok().json();
    let socket = runtime.dir().join("memif-0123456789ab-net1.sock");
    assert_eq!(result["interfaces"][1]["socketPath"], socket.to_str().unwrap());
    assert_eq!(result["interfaces"][1]["mtu"], 1400);
    assert!(socket.exists());

    let interfaces = lab.interfaces();
    assert_eq!(interfaces.len(), 1, "{interfaces:?}");
    assert!(interfaces[0].tag.ends_with("0123456789ab-net1"), "{interfaces:?}");
    assert!(interfaces[0].up);
    assert_eq!(interfaces[0].mtu, 1400);
    let bridges = lab.bridges();
    assert_eq!((bridges[0].id, bridges[0].tag.as_str()), (7, "ringport-cni"));
    assert_eq!(bridges[0].members, [interfaces[0].sw_if_index]);
    let memifs = lab.session().memifs().unwrap();
    assert!(memifs[0].server && memifs[0].mode == 0, "{memifs:?}");

    let file = runtime.dir().join("configData-0123456789ab-net1.json");
    let data: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(
        data["config"]["memif"],
        json!({
            "role": "slave", "mode": "ethernet", "socketfile": "memif-0123456789ab-net1.sock",
            "txQueues": 2, "ringSize": 512,
        })
    );
    check(&runtime, &result).ok();
    runtime.call("DEL").ok();
    lab.nothing_left(&runtime);
    runtime.call("DEL").ok();
}

pub(crate) fn abstract_socket_is_in_the_namespace_of_the_container(lab: &mut Lab) {
    // Only a real VPP enters it, and needs to be root for that.
    let namespace = lab.is_real().then(Namespace::new);
    let mut runtime = lab.memif();
    // VPP lists the first 107 bytes of a name.
    let file = "m".repeat(90);
    runtime.conf["host"]["memif"] = json!({
        "role": "master", "abstract": true, "socketfile": file,
    });
    runtime.netns = namespace.as_ref().map(Namespace::path);
    let result = runtime.call("ADD").ok().json();
    assert_eq!(result["interfaces"][1]["socketPath"], format!("@{file}"));
    if let Some(namespace) = &namespace {
        assert!(namespace.sockets().contains(&format!("@{file}")), "{}", namespace.sockets());
    }
    let data = runtime.dir().join("configData-0123456789ab-net1.json");
    let data: Value = serde_json::from_slice(&std::fs::read(data).unwrap()).unwrap();
    assert_eq!(data["config"]["memif"]["socketfile"], format!("@{file}"));
    check(&runtime, &result).ok();
    // The namespace is gone before the attachment is.
    drop(namespace);
    runtime.call("DEL").ok();
    lab.nothing_left(&runtime);
}

pub(crate) fn memif_client_in_ip_mode_needs_no_bridge_domain(lab: &mut Lab) {
    let mut runtime = lab.memif();
    runtime.conf["host"]["netType"] = json!("interface");
    runtime.conf["host"]["memif"] = json!({"role": "slave", "mode": "ip", "ringSize": 512});
    let result = runtime.call("ADD").ok().json();
    let memifs = lab.session().memifs().unwrap();
    assert!(!memifs[0].server && memifs[0].mode == 1, "{memifs:?}");
    assert_eq!(lab.bridges(), []);
    check(&runtime, &result).ok();
    runtime.call("DEL").ok();
    lab.nothing_left(&runtime);
}

pub(crate) fn vhost_user_of_both_modes_comes_and_goes(lab: &mut Lab) {
    for mode in ["client", "server"] {
        let mut runtime = lab.vhost(mode);
        runtime.conf["host"]["socket"] = json!({"mode": "0660"});
        let result = runtime.call("ADD").ok().json();
        let socket = runtime.dir().join("0123456789ab-net1");
        assert_eq!(socket.exists(), mode == "server");
        if mode == "server" {
            assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o660);
        }
        let vhosts = lab.session().vhosts().unwrap();
        assert_eq!(vhosts[0].server, mode == "server");
        assert_eq!(Path::new(&vhosts[0].file), socket);
        check(&runtime, &result).ok();
        runtime.call("DEL").ok();
        lab.nothing_left(&runtime);
    }
}

/// A network of memifs that VPP routes to.
fn routed(lab: &Lab, container: &str) -> Runtime {
    let mut runtime = lab.memif().with_host_local();
    runtime.conf["host"]["netType"] = json!("interface");
    runtime.container = container.to_owned();
    runtime
}

pub(crate) fn vpp_has_the_gateways_of_routed_containers(lab: &mut Lab) {
    if !has_host_local("vpp_has_the_gateways_of_routed_containers") {
        return;
    }
    let runtime = routed(lab, "0123456789abcdef");
    let result = runtime.call("ADD").ok().json();
    assert_eq!(lab.gateways(), ["10.9.0.1/24", "fd09::1/64"]);
    check(&runtime, &result).ok();
    lab.session().remove_addresses(lab.loopback().unwrap()).unwrap();
    lab.session().remove_host_route("10.9.0.2".parse().unwrap(), 1).unwrap();
    let answer = check(&runtime, &result);
    assert_eq!(answer.code(), 102);
    for part in ["gateway 10.9.0.1/24 is not there", "the route to 10.9.0.2 is not there"] {
        assert!(answer.stdout.contains(part), "{answer:?}");
    }
    runtime.call("DEL").ok();
    lab.nothing_left(&runtime);
}

pub(crate) fn containers_of_a_routed_subnet_have_a_route_each_and_share_the_gateways(
    lab: &mut Lab,
) {
    if !has_host_local("containers_of_a_routed_subnet_have_a_route_each_and_share_the_gateways") {
        return;
    }
    let runtimes = ["one", "two", "three"].map(|name| routed(lab, name));
    let results = runtimes.each_ref().map(|runtime| runtime.call("ADD").ok().json());
    let gateways = lab.loopback();
    assert_eq!(lab.interfaces().len(), 4);
    let mut reached = Vec::new();
    for (runtime, result) in runtimes.iter().zip(&results) {
        check(runtime, result).ok();
        for ip in result["ips"].as_array().unwrap() {
            let host = ip["address"].as_str().unwrap().split('/').next().unwrap();
            reached.push(lab.session().host_route(host.parse().unwrap()).unwrap().unwrap());
        }
    }
    reached.dedup();
    assert_eq!(reached.len(), 3, "{reached:?}");
    runtimes[0].call("DEL").ok();
    assert_eq!(lab.loopback(), gateways);
    for number in [1, 2] {
        check(&runtimes[number], &results[number]).ok();
        runtimes[number].call("DEL").ok();
    }
    lab.nothing_left(&runtimes[0]);
}

/// VPP takes a prefix on one interface only, and each network has one of its own.
pub(crate) fn second_network_of_a_routed_subnet_is_refused_and_leaves_nothing(lab: &mut Lab) {
    if !has_host_local("second_network_of_a_routed_subnet_is_refused_and_leaves_nothing") {
        return;
    }
    let (runtime, mut second) = (routed(lab, "first"), routed(lab, "second"));
    runtime.call("ADD").ok();
    let before = lab.interfaces();
    second.conf["name"] = json!("other");
    let answer = second.call("ADD");
    assert_eq!(answer.code(), 100);
    assert!(answer.stdout.contains("sw_interface_add_del_address: -105"), "{answer:?}");
    assert_eq!(lab.interfaces(), before);
    runtime.call("DEL").ok();
    lab.nothing_left(&runtime);
}

/// A route that leads to somebody else by now is not the container's.
pub(crate) fn route_of_somebody_else_to_the_address_of_a_container_stays(lab: &mut Lab) {
    if !has_host_local("route_of_somebody_else_to_the_address_of_a_container_stays") {
        return;
    }
    let (one, two) = (routed(lab, "one"), routed(lab, "two"));
    let result = one.call("ADD").ok().json();
    let mut session = lab.session();
    two.call("ADD").ok();
    let others = lab.interfaces().into_iter().find(|it| it.tag.ends_with("two-net1")).unwrap();
    let host = "10.9.0.2".parse().unwrap();
    session.add_host_route(host, others.sw_if_index).unwrap();
    assert_eq!(check(&one, &result).code(), 102);
    one.call("DEL").ok();
    assert_eq!(session.host_route(host).unwrap(), Some(others.sw_if_index));
    session.remove_host_route(host, others.sw_if_index).unwrap();
    session.set_arp_proxy([10, 9, 0, 2].into(), false).unwrap();
    two.call("DEL").ok();
    lab.nothing_left(&one);
}

/// VLAN 7 and 8 of bridge 3 are bridge domains 4096 * 3 + 7 and 4096 * 3 + 8.
const VLAN_7: u32 = 12_295;
const VLAN_8: u32 = 12_296;

/// A network of memifs on bridge 3.
fn with_vlans(lab: &Lab, vlan: u16, trunk: &[u16]) -> Runtime {
    let mut runtime = lab.memif();
    runtime.conf["host"]["bridge"] = json!({"bridgeId": 3, "vlanId": vlan, "trunk": trunk});
    runtime
}

/// Numbers of bridge domains, and the names of the interfaces on each without the parent's.
fn members(lab: &Lab) -> Vec<(u32, Vec<String>)> {
    let interfaces = lab.interfaces();
    let name = |index: &u32| {
        let name = &interfaces.iter().find(|it| it.sw_if_index == *index).unwrap().name;
        name.split_once('.').map_or_else(String::new, |(_, id)| id.to_owned())
    };
    let mut found: Vec<_> = lab.bridges();
    found.sort_by_key(|bridge| bridge.id);
    found.iter().map(|it| (it.id, it.members.iter().map(name).collect())).collect()
}

pub(crate) fn access_vlan_is_a_bridge_domain_of_its_own_without_tags(lab: &mut Lab) {
    let runtime = with_vlans(lab, 7, &[]);
    let result = runtime.call("ADD").ok().json();
    assert_eq!(members(lab), [(VLAN_7, vec![String::new()])]);
    let rest = lab.interfaces().into_iter().find(|it| it.sub_id == 4095).unwrap();
    assert!(!rest.up, "{rest:?}");
    check(&runtime, &result).ok();
    lab.session().set_up(rest.sw_if_index).unwrap();
    let answer = check(&runtime, &result);
    assert!(answer.stdout.contains("tagged packets of other VLANs are not dropped"), "{answer:?}");
    runtime.call("DEL").ok();
    lab.nothing_left(&runtime);
}

pub(crate) fn trunk_has_a_sub_interface_on_the_bridge_domain_of_each_vlan(lab: &mut Lab) {
    let runtime = with_vlans(lab, 0, &[8, 7, 8]);
    let result = runtime.call("ADD").ok().json();
    assert_eq!(members(lab), [(VLAN_7, vec!["7".into()]), (VLAN_8, vec!["8".into()])]);
    assert!(lab.interfaces().iter().all(|it| it.up));
    check(&runtime, &result).ok();

    let sub = lab.interfaces().into_iter().find(|it| it.sub_id == 7).unwrap();
    lab.session().leave_bridge(sub.sw_if_index, VLAN_7).unwrap();
    let answer = check(&runtime, &result);
    assert_eq!(answer.code(), 102);
    for part in ["VLAN 7's tag is not taken off", "VLAN 7's bridge domain is none, not 12295"] {
        assert!(answer.stdout.contains(part), "{answer:?}");
    }
    lab.session().delete_sub(sub.sw_if_index).unwrap();
    let answer = check(&runtime, &result);
    assert!(answer.stdout.contains("VLAN 7's sub-interface is not there"), "{answer:?}");
    runtime.call("DEL").ok();
    lab.nothing_left(&runtime);
}

pub(crate) fn trunk_with_a_vlan_of_its_own_has_that_one_untagged(lab: &mut Lab) {
    let runtime = with_vlans(lab, 7, &[7, 8]);
    let result = runtime.call("ADD").ok().json();
    assert_eq!(members(lab), [(VLAN_7, vec![String::new()]), (VLAN_8, vec!["8".into()])]);
    check(&runtime, &result).ok();
    runtime.call("DEL").ok();
    lab.nothing_left(&runtime);
}

pub(crate) fn bridge_domain_of_a_vlan_goes_with_its_last_interface(lab: &mut Lab) {
    // As an operator does for an uplink: it stays whoever comes and goes.
    lab.session().add_bridge(VLAN_8, "uplink").unwrap();
    let (mut one, mut two) = (with_vlans(lab, 7, &[]), with_vlans(lab, 0, &[7, 8]));
    (one.container, two.container) = ("one".to_owned(), "two".to_owned());
    one.call("ADD").ok();
    two.call("ADD").ok();
    two.call("DEL").ok();
    assert_eq!(members(lab), [(VLAN_7, vec![String::new()]), (VLAN_8, vec![])]);
    two.call("ADD").ok();
    // As if the records had been lost.
    std::fs::remove_dir_all(lab.path().join("data/records")).unwrap();
    gc(&one, &json!([])).ok();
    assert_eq!(members(lab), [(VLAN_8, vec![])]);
    assert_eq!(lab.interfaces(), []);
}

pub(crate) fn failed_ipam_leaves_nothing(lab: &mut Lab) {
    if !has_host_local("failed_ipam_leaves_nothing") {
        return;
    }
    let mut runtime = lab.memif().with_host_local();
    runtime.conf["ipam"]["ranges"] = json!([[{"subnet": "nonsense"}]]);
    assert!(!runtime.call("ADD").success);
    lab.nothing_left(&runtime);
}

pub(crate) fn bridge_domain_of_an_administrator_stays(lab: &mut Lab) {
    lab.session().add_bridge(7, "theirs").unwrap();
    let runtime = lab.memif();
    runtime.call("ADD").ok();
    runtime.call("DEL").ok();
    let bridges = lab.bridges();
    assert_eq!(bridges.len(), 1);
    assert_eq!(bridges[0].tag, "theirs");
}

pub(crate) fn bridge_domain_goes_with_its_last_interface(lab: &mut Lab) {
    let (mut one, mut two) = (lab.memif(), lab.vhost("client"));
    (one.container, two.container) = ("one".to_owned(), "two".to_owned());
    one.call("ADD").ok();
    two.call("ADD").ok();
    assert_eq!(lab.bridges()[0].members.len(), 2);
    one.call("DEL").ok();
    assert_eq!(lab.bridges()[0].members.len(), 1);
    two.call("DEL").ok();
    lab.nothing_left(&one);
}

pub(crate) fn socket_of_somebody_else_is_refused_untouched(lab: &mut Lab) {
    let runtime = lab.memif();
    runtime.call("ADD").ok();
    // Another network, another container; by their configuration the same file.
    let mut other = lab.memif();
    other.conf["name"] = json!("other");
    other.conf["dataDir"] = json!(lab.path().join("other"));
    let answer = other.call("ADD");
    assert_eq!(answer.code(), 100);
    assert!(answer.stdout.contains("is not ours"), "{answer:?}");
    assert_eq!(lab.interfaces().len(), 1);
    assert_eq!(runtime.call("ADD").code(), 101);
    assert_eq!(lab.interfaces().len(), 1);
    runtime.call("DEL").ok();
}

pub(crate) fn what_others_made_stays(lab: &mut Lab) {
    let file = lab.path().join("theirs.sock");
    let mut session = lab.session();
    let socket = session.add_memif_socket(file.to_str().unwrap(), &[]).unwrap();
    session.create_memif(socket, &memif(5)).unwrap();
    let runtime = lab.memif();
    runtime.call("ADD").ok();
    runtime.call("DEL").ok();
    gc(&runtime, &json!([])).ok();
    assert_eq!(lab.interfaces().len(), 1);
    assert_eq!(lab.session().memif_sockets().unwrap().len(), 2);
}

pub(crate) fn check_tells_what_is_not_as_it_was_made(lab: &mut Lab) {
    let runtime = lab.memif();
    assert_eq!(check(&runtime, &json!({"cniVersion": "1.1.0"})).code(), 3);
    let result = runtime.call("ADD").ok().json();
    let interface = lab.interfaces()[0].sw_if_index;
    lab.session().leave_bridge(interface, 7).unwrap();
    let answer = check(&runtime, &result);
    assert_eq!(answer.code(), 102);
    assert!(answer.stdout.contains("its bridge domain is none, not 7"), "{answer:?}");
    lab.session().delete_memif(interface).unwrap();
    let answer = check(&runtime, &result);
    assert_eq!(answer.code(), 102);
    assert!(answer.stdout.contains("VPP has no interface with tag"), "{answer:?}");
    runtime.call("DEL").ok();
    lab.nothing_left(&runtime);
}

pub(crate) fn gc_keeps_what_is_named_and_collects_records_and_interfaces(lab: &mut Lab) {
    let mut runtime = lab.memif();
    for container in ["keep", "drop", "lost"] {
        runtime.container = container.to_owned();
        runtime.call("ADD").ok();
    }
    // As if the data directory had been lost: only the interface's tag is left.
    std::fs::remove_file(lab.path().join("data/records/net/lost:net1.json")).unwrap();
    gc(&runtime, &json!([{"containerID": "keep", "ifname": "net1"}])).ok();
    let interfaces = lab.interfaces();
    assert_eq!(interfaces.len(), 1, "{interfaces:?}");
    assert!(interfaces[0].tag.ends_with(":keep-net1"), "{interfaces:?}");
    // Another network's containers are no business of this one's.
    let mut other = lab.memif();
    other.conf["name"] = json!("other");
    gc(&other, &json!([])).ok();
    assert_eq!(lab.interfaces().len(), 1);
    runtime.container = "keep".to_owned();
    runtime.call("DEL").ok();
    assert_eq!(lab.bridges(), []);
}

pub(crate) fn record_of_the_plugin_before_us_is_read_and_its_memif_removed(lab: &mut Lab) {
    // As that plugin left it: a memif without a tag, and its own record, with a number that VPP has
    // given to somebody else since.
    let runtime = lab.memif();
    std::fs::create_dir_all(runtime.dir()).unwrap();
    std::fs::create_dir_all(lab.path().join("data/data")).unwrap();
    let file = runtime.dir().join("memif-0123456789ab-net1.sock");
    let mut session = lab.session();
    let socket = session.add_memif_socket(file.to_str().unwrap(), &[]).unwrap();
    session.create_memif(socket, &memif(0)).unwrap();
    let old = lab.path().join("data/data/local-0123456789ab-net1.json");
    std::fs::write(&old, r#"{"swIfIndex":0,"memifSocketId":1}"#).unwrap();
    runtime.call("DEL").ok();
    assert!(!old.exists());
    lab.nothing_left(&runtime);
}

pub(crate) fn del_after_a_restart_of_vpp_removes_what_is_left(lab: &mut Lab) {
    let runtime = lab.memif();
    let result = runtime.call("ADD").ok().json();
    lab.restart_vpp();
    assert_eq!(check(&runtime, &result).code(), 102);
    runtime.call("DEL").ok();
    lab.nothing_left(&runtime);
}

pub(crate) fn del_and_gc_succeed_when_vpp_has_ended_and_others_say_so(lab: &mut Lab) {
    let mut runtime = lab.memif();
    runtime.conf["vpp"]["api"] = json!(lab.api());
    let mut other = lab.memif();
    other.conf = runtime.conf.clone();
    other.container = "other".to_owned();
    let result = runtime.call("ADD").ok().json();
    other.call("ADD").ok();
    lab.stop_vpp();
    assert_eq!(check(&runtime, &result).code(), 11);
    assert_eq!(runtime.call("STATUS").code(), 50);
    runtime.call("DEL").ok();
    assert_eq!(runtime.call("ADD").code(), 11);
    gc(&runtime, &json!([])).ok();
    assert_eq!(runtime.leftovers(), Vec::<PathBuf>::new());
}

fn reconcile(lab: &Lab) -> Answer {
    userspace(&["reconcile", lab.path().join("data").to_str().unwrap()])
}

/// Containers that the plugin names under `what`.
fn containers(said: &Value, what: &str) -> Vec<String> {
    let all = said[what].as_array().unwrap().iter();
    all.map(|it| it["containerID"].as_str().unwrap().to_owned()).collect()
}

pub(crate) fn reconcile_makes_again_what_a_restarted_vpp_has_lost(lab: &mut Lab) {
    if !has_host_local("reconcile_makes_again_what_a_restarted_vpp_has_lost") {
        return;
    }
    let (mut routed, mut bridged, mut gone) = (routed(lab, ""), lab.memif(), lab.vhost("server"));
    bridged.conf["host"]["mtu"] = json!(1400);
    bridged.conf["host"]["socket"] = json!({"mode": "0660"});
    bridged.conf["host"]["bridge"]["trunk"] = json!([7, 8]);
    let mut results = Vec::new();
    for (name, runtime) in [("routed", &mut routed), ("bridged", &mut bridged), ("gone", &mut gone)]
    {
        runtime.container = name.to_owned();
        results.push(runtime.call("ADD").ok().json());
    }
    lab.restart_vpp();
    assert_eq!(check(&bridged, &results[1]).code(), 102);
    // What was deleted while VPP was away must not come back.
    gone.call("DEL").ok();
    let said = reconcile(lab).ok().json();
    assert_eq!(containers(&said, "restored"), ["bridged", "routed"]);
    check(&routed, &results[0]).ok();
    check(&bridged, &results[1]).ok();
    let socket = bridged.dir().join("memif-bridged-net1.sock");
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o660);
    // Both, and the one with the gateways.
    assert_eq!(lab.interfaces().iter().filter(|it| it.sub_id == 0).count(), 3);
    routed.call("DEL").ok();
    bridged.call("DEL").ok();
    lab.nothing_left(&routed);
}

pub(crate) fn reconcile_killed_at_any_request_is_finished_by_the_next_one(lab: &mut Lab) {
    let mut runtime = lab.memif();
    runtime.conf["host"]["mtu"] = json!(1400);
    let result = runtime.call("ADD").ok().json();
    for at in [At::Before, At::After] {
        let stops = each_stop(
            lab,
            at,
            || runtime.begin("reconcile"),
            |number| {
                if number % 2 == 0 {
                    reconcile(lab).ok();
                    check(&runtime, &result).ok();
                }
                runtime.call("DEL").ok();
                lab.nothing_left(&runtime);
                runtime.call("ADD").ok();
                lose_everything(lab);
            },
        );
        assert!(stops > 5, "{stops}");
    }
    runtime.call("DEL").ok();
    lab.nothing_left(&runtime);
}

/// As a restart of VPP does, and at once.
fn lose_everything(lab: &Lab) {
    let mut session = lab.session();
    for memif in session.memifs().unwrap() {
        session.delete_memif(memif.sw_if_index).unwrap();
        session.remove_memif_socket(memif.socket).unwrap();
    }
    for bridge in session.bridges().unwrap() {
        session.remove_bridge(bridge.id).unwrap();
    }
}

pub(crate) fn reconcile_leaves_what_is_there_and_tells_what_is_different(lab: &mut Lab) {
    let runtime = lab.memif();
    runtime.call("ADD").ok();
    let said = reconcile(lab).ok().json();
    assert_eq!(containers(&said, "there"), [runtime.container.as_str()]);
    lab.session().leave_bridge(lab.interfaces()[0].sw_if_index, 7).unwrap();
    let before = lab.interfaces();
    let answer = reconcile(lab);
    assert!(!answer.success);
    assert_eq!(containers(&answer.json(), "failed"), [runtime.container.as_str()]);
    assert!(answer.stdout.contains("its bridge domain is none, not 7"), "{answer:?}");
    assert_eq!(lab.interfaces(), before);
    runtime.call("DEL").ok();
    lab.nothing_left(&runtime);
}

pub(crate) fn status_is_good(lab: &mut Lab) {
    lab.memif().call("STATUS").ok();
    lab.vhost("server").call("STATUS").ok();
}

pub(crate) fn many_containers_at_once_leave_nothing(lab: &mut Lab) {
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let mut runtime = if worker % 2 == 0 { lab.memif() } else { lab.vhost("client") };
            scope.spawn(move || {
                for round in 0..5 {
                    runtime.container = format!("c{worker}-{round}");
                    runtime.call("ADD").ok();
                    // All but the last go at once: bridge domains come and go.
                    if round < 4 {
                        runtime.call("DEL").ok();
                    }
                }
            });
        }
    });
    let interfaces = lab.interfaces();
    assert_eq!(interfaces.len(), 8, "{interfaces:?}");
    assert_eq!(lab.bridges()[0].members.len(), 8);
    let mut runtime = lab.memif();
    for worker in 0..8 {
        runtime.container = format!("c{worker}-4");
        runtime.call("DEL").ok();
    }
    lab.nothing_left(&runtime);
}

/// Kinds of interfaces that are made in different ways.
fn kinds() -> Vec<&'static str> {
    let routed = has_host_local("routed interfaces").then_some("routed");
    ["memif", "trunk", "vhost"].into_iter().chain(routed).collect()
}

fn of_kind(lab: &Lab, kind: &str) -> Runtime {
    match kind {
        "trunk" => with_vlans(lab, 7, &[8, 9]),
        "vhost" => lab.vhost("server"),
        "routed" => routed(lab, "0123456789abcdef"),
        _ => lab.memif(),
    }
}

pub(crate) fn add_killed_at_any_request_is_collected_by_del_and_by_gc(lab: &mut Lab) {
    for kind in kinds() {
        for at in [At::Before, At::After] {
            let runtime = of_kind(lab, kind);
            let stops = each_stop(
                lab,
                at,
                || runtime.begin("ADD"),
                |number| {
                    let undone = if number % 2 == 0 {
                        runtime.call("DEL")
                    } else {
                        gc(&runtime, &json!([]))
                    };
                    undone.ok();
                    lab.nothing_left(&runtime);
                },
            );
            assert!(stops > 10, "{stops}");
            runtime.call("DEL").ok();
            lab.nothing_left(&runtime);
        }
    }
}

pub(crate) fn del_killed_at_any_request_is_finished_by_the_next_one(lab: &mut Lab) {
    for kind in kinds() {
        for at in [At::Before, At::After] {
            let runtime = of_kind(lab, kind);
            runtime.call("ADD").ok();
            let stops = each_stop(
                lab,
                at,
                || runtime.begin("DEL"),
                |_| {
                    runtime.call("DEL").ok();
                    lab.nothing_left(&runtime);
                    runtime.call("ADD").ok();
                },
            );
            assert!(stops > 10, "{stops}");
            lab.nothing_left(&runtime);
        }
    }
}

/// The delays spread over the whole of an ADD and of a DEL; where each falls differs from run to run.
pub(crate) fn add_and_del_killed_at_any_moment_leave_nothing(lab: &mut Lab) {
    if !has_host_local("add_and_del_killed_at_any_moment_leave_nothing") {
        return;
    }
    let mut runtime = routed(lab, "");
    for round in 0..30 {
        runtime.container = format!("container-{round:04}");
        let delay = Duration::from_micros(700 * round);
        runtime.killed_after("ADD", delay);
        if round % 2 == 0 {
            gc(&runtime, &json!([])).ok();
        } else {
            runtime.call("DEL").ok();
        }
        lab.nothing_left(&runtime);
        runtime.call("ADD").ok();
        runtime.killed_after("DEL", delay);
        runtime.call("DEL").ok();
        lab.nothing_left(&runtime);
    }
}

/// Kills a call at its first request, at its second and so on, until it ends without being killed.
/// Returns how many requests there were.
fn each_stop(lab: &Lab, at: At, begin: impl Fn() -> Running, then: impl Fn(usize)) -> usize {
    for number in 0.. {
        let stopped = lab.proxy.stop_at(number, at);
        let mut call = begin();
        let deadline = Instant::now() + DEADLINE;
        let killed = loop {
            match stopped.recv_timeout(Duration::from_millis(5)) {
                Ok(_) => break true,
                Err(RecvTimeoutError::Timeout) if call.has_ended() => break false,
                Err(_) => assert!(Instant::now() < deadline, "request {number} {at:?}"),
            }
        };
        call.kill();
        lab.proxy.open();
        if !killed {
            return number;
        }
        then(number);
    }
    unreachable!()
}
