//! The plugin and the pods of Kubernetes: a fake API server, and the fake VPP as vswitch.

#![cfg(all(feature = "vpp", feature = "kubernetes"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod support;

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};
use support::apiserver::{FakeApiServer, Fault, POD, TOKEN, UID, User, pod};
use support::call::{Answer, Runtime};
use support::vpp::lab::Lab;
use support::{DEADLINE, until};

const DATA: &str = "userspace/configuration-data";
const MAPPED: &str = "userspace/mapped-dir";

struct Cluster {
    lab: Lab,
    api: FakeApiServer,
    runtime: Runtime,
}

impl Cluster {
    fn start(test: &str) -> Self {
        let lab = Lab::fake(test).unwrap();
        let api = FakeApiServer::start(lab.path());
        let mut runtime = lab.memif();
        runtime.conf["kubeconfig"] = json!(api.kubeconfig(User::Token));
        let pod = format!(
            "K8S_POD_NAMESPACE=ns;K8S_POD_NAME=pod-1;\
             K8S_POD_INFRA_CONTAINER_ID=0123456789abcdef;K8S_POD_UID={UID}"
        );
        // As Multus 4.0.2 has them: its own, then those that it was given.
        runtime.args = format!("IgnoreUnknown=true;{pod};IgnoreUnknown=1;{pod}");
        let this = Self { lab, api, runtime };
        this.api.set_pod(this.pod());
        this
    }

    /// The pod of tests, which sees the network's `sharedDir`.
    fn pod(&self) -> Value {
        let mut pod = pod();
        let shared = self.lab.path().join("shared");
        pod["spec"]["volumes"][0]["hostPath"]["path"] = json!(shared);
        pod
    }

    /// Reading and changing a pod may take so long.
    fn with_timeout(mut self, milliseconds: u64) -> Self {
        self.runtime.conf["kubernetes"] = json!({"timeoutMs": milliseconds});
        self
    }

    fn with_user(mut self, user: User) -> Self {
        self.runtime.conf["kubeconfig"] = json!(self.api.kubeconfig(user));
        self
    }

    fn list(&self) -> Vec<Value> {
        let text = self.api.annotation(DATA);
        if text.is_empty() { Vec::new() } else { serde_json::from_str(&text).unwrap() }
    }

    /// Nothing of us is in the pod, and everything of others.
    #[track_caller]
    fn pod_is_untouched(&self) {
        let mut pod = self.api.pod();
        pod["metadata"]["resourceVersion"].take();
        let mut expected = self.pod();
        expected["metadata"]["resourceVersion"] = Value::Null;
        assert_eq!(pod, expected);
    }

    #[track_caller]
    fn nothing_left(&self) {
        self.pod_is_untouched();
        self.lab.nothing_left(&self.runtime);
    }
}

#[test]
fn annotations_of_a_memif_are_byte_for_byte_those_of_the_original() {
    let cluster = Cluster::start("annotations_of_a_memif");
    let runtime = &cluster.runtime;
    runtime.call("ADD").ok();
    let socket = runtime.dir().join("memif-0123456789ab-net1.sock").display().to_string();
    let netns = cluster.lab.path().join("netns").display().to_string();
    let expected = r#"[{
    "containerId": "0123456789abcdef",
    "ifName": "net1",
    "name": "net",
    "config": {
        "iftype": "memif",
        "netType": "interface",
        "memif": {
            "role": "slave",
            "mode": "ethernet",
            "socketfile": "memif-0123456789ab-net1.sock"
        },
        "vhost": {},
        "bridge": {}
    },
    "ipResult": {
        "cniVersion": "1.1.0",
        "interfaces": [
            {
                "name": "0123456789ab-net1",
                "socketPath": "SOCKET"
            },
            {
                "name": "net1",
                "sandbox": "NETNS",
                "socketPath": "SOCKET"
            }
        ],
        "dns": {}
    }
}]"#;
    let expected = expected.replace("SOCKET", &socket).replace("NETNS", &netns);
    assert_eq!(cluster.api.annotation(DATA), expected);
    assert_eq!(cluster.api.annotation(MAPPED), "/var/run/app/0123456789ab");
    assert_eq!(cluster.api.requests(), [format!("GET {POD}"), format!("PUT {POD}/status")]);
    let file = runtime.dir().join("configData-0123456789ab-net1.json");
    let file: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(cluster.list(), [file]);
    runtime.call("DEL").ok();
    cluster.nothing_left();
}

