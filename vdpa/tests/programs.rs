//! The programs `ringport-vdpa-lookup` and `ringport-vdpa-client`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

#[path = "programs/list.rs"]
mod list;
mod support;

use nix::sys::signal::Signal;
use ringport_bench::peers::CommandGuard;
use ringport_vdpa::files::{Entry, socket_list};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use support::{DEADLINE, entry, read_to_end, wait_until};
use tempfile::TempDir;

const LOOKUP: &str = env!("CARGO_BIN_EXE_ringport-vdpa-lookup");
const CLIENT: &str = env!("CARGO_BIN_EXE_ringport-vdpa-client");

/// A directory, and what it has for a server.
struct Lab {
    dir: TempDir,
    socket: PathBuf,
    list: PathBuf,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (socket, list) = (dir.path().join("vdpa.sock"), dir.path().join("socketList.dat"));
        Self { dir, socket, list }
    }

    fn store(&self, entries: &[Entry]) {
        socket_list::store(&self.list, entries).unwrap();
    }

    /// Starts a server, and waits until it listens.
    fn serve(&self, arguments: &[&str]) -> CommandGuard {
        let mut command = Command::new(LOOKUP);
        command.arg("--socket").arg(&self.socket).args(arguments).env("TZ", "UTC");
        let mut server = CommandGuard::spawn("ringport-vdpa-lookup", &mut command).unwrap();
        server.wait_for_line("listen", DEADLINE).unwrap();
        server
    }

    fn serve_list(&self, arguments: &[&str]) -> CommandGuard {
        self.serve(&[&["--socketlist", self.list.to_str().unwrap()], arguments].concat())
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(CLIENT);
        command.arg("--socket").arg(&self.socket).args(arguments).env("TZ", "UTC");
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// The client's standard output, after it ended with `code`.
    fn ask_ok(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.ask(arguments);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// The lines of a log in the format of old, each without its time, which is checked.
fn without_times(log: &str) -> Vec<String> {
    let line = |line: &str| {
        let (time, rest) = line.split_at(20);
        let digits = time.replace(|it: char| it.is_ascii_digit(), "0");
        assert_eq!(digits, "0000/00/00 00:00:00 ", "{line}");
        rest.to_owned()
    };
    log.lines().map(line).collect()
}

#[test]
fn both_programs_log_as_those_of_the_first_deployment() {
    let lab = Lab::new();
    let mut server = lab.serve(&["--log-format", "original"]);
    let asked = lab.ask(&[]);
    assert!(asked.status.success() && asked.stdout.is_empty(), "{asked:?}");
    server.signal(Signal::SIGTERM).unwrap();
    assert_eq!(server.wait_end(DEADLINE).unwrap().unwrap().code(), Some(0));
    let lines = without_times(&server.log());
    assert_eq!(
        lines[..3],
        [
            "INFO: loadInterfaces - Using ExampleData.",
            "INFO: Loaded:",
            "  PCI: 0000:82:00.2  Socketpath: /var/run/vdpa/vhost/vdpa-0"
        ]
    );
    assert_eq!(lines[17], "  PCI: 0000:82:02.1  Socketpath: /var/run/vdpa/vhost/vdpa-15");
    let starting = format!("INFO: Starting vdpaDpdk gRPC Server at: {}", lab.socket.display());
    assert_eq!(
        lines[18..],
        [
            starting.as_str(),
            "INFO: vdpaDpdk gRPC Server listening.",
            "INFO: Received request for PCI Address 0000:82:00.5",
            "INFO: Found File: /var/run/vdpa/vhost/vdpa-3",
            "INFO: Received request for PCI Address 0000:87:00.5",
            "INFO: No File Found!",
            "INFO: Stopping vdpaDpdk gRPC Server."
        ]
    );
    assert_eq!(
        without_times(&String::from_utf8(asked.stderr).unwrap()),
        [
            "INFO: Starting vDPA-DPDK gRPC Client.",
            "INFO: Getting socketpath for PCI Address 0000:82:00.5",
            "INFO: Retrieved socketpath - /var/run/vdpa/vhost/vdpa-3",
            "INFO: Getting socketpath for PCI Address 0000:87:00.5",
            "INFO: Retrieved socketpath - "
        ]
    );
}

#[test]
fn verbose_log_has_questions_and_nothing_from_below() {
    let lab = Lab::new();
    for (arguments, logged) in [(&[][..], false), (&["--verbose"], true)] {
        let mut server = lab.serve(arguments);
        lab.ask_ok(0, &["82:00.2"]);
        server.stop().unwrap();
        let log = server.log();
        assert_eq!(log.contains("asked address=0000:82:00.2"), logged, "{log}");
        assert!(!log.contains("frame") && !log.contains("Connection"), "{log}");
    }
}

#[test]
fn option_of_old_has_one_dash_and_the_file_is_logged() {
    let lab = Lab::new();
    lab.store(&[entry("0000:82:00.2", "/a")]);
    for option in [vec!["-socketlist", "FILE"], vec!["-socketlist=FILE"]] {
        let file = lab.list.to_str().unwrap();
        let option: Vec<_> = option.iter().map(|it| it.replace("FILE", file)).collect();
        let option: Vec<_> = option.iter().map(String::as_str).collect();
        let server = lab.serve(&[&option[..], &["--log-format", "original"]].concat());
        let lines = without_times(&server.log());
        let read = format!("INFO: loadInterfaces - filePath={file}");
        let loaded = [&read, "INFO: Loaded:", "  PCI: 0000:82:00.2  Socketpath: /a"];
        assert_eq!(lines[..3], loaded);
    }
}

#[test]
fn each_signal_ends_the_server_and_its_socket() {
    let lab = Lab::new();
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT] {
        let mut server = lab.serve(&[]);
        assert!(lab.socket.exists());
        server.signal(signal).unwrap();
        assert_eq!(server.wait_end(DEADLINE).unwrap().unwrap().code(), Some(0), "{signal}");
        assert!(!lab.socket.exists(), "{signal}");
    }
}

#[test]
fn killed_server_leaves_a_socket_that_the_next_one_replaces() {
    let lab = Lab::new();
    let mut server = lab.serve(&[]);
    let second = Command::new(LOOKUP).arg("--socket").arg(&lab.socket).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8(second.stderr).unwrap();
    assert!(text.contains("error: ") && text.contains("another server listens there"), "{text}");
    server.signal(Signal::SIGKILL).unwrap();
    server.wait_end(DEADLINE).unwrap().unwrap();
    assert!(lab.socket.exists());
    let _server = lab.serve(&["--mode", "620"]);
    assert_eq!(fs::metadata(&lab.socket).unwrap().permissions().mode() & 0o777, 0o620);
    assert_eq!(lab.ask_ok(0, &["82:00.2"]), "0000:82:00.2 /var/run/vdpa/vhost/vdpa-0\n");
}

#[test]
fn client_answers_with_lines_objects_and_exit_codes() {
    let lab = Lab::new();
    lab.store(&[entry("0000:82:00.3", "/b"), entry("0000:82:00.2", "/a")]);
    let _server = lab.serve_list(&[]);
    assert_eq!(lab.ask_ok(0, &["0000:82:00.2"]), "0000:82:00.2 /a\n");
    assert_eq!(lab.ask_ok(3, &["87:00.5", "82:00.3"]), "0000:87:00.5 -\n0000:82:00.3 /b\n");
    assert_eq!(lab.ask_ok(0, &["--list"]), "0000:82:00.2 /a\n0000:82:00.3 /b\n");
    assert_eq!(
        lab.ask_ok(3, &["--json", "87:00.5", "82:00.3"]),
        "{\"pciAddress\":\"0000:87:00.5\",\"socketpath\":null}\n\
         {\"pciAddress\":\"0000:82:00.3\",\"socketpath\":\"/b\"}\n"
    );
    let list = lab.ask_ok(0, &["--list", "--json"]);
    assert!(
        list.starts_with("{\"pciAddress\":\"0000:82:00.2\",\"socketpath\":\"/a\"}\n"),
        "{list}"
    );
    for wrong in [&["vdpa0"][..], &["--json"], &["--list", "--watch"], &["--list", "82:00.2"]] {
        assert_eq!(lab.ask(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn what_cannot_be_served_ends_the_server_with_a_reason() {
    let lab = Lab::new();
    let fails = |arguments: &[&str], code: i32, why: &str| {
        let output = Command::new(LOOKUP).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(why), "{text}");
    };
    let socket = lab.socket.to_str().unwrap();
    let list = lab.list.to_str().unwrap();
    let serve = ["--socket", socket, "--socketlist", list];
    fails(&serve, 1, "socketList.dat: cannot be read: No such file");
    fs::write(list, "{}").unwrap();
    fails(&serve, 1, "error: ");
    fails(&["--socket", "/absent/vdpa.sock"], 1, "/absent: the directory is not there: make it");
    fails(&["--socketlist", "/absent/list"], 1, "/absent/list: its directory cannot be watched");
    fails(&["--mode", "999"], 2, "octal");
    fails(&["--owner", "no-such-user-anywhere"], 2, "no such user");
    assert!(!lab.socket.exists());
}

#[test]
fn client_without_a_server_says_so() {
    let lab = Lab::new();
    let output = lab.ask(&["82:00.2"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("error: no look-up can be asked at "), "{text}");
    assert!(text.contains("No such file"), "{text}");
}

#[test]
fn clients_that_come_and_go_leave_no_descriptor_behind() {
    let lab = Lab::new();
    let server = lab.serve(&[]);
    let before = fds(&server);
    for n in 0..300 {
        let mut stream = UnixStream::connect(&lab.socket).unwrap();
        let _ = match n % 3 {
            0 => stream.write_all(b"GET / HTTP/1.1\r\n\r\n"),
            1 => stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            _ => Ok(()),
        };
        if n % 3 == 0 {
            read_to_end(&mut stream);
        }
    }
    lab.ask_ok(0, &["82:00.2"]);
    wait_until("as few descriptors as before", || fds(&server) <= before);
}

fn fds(server: &CommandGuard) -> usize {
    fs::read_dir(Path::new("/proc").join(server.pid().to_string()).join("fd")).unwrap().count()
}
