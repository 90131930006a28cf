//! What went wrong in the plugin that this one replaces, and must not here: on a fake VPP, or with no
//! vswitch at all. Those about Open vSwitch are in `interop_old_bugs.rs`.

#![cfg(all(feature = "vpp", feature = "ovs"))]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use nix::unistd::{getegid, geteuid};
use serde_json::{Value, json};
use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use support::call::{Answer, Runtime};
use support::vpp::lab::Lab;
use support::vpp::scenarios::{self, vpp_scenarios};
use support::vpp::table::Table;

// As scenarios they are run on a real VPP too.
vpp_scenarios! { Lab::fake:
    // A failing delegate left the interface on the vswitch: nothing was taken back.
    failed_ipam_leaves_nothing,
    // Deleting a bridge domain went by `bridgeId` alone. With `bridgeName`, which is the usual key,
    // number 0 was looked for, and the domain stayed.
    bridge_domain_goes_with_its_last_interface,
    // CHECK, GC and STATUS said yes and did nothing.
    check_tells_what_is_not_as_it_was_made,
    gc_keeps_what_is_named_and_collects_records_and_interfaces,
    del_and_gc_succeed_when_vpp_has_ended_and_others_say_so,
    // The path of VPP's API, queues, sizes, secret and MTU could not be configured.
    memif_on_a_bridge_domain_comes_and_goes,
}

fn lab() -> Lab {
    Lab::fake("").unwrap()
}

/// Has the delegate of the tests give this.
fn with_addresses(lab: &Lab, mut runtime: Runtime, answer: &Value) -> Runtime {
    let file = lab.path().join("answer");
    std::fs::write(&file, answer.to_string()).unwrap();
    runtime.conf["ipam"] = json!({"type": "fixed"});
    runtime.plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ipam");
    runtime.args = format!("ANSWER={}", file.display());
    runtime
}

fn addresses(list: &[(&str, &str)]) -> Value {
    let ips: Vec<Value> = list
        .iter()
        .map(|(address, gateway)| json!({"address": address, "gateway": gateway}))
        .collect();
    json!({"cniVersion": "1.0.0", "ips": ips})
}

/// Cutting twelve characters out of a shorter ID ended that plugin without an error in JSON.
#[test]
fn container_id_of_any_length_is_served() {
    for container in ["c", "0123456789a", "0123456789ab", "0123456789abc", &"c".repeat(200)] {
        let lab = lab();
        let mut runtime = lab.memif();
        container.clone_into(&mut runtime.container);
        runtime.call("ADD").ok();
        assert_eq!(lab.interfaces().len(), 1);
        runtime.call("DEL").ok();
        lab.nothing_left(&runtime);
    }
    let lab = lab();
    let mut runtime = lab.memif();
    for container in ["", "é", "01234567890é", &"c".repeat(201)] {
        container.clone_into(&mut runtime.container);
        assert_eq!(runtime.call("ADD").code(), 4, "{container}");
    }
}

/// Without a pod there was nobody to tell, which was found out when the interface was there already:
/// every ADD outside Kubernetes failed and left it behind.
#[test]
fn add_outside_kubernetes_succeeds_and_tells_the_container() {
    let lab = lab();
    let runtime = lab.memif();
    runtime.call("ADD").ok();
    let file = runtime.dir().join("configData-0123456789ab-net1.json");
    let data: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(data["config"]["memif"]["role"], "slave");
    runtime.call("DEL").ok();
    lab.nothing_left(&runtime);
}

/// Numbers of sockets in use were kept in a table of twenty; the twenty-first ended the plugin.
#[test]
fn more_than_twenty_memif_sockets_fit_on_a_vpp() {
    const MANY: usize = 25;
    for table in [Table::recorded(), Table::of_release("21.06")] {
        let lab = Lab::with_table(table);
        let mut runtime = lab.memif();
        for number in 0..MANY {
            runtime.container = format!("c{number}");
            runtime.call("ADD").ok();
        }
        assert_eq!(lab.session().memif_sockets().unwrap().len(), MANY + 1);
        for number in 0..MANY {
            runtime.container = format!("c{number}");
            runtime.call("DEL").ok();
        }
        lab.nothing_left(&runtime);
    }
}

/// Without its own record, DEL took interface number 0 for the attachment's: VPP's `local0`.
#[test]
fn del_without_a_record_asks_vpp_to_change_nothing() {
    let lab = lab();
    let runtime = lab.memif();
    let old = lab.path().join("data/data");
    runtime.call("DEL").ok();
    std::fs::create_dir_all(&old).unwrap();
    let record = r#"{"swIfIndex":0,"memifSocketId":0}"#;
    std::fs::write(old.join("local-0123456789ab-net1.json"), record).unwrap();
    runtime.call("DEL").ok();
    let world = lab.fake_vpp().world.lock().unwrap();
    let looks = |name: &str| {
        name.ends_with("_dump")
            || ["sockclnt_create", "sockclnt_delete", "control_ping", "show_version"]
                .contains(&name)
    };
    let changes: Vec<&String> =
        world.log.iter().map(|(name, _)| name).filter(|name| !looks(name)).collect();
    assert!(!world.log.is_empty());
    assert_eq!(changes, Vec::<&String>::new());
}