#[test]
fn second_interface_is_added_to_the_list_and_each_del_removes_its_own() {
    let mut cluster = Cluster::start("second_interface_is_added");
    cluster.runtime.call("ADD").ok();
    let first = cluster.api.annotation(DATA);
    cluster.runtime.if_name = "net2".to_owned();
    cluster.runtime.call("ADD").ok();
    let both = cluster.api.annotation(DATA);
    assert!(both.starts_with(&format!("{},{{\n", first.trim_end_matches(']'))), "{both}");
    assert_eq!(cluster.list().len(), 2);
    cluster.runtime.call("DEL").ok();
    assert_eq!(cluster.api.annotation(DATA), first);
    assert_eq!(cluster.api.annotation(MAPPED), "/var/run/app/0123456789ab");
    cluster.runtime.if_name = "net1".to_owned();
    cluster.runtime.call("DEL").ok();
    cluster.nothing_left();
}

#[test]
fn interfaces_that_are_added_at_once_are_all_in_the_list() {
    let cluster = Cluster::start("interfaces_that_are_added_at_once").with_timeout(60_000);
    std::thread::scope(|scope| {
        for number in 0..6 {
            let mut runtime = cluster.lab.memif();
            runtime.conf = cluster.runtime.conf.clone();
            runtime.args.clone_from(&cluster.runtime.args);
            runtime.if_name = format!("net{number}");
            scope.spawn(move || runtime.call("ADD").ok());
        }
    });
    let mut names: Vec<String> =
        cluster.list().iter().map(|it| it["ifName"].as_str().unwrap().to_owned()).collect();
    names.sort();
    assert_eq!(names, ["net0", "net1", "net2", "net3", "net4", "net5"]);
}

#[test]
fn annotation_that_somebody_writes_meanwhile_is_kept() {
    let cluster = Cluster::start("annotation_that_somebody_writes");
    for (key, value) in [("a", "1"), ("b", "2"), ("c", "3")] {
        cluster.api.plan("PUT", Fault::Edited(key, value));
    }
    cluster.runtime.call("ADD").ok();
    assert_eq!(cluster.api.faults_left(), 0);
    assert_eq!(cluster.list().len(), 1);
    cluster.api.plan("PUT", Fault::Edited("d", "4"));
    cluster.runtime.call("DEL").ok();
    assert!(cluster.list().is_empty());
    let kept: Vec<String> =
        "abcd".chars().map(|c| cluster.api.annotation(&c.to_string())).collect();
    assert_eq!(kept, ["1", "2", "3", "4"]);
}

#[test]
fn conflicts_without_end_are_code_11_within_the_time() {
    let cluster = Cluster::start("conflicts_without_end").with_timeout(1000);
    for _ in 0..200 {
        cluster.api.plan("PUT", Fault::Status(409));
    }
    let begin = Instant::now();
    assert_eq!(cluster.runtime.call("ADD").code(), 11);
    assert!(begin.elapsed() < DEADLINE);
    cluster.nothing_left();
}

