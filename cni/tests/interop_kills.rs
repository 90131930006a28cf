//! Kills of the plugin at every step that it takes on Open vSwitch, and at every step of the delegate.
//! Debian's ovsdb-server and host-local, with a stand-in for the vswitch.

#![cfg(all(feature = "ovs", target_arch = "x86_64", target_env = "gnu"))]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use ringport_bench::peers::skip;
use serde_json::json;
use std::path::{Path, PathBuf};
use support::call::{PLUGINS, Runtime};
use support::kill::at_every_step;
use support::ovsdb::Ovsdb;
use support::vswitch::FakeVswitch;

/// A network of client ports with addresses, and one of server ports without.
fn start(test: &str) -> Option<(Ovsdb, [Runtime; 2])> {
    if !Path::new(PLUGINS).join("host-local").is_file() {
        skip(test, "host-local is not installed");
        return None;
    }
    let ovsdb = Ovsdb::start(test)?;
    FakeVswitch::start(&ovsdb.address(), ovsdb.path());
    let network = || Runtime::new(ovsdb.path(), &ovsdb.address(), "1.1.0");
    let (mut addressed, mut server) = (network().with_host_local(), network());
    server.conf["host"]["vhost"] = json!({"mode": "server"});
    server.conf["host"]["socket"] = json!({"mode": "0660"});
    // What GC gets as well: nobody is to stay.
    for runtime in [&mut addressed, &mut server] {
        runtime.conf["cni.dev/valid-attachments"] = json!([]);
    }
    Some((ovsdb, [addressed, server]))
}

#[track_caller]
fn nothing_left(ovsdb: &Ovsdb, runtime: &Runtime, step: usize) {
    assert_eq!(runtime.leftovers(), Vec::<PathBuf>::new(), "step {step}");
    assert_eq!(ovsdb.names("Interface"), Vec::<String>::new(), "step {step}");
    assert_eq!(ovsdb.names("Bridge"), Vec::<String>::new(), "step {step}");
}

#[test]
fn add_killed_at_every_step_is_collected_by_gc() {
    killed_then("add_killed_at_every_step_is_collected_by_gc", "ADD", "GC");
}

#[test]
fn add_killed_at_every_step_is_taken_back_by_del() {
    killed_then("add_killed_at_every_step_is_taken_back_by_del", "ADD", "DEL");
}

#[test]
fn del_killed_at_every_step_is_finished_by_gc() {
    killed_then("del_killed_at_every_step_is_finished_by_gc", "DEL", "GC");
}

#[test]
fn del_killed_at_every_step_is_finished_by_the_next_one() {
    killed_then("del_killed_at_every_step_is_finished_by_the_next_one", "DEL", "DEL");
}

#[test]
fn gc_killed_at_every_step_is_finished_by_the_next_one() {
    killed_then("gc_killed_at_every_step_is_finished_by_the_next_one", "GC", "GC");
}

/// A verb killed at every step, each time followed by another that cleans up.
fn killed_then(test: &str, verb: &str, cleaner: &str) {
    let Some((ovsdb, runtimes)) = start(test) else { return };
    for runtime in &runtimes {
        let before = || {
            if verb != "ADD" {
                runtime.call("ADD").ok();
            }
        };
        let after = |step| {
            runtime.call(cleaner).ok();
            nothing_left(&ovsdb, runtime, step);
            // Or host-local would look at one more each time, and never come to its next step.
            runtime.remove_torn_addresses();
        };
        let Some(steps) = at_every_step(test, runtime, verb, before, after) else { return };
        assert!(steps > 15, "{steps}");
        runtime.call("DEL").ok();
        nothing_left(&ovsdb, runtime, steps);
    }
}

/// What ADD finds of one that was killed is no obstacle to it.
#[test]
fn add_after_one_that_was_killed_at_any_step_succeeds() {
    let test = "add_after_one_that_was_killed_at_any_step_succeeds";
    let Some((ovsdb, [_, runtime])) = start(test) else { return };
    let after = |step| {
        let again = runtime.call("ADD");
        // It was killed when there was nothing left to do.
        if again.success || again.code() != 101 {
            let result = again.ok().json();
            runtime.check(&result).ok();
        }
        runtime.call("DEL").ok();
        nothing_left(&ovsdb, &runtime, step);
    };
    at_every_step(test, &runtime, "ADD", || {}, after);
}
