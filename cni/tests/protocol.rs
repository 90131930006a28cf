//! What a runtime sees of the plugin before any vswitch matters.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use serde_json::{Value, json};
use support::call::{Answer, Runtime, plugin};

const FULL: [(&str, &str); 4] = [
    ("CNI_CONTAINERID", "c"),
    ("CNI_IFNAME", "net1"),
    ("CNI_NETNS", "/dev/null"),
    ("CNI_PATH", "/nonexistent"),
];

fn call(verb: &str, conf: &str) -> Answer {
    let mut vars = FULL.to_vec();
    vars.push(("CNI_COMMAND", verb));
    plugin(&vars, conf)
}

#[test]
fn no_command_tells_about_the_plugin_on_standard_error() {
    let answer = plugin(&[], "").ok();
    assert_eq!(answer.stdout, "");
    assert!(answer.stderr.contains("userspace"), "{answer:?}");
}

#[test]
fn version_lists_all_versions_in_the_version_that_was_asked() {
    let answer = call("VERSION", r#"{"cniVersion": "0.4.0"}"#).ok().json();
    assert_eq!(answer["cniVersion"], "0.4.0");
    assert_eq!(
        answer["supportedVersions"],
        json!(["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
    );
}

#[test]
fn mistakes_of_the_runtime_have_the_codes_of_the_specification() {
    let conf = |version: &str| json!({"cniVersion": version, "name": "n", "type": "userspace"});
    let missing = plugin(&[("CNI_COMMAND", "ADD"), ("CNI_PATH", "/x")], "{");
    assert_eq!(missing.code(), 4);
    assert_eq!(
        missing.json()["msg"],
        "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing"
    );
    let cases = [
        ("ADD", "{".to_owned(), 6),
        ("ADD", json!({"cniVersion": "1.0.0", "name": "a/b"}).to_string(), 7),
        ("ADD", conf("9.9.9").to_string(), 1),
        ("CHECK", conf("0.3.1").to_string(), 1),
        ("GC", conf("1.0.0").to_string(), 1),
        ("STATUS", conf("1.0.0").to_string(), 1),
        ("PAINT", conf("1.0.0").to_string(), 4),
    ];
    for (verb, conf, code) in cases {
        assert_eq!(call(verb, &conf).code(), code, "{verb} {conf}");
    }
    let check = call("CHECK", &conf("0.3.1").to_string()).json();
    assert_eq!(check["msg"], "config version does not allow CHECK");
    assert_eq!(check["cniVersion"], "0.3.1");
}

#[test]
fn own_namespace_is_refused_unless_overridden() {
    let conf = json!({"cniVersion": "1.0.0", "name": "n", "type": "userspace"}).to_string();
    let mut vars = FULL.to_vec();
    vars.retain(|(key, _)| *key != "CNI_NETNS");
    vars.extend([("CNI_COMMAND", "ADD"), ("CNI_NETNS", "/proc/self/ns/net")]);
    assert_eq!(plugin(&vars, &conf).code(), 8);
    vars.push(("CNI_NETNS_OVERRIDE", "1"));
    assert_eq!(plugin(&vars, &conf).code(), 7);
}

#[test]
fn errors_are_in_the_configurations_own_version() {
    for version in ["0.1.0", "0.3.1", "1.0.0", "1.1.0"] {
        let conf = json!({"cniVersion": version, "name": "n", "type": "userspace"}).to_string();
        let answer = call("ADD", &conf);
        assert_eq!(answer.code(), 7);
        assert_eq!(answer.json()["cniVersion"], version);
    }
}

#[test]
fn unknown_keys_are_warned_of_on_standard_error_only() {
    let conf = json!({"cniVersion": "1.0.0", "name": "n", "type": "userspace", "LocalMTU": 1});
    let answer = call("ADD", &conf.to_string());
    assert!(answer.stderr.contains("LocalMTU"), "{answer:?}");
    assert!(answer.json()["code"].is_u64());
}

#[test]
fn schema_is_printed_as_json() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_userspace"))
        .env_clear()
        .arg("schema")
        .output()
        .unwrap();
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(schema["properties"]["sharedDir"].is_object());
}

#[cfg(feature = "ovs")]
#[test]
fn absent_database_makes_add_and_status_fail_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = Runtime::new(directory.path(), "unix:/nonexistent/db.sock", "1.1.0");
    assert_eq!(runtime.call("ADD").code(), 11);
    assert_eq!(runtime.call("STATUS").code(), 50);
    // The port may be there for all we know: the record stays, and so DEL fails as well.
    assert_eq!(runtime.call("DEL").code(), 11);
    assert_eq!(runtime.leftovers().len(), 1);
}

#[test]
fn del_of_what_never_was_succeeds() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = Runtime::new(directory.path(), "unix:/nonexistent/db.sock", "1.0.0");
    assert_eq!(runtime.call("DEL").ok().stdout, "");
}
