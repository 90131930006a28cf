//! The plugin from ADD to GC on a real VPP (verified with 26.10-rc0), where `RINGPORT_VPP` names one:
//! `RINGPORT_VPP/bin/vpp` with the plugins memif and vhost.

#![cfg(feature = "vpp")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod support;

use nix::sys::signal::Signal;
use serde_json::json;
use std::path::{Path, PathBuf};
use support::call::PLUGINS;
use support::until;
use support::vpp::lab::Lab;
use support::vpp::real::RealVpp;
use support::vpp::recording::{Connection, format};
use support::vpp::scenarios::vpp_scenarios;
use support::vpp::transcripts;
use support::watch::Watch;

vpp_scenarios! { Lab::real:
    memif_on_a_bridge_domain_comes_and_goes,
    abstract_socket_is_in_the_namespace_of_the_container,
    memif_client_in_ip_mode_needs_no_bridge_domain,
    vhost_user_of_both_modes_comes_and_goes,
    vpp_has_the_gateways_of_routed_containers,
    containers_of_a_routed_subnet_have_a_route_each_and_share_the_gateways,
    second_network_of_a_routed_subnet_is_refused_and_leaves_nothing,
    route_of_somebody_else_to_the_address_of_a_container_stays,
    access_vlan_is_a_bridge_domain_of_its_own_without_tags,
    trunk_has_a_sub_interface_on_the_bridge_domain_of_each_vlan,
    trunk_with_a_vlan_of_its_own_has_that_one_untagged,
    bridge_domain_of_a_vlan_goes_with_its_last_interface,
    failed_ipam_leaves_nothing,
    bridge_domain_of_an_administrator_stays,
    bridge_domain_goes_with_its_last_interface,
    socket_of_somebody_else_is_refused_untouched,
    what_others_made_stays,
    check_tells_what_is_not_as_it_was_made,
    gc_keeps_what_is_named_and_collects_records_and_interfaces,
    record_of_the_plugin_before_us_is_read_and_its_memif_removed,
    del_after_a_restart_of_vpp_removes_what_is_left,
    del_and_gc_succeed_when_vpp_has_ended_and_others_say_so,
    reconcile_makes_again_what_a_restarted_vpp_has_lost,
    reconcile_killed_at_any_request_is_finished_by_the_next_one,
    reconcile_leaves_what_is_there_and_tells_what_is_different,
    status_is_good,
    many_containers_at_once_leave_nothing,
    add_killed_at_any_request_is_collected_by_del_and_by_gc,
    del_killed_at_any_request_is_finished_by_the_next_one,
    add_and_del_killed_at_any_moment_leave_nothing,
}

/// Nobody needs to know where that VPP was built.
fn without_build_directory(mut connections: Vec<Connection>) -> Vec<Connection> {
    let frames = connections.iter_mut().flat_map(|connection| &mut connection.frames);
    for frame in frames.filter(|frame| frame.name.starts_with("show_version_reply")) {
        frame.body[106..].fill(0);
    }
    connections
}

/// With `RINGPORT_VPP_RECORD=DIR`: writes down what the plugin and VPP say to each other, for the tests
/// without a VPP. Without it: the conversations end well.
#[test]
fn recorded_conversations_go_as_they_did() {
    let record = std::env::var_os("RINGPORT_VPP_RECORD").map(PathBuf::from);
    for transcript in &transcripts::ALL {
        let Some(lab) = Lab::real("recorded_conversations_go_as_they_did") else { return };
        if !transcript.can_run() {
            continue;
        }
        transcript.run(lab.path(), &lab.proxy.api);
        let text = format(&without_build_directory(lab.proxy.take()), &lab.base());
        if let Some(directory) = &record {
            let head = "# What the plugin and VPP 26.10-rc0 said to each other.\n";
            let file = directory.join(transcript.name).with_extension("txt");
            std::fs::write(file, format!("{head}{text}")).unwrap();
        }
    }
}

/// The other end of a socket, played by VPP itself in a table of addresses of its own.
fn play_container(vpp: &RealVpp, number: u32, socket: &str, memif: &str, address: &str) {
    for line in [
        format!("ip table add {number}"),
        format!("create memif socket id {number} filename {socket}"),
        format!("create interface memif id 0 socket-id {number} {memif}"),
        format!("set interface ip table memif{number}/0 {number}"),
        format!("set interface ip address memif{number}/0 {address}"),
        format!("set interface state memif{number}/0 up"),
    ] {
        vpp.show(&line);
    }
}

fn answers(vpp: &RealVpp, number: u32, to: &str) {
    let ping = format!("ping {to} table-id {number} source memif{number}/0 repeat 2 interval 0.1");
    let answer = format!("bytes from {to}");
    until("packets pass", || vpp.show(&ping).contains(&answer));
}