/// A client's socket is the container's, and may not be there: removing it failed, and so did DEL, for
/// ever. A server's was left behind.
#[test]
fn del_of_a_memif_succeeds_with_and_without_its_socket() {
    for (role, there) in [("slave", false), ("slave", true), ("master", true), ("master", false)] {
        let lab = lab();
        let mut runtime = lab.memif();
        runtime.conf["host"]["memif"] = json!({"role": role});
        runtime.call("ADD").ok();
        let socket = runtime.dir().join("memif-0123456789ab-net1.sock");
        assert_eq!(socket.exists(), role == "master");
        if there {
            std::fs::write(&socket, "").unwrap_or_default();
        } else {
            std::fs::remove_file(&socket).unwrap_or_default();
        }
        assert_eq!(socket.exists(), there);
        runtime.call("DEL").ok();
        lab.nothing_left(&runtime);
    }
}

/// Lengths of prefixes were compared with 4 and 16, and only one address was passed on; and what was
/// passed on was printed too, in front of the result.
#[test]
fn every_address_reaches_result_and_container_with_its_prefix_and_nothing_else_is_printed() {
    let lab = lab();
    let given = [
        ("10.4.2.5/23", "10.4.2.1"),
        ("192.0.2.9/32", ""),
        ("fd04::5/61", "fd04::1"),
        ("fd05::5/128", ""),
        ("10.64.0.5/4", ""),
        ("fd06::5/16", ""),
    ];
    let mut runtime = with_addresses(&lab, lab.memif(), &addresses(&given));
    runtime.conf["logLevel"] = json!("verbose");
    let result = runtime.call("ADD").ok().json();
    let file = runtime.dir().join("configData-0123456789ab-net1.json");
    let data: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    for ips in [&result["ips"], &data["ipResult"]["ips"]] {
        let told: Vec<&str> =
            ips.as_array().unwrap().iter().map(|ip| ip["address"].as_str().unwrap()).collect();
        assert_eq!(told, given.map(|(address, _)| address));
    }
    runtime.call("DEL").ok();
    lab.nothing_left(&runtime);
}

/// The vswitch was served before the delegate was asked, and so its end of a routed interface never
/// got an address.
#[test]
fn routed_interface_has_its_gateways_with_their_prefixes_on_vpp() {
    let lab = lab();
    let given = [("10.4.2.5/23", "10.4.2.1"), ("fd04::5/61", "fd04::1")];
    let mut runtime = with_addresses(&lab, lab.memif(), &addresses(&given));
    runtime.conf["host"]["netType"] = json!("interface");
    let result = runtime.call("ADD").ok().json();
    assert_eq!(lab.gateways(), ["10.4.2.1/23", "fd04::1/61"]);
    runtime.check(&result).ok();
    runtime.call("DEL").ok();
    lab.nothing_left(&runtime);
}

/// `vlanId` was read and forgotten: whoever set it had no VLAN and was not told.
#[test]
fn vlan_on_vpp_is_kept_or_refused_before_anything_is_made() {
    let lab = lab();
    let mut runtime = lab.memif();
    runtime.conf["host"]["bridge"] = json!({"bridgeName": "5000", "vlanId": 7});
    let answer = runtime.call("ADD");
    assert_eq!(answer.code(), 7);
    assert!(answer.stdout.contains("host.bridge.bridgeName = 5000"), "{answer:?}");
    assert!(lab.fake_vpp().world.lock().unwrap().log.is_empty());
    lab.nothing_left(&runtime);
    runtime.conf["host"]["bridge"] = json!({"bridgeName": "5", "vlanId": 7});
    runtime.call("ADD").ok();
    let domains: Vec<u32> = lab.bridges().iter().map(|bridge| bridge.id).collect();
    assert_eq!(domains, [5 * 4096 + 7]);
    runtime.call("DEL").ok();
    lab.nothing_left(&runtime);
}

/// Results were in the newest version that the plugin's library had, whatever the configuration said.
#[test]
fn result_and_error_are_in_the_version_of_the_configuration() {
    let lab = lab();
    let given = [("10.4.2.5/23", "10.4.2.1"), ("fd04::5/61", "fd04::1")];
    let mut runtime = with_addresses(&lab, lab.memif(), &addresses(&given));
    for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        runtime.conf["cniVersion"] = json!(version);
        let answer = runtime.call("ADD");
        if version < "0.3.1" {
            // Older than anything that the delegate speaks.
            assert_eq!((answer.code(), &answer.json()["cniVersion"]), (1, &json!(version)));
            lab.nothing_left(&runtime);
            continue;
        }
        let result = answer.ok().json();
        assert_eq!(result["cniVersion"], version);
        let family = result["ips"][1].get("version");
        assert_eq!(family, (version < "1.0.0").then(|| json!("6")).as_ref());
        let socket = result["interfaces"][0].get("socketPath");
        assert_eq!(socket.is_some(), version == "1.1.0");
        runtime.call("DEL").ok();
        lab.nothing_left(&runtime);
    }
}

