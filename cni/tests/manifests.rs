//! What is in `deploy/`: against the types of the API of Kubernetes, our own configuration parser, and,
//! for the installer, a directory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use ringport_cni::command::Task;
use ringport_cni::conf::parse;
use ringport_cni::env::{CallEnv, Verb};
use ringport_cni::plan::Plan;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

/// All documents of all YAML files, with the file that each is in.
fn documents() -> Vec<(String, Value)> {
    let files = fs::read_dir(deploy()).unwrap().map(|entry| entry.unwrap().path());
    let yaml = files.filter(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    let mut all = Vec::new();
    for file in yaml {
        let text = fs::read_to_string(&file).unwrap();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        assert!(!documents.is_empty(), "{}", file.display());
        all.extend(documents.into_iter().map(|document| (file.display().to_string(), document)));
    }
    all
}

fn of_kind(kind: &str) -> Vec<Value> {
    let all = documents().into_iter().map(|(_, document)| document);
    all.filter(|document| document["kind"] == kind).collect()
}

/// Whether the API's type has every member of a document: what it does not know is lost on the way.
fn is_whole<T: DeserializeOwned + Serialize>(document: &Value) -> Result<(), String> {
    let typed: T = serde_json::from_value(document.clone()).map_err(|error| error.to_string())?;
    let back = serde_json::to_value(typed).unwrap();
    if back == *document { Ok(()) } else { Err(format!("{document:#}\nbecomes\n{back:#}")) }
}

fn check(document: &Value) -> Result<(), String> {
    match (document["apiVersion"].as_str(), document["kind"].as_str()) {
        (Some("apps/v1"), Some("DaemonSet")) => is_whole::<DaemonSet>(document),
        (Some("v1"), Some("Pod")) => is_whole::<Pod>(document),
        // A custom resource: its definition has nothing but metadata and `spec.config`, a text.
        (Some("k8s.cni.cncf.io/v1"), Some("NetworkAttachmentDefinition")) => {
            is_whole::<ObjectMeta>(&document["metadata"])?;
            let whole = json!({
                "apiVersion": document["apiVersion"], "kind": document["kind"],
                "metadata": document["metadata"],
                "spec": {"config": document["spec"]["config"].as_str()},
            });
            if whole == *document {
                Ok(())
            } else {
                Err(format!("more than a network: {document:#}"))
            }
        }
        other => Err(format!("nobody knows {other:?}")),
    }
}

/// Makes the plan of an ADD, as the plugin would, and sees that there would be no warning.
fn plan(config: &str) -> Plan {
    let parsed = parse(config.as_bytes()).unwrap();
    assert_eq!(parsed.unknown, Vec::<String>::new());
    assert_eq!(parsed.conf.plugin, "userspace");
    let env = CallEnv {
        verb: Verb::Add,
        container_id: "0123456789abcdef".to_owned(),
        if_name: "net1".to_owned(),
        netns: "/var/run/netns/cni-1".to_owned(),
        args: String::new(),
        path: Vec::new(),
        netns_override: false,
    };
    Plan::new(&parsed, &env).unwrap()
}

#[test]
fn manifests_have_only_what_the_api_knows() {
    for (file, document) in documents() {
        check(&document).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
    let kinds = ["DaemonSet", "Pod", "NetworkAttachmentDefinition"];
    assert_eq!(kinds.map(|kind| of_kind(kind).len()), [2, 4, 3]);
}

#[test]
fn reconciling_container_runs_what_the_plugin_understands() {
    let all = of_kind("DaemonSet");
    let containers = all.iter().map(|it| &it["spec"]["template"]["spec"]["containers"][0]);
    let mut commands = containers.filter_map(|it| it["command"].as_array());
    let command = commands.next().unwrap();
    let words: Vec<String> = command.iter().map(|it| it.as_str().unwrap().to_owned()).collect();
    assert_eq!(words[..2], ["/userspace", "reconcile"]);
    Task::read(words[2..].iter().cloned()).unwrap();
}

#[test]
fn misspelt_member_is_noticed() {
    let mut pod = of_kind("Pod").remove(0);
    pod["spec"]["containers"][0]["volumeMount"] = json!([]);
    assert!(check(&pod).is_err());
}

#[test]
fn configurations_of_networks_give_plans_without_a_warning() {
    for network in of_kind("NetworkAttachmentDefinition") {
        let plan = plan(network["spec"]["config"].as_str().unwrap());
        assert_eq!(plan.owner.network, network["metadata"]["name"]);
        // Multus 4.0.2 was seen to refuse later ones: "unsupported CNI result version".
        let conf: Value =
            serde_json::from_str(network["spec"]["config"].as_str().unwrap()).unwrap();
        assert_eq!(conf["cniVersion"], "1.0.0");
    }
}

#[test]
fn plugins_of_the_list_give_plans_with_its_name_and_version() {
    let text = fs::read_to_string(deploy().join("10-fast.conflist")).unwrap();
    let list: Value = serde_json::from_str(&text).unwrap();
    for plugin in list["plugins"].as_array().unwrap() {
        // The runtime puts these in.
        let mut config = plugin.clone();
        config["name"] = list["name"].clone();
        config["cniVersion"] = list["cniVersion"].clone();
        plan(&config.to_string());
    }
}

#[test]
fn pods_ask_for_networks_that_are_defined() {
    let defined: BTreeSet<String> = of_kind("NetworkAttachmentDefinition")
        .iter()
        .map(|network| network["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    for pod in of_kind("Pod") {
        let asked = pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"].as_str().unwrap();
        assert!(defined.contains(asked), "{asked}");
    }
}

#[test]
fn configuration_of_multus_is_json_that_names_a_default_network() {
    let text = fs::read_to_string(deploy().join("00-multus.conf")).unwrap();
    let conf: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(conf["type"], "multus");
    assert!(conf["clusterNetwork"].as_str().unwrap().ends_with(".conflist"));
}

#[test]
fn image_is_made_of_files_that_are_there() {
    let text = fs::read_to_string(deploy().join("Dockerfile")).unwrap();
    let top = deploy().join("../..");
    for line in text.lines().filter_map(|line| line.strip_prefix("COPY cni/")) {
        let file = line.split(' ').next().unwrap();
        assert!(top.join("cni").join(file).is_file(), "{file}");
    }
    let steps = fs::read_to_string(top.join("ci.sh")).unwrap();
    assert!(text.contains("./ci.sh static") && steps.contains("\nstatic() {"));
}

#[test]
fn installer_replaces_a_plugin_that_runs_and_leaves_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("new"), directory.path().join("bin"));
    fs::create_dir(&target).unwrap();
    fs::write(&source, "new").unwrap();
    let installed = target.join("userspace");
    fs::write(&installed, "old").unwrap();
    let old = installed.metadata().unwrap().ino();
    let run = |to: &Path| {
        let mut command = Command::new("sh");
        command.arg(deploy().join("install.sh")).arg(&source).arg(to).env("INSTALL_ONCE", "1");
        command.output().unwrap()
    };
    let output = run(&target);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_to_string(&installed).unwrap(), "new");
    // Another file, not other bytes in the one that may be running.
    assert_ne!(installed.metadata().unwrap().ino(), old);
    assert_eq!(installed.metadata().unwrap().permissions().mode() & 0o7777, 0o755);
    assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
    assert!(!run(&directory.path().join("missing")).status.success());
}