/// Each refusal of reading or writing, its code, and a word of what is said.
#[test]
fn failed_add_has_its_code_and_leaves_nothing() {
    let cluster = Cluster::start("failed_add_has_its_code").with_timeout(2500);
    let cases = [
        ("GET", Fault::Status(403), 104, "role needs"),
        ("GET", Fault::Status(500), 11, "try again later"),
        ("GET", Fault::Status(429), 11, "try again later"),
        ("GET", Fault::Status(404), 3, "is gone"),
        ("GET", Fault::Status(302), 104, "status 302"),
        ("GET", Fault::NoPod, 104, "something else"),
        ("GET", Fault::Garbage, 11, "HTTP"),
        ("GET", Fault::Closed, 11, "try again later"),
        ("GET", Fault::Silence, 11, "in time"),
        ("GET", Fault::Drip, 11, "in time"),
        ("GET", Fault::DripHeader, 11, "in time"),
        ("GET", Fault::Endless, 11, "too large"),
        ("PUT", Fault::Status(401), 104, "renew"),
        ("PUT", Fault::Status(403), 104, "role needs"),
        ("PUT", Fault::Status(422), 104, "status 422"),
        ("PUT", Fault::Status(404), 3, "is gone"),
        ("PUT", Fault::Status(503), 11, "try again later"),
        ("PUT", Fault::Closed, 11, "try again later"),
        ("PUT", Fault::Silence, 11, "in time"),
        ("PUT", Fault::DoneInSilence, 11, "in time"),
        ("PUT", Fault::Drip, 11, "in time"),
    ];
    for (method, fault, code, word) in cases {
        cluster.api.plan(method, fault.clone());
        let answer = cluster.runtime.call("ADD");
        assert_eq!(answer.code(), code, "{method} {fault:?}: {answer:?}");
        assert!(answer.stdout.contains(word), "{method} {fault:?}: {answer:?}");
        assert_eq!(cluster.api.faults_left(), 0);
        cluster.nothing_left();
    }
    cluster.runtime.call("ADD").ok();
}

#[test]
fn pod_that_goes_or_is_replaced_while_it_is_written_is_code_3() {
    for fault in [Fault::Deleted, Fault::Replaced] {
        let cluster = Cluster::start("pod_that_goes_or_is_replaced");
        cluster.api.plan("PUT", fault);
        assert_eq!(cluster.runtime.call("ADD").code(), 3);
        cluster.lab.nothing_left(&cluster.runtime);
    }
}

#[test]
fn pod_with_another_uid_is_refused_and_without_a_uid_in_the_arguments_taken() {
    let mut cluster = Cluster::start("pod_with_another_uid");
    let args = cluster.runtime.args.clone();
    cluster.runtime.args = args.replace(UID, "another");
    let answer = cluster.runtime.call("ADD");
    assert_eq!(answer.code(), 3);
    assert!(answer.stdout.contains("another pod"), "{answer:?}");
    cluster.nothing_left();
    cluster.runtime.args = args.replace(&format!("K8S_POD_UID={UID}"), "");
    cluster.runtime.call("ADD").ok();
    cluster.runtime.call("DEL").ok();
    cluster.nothing_left();
}

/// The kubelet names a static pod by the UID that its mirror has in an annotation.
#[test]
fn mirror_of_a_static_pod_is_known_by_its_annotation() {
    let mut cluster = Cluster::start("mirror_of_a_static_pod");
    cluster.runtime.args = cluster.runtime.args.replace(UID, "0a1b2c");
    cluster.api.annotate("kubernetes.io/config.mirror", "0a1b2c");
    cluster.runtime.call("ADD").ok();
    assert_eq!(cluster.list().len(), 1);
    cluster.runtime.call("DEL").ok();
    assert!(cluster.list().is_empty());
}

#[test]
fn api_server_that_is_down_fails_add_before_anything_is_made_and_del_not_at_all() {
    let cluster = Cluster::start("api_server_that_is_down").with_timeout(1000);
    let result = cluster.runtime.call("ADD").ok().json();
    cluster.api.stop();
    let mut with_result = cluster.runtime.conf.clone();
    with_result["prevResult"] = result;
    cluster.runtime.call_with("CHECK", &with_result).ok();
    let begin = Instant::now();
    cluster.runtime.call("DEL").ok();
    assert!(begin.elapsed() < DEADLINE);
    cluster.lab.nothing_left(&cluster.runtime);
    let answer = cluster.runtime.call("ADD");
    assert_eq!(answer.code(), 11);
    assert!(answer.stdout.contains("is it running"), "{answer:?}");
    cluster.lab.nothing_left(&cluster.runtime);
    assert!(!cluster.runtime.dir().exists());
}

