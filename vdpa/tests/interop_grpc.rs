//! The look-up against gRPC's own library, both ways: its Python client asks our server, our client and its
//! program ask its server. The messages on its side are made of the files in `proto/` by protoc.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod support;

use ringport_bench::peers::{CommandGuard, Peer, require_peer, skip};
use ringport_vdpa::lookup::{Change, Client, ClientError, Config, Log, Server, Table};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{DEADLINE, entry};
use tempfile::TempDir;

const SOURCES: &str = env!("CARGO_MANIFEST_DIR");

/// Debian's, whose packages have the library; and another one that the user may have.
const PYTHONS: [&str; 2] = ["/usr/bin/python3", "python3"];

/// A directory with the messages as Python modules, and a socket.
struct Lab {
    dir: TempDir,
    socket: PathBuf,
    python: &'static str,
    _peer: Peer,
}

fn has_grpc(python: &str) -> bool {
    let import = Command::new(python).args(["-c", "import grpc, google.protobuf"]).output();
    import.is_ok_and(|output| output.status.success())
}

impl Lab {
    /// `None`: something is not installed, and the test is skipped.
    fn new(test: &str) -> Option<Self> {
        let peer = require_peer(test, "protoc")?;
        let Some(python) = PYTHONS.into_iter().find(|python| has_grpc(python)) else {
            skip(test, "python3-grpcio or python3-protobuf: not installed");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let proto = Path::new(SOURCES).join("proto");
        let made = Command::new(&peer.program)
            .arg("-I")
            .arg(&proto)
            .arg("--python_out")
            .arg(dir.path())
            .args(["vdpadpdk.proto", "ringport_vdpa.proto"])
            .status();
        assert!(made.unwrap().success());
        let socket = dir.path().join("vdpa.sock");
        Some(Self { dir, socket, python, _peer: peer })
    }

    fn python(&self, script: &str, arguments: &[&str]) -> CommandGuard {
        let mut command = Command::new(self.python);
        command.arg(Path::new(SOURCES).join("tests/interop_grpc").join(script));
        command.arg(&self.socket).arg(self.dir.path()).args(arguments);
        CommandGuard::spawn(script, &mut command).unwrap()
    }

    fn server(&self, arguments: &[&str]) -> CommandGuard {
        let mut server = self.python("server.py", arguments);
        server.wait_for_line("ready", DEADLINE).unwrap();
        server
    }
}

/// The next thing that the Python client says, which must be `name`.
fn said(peer: &mut CommandGuard, name: &str) -> Value {
    let line = peer.wait_for_line("{", DEADLINE).unwrap();
    let object: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(object["name"], name, "{line}");
    object["value"].clone()
}

#[test]
fn python_client_asks_our_server() {
    let Some(lab) = Lab::new("python_client_asks_our_server") else { return };
    let table = Table::default();
    table.replace(vec![entry("82:00.2", "/run/a"), entry("82:00.3", "/run/b")]).unwrap();
    let server = Server::start(&Config::at(&lab.socket), &table, &Log::Tracing).unwrap();
    let mut peer = lab.python("client.py", &[]);
    let mut expect = |name: &str, value: Value| assert_eq!(said(&mut peer, name), value, "{name}");
    expect("known", json!("/run/a"));
    expect("unknown", json!(""));
    expect("many", json!(1));
    // Field 1, a string of 6 bytes; an empty string is no field at all.
    expect("bytes of known", json!("0a062f72756e2f61"));
    expect("bytes of unknown", json!(""));
    expect("bytes with a field more", json!("0a062f72756e2f61"));
    expect("text that is none", json!("INTERNAL"));
    expect("message cut short", json!("INTERNAL"));
    expect("message too long", json!("OUT_OF_RANGE"));
    expect("compressed", json!("UNIMPLEMENTED"));
    expect("no such method", json!("UNIMPLEMENTED"));
    expect("health", json!("0801"));
    expect("health of nothing", json!("NOT_FOUND"));
    expect("list", json!([["0000:82:00.2", "/run/a"], ["0000:82:00.3", "/run/b"]]));
    expect("generation", json!(1));
    let all =
        json!([["KIND_ADDED", "0000:82:00.2", "/run/a"], ["KIND_ADDED", "0000:82:00.3", "/run/b"]]);
    expect("watch", all);
    table.replace(vec![entry("82:00.2", "/run/c")]).unwrap();
    let changes = json!([
        ["KIND_MOVED", "0000:82:00.2", "/run/c"],
        ["KIND_REMOVED", "0000:82:00.3", "/run/b"]
    ]);
    expect("watch", changes);
    server.stop();
    expect("end of watch", json!(["UNAVAILABLE", "the server ends"]));
    assert!(peer.wait_end(DEADLINE).unwrap().unwrap().success(), "{}", peer.log());
}

#[test]
fn our_client_asks_python_server() {
    let Some(lab) = Lab::new("our_client_asks_python_server") else { return };
    let _server = lab.server(&[]);
    let mut client = Client::connect(&lab.socket).unwrap();
    let path = client.socket_path("0000:82:00.5").unwrap();
    assert_eq!(path.as_deref(), Some("/var/run/vdpa/vhost/vdpa-3"));
    assert_eq!(client.socket_path("0000:87:00.5").unwrap(), None);
    assert_eq!(client.list().unwrap(), [entry("0000:82:00.4", "/a"), entry("0000:82:00.5", "/b")]);
    let mut watch = client.watch().unwrap();
    let mut next = || watch.next(Some(DEADLINE));
    assert_eq!(next().unwrap(), [Change::Added(entry("82:00.4", "/a"))]);
    assert_eq!(next().unwrap(), [Change::Moved(entry("82:00.4", "/c"))]);
    assert!(matches!(next(), Err(ClientError::Absurd(_))));
    assert!(matches!(next(), Err(ClientError::Ended)));
}

#[test]
fn what_no_server_should_say_is_refused_and_the_next_question_is_answered() {
    let test = "what_no_server_should_say_is_refused_and_the_next_question_is_answered";
    let Some(lab) = Lab::new(test) else { return };
    let _server = lab.server(&[]);
    let mut client = Client::connect(&lab.socket).unwrap();
    for address in ["0000:00:00.1", "0000:00:00.2"] {
        let absurd = client.socket_path(address);
        assert!(matches!(absurd, Err(ClientError::Absurd(_))), "{absurd:?}");
    }
    let too_long = client.socket_path("0000:00:00.3");
    assert!(matches!(too_long, Err(ClientError::Failed { .. })), "{too_long:?}");
    let denied = client.socket_path("0000:00:00.4").unwrap_err().to_string();
    assert!(denied.contains("permission") && denied.contains(r"\n"), "{denied}");
    assert!(!denied.chars().any(char::is_control), "{denied}");
    assert!(client.socket_path("0000:82:00.5").unwrap().is_some());
}

#[test]
fn our_program_asks_a_python_server_that_has_only_the_old_service() {
    let test = "our_program_asks_a_python_server_that_has_only_the_old_service";
    let Some(lab) = Lab::new(test) else { return };
    let _server = lab.server(&["old"]);
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringport-vdpa-client"));
        command.arg("--socket").arg(&lab.socket).args(arguments).output().unwrap()
    };
    let asked = ask(&[]);
    assert_eq!(asked.status.code(), Some(0), "{asked:?}");
    let log = String::from_utf8(asked.stderr).unwrap();
    assert!(log.contains("INFO: Retrieved socketpath - /var/run/vdpa/vhost/vdpa-3\n"), "{log}");
    assert!(log.ends_with("INFO: Retrieved socketpath - \n"), "{log}");
    let listed = ask(&["--list"]);
    assert_eq!(listed.status.code(), Some(1), "{listed:?}");
    let error = String::from_utf8(listed.stderr).unwrap();
    assert!(error.starts_with("error: the look-up failed"), "{error}");
}