#[test]
fn packets_pass_between_two_containers_on_a_bridge_domain() {
    let Some(lab) = Lab::real("packets_pass_between_two_containers") else { return };
    for (number, role, theirs) in [(101, "master", "slave"), (102, "slave", "master")] {
        let mut runtime = lab.memif();
        runtime.container = format!("c{number}");
        runtime.conf["host"]["memif"] = json!({"role": role, "secret": "tiger"});
        let result = runtime.call("ADD").ok().json();
        let socket = result["interfaces"][1]["socketPath"].as_str().unwrap();
        let memif = format!("{theirs} secret tiger");
        play_container(lab.real_vpp(), number, socket, &memif, &format!("10.8.0.{number}/24"));
    }
    answers(lab.real_vpp(), 101, "10.8.0.102");
}

/// The other end of a trunk: an address for each VLAN, in a table of its own.
fn play_trunk(vpp: &RealVpp, number: u32, socket: &str, vlans: &[(u32, &str)]) {
    for line in [
        format!("create memif socket id {number} filename {socket}"),
        format!("create interface memif id 0 socket-id {number} slave"),
        format!("set interface state memif{number}/0 up"),
    ] {
        vpp.show(&line);
    }
    for (vlan, address) in vlans {
        let table = number * 1000 + vlan;
        for line in [
            format!("ip table add {table}"),
            format!("create sub-interfaces memif{number}/0 {vlan}"),
            format!("set interface ip table memif{number}/0.{vlan} {table}"),
            format!("set interface ip address memif{number}/0.{vlan} {address}"),
            format!("set interface state memif{number}/0.{vlan} up"),
        ] {
            vpp.show(&line);
        }
    }
}

/// Whether somebody answers who is asked now, from a table and an interface.
fn answered(vpp: &RealVpp, table: u32, from: &str, to: &str) -> bool {
    let ping = format!("ping {to} table-id {table} source {from} repeat 3 interval 0.1");
    vpp.show(&ping).contains(&format!("bytes from {to}"))
}

/// Containers 101 and 104 are in VLAN 7, 102 in VLAN 8, 103 is a trunk of both.
#[test]
fn packets_of_two_vlans_do_not_meet_and_a_trunk_has_both() {
    let Some(lab) = Lab::real("packets_of_two_vlans_do_not_meet") else { return };
    let vpp = lab.real_vpp();
    let containers =
        [(101, 7, json!([])), (102, 8, json!([])), (103, 0, json!([7, 8])), (104, 7, json!([]))];
    for (number, vlan, trunk) in containers {
        let mut runtime = lab.memif();
        runtime.container = format!("c{number}");
        runtime.conf["host"]["bridge"] = json!({"bridgeId": 3, "vlanId": vlan, "trunk": trunk});
        let result = runtime.call("ADD").ok().json();
        let socket = result["interfaces"][1]["socketPath"].as_str().unwrap();
        if vlan == 0 {
            play_trunk(vpp, number, socket, &[(7, "10.8.0.73/24"), (8, "10.8.0.83/24")]);
        } else {
            play_container(vpp, number, socket, "slave", &format!("10.8.0.{number}/24"));
        }
    }
    answers(vpp, 101, "10.8.0.104");
    answers(vpp, 101, "10.8.0.73");
    answers(vpp, 102, "10.8.0.83");
    until("the trunk has VLAN 7", || answered(vpp, 103_007, "memif103/0.7", "10.8.0.101"));
    until("the trunk has VLAN 8", || answered(vpp, 103_008, "memif103/0.8", "10.8.0.102"));
    for (table, from, to) in [
        (101, "memif101/0", "10.8.0.102"),
        (102, "memif102/0", "10.8.0.101"),
        (101, "memif101/0", "10.8.0.83"),
        (102, "memif102/0", "10.8.0.73"),
        (103_007, "memif103/0.7", "10.8.0.102"),
        (103_008, "memif103/0.8", "10.8.0.104"),
    ] {
        assert!(!answered(vpp, table, from, to), "{from} {to}");
    }
}

/// Containers 101 and 102 are in VLAN 7 and use tags; 103 and 104 do so on a bridge domain without VLANs.
#[test]
fn tagged_packets_of_an_access_port_go_nowhere() {
    let Some(lab) = Lab::real("tagged_packets_of_an_access_port_go_nowhere") else { return };
    let vpp = lab.real_vpp();
    for (number, vlan) in [(101, 7), (102, 7), (103, 0), (104, 0)] {
        let mut runtime = lab.memif();
        runtime.container = format!("c{number}");
        runtime.conf["host"]["bridge"] = json!({"bridgeId": 3, "vlanId": vlan});
        let result = runtime.call("ADD").ok().json();
        let socket = result["interfaces"][1]["socketPath"].as_str().unwrap();
        let addresses = [format!("10.7.0.{number}/24"), format!("10.8.0.{number}/24")];
        play_trunk(vpp, number, socket, &[(7, &addresses[0]), (8, &addresses[1])]);
    }
    until("all are connected", || {
        let containers = lab.interfaces();
        containers.iter().filter(|it| it.linked && it.parent == it.sw_if_index).count() == 8
    });
    for vlan in [7, 8] {
        let from = format!("memif103/0.{vlan}");
        let to = format!("10.{vlan}.0.104");
        until("tags pass without VLANs", || answered(vpp, 103_000 + vlan, &from, &to));
        let (from, to) = (format!("memif101/0.{vlan}"), format!("10.{vlan}.0.102"));
        assert!(!answered(vpp, 101_000 + vlan, &from, &to), "{from} {to}");
    }
}