#[test]
fn del_and_gc_succeed_soon_whatever_the_api_server_does() {
    let faults = [
        Fault::Silence,
        Fault::Endless,
        Fault::Drip,
        Fault::Garbage,
        Fault::NoPod,
        Fault::Status(403),
        Fault::Status(500),
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let cluster = Cluster::start("del_and_gc_succeed_soon");
        cluster.runtime.call("ADD").ok();
        cluster.api.plan("GET", fault);
        let begin = Instant::now();
        if number % 2 == 0 {
            cluster.runtime.call("DEL").ok();
        } else {
            let mut conf = cluster.runtime.conf.clone();
            conf["cni.dev/valid-attachments"] = json!([]);
            cluster.runtime.call_with("GC", &conf).ok();
        }
        assert!(begin.elapsed() < DEADLINE);
        assert_eq!(cluster.api.faults_left(), 0);
        cluster.lab.nothing_left(&cluster.runtime);
        assert_eq!(cluster.list().len(), 1);
        // What stayed does not keep the interface from coming back.
        cluster.runtime.call("ADD").ok();
        assert_eq!(cluster.list().len(), 1);
    }
}

#[test]
fn gc_removes_the_entry_of_what_it_collects() {
    let cluster = Cluster::start("gc_removes_the_entry");
    cluster.runtime.call("ADD").ok();
    let mut conf = cluster.runtime.conf.clone();
    conf["cni.dev/valid-attachments"] = json!([]);
    cluster.runtime.call_with("GC", &conf).ok();
    cluster.nothing_left();
}

#[test]
fn del_leaves_the_annotations_of_a_pod_that_took_the_name() {
    let cluster = Cluster::start("del_leaves_the_annotations");
    cluster.runtime.call("ADD").ok();
    let mut other = cluster.api.pod();
    other["metadata"]["uid"] = json!("another");
    cluster.api.set_pod(other);
    cluster.runtime.call("DEL").ok();
    assert_eq!(cluster.list().len(), 1);
}

#[test]
fn entry_and_directory_of_an_earlier_container_are_replaced() {
    let mut cluster = Cluster::start("entry_of_an_earlier_container");
    cluster.runtime.call("ADD").ok();
    // As after a reboot of the node: nobody called DEL.
    cluster.runtime.container = "fedcba9876543210".to_owned();
    cluster.runtime.call("ADD").ok();
    assert_eq!(cluster.list().len(), 1);
    assert_eq!(cluster.list()[0]["containerId"], "fedcba9876543210");
    assert_eq!(cluster.api.annotation(MAPPED), "/var/run/app/fedcba987654");
    // Its DEL comes late.
    cluster.runtime.container = "0123456789abcdef".to_owned();
    cluster.runtime.call("DEL").ok();
    assert_eq!(cluster.list()[0]["containerId"], "fedcba9876543210");
}

#[test]
fn add_that_is_killed_after_it_wrote_leaves_nothing_after_del() {
    let cluster = Cluster::start("add_that_is_killed");
    cluster.api.plan("PUT", Fault::DoneInSilence);
    let running = cluster.runtime.begin("ADD");
    until("the annotation is written", || !cluster.api.annotation(DATA).is_empty());
    running.kill();
    cluster.runtime.call("DEL").ok();
    cluster.nothing_left();
}

#[test]
fn every_kind_of_credentials_is_taken_and_wrong_ones_are_told() {
    for user in [User::TokenFile, User::Certificate, User::CertificateFiles, User::Insecure] {
        let cluster = Cluster::start("every_kind_of_credentials").with_user(user);
        cluster.runtime.call("ADD").ok();
        assert_eq!(cluster.list().len(), 1, "{user:?}");
        cluster.runtime.call("DEL").ok();
        cluster.nothing_left();
    }
    for (user, code, word) in [
        (User::WrongToken, 104, "renew"),
        (User::Nobody, 104, "renew"),
        (User::OtherAuthority, 7, "certificate-authority"),
    ] {
        let cluster = Cluster::start("wrong_credentials").with_user(user);
        let answer = cluster.runtime.call("ADD");
        assert_eq!(answer.code(), code, "{user:?} {answer:?}");
        assert!(answer.stdout.contains(word), "{user:?} {answer:?}");
        cluster.nothing_left();
    }
}

