//! Kills of the plugin at every step that it takes on a fake VPP: between its requests as well as
//! between its changes of files. `interop_kills.rs` has those on Open vSwitch.

#![cfg(all(feature = "vpp", target_arch = "x86_64", target_env = "gnu"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod support;

use serde_json::json;
use support::call::Runtime;
use support::kill::at_every_step;
use support::vpp::lab::Lab;

/// Memifs that both ends' directories have files for, and a bridge domain that comes and goes.
fn start() -> (Lab, Runtime) {
    let lab = Lab::fake("").unwrap();
    let mut runtime = lab.memif();
    runtime.conf["host"]["socket"] = json!({"mode": "0660"});
    runtime.conf["cni.dev/valid-attachments"] = json!([]);
    (lab, runtime)
}

fn killed_then(test: &str, verb: &str, cleaner: &str) {
    let (lab, runtime) = start();
    let before = || {
        if verb != "ADD" {
            runtime.call("ADD").ok();
        }
    };
    let after = |_| {
        runtime.call(cleaner).ok();
        lab.nothing_left(&runtime);
    };
    let Some(steps) = at_every_step(test, &runtime, verb, before, after) else { return };
    assert!(steps > 15, "{steps}");
    runtime.call("DEL").ok();
    lab.nothing_left(&runtime);
}

#[test]
fn add_killed_at_every_step_is_collected_by_gc() {
    killed_then("add_killed_at_every_step_is_collected_by_gc", "ADD", "GC");
}

#[test]
fn del_killed_at_every_step_is_finished_by_gc() {
    killed_then("del_killed_at_every_step_is_finished_by_gc", "DEL", "GC");
}
