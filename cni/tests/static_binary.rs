//! The plugin as `./ci.sh static` builds it: one file that needs nothing of the node.

#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use ringport_bench::peers::skip;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Program header that names an interpreter. ELF, `PT_INTERP`.
const INTERPRETER: u32 = 3;

/// The static plugin. `None`: it was not built, and the test was reported as skipped.
fn built(test: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let file = target.join("x86_64-unknown-linux-gnu/release/userspace");
    if !file.is_file() || !nix::unistd::geteuid().is_root() {
        skip(test, "no static plugin (./ci.sh static), or we are not root");
        return None;
    }
    Some(file)
}

/// Types of the program headers of a 64-bit little-endian ELF file. ELF, `Elf64_Ehdr`.
fn program_headers(file: &Path) -> Vec<u32> {
    let bytes = fs::read(file).unwrap();
    assert_eq!(bytes[..6], [0x7f, b'E', b'L', b'F', 2, 1]);
    let number = |at: usize, len: usize| {
        bytes[at..at + len].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    let (first, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    assert!(count > 0);
    (0..count).map(|n| u32::try_from(number(first + n * size, 4)).unwrap()).collect()
}

/// Runs the plugin where there are no other files but an empty `/netns`, and `/etc/group` with one group.
fn run_alone(plugin: &Path, verb: &str, conf: &Value) -> Value {
    let root = tempfile::tempdir().unwrap();
    fs::copy(plugin, root.path().join("userspace")).unwrap();
    fs::write(root.path().join("netns"), "").unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    fs::write(root.path().join("etc/group"), "people:x:4711:\n").unwrap();
    let mut child = Command::new("chroot")
        .arg(root.path())
        .arg("/userspace")
        .envs([("CNI_COMMAND", verb), ("CNI_CONTAINERID", "c1"), ("CNI_IFNAME", "net1")])
        .envs([("CNI_NETNS", "/netns"), ("CNI_PATH", "/")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without having read.
    let _ = child.stdin.take().unwrap().write_all(conf.to_string().as_bytes());
    let output = child.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn static_plugin_names_no_interpreter_and_the_usual_one_does() {
    let usual = Path::new(env!("CARGO_BIN_EXE_userspace"));
    assert!(program_headers(usual).contains(&INTERPRETER));
    let Some(plugin) = built("static_plugin_names_no_interpreter") else { return };
    assert!(!program_headers(&plugin).contains(&INTERPRETER));
}

#[test]
fn static_plugin_says_its_versions_where_there_is_nothing_else() {
    let Some(plugin) = built("static_plugin_says_its_versions") else { return };
    let answer = run_alone(&plugin, "VERSION", &json!({"cniVersion": "1.1.0"}));
    assert_eq!(answer["supportedVersions"].as_array().unwrap().len(), 7);
}

#[test]
fn static_plugin_looks_up_groups_and_hosts_without_libraries() {
    let Some(plugin) = built("static_plugin_looks_up_groups_and_hosts") else { return };
    let mut conf = json!({
        "cniVersion": "1.1.0", "name": "n", "type": "userspace",
        "ovs": {"db": "tcp:nobody-has-this.invalid:6640", "timeoutMs": 5000},
        "host": {"engine": "ovs-dpdk", "iftype": "vhostuser", "vhost": {"group": "others"}},
    });
    let error = run_alone(&plugin, "ADD", &conf);
    assert_eq!(error["code"], 7, "{error}");
    assert!(error["details"].as_str().unwrap().contains("no such group"), "{error}");
    // It comes as far as the vswitch.
    conf["host"]["vhost"] = json!({"group": "people"});
    let error = run_alone(&plugin, "ADD", &conf);
    assert_eq!(error["code"], 11, "{error}");
    assert!(error["details"].as_str().unwrap().contains("lookup"), "{error}");
    assert_eq!(run_alone(&plugin, "STATUS", &conf)["code"], 50);
}