#[test]
fn kubeconfig_that_cannot_be_used_is_code_7_and_says_why() {
    let cluster = Cluster::start("kubeconfig_that_cannot_be_used");
    let good = std::fs::read_to_string(cluster.api.kubeconfig(User::Token)).unwrap();
    let path = cluster.lab.path().join("changed.kubeconfig");
    let mut conf = cluster.runtime.conf.clone();
    conf["kubeconfig"] = json!(path);
    let swap = |from: &str, to: &str| good.replace(from, to);
    let cases = [
        (String::new(), "no context"),
        ("a: [\n".to_owned() + TOKEN, "no YAML"),
        ("x".repeat(2 << 20), "too large"),
        ("- ".repeat(400_000), "too many levels"),
        (format!("a: &a [x]\nb: [*a, *a]\n{good}"), "aliases"),
        (swap("current-context: cni-context", "current-context: other"), "no context"),
        (swap("https:", "http:"), "https://HOST"),
        (swap("https://", &format!("https://{TOKEN}@")), "https://HOST"),
        (swap("authority-data: ", "authority-data: \"%\" # "), "base64"),
        (swap("certificate-authority-data", "ignored"), "is missing"),
        (swap(&format!("token: \"{TOKEN}\""), "exec: {command: sh}"), "exec is not supported"),
        (swap(&format!("token: \"{TOKEN}\""), "tokenFile: /dev/zero"), "no file"),
        (swap(&format!("\"{TOKEN}\""), "\"a\\nb\""), "the token is none"),
        (swap("token:", "client-certificate: client.crt\n    token:"), "go together"),
        (
            swap("token:", "client-certificate: client.crt\n    client-key: ca.crt\n    token:"),
            "no private key",
        ),
        (
            swap("token:", "client-certificate: ca.crt\n    client-key: client.key\n    token:"),
            "does not fit",
        ),
        (swap("    certificate", "    proxy-url: http://x\n    certificate"), "proxy-url"),
    ];
    for (text, word) in cases {
        std::fs::write(&path, &text).unwrap();
        let answer = cluster.runtime.call_with("ADD", &conf);
        assert_eq!(answer.code(), 7, "{word}: {answer:?}");
        assert!(answer.stdout.contains(word), "{word}: {answer:?}");
        assert!(!answer.stdout.contains(TOKEN), "{answer:?}");
    }
    for missing in ["relative.kubeconfig", "/nonexistent/kubeconfig"] {
        conf["kubeconfig"] = json!(missing);
        assert_eq!(cluster.runtime.call_with("ADD", &conf).code(), 7, "{missing}");
    }
    assert!(cluster.api.requests().is_empty());
    cluster.nothing_left();
}

#[test]
fn hostile_annotations_are_refused_as_they_are_and_never_a_path() {
    let cluster = Cluster::start("hostile_annotations");
    let huge = format!("[{}]", "1,".repeat(200_000));
    let full = "x".repeat(262_000);
    let victim = cluster.lab.path().join("victim");
    std::fs::create_dir(&victim).unwrap();
    let out = format!("/var/run/app/0123456789ab/../../../..{}", victim.display());
    for (key, value) in [
        (DATA, "{"),
        (DATA, "[[[[[["),
        (DATA, "{\"containerId\": \"../../x\"}"),
        (DATA, huge.as_str()),
        (MAPPED, "../../etc"),
        (MAPPED, out.as_str()),
        ("padding", full.as_str()),
    ] {
        cluster.api.set_pod(cluster.pod());
        cluster.api.annotate(key, value);
        let answer = cluster.runtime.call("ADD");
        assert_eq!(answer.code(), 104, "{key}: {answer:?}");
        assert!(answer.stdout.contains("remove"), "{key}: {answer:?}");
        assert!(answer.stdout.len() < 2000, "{key}");
        assert_eq!(cluster.api.annotation(key), value);
        cluster.lab.nothing_left(&cluster.runtime);
    }
    assert_eq!(std::fs::read_dir(&victim).unwrap().count(), 0);
}

