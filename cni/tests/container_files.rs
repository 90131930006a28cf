//! What a container may do with its own directory, and how little it gains: the vswitch is the fake VPP.

#![cfg(feature = "vpp")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use support::call::Runtime;
use support::vpp::lab::Lab;

fn start(test: &str) -> (Lab, Runtime, PathBuf) {
    let lab = Lab::fake(test).unwrap();
    let runtime = lab.memif();
    let victim = lab.path().join("victim");
    fs::create_dir(&victim).unwrap();
    (lab, runtime, victim)
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn directory_that_is_a_link_is_refused_and_nothing_is_made_behind_it() {
    let (lab, runtime, victim) = start("directory_that_is_a_link");
    fs::create_dir(runtime.dir().parent().unwrap()).unwrap();
    symlink(&victim, runtime.dir()).unwrap();
    assert_eq!(runtime.call("ADD").code(), 5);
    assert_eq!(names(&victim), Vec::<String>::new());
    fs::remove_file(runtime.dir()).unwrap();
    lab.nothing_left(&runtime);
}

#[test]
fn del_removes_nothing_behind_a_directory_that_became_a_link() {
    let (_lab, mut runtime, victim) = start("del_removes_nothing_behind");
    runtime.conf["host"]["memif"]["socketfile"] = json!("vhost.sock");
    runtime.call("ADD").ok();
    let files = ["configData-0123456789ab-net1.json", "vhost.sock"];
    for file in files {
        fs::write(victim.join(file), "somebody else's").unwrap();
    }
    fs::rename(runtime.dir(), runtime.base.join("moved")).unwrap();
    symlink(&victim, runtime.dir()).unwrap();
    runtime.call("DEL").ok();
    assert_eq!(names(&victim), files);
}

#[test]
fn data_file_that_is_a_link_is_replaced_and_not_followed() {
    let (lab, runtime, victim) = start("data_file_that_is_a_link");
    let secret = victim.join("secret");
    fs::write(&secret, "kept").unwrap();
    fs::create_dir_all(runtime.dir()).unwrap();
    let file = runtime.dir().join("configData-0123456789ab-net1.json");
    symlink(&secret, &file).unwrap();
    // The name that the file has while it is written.
    symlink(&secret, runtime.dir().join(".configData-0123456789ab-net1.json.tmp")).unwrap();
    runtime.call("ADD").ok();
    assert!(file.symlink_metadata().unwrap().is_file());
    assert_eq!(fs::read_to_string(&secret).unwrap(), "kept");
    runtime.call("DEL").ok();
    assert_eq!(names(&victim), ["secret"]);
    lab.nothing_left(&runtime);
}

#[test]
fn container_id_interface_and_file_names_that_leave_the_directory_are_refused() {
    let (lab, mut runtime, victim) = start("names_that_leave_the_directory");
    for id in ["../victim", "..", "/etc", "a/../../victim"] {
        runtime.container = id.to_owned();
        assert_eq!(runtime.call("ADD").code(), 4, "{id}");
        assert_eq!(runtime.call("DEL").code(), 4, "{id}");
    }
    runtime.container = "0123456789abcdef".to_owned();
    for name in ["../victim/x", "..", "a/b"] {
        runtime.if_name = name.to_owned();
        assert_eq!(runtime.call("ADD").code(), 4, "{name}");
        assert_eq!(runtime.call("DEL").code(), 4, "{name}");
    }
    runtime.if_name = "net1".to_owned();
    for name in ["../../victim/x", "..", "/etc/x"] {
        let mut conf = runtime.conf.clone();
        conf["host"]["memif"]["socketfile"] = json!(name);
        assert_eq!(runtime.call_with("ADD", &conf).code(), 7, "{name}");
    }
    assert_eq!(names(&victim), Vec::<String>::new());
    lab.nothing_left(&runtime);
}
