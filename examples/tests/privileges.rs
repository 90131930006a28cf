//! The tools as a user without rights, in a network namespace with nothing in it: what
//! `port/SANDBOX.md` says of privileges.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use nix::unistd::geteuid;
use ringport_bench::peers::{find_program, skip};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};
use support::*;

/// Who listens, and who connects.
const PAIRS: [[&str; 2]; 4] = [
    ["memif:SOCKET,role=server", "memif:SOCKET,role=client"],
    ["vhost:SOCKET,role=device", "vhost:SOCKET,role=driver,socket=connect"],
    ["vhost:SOCKET,role=driver", "vhost:SOCKET,role=device,socket=connect"],
    ["vhost:SOCKET,role=driver,packed=off", "vhost:SOCKET,role=device,socket=connect"],
];

/// Killed when dropped.
struct Unprivileged(Option<Child>);

impl Unprivileged {
    /// Runs `program` as nobody without capabilities, in a network namespace of its own.
    fn start(program: &str, arguments: &[&str]) -> Self {
        let child = Command::new("unshare")
            .args(["--net", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
            .args(["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--", program])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self(Some(child))
    }

    #[track_caller]
    fn end(mut self) -> Output {
        let child = self.0.as_mut().unwrap();
        wait_for("the program to end", || child.try_wait().unwrap());
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Unprivileged {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// Says why the test cannot run here.
fn missing(test: &str) -> bool {
    let why = if !geteuid().is_root() {
        "needs root, to give up its rights"
    } else if find_program("setpriv").is_none() || find_program("unshare").is_none() {
        "setpriv and unshare are missing (Debian's util-linux)"
    } else {
        return false;
    };
    skip(test, why);
    true
}

/// A directory that everybody may write to, with a copy of the tool that everybody may run.
fn place() -> (Place, String) {
    let place = Place::new();
    let tool = place.path("ringport");
    let everybody = |path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    std::fs::copy(env!("CARGO_BIN_EXE_ringport"), &tool).unwrap();
    everybody(tool.as_path(), 0o755);
    everybody(tool.parent().unwrap(), 0o777);
    (place, tool.to_str().unwrap().into())
}

#[test]
fn packets_pass_between_users_without_rights_in_empty_network_namespaces() {
    let test = "packets_pass_between_users_without_rights_in_empty_network_namespaces";
    if missing(test) {
        return;
    }
    for [listening, connecting] in PAIRS {
        let (place, tool) = place();
        let (listening, connecting) = (place.port(listening), place.port(connecting));
        let receive = ["pktgen", "recv", &listening, "--count", "20000", "--json"];
        let receiver = Unprivileged::start(&tool, &receive);
        place.wait_socket();
        let send = ["pktgen", "send", &connecting, "--count", "20000", "--size", "60-1500"];
        let sender = Unprivileged::start(&tool, &send);
        let output = receiver.end();
        assert_eq!(output.status.code(), Some(0), "{listening}: {}", text(&output.stderr));
        let summary = objects(&output.stdout).pop().unwrap();
        assert_eq!(summary["received"]["packets"], 20_000, "{summary}");
        let output = sender.end();
        assert_eq!(output.status.code(), Some(0), "{connecting}: {}", text(&output.stderr));
    }
}

#[test]
fn user_without_rights_is_told_what_a_tap_and_a_debugger_need() {
    let test = "user_without_rights_is_told_what_a_tap_and_a_debugger_need";
    if missing(test) {
        return;
    }
    let (place, tool) = place();
    let port = place.port("memif:SOCKET,role=server");
    let output = Unprivileged::start(&tool, &["tap", &port]).end();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("CAP_NET_ADMIN"), "{}", text(&output.stderr));
    let output = Unprivileged::start(&tool, &["inspect", "--pid", "1"]).end();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("a debugger's rights"), "{}", text(&output.stderr));
}
