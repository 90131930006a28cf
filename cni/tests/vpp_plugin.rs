//! The plugin from ADD to GC on a fake VPP, which is tested against recordings of a real one
//! (`vpp_recorded.rs`); the same on a real one is in `interop_vpp.rs`.

#![cfg(feature = "vpp")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod support;

use nix::sys::signal::Signal;
use ringport_cni::engines::vpp::lock::Lock;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use support::call::{Answer, userspace};
use support::vpp::fake::Fault;
use support::vpp::lab::Lab;
use support::vpp::scenarios::{self, vpp_scenarios};
use support::vpp::table::Table;
use support::watch::Watch;
use support::{DEADLINE, until};

vpp_scenarios! { Lab::fake:
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

#[test]
fn every_release_from_20_05_is_served() {
    for release in ["20.05", "21.06", "23.06"] {
        let mut lab = Lab::with_table(Table::of_release(release));
        scenarios::memif_on_a_bridge_domain_comes_and_goes(&mut lab);
        scenarios::vhost_user_of_both_modes_comes_and_goes(&mut lab);
        scenarios::vpp_has_the_gateways_of_routed_containers(&mut lab);
        scenarios::trunk_has_a_sub_interface_on_the_bridge_domain_of_each_vlan(&mut lab);
        scenarios::status_is_good(&mut lab);
    }
}

#[test]
fn release_that_is_too_old_is_code_50_and_nothing_is_made() {
    let lab = Lab::with_table(Table::of_release("20.01"));
    let runtime = lab.memif();
    let answer = runtime.call("STATUS");
    assert_eq!(answer.code(), 50);
    assert!(answer.stdout.contains("20.01-release is too old"), "{answer:?}");
    assert_eq!(runtime.call("ADD").code(), 50);
}

/// A layout that nobody has seen yet: told by STATUS, and by ADD before it changes anything.
#[test]
fn unknown_layout_is_code_50_and_nothing_is_made() {
    for (message, kind) in [("memif_create_v2", "memif"), ("create_vhost_user_if_v2", "vhost")] {
        let mut table = Table::recorded();
        table.change(message, "0badc0de");
        let lab = Lab::with_table(table);
        let runtime = if kind == "memif" { lab.memif() } else { lab.vhost("client") };
        for verb in ["STATUS", "ADD"] {
            let answer = runtime.call(verb);
            assert_eq!(answer.code(), 50);
            assert!(answer.stdout.contains(message), "{answer:?}");
            assert!(answer.stdout.contains("0badc0de"), "{answer:?}");
        }
        lab.nothing_left(&runtime);
    }
}

/// They came with 23.06.
#[test]
fn abstract_sockets_are_code_50_where_vpp_has_none() {
    let lab = Lab::with_table(Table::of_release("21.06"));
    let mut runtime = lab.memif();
    runtime.conf["host"]["memif"]["abstract"] = json!(true);
    for verb in ["STATUS", "ADD"] {
        let answer = runtime.call(verb);
        assert_eq!(answer.code(), 50);
        assert!(answer.stdout.contains("memif_socket_filename_add_del_v2"), "{answer:?}");
    }
    lab.nothing_left(&runtime);
}

/// Every request that changes something, for an ADD of a memif with an MTU.
const CHANGES: [&str; 7] = [
    "memif_socket_filename_add_del_v2",
    "memif_create_v2",
    "sw_interface_tag_add_del",
    "sw_interface_set_mtu",
    "bridge_domain_add_del",
    "sw_interface_set_l2_bridge",
    "sw_interface_set_flags",
];

#[test]
fn whatever_vpp_refuses_or_ends_with_leaves_nothing() {
    for (message, (fault, code)) in CHANGES
        .iter()
        .flat_map(|message| [(message, (Fault::Refuse(-1), 100)), (message, (Fault::Close, 11))])
    {
        let lab = Lab::fake("").unwrap();
        let mut runtime = lab.memif();
        runtime.conf["host"]["mtu"] = json!(1400);
        let set = |fault: Option<Fault>| {
            let fault = fault.map(|it| ((*message).to_owned(), it));
            lab.fake_vpp().world.lock().unwrap().fault = fault;
        };
        let refused = matches!(fault, Fault::Refuse(_));
        set(Some(fault));
        let answer = runtime.call("ADD");
        assert_eq!(answer.code(), code, "{message}");
        assert_eq!(answer.stdout.contains(message), refused, "{answer:?}");
        // What the fault kept from being undone as well goes with the next DEL.
        set(None);
        runtime.call("DEL").ok();
        lab.nothing_left(&runtime);
    }
}

fn reconcile(lab: &Lab) -> Answer {
    userspace(&["reconcile", lab.path().join("data").to_str().unwrap()])
}

/// Modes and threads of the queues of the only interface.
fn queues(lab: &Lab) -> Vec<(u32, u32)> {
    let index = lab.interfaces()[0].sw_if_index;
    lab.session().rx_queues(index).unwrap().iter().map(|it| (it.mode, it.thread)).collect()
}

#[test]
fn mode_and_workers_are_set_whenever_the_other_end_has_connected() {
    let lab = Lab::fake("").unwrap();
    lab.fake_vpp().world.lock().unwrap().workers = 3;
    for mut runtime in [lab.memif(), lab.vhost("client")] {
        runtime.conf["host"]["rxMode"] = json!("interrupt");
        runtime.conf["host"]["rxPlacement"] = json!([{"queue": 1, "worker": 2}]);
        let result = runtime.call("ADD").ok().json();
        assert!(reconcile(&lab).ok().json()["there"][0].get("set").is_none());
        for number in [2, 3] {
            lab.fake_vpp().connect(number);
            // It is as good an attachment without.
            runtime.check(&result).ok();
            let said = reconcile(&lab).ok().json();
            let set = said["there"][0]["set"].as_array().unwrap();
            assert_eq!(set.len(), number + 1, "{said}");
            assert!(set.contains(&json!("queue 1: worker 2")), "{said}");
            assert!(set.contains(&json!("queue 0: interrupt")), "{said}");
            assert_eq!(queues(&lab)[..2], [(2, 0), (2, 3)]);
            assert!(reconcile(&lab).ok().json()["there"][0].get("set").is_none());
        }
        runtime.call("DEL").ok();
        lab.nothing_left(&runtime);
    }
}

#[test]
fn worker_that_does_not_exist_is_named_by_reconcile_and_others_are_looked_after() {
    for workers in [0, 2] {
        let lab = Lab::fake("").unwrap();
        lab.fake_vpp().world.lock().unwrap().workers = workers;
        let (mut wrong, mut right) = (lab.memif(), lab.memif());
        (wrong.container, right.container) = ("a".to_owned(), "b".to_owned());
        wrong.conf["host"]["rxPlacement"] = json!([{"queue": 0, "worker": workers}]);
        right.conf["host"]["rxMode"] = json!("adaptive");
        wrong.call("ADD").ok();
        right.call("ADD").ok();
        lab.fake_vpp().connect(1);
        let answer = reconcile(&lab);
        assert!(!answer.success);
        let said = answer.json();
        let details = said["failed"][0]["error"]["details"].as_str().unwrap();
        assert!(details.contains(&format!("by worker {workers}:")), "{details}");
        assert_eq!(said["there"][0]["set"], json!(["queue 0: adaptive"]));
    }
}

#[test]
fn watch_puts_back_says_so_once_and_ends_well_when_it_is_told_to() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let lab = Lab::fake("").unwrap();
        let mut runtime = lab.memif();
        runtime.conf["host"]["rxMode"] = json!("interrupt");
        runtime.call("ADD").ok();
        let mut watch = Watch::start(&lab.path().join("data"));
        for number in [1, 2] {
            lab.fake_vpp().connect(number);
            let line = watch.line();
            assert!(line.contains("net/0123456789abcdef/net1: put back queue 0: int"), "{line}");
            assert_eq!(queues(&lab), vec![(2, 0); number]);
        }
        lab.fake_vpp().restart();
        let line = watch.line();
        assert!(line.contains("net/0123456789abcdef/net1: made again"), "{line}");
        lab.fake_vpp().stop();
        let line = watch.line();
        assert!(line.contains(r#""code":11"#), "{line}");
        assert_eq!(watch.end(signal), "");
    }
}

#[test]
fn vpp_that_does_not_answer_is_asked_once_a_round() {
    let lab = Lab::fake("").unwrap();
    for name in ["a", "b", "c"] {
        let mut runtime = lab.memif();
        runtime.container = name.to_owned();
        runtime.call("ADD").ok();
    }
    let fault = Some(("show_version".to_owned(), Fault::Close));
    lab.fake_vpp().world.lock().unwrap().fault = fault;
    let said = reconcile(&lab).json();
    let messages: Vec<_> = said["failed"].as_array().unwrap().iter().collect();
    assert_eq!(messages.len(), 3, "{said}");
    for error in &messages[1..] {
        assert_eq!(error["error"]["msg"], "the vswitch has not answered before", "{said}");
    }
}

/// While somebody holds the lock of this VPP: see `engines::vpp::lock`.
#[test]
fn who_changes_vpp_waits_for_others_and_who_looks_does_not() {
    let lab = Lab::fake("").unwrap();
    let mut runtime = lab.memif();
    let result = runtime.call("ADD").ok().json();
    runtime.conf["prevResult"] = result;
    runtime.conf["cni.dev/valid-attachments"] = json!([]);
    let lock = Lock::take(&lab.proxy.api, DEADLINE).unwrap();
    for verb in ["CHECK", "STATUS"] {
        runtime.call(verb).ok();
    }
    let mut del = runtime.begin("DEL");
    std::thread::sleep(Duration::from_millis(100));
    assert!(!del.has_ended());
    assert_eq!(lab.interfaces().len(), 1);
    // Nobody waits for ever.
    let mut other = lab.memif();
    other.container = "other".to_owned();
    other.conf["vpp"]["timeoutMs"] = json!(100);
    let answer = other.call("ADD");
    assert_eq!(answer.code(), 11);
    assert!(answer.stdout.contains("locked for"), "{answer:?}");
    drop(lock);
    until("DEL ends", || del.has_ended());
    del.kill();
    other.conf["vpp"]["timeoutMs"] = json!(15000);
    other.call("DEL").ok();
    lab.nothing_left(&runtime);
}

#[test]
fn vpp_that_hangs_is_code_11_and_its_leftovers_go_later() {
    let lab = Lab::fake("").unwrap();
    let mut runtime = lab.memif();
    runtime.conf["vpp"]["timeoutMs"] = json!(300);
    let hang = |message: &str| {
        let fault = (message.to_owned(), Fault::Ignore);
        lab.fake_vpp().world.lock().unwrap().fault = Some(fault);
    };
    hang("sw_interface_set_flags");
    assert_eq!(runtime.call("ADD").code(), 11);
    lab.nothing_left(&runtime);
    hang("show_version");
    assert_eq!(runtime.call("ADD").code(), 11);
    assert_eq!(runtime.call("DEL").code(), 11);
    assert_eq!(runtime.call("STATUS").code(), 50);
    lab.fake_vpp().world.lock().unwrap().fault = None;
    runtime.call("DEL").ok();
    lab.nothing_left(&runtime);
}

#[test]
fn absent_vpp_makes_add_and_status_fail_and_leaves_a_record() {
    let lab = Lab::fake("").unwrap();
    let mut runtime = lab.memif();
    runtime.conf["vpp"]["api"] = json!("/nonexistent/api.sock");
    assert_eq!(runtime.call("ADD").code(), 11);
    assert_eq!(runtime.call("STATUS").code(), 50);
    assert_eq!(runtime.leftovers().len(), 1);
}

#[test]
fn secret_is_in_no_log_and_no_file_that_others_can_read() {
    let lab = Lab::fake("").unwrap();
    let mut runtime = lab.memif();
    runtime.conf["logFile"] = json!(lab.path().join("log"));
    runtime.conf["logLevel"] = json!("debug");
    runtime.conf["host"]["memif"]["secret"] = json!("hunter2");
    let answer = runtime.call("ADD").ok();
    let mut files = runtime.leftovers();
    files.extend([lab.path().join("log"), runtime.dir().join("configData-0123456789ab-net1.json")]);
    for file in files.iter().filter(|file| file.is_file()) {
        let text = std::fs::read_to_string(file).unwrap();
        let ours_alone = file.metadata().unwrap().permissions().mode() & 0o077 == 0;
        assert!(ours_alone || !text.contains("hunter2"), "{}", file.display());
    }
    assert!(!format!("{answer:?}").contains("hunter2"));
    runtime.call("DEL").ok();
}