#[test]
fn mode_is_put_back_after_the_other_end_has_connected_anew() {
    let Some(lab) = Lab::real("mode_is_put_back_after_the_other_end_has_connected_anew") else {
        return;
    };
    let vpp = lab.real_vpp();
    let mut runtime = lab.memif();
    runtime.conf["host"]["rxMode"] = json!("interrupt");
    let result = runtime.call("ADD").ok().json();
    let socket = result["interfaces"][1]["socketPath"].as_str().unwrap();
    let index = lab.interfaces()[0].sw_if_index;
    let modes = || -> Vec<u32> {
        lab.session().rx_queues(index).unwrap().iter().map(|it| it.mode).collect()
    };
    let mut watch = Watch::start(&lab.path().join("data"));
    for round in 1..=2 {
        vpp.show(&format!("create memif socket id 101 filename {socket}"));
        vpp.show("create interface memif id 0 socket-id 101 slave");
        vpp.show("set interface state memif101/0 up");
        let line = watch.line();
        assert!(line.contains("put back queue 0: interrupt"), "{round}: {line}");
        assert_eq!(modes(), [2], "{round}");
        runtime.check(&result).ok();
        vpp.show("delete interface memif memif101/0");
        until("the link is down", || !lab.interfaces()[0].linked);
    }
    assert_eq!(watch.end(Signal::SIGTERM), "");
}

/// By an Ethernet each, and without one.
#[test]
fn packets_of_routed_containers_in_one_subnet_reach_each_other_and_the_gateway() {
    let Some(lab) = Lab::real("packets_of_routed_containers_in_one_subnet") else { return };
    if !Path::new(PLUGINS).join("host-local").is_file() {
        return;
    }
    for (mode, numbers) in [("ethernet", [101, 102]), ("ip", [103, 104])] {
        let (mut addresses, mut addresses6) = (Vec::new(), Vec::new());
        let mut runtime = lab.memif().with_host_local();
        runtime.conf["host"]["netType"] = json!("interface");
        runtime.conf["host"]["memif"] = json!({"role": "master", "mode": mode});
        for number in numbers {
            runtime.container = format!("c{number}");
            let result = runtime.call("ADD").ok().json();
            let socket = result["interfaces"][1]["socketPath"].as_str().unwrap();
            let address = result["ips"][0]["address"].as_str().unwrap();
            let memif = if mode == "ip" { "slave mode ip" } else { "slave" };
            play_container(lab.real_vpp(), number, socket, memif, address);
            addresses.push(address.split('/').next().unwrap().to_owned());
            let address = result["ips"][1]["address"].as_str().unwrap();
            lab.real_vpp().show(&format!("ip6 table add {number}"));
            lab.real_vpp().show(&format!("set interface ip6 table memif{number}/0 {number}"));
            lab.real_vpp().show(&format!("set interface ip address memif{number}/0 {address}"));
            addresses6.push(address.split('/').next().unwrap().to_owned());
        }
        for (number, other) in numbers.into_iter().zip([1, 0]) {
            answers(lab.real_vpp(), number, "10.9.0.1");
            answers(lab.real_vpp(), number, &addresses[other]);
            answers(lab.real_vpp(), number, "fd09::1");
            if mode == "ip" {
                answers(lab.real_vpp(), number, &addresses6[other]);
            }
        }
        for number in numbers {
            lab.real_vpp().show(&format!("delete interface memif memif{number}/0"));
            runtime.container = format!("c{number}");
            runtime.call("DEL").ok();
        }
        assert!(lab.interfaces().is_empty());
    }
}

#[test]
fn packets_of_a_routed_container_reach_its_gateway() {
    let Some(lab) = Lab::real("packets_of_a_routed_container") else { return };
    if !Path::new(PLUGINS).join("host-local").is_file() {
        return;
    }
    let mut runtime = lab.memif().with_host_local();
    runtime.conf["host"]["netType"] = json!("interface");
    runtime.conf["host"]["memif"] = json!({"role": "master", "mode": "ip"});
    let result = runtime.call("ADD").ok().json();
    let socket = result["interfaces"][1]["socketPath"].as_str().unwrap();
    let address = result["ips"][0]["address"].as_str().unwrap();
    play_container(lab.real_vpp(), 101, socket, "slave mode ip", address);
    answers(lab.real_vpp(), 101, "10.9.0.1");
}
