//! A list that changes under the server.

use super::support::{DEADLINE, entry, wait_until};
use super::{CLIENT, Lab};
use ringport_bench::peers::CommandGuard;
use ringport_vdpa::files::socket_list;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::Command;

#[test]
fn watch_shows_the_list_as_it_is_replaced() {
    let lab = Lab::new();
    lab.store(&[entry("0000:82:00.2", "/a")]);
    let mut server = lab.serve_list(&[]);
    let watch = |arguments: &[&str]| {
        let mut command = Command::new(CLIENT);
        command.arg("--socket").arg(&lab.socket).arg("--watch").args(arguments);
        CommandGuard::spawn("ringport-vdpa-client", &mut command).unwrap()
    };
    let (mut text, mut json) = (watch(&[]), watch(&["--json"]));
    assert_eq!(text.wait_for_line("+", DEADLINE).unwrap(), "+0000:82:00.2 /a");
    let line = json.wait_for_line("added", DEADLINE).unwrap();
    let object = "{\"change\":\"added\",\"pciAddress\":\"0000:82:00.2\",\"socketpath\":\"/a\"}";
    assert_eq!(line, object);
    lab.store(&[entry("0000:82:00.2", "/c"), entry("0000:82:00.3", "/b")]);
    text.wait_for_line("=0000:82:00.2 /c", DEADLINE).unwrap();
    text.wait_for_line("+0000:82:00.3 /b", DEADLINE).unwrap();
    lab.store(&[]);
    text.wait_for_line("-0000:82:00.2 /c", DEADLINE).unwrap();
    server.stop().unwrap();
    text.wait_for_line("error: the look-up failed", DEADLINE).unwrap();
    assert_eq!(text.wait_end(DEADLINE).unwrap().unwrap().code(), Some(1));
}

#[test]
fn list_that_makes_no_sense_leaves_the_one_before() {
    let lab = Lab::new();
    lab.store(&[entry("0000:82:00.2", "/a")]);
    let mut server = lab.serve_list(&[]);
    // Written in place, in two parts, as the first deployment's writer did.
    let mut file = fs::File::create(&lab.list).unwrap();
    file.write_all(b"[{\"pciAddress\": \"0000:82:00.2\"").unwrap();
    drop(file);
    let line = server.wait_for_line("the list before stays", DEADLINE).unwrap();
    assert!(line.contains("socketList.dat: entry 1: "), "{line}");
    assert_eq!(lab.ask_ok(0, &["--list"]), "0000:82:00.2 /a\n");
    fs::remove_file(&lab.list).unwrap();
    assert_eq!(lab.ask_ok(0, &["--list"]), "0000:82:00.2 /a\n");
    fs::write(&lab.list, "[{\"pciAddress\":\"82:00.7\",\"socketpath\":\"/g\"}]").unwrap();
    wait_until("the new list", || lab.ask_ok(0, &["--list"]) == "0000:82:00.7 /g\n");
}

/// A volume of Kubernetes with a ConfigMap: the file is a link to one below a link that is replaced.
#[test]
fn list_behind_links_that_are_replaced_is_read_again() {
    let lab = Lab::new();
    let link = |to: &str, name: &str| {
        symlink(to, lab.dir.path().join(name)).unwrap();
    };
    for (version, path) in [("v1", "/a"), ("v2", "/b")] {
        let dir = lab.dir.path().join(version);
        fs::create_dir(&dir).unwrap();
        socket_list::store(&dir.join("socketList.dat"), &[entry("0000:82:00.2", path)]).unwrap();
    }
    link("v1", "..data");
    link("..data/socketList.dat", "socketList.dat");
    let _server = lab.serve_list(&[]);
    assert_eq!(lab.ask_ok(0, &["--list"]), "0000:82:00.2 /a\n");
    link("v2", "..new");
    fs::rename(lab.dir.path().join("..new"), lab.dir.path().join("..data")).unwrap();
    wait_until("the new list", || lab.ask_ok(0, &["--list"]) == "0000:82:00.2 /b\n");
}
