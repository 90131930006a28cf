//! The look-up's server and client, in one process: answers, changes, the socket's life.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

#[path = "lookup/hostile.rs"]
mod hostile;
mod support;

use ringport_vdpa::files::Entry;
use ringport_vdpa::lookup::{Change, Client, ClientError, Config, Limits, Log, LookupError};
use ringport_vdpa::lookup::{Server, Table, Watch};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use support::{DEADLINE, entry, read_to_end};
use tempfile::TempDir;

/// A server in a directory of its own.
struct Lab {
    server: Server,
    table: Table,
    socket: PathBuf,
    _dir: TempDir,
}

impl Lab {
    fn new(entries: &[Entry]) -> Self {
        Self::with(entries, |_| {})
    }

    fn with(entries: &[Entry], set: impl FnOnce(&mut Limits)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("vdpa.sock");
        let table = Table::default();
        table.replace(entries.to_vec()).unwrap();
        let mut config = Config::at(&socket);
        set(&mut config.limits);
        let server = Server::start(&config, &table, &Log::Tracing).unwrap();
        Self { server, table, socket, _dir: dir }
    }

    fn client(&self) -> Client {
        Client::connect(&self.socket).unwrap()
    }

    /// Asks for a device that is there.
    fn assert_answers(&self) {
        assert_eq!(self.client().socket_path("0000:82:00.2").unwrap().as_deref(), Some("/a"));
    }
}

fn two() -> [Entry; 2] {
    [entry("0000:82:00.2", "/a"), entry("0000:82:00.3", "/b")]
}

fn told(watch: &mut Watch<'_>) -> Vec<Change> {
    watch.next(Some(DEADLINE)).unwrap()
}

#[test]
fn known_address_has_its_socket_and_unknown_one_none() {
    let lab = Lab::new(&two());
    let mut client = lab.client();
    for (address, path) in [
        ("0000:82:00.2", Some("/a")),
        ("0000:82:00.3", Some("/b")),
        ("82:00.3", Some("/b")),
        ("0000:87:00.5", None),
        ("", None),
        ("vdpa0", None),
        ("0000:82:00.2\n", None),
    ] {
        assert_eq!(client.socket_path(address).unwrap().as_deref(), path, "{address:?}");
    }
    assert_eq!(client.list().unwrap(), two());
}

#[test]
fn replaced_devices_answer_at_once() {
    let lab = Lab::new(&[]);
    let mut client = lab.client();
    assert_eq!(client.list().unwrap(), []);
    assert_eq!(client.socket_path("0000:82:00.2").unwrap(), None);
    lab.table.replace(two().to_vec()).unwrap();
    assert_eq!(client.socket_path("0000:82:00.2").unwrap().as_deref(), Some("/a"));
    lab.table.replace(vec![entry("0000:82:00.2", "/c")]).unwrap();
    assert_eq!(client.socket_path("0000:82:00.2").unwrap().as_deref(), Some("/c"));
    assert_eq!(client.list().unwrap(), [entry("0000:82:00.2", "/c")]);
}

#[test]
fn longest_list_arrives_whole() {
    let path = |n: u32| format!("/{n:0>106}");
    let address = |n: u32| ringport_vdpa::PciAddress::new(n, 0, 0, 0).unwrap();
    let entries: Vec<_> = (0..4096).map(|n| Entry::new(address(n), path(n)).unwrap()).collect();
    let lab = Lab::new(&entries);
    let mut client = lab.client();
    assert_eq!(client.list().unwrap(), entries);
    assert_eq!(told(&mut client.watch().unwrap()).len(), entries.len());
}

#[test]
fn watcher_is_told_all_devices_then_each_change() {
    let lab = Lab::new(&two());
    let [a, b] = two();
    let (mut first, mut second) = (lab.client(), lab.client());
    let (mut first, mut second) = (first.watch().unwrap(), second.watch().unwrap());
    for watch in [&mut first, &mut second] {
        assert_eq!(told(watch), [Change::Added(a.clone()), Change::Added(b.clone())]);
    }
    let moved = entry("0000:82:00.2", "/c");
    lab.table.replace(vec![moved.clone(), entry("0000:83:00.0", "/d")]).unwrap();
    let changes =
        [Change::Moved(moved), Change::Removed(b), Change::Added(entry("0000:83:00.0", "/d"))];
    assert_eq!(told(&mut first), changes);
    assert_eq!(told(&mut second), changes);
    let nothing = first.next(Some(Duration::from_millis(20)));
    assert!(matches!(nothing, Err(ClientError::Late { .. })), "{nothing:?}");
    lab.table.replace(vec![]).unwrap();
    assert_eq!(told(&mut first).len(), 2);
}

#[test]
fn empty_list_is_told_as_well() {
    let lab = Lab::new(&[]);
    assert_eq!(told(&mut lab.client().watch().unwrap()), []);
}

#[test]
fn changes_are_seen_by_those_who_do_not_keep_up_as_one() {
    let lab = Lab::new(&[]);
    let mut client = lab.client();
    let mut watch = client.watch().unwrap();
    assert_eq!(told(&mut watch), []);
    for n in 0..2000 {
        lab.table.replace(vec![entry("0000:82:00.2", &format!("/{n}"))]).unwrap();
    }
    let mut last = String::new();
    for _ in 0..2000 {
        let changes = told(&mut watch);
        last = changes[0].entry().socket_path().to_owned();
        if last == "/1999" {
            break;
        }
    }
    assert_eq!(last, "/1999");
}

#[test]
fn end_of_the_server_ends_watches_and_removes_the_socket() {
    let lab = Lab::new(&two());
    let mut client = lab.client();
    let mut watch = client.watch().unwrap();
    assert_eq!(told(&mut watch).len(), 2);
    // Says nothing, and leaves only with the server.
    let mut silent = UnixStream::connect(&lab.socket).unwrap();
    assert!(lab.socket.exists());
    let began = Instant::now();
    lab.server.stop();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(!lab.socket.exists());
    read_to_end(&mut silent);
    let end = watch.next(Some(DEADLINE)).unwrap_err().to_string();
    assert!(end.contains("the server ends"), "{end}");
}

#[test]
fn socket_has_the_mode_that_was_asked_for() {
    let lab = Lab::new(&[]);
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&lab.socket), 0o600);
    let other = lab.socket.with_file_name("other.sock");
    let mut config = Config::at(&other);
    config.access.mode = Some(0o666);
    let _server = Server::start(&config, &lab.table, &Log::Tracing).unwrap();
    assert_eq!(mode(&other), 0o666);
}

#[test]
fn stale_socket_is_replaced_and_one_with_a_server_is_not() {
    let lab = Lab::new(&two());
    let refused = Server::start(&Config::at(&lab.socket), &Table::default(), &Log::Tracing);
    assert!(matches!(refused, Err(LookupError::Socket(_))), "{refused:?}");
    lab.assert_answers();
    let stale = lab.socket.with_file_name("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    let server = Server::start(&Config::at(&stale), &lab.table, &Log::Tracing).unwrap();
    assert_eq!(Client::connect(&stale).unwrap().list().unwrap(), two());
    server.stop();
    assert!(!stale.exists());
}

#[test]
fn file_that_is_no_socket_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vdpa.sock");
    fs::write(&path, "precious").unwrap();
    let refused = Server::start(&Config::at(&path), &Table::default(), &Log::Tracing);
    assert!(refused.unwrap_err().to_string().contains("no socket"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn missing_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("absent/vdpa.sock");
    let refused = Server::start(&Config::at(path), &Table::default(), &Log::Tracing);
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("absent: the directory is not there: make it"), "{error}");
}