#[test]
fn entries_with_paths_of_somebody_else_are_handed_on_and_nothing_more() {
    let cluster = Cluster::start("entries_with_paths");
    let victim = cluster.lab.path().join("victim");
    std::fs::write(&victim, "kept").unwrap();
    let foreign = json!({
        "containerId": victim, "ifName": "../net1", "name": "net",
        "config": {"memif": {"socketfile": victim}}
    });
    let list = format!("[{foreign}, 7]");
    cluster.api.annotate(DATA, &list);
    cluster.runtime.call("ADD").ok();
    assert!(cluster.api.annotation(DATA).starts_with(&format!("[{foreign},7,{{\n")));
    cluster.runtime.call("DEL").ok();
    assert_eq!(cluster.api.annotation(DATA), format!("[{foreign},7]"));
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "kept");
    cluster.lab.nothing_left(&cluster.runtime);
}

#[test]
fn container_of_no_pod_asks_no_api_server() {
    let mut cluster = Cluster::start("container_of_no_pod");
    cluster.runtime.args = "IgnoreUnknown=1".to_owned();
    cluster.runtime.call("ADD").ok();
    cluster.runtime.call("DEL").ok();
    cluster.runtime.args = "K8S_POD_NAMESPACE=ns;K8S_POD_NAME=../../nodes/x".to_owned();
    assert_eq!(cluster.runtime.call("ADD").code(), 4);
    assert!(cluster.api.requests().is_empty());
    cluster.nothing_left();
}

