//! The plugin in a list with another one, run as runtimes run lists. The other one is Debian's `tuning`;
//! ovsdb-server and host-local are Debian's as well, the vswitch is a stand-in.

#![cfg(feature = "ovs")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use ringport_bench::peers::skip;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use support::call::{PLUGINS, Runtime};
use support::namespaces::Namespaces;
use support::ovsdb::Ovsdb;
use support::runner::Runner;
use support::vswitch::FakeVswitch;

/// A container in a namespace of its own.
struct Scene {
    ovsdb: Ovsdb,
    runtime: Runtime,
    runner: Runner,
    _namespaces: Namespaces,
}

fn start(test: &str, version: &str) -> Option<Scene> {
    for plugin in ["host-local", "tuning"] {
        if !Path::new(PLUGINS).join(plugin).is_file() {
            skip(test, &format!("{plugin} is not installed"));
            return None;
        }
    }
    let ovsdb = Ovsdb::start(test)?;
    let namespaces = Namespaces::make(test, 1)?;
    // `tuning` looks for it at CHECK.
    namespaces.add_device(0, "net1");
    FakeVswitch::start(&ovsdb.address(), ovsdb.path());
    let mut runtime = Runtime::new(ovsdb.path(), &ovsdb.address(), version).with_host_local();
    runtime.conf["capabilities"] = json!({"mac": true, "ips": false});
    let tuning = json!({"type": "tuning", "sysctl": {"net.core.somaxconn": "500"}});
    let list = json!({"cniVersion": version, "name": "net", "plugins": [runtime.conf, tuning]});
    let mut runner = Runner::new(&ovsdb.path().join("cache"), list, &namespaces.path(0));
    runner.capabilities.insert("mac".to_owned(), json!("02:00:00:00:00:07"));
    // Nobody asked for it.
    runner.capabilities.insert("ips".to_owned(), json!(["192.0.2.7/24"]));
    Some(Scene { ovsdb, runtime, runner, _namespaces: namespaces })
}

impl Scene {
    #[track_caller]
    fn nothing_left(&self) {
        assert_eq!(self.runtime.leftovers(), Vec::<PathBuf>::new());
        assert_eq!(self.ovsdb.names("Interface"), Vec::<String>::new());
    }
}

#[test]
fn result_goes_through_a_chain_and_comes_back_at_check_and_del() {
    for version in ["0.4.0", "1.0.0"] {
        let test = "result_goes_through_a_chain";
        let Some(scene) = start(test, version) else { return };
        let result = scene.runner.add().unwrap();
        assert_eq!(result["cniVersion"], version);
        assert_eq!(result["interfaces"][1]["mac"], "02:00:00:00:00:07");
        assert_eq!(result["ips"].as_array().unwrap().len(), 2);
        assert!(result["ips"][0]["address"].as_str().unwrap().starts_with("10.9.0."));
        scene.runner.check().unwrap();
        scene.runner.del().unwrap();
        scene.nothing_left();
        // Runtimes do it again; by now there is no result.
        scene.runner.del().unwrap();
    }
}

/// The container runs on while the host's configuration is brought up to date.
#[test]
fn configuration_whose_version_has_changed_since_add_is_checked_and_deleted() {
    for (then, now) in [("0.4.0", "1.0.0"), ("1.0.0", "0.4.0"), ("0.3.1", "1.0.0")] {
        let test = "configuration_whose_version_has_changed";
        let Some(mut scene) = start(test, then) else { return };
        scene.runner.add().unwrap();
        scene.runner.list["cniVersion"] = json!(now);
        scene.runner.check().unwrap();
        scene.runner.del().unwrap();
        scene.nothing_left();
    }
}

#[test]
fn del_after_a_later_plugin_failed_leaves_nothing() {
    let Some(mut scene) = start("del_after_a_later_plugin_failed", "1.0.0") else { return };
    scene.runner.list["plugins"][1]["sysctl"] = json!({"net.core.no_such_thing": "1"});
    let failed = scene.runner.add().unwrap_err();
    assert!(failed.stdout.contains("no_such_thing"), "{failed:?}");
    assert_eq!(scene.ovsdb.names("Port").len(), 2);
    scene.runner.del().unwrap();
    scene.nothing_left();
}

/// `tuning` ends at version 1.0.0, and has neither GC nor the fields of 1.1.0: alone in the list, then.
#[test]
fn gc_of_a_runtime_keeps_what_it_names_and_collects_the_rest() {
    let Some(mut scene) = start("gc_of_a_runtime", "1.1.0") else { return };
    scene.runner.list["plugins"].as_array_mut().unwrap().truncate(1);
    let result: Value = scene.runner.add().unwrap();
    assert!(result["interfaces"][1]["socketPath"].is_string(), "{result}");
    let named = json!([{"containerID": scene.runner.container, "ifname": "net1"}]);
    scene.runner.gc(&named).unwrap();
    scene.runner.check().unwrap();
    scene.runner.gc(&json!([])).unwrap();
    scene.nothing_left();
    scene.runner.check().unwrap_err();
    scene.runner.del().unwrap();
}