fn access(metadata: &Metadata) -> (u32, u32, u32) {
    (metadata.uid(), metadata.gid(), metadata.permissions().mode() & 0o777)
}

/// Directories were for root alone, and so was every socket in them, whoever ran in the container.
#[test]
fn socket_and_directory_have_the_configured_owner_and_permissions() {
    let lab = lab();
    let (uid, gid) = if geteuid().is_root() {
        (65_534, 65_533)
    } else {
        (geteuid().as_raw(), getegid().as_raw())
    };
    let mut runtime = lab.memif();
    runtime.conf["host"]["socket"] = json!({"uid": uid, "gid": gid, "mode": "0660"});
    runtime.call("ADD").ok();
    let socket = runtime.dir().join("memif-0123456789ab-net1.sock");
    assert_eq!(access(&socket.metadata().unwrap()), (uid, gid, 0o660));
    // Whoever may use the socket may get to it.
    assert_eq!(access(&runtime.dir().metadata().unwrap()), (uid, gid, 0o770));
    runtime.call("DEL").ok();
    lab.nothing_left(&runtime);
}

#[track_caller]
fn assert_too_long(answer: &Answer) {
    assert_eq!(answer.code(), 7);
    assert!(answer.stdout.contains("107 are possible"), "{answer:?}");
}

/// A path that no socket can have was handed to the vswitch, which then tried in vain for ever. Only
/// directories of one kind were looked at.
#[test]
fn socket_path_that_no_socket_can_have_is_refused_before_anything_is_made() {
    let lab = lab();
    let deep = lab.path().join("d".repeat(100));
    let mut memif = lab.memif();
    let mut port = Runtime::new(lab.path(), "unix:/nonexistent/db.sock", "1.1.0");
    for runtime in [&mut memif, &mut port] {
        runtime.conf["sharedDir"] = json!(deep);
        assert_too_long(&runtime.call("ADD"));
        assert!(!deep.exists());
        assert!(runtime.leftovers().is_empty());
    }
    assert!(lab.fake_vpp().world.lock().unwrap().log.is_empty());
    // One byte more than there is room for, and just as many.
    let room = 107 - "/0123456789ab/memif-0123456789ab-net1.sock".len();
    let base = lab.path().display().to_string();
    let of_length = |len: usize| format!("{base}/{}", "d".repeat(len - base.len() - 1));
    memif.conf["sharedDir"] = json!(of_length(room + 1));
    assert_too_long(&memif.call("ADD"));
    memif.conf["sharedDir"] = json!(of_length(room));
    memif.call("ADD").ok();
    memif.call("DEL").ok();
    lab.nothing_left(&memif);
}

/// A key that nobody knows in CNI_ARGS was an error unless the runtime said `IgnoreUnknown`.
#[test]
fn unknown_keys_in_cni_args_are_not_in_the_way() {
    for args in ["K8S_POD_NAME=p;COLOUR=red", "COLOUR=red", "COLOUR", "=;;=;"] {
        let lab = lab();
        let mut runtime = lab.memif();
        args.clone_into(&mut runtime.args);
        runtime.call("ADD").ok();
        runtime.call("DEL").ok();
        lab.nothing_left(&runtime);
    }
}

/// STATUS was answered by the library, with success.
#[test]
fn status_fails_where_add_would() {
    let mut lab = lab();
    scenarios::status_is_good(&mut lab);
    let mut runtime = lab.memif();
    runtime.conf["vpp"]["api"] = json!("/nonexistent/api.sock");
    assert_eq!(runtime.call("STATUS").code(), 50);
    let runtime = lab.memif();
    lab.stop_vpp();
    assert_eq!(runtime.call("STATUS").code(), 50);
}

/// Where the directory was had to be found out again at DEL, from a pod that may be gone, and so
/// another one could be cleaned.
#[test]
fn del_removes_what_add_made_whatever_the_configuration_says_by_then() {
    let lab = lab();
    let mut runtime = lab.memif();
    runtime.call("ADD").ok();
    runtime.conf["sharedDir"] = json!(lab.path().join("elsewhere"));
    runtime.conf["host"]["bridge"] = json!({"bridgeName": "8"});
    runtime.conf["host"]["memif"] = json!({"role": "slave", "socketfile": "other.sock"});
    runtime.netns = Some("/nonexistent/netns".into());
    runtime.call("DEL").ok();
    lab.nothing_left(&runtime);
}