#[test]
fn secrets_are_neither_in_logs_nor_in_errors_nor_in_records() {
    let mut cluster = Cluster::start("secrets_are_neither_in_logs");
    let log = cluster.lab.path().join("log");
    cluster.runtime.conf["logFile"] = json!(log);
    cluster.runtime.conf["logLevel"] = json!("verbose");
    let mut said = String::new();
    let mut keep = |answer: Answer| said.push_str(&format!("{answer:?}"));
    for user in [User::Token, User::WrongToken, User::OtherAuthority, User::Certificate] {
        cluster.runtime.conf["kubeconfig"] = json!(cluster.api.kubeconfig(user));
        for fault in [Fault::Echo, Fault::Status(403), Fault::Status(500), Fault::Garbage] {
            cluster.api.plan("GET", fault.clone());
            keep(cluster.runtime.call("ADD"));
            cluster.api.plan("PUT", fault);
            keep(cluster.runtime.call("ADD"));
        }
    }
    cluster.api.plan_nothing();
    cluster.runtime.conf["kubeconfig"] = json!(cluster.api.kubeconfig(User::Token));
    keep(cluster.runtime.call("ADD").ok());
    keep(cluster.runtime.call("ADD"));
    for entry in std::fs::read_dir(cluster.lab.path().join("data/records/net")).unwrap() {
        said.push_str(&std::fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    cluster.api.stop();
    said.push_str(&format!("{:?}", cluster.runtime.call("DEL")));
    let logged = std::fs::read_to_string(&log).unwrap();
    assert!(logged.contains("annotations stay"), "{logged}");
    said.push_str(&logged);
    for user in [User::Token, User::WrongToken, User::Certificate] {
        let kubeconfig = std::fs::read_to_string(cluster.api.kubeconfig(user)).unwrap();
        for secret in kubeconfig.lines().filter_map(|line| line.trim().split_once(": ")) {
            let secret = secret.1.trim_matches('"');
            let public = ["v1", "Config", "local", "cni", "cni-context"].contains(&secret);
            assert!(public || !said.contains(secret), "{secret}");
        }
    }
    assert!(!said.contains("that-nobody-may-see"), "{said}");
}

#[test]
fn device_info_has_the_containers_role_and_path_and_goes_with_del() {
    let mut cluster = Cluster::start("device_info_has_the_containers");
    let path = cluster.lab.path().join("devinfo/cni/ns-net-0123456789abcdef_net1");
    cluster.runtime.conf["runtimeConfig"] = json!({"CNIDeviceInfoFile": path});
    let result = cluster.runtime.call("ADD").ok().json();
    let memif = json!({
        "role": "slave", "mode": "ethernet",
        "path": "/var/run/app/0123456789ab/memif-0123456789ab-net1.sock",
    });
    assert_eq!(read(&path), json!({"type": "memif", "version": "1.1.0", "memif": memif}));
    let mut with_result = cluster.runtime.conf.clone();
    with_result["prevResult"] = result;
    cluster.runtime.call_with("CHECK", &with_result).ok();
    std::fs::remove_file(&path).unwrap();
    let answer = cluster.runtime.call_with("CHECK", &with_result);
    assert_eq!(answer.code(), 102);
    cluster.runtime.call("DEL").ok();
    cluster.nothing_left();
}

#[test]
fn device_info_without_a_pod_has_the_hosts_path_and_goes_with_del_and_failed_add() {
    let lab = Lab::fake("device_info_without_a_pod").unwrap();
    let path = lab.path().join("devinfo/cni/x");
    let mut runtime = lab.vhost("client");
    runtime.conf["runtimeConfig"] = json!({"CNIDeviceInfoFile": path});
    runtime.call("ADD").ok();
    let socket = runtime.dir().join("0123456789ab-net1");
    let vhost = json!({"mode": "server", "path": socket});
    let expected = json!({"type": "vhost-user", "version": "1.1.0", "vhost-user": vhost});
    assert_eq!(read(&path), expected);
    runtime.call("DEL").ok();
    assert!(!path.exists());
    let api = FakeApiServer::start(lab.path());
    runtime.conf["kubeconfig"] = json!(api.kubeconfig(User::Token));
    runtime.args = "K8S_POD_NAMESPACE=ns;K8S_POD_NAME=pod-1".to_owned();
    api.plan("PUT", Fault::Status(403));
    assert_eq!(runtime.call("ADD").code(), 104);
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    std::fs::write(&path, "somebody else's").unwrap();
    assert_eq!(runtime.call("ADD").code(), 7);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "somebody else's");
    lab.nothing_left(&runtime);
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Before TLS there is no fake: something that accepts connections, and says a byte now and then.
#[test]
fn server_that_never_comes_to_the_point_of_tls_is_code_11_within_the_time() {
    for record in [&[][..], &[0x16, 0x03, 0x03, 0x3f, 0xff]] {
        let cluster = Cluster::start("server_that_never_comes").with_timeout(500);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let good = std::fs::read_to_string(cluster.api.kubeconfig(User::Token)).unwrap();
        let server = good.lines().find(|line| line.contains("server:")).unwrap();
        let text = good.replace(server, &format!("    server: https://127.0.0.1:{port}"));
        let path = cluster.lab.path().join("silent.kubeconfig");
        std::fs::write(&path, text).unwrap();
        let speaker = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut said = stream.write_all(record);
            while said.is_ok() {
                std::thread::sleep(Duration::from_millis(20));
                said = if record.is_empty() { ended(&stream) } else { stream.write_all(&[0]) };
            }
        });
        let mut conf = cluster.runtime.conf.clone();
        conf["kubeconfig"] = json!(path);
        let begin = Instant::now();
        let answer = cluster.runtime.call_with("ADD", &conf);
        assert_eq!(answer.code(), 11, "{answer:?}");
        assert!(begin.elapsed() < DEADLINE);
        speaker.join().unwrap();
        cluster.nothing_left();
    }
}

/// An error once the other end has gone.
fn ended(stream: &TcpStream) -> std::io::Result<()> {
    let mut hello = [0; 4096];
    match (&*stream).read(&mut hello)? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

#[test]
fn short_deadline_of_the_configuration_holds_for_a_silent_server() {
    let cluster = Cluster::start("short_deadline").with_timeout(300);
    cluster.api.plan("GET", Fault::Silence);
    let begin = Instant::now();
    assert_eq!(cluster.runtime.call("ADD").code(), 11);
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(300) && took < DEADLINE, "{took:?}");
}
