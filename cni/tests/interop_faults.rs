//! What is wrong around the plugin: a vswitch that is away, comes back or takes its time, full disks,
//! directories that cannot be written. Each time the runtime is told what it is, and nothing stays that
//! need not. Debian's ovsdb-server and host-local, with a stand-in for the vswitch.

#![cfg(feature = "ovs")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use ringport_bench::peers::skip;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::call::{Answer, PLUGINS, Runtime};
use support::ovsdb::Ovsdb;
use support::slow::{Fault, SlowProxy};
use support::vswitch::FakeVswitch;
use support::{DEADLINE, mounts};

/// Bytes of a page, and so of the smallest file that has any.
const PAGE: usize = 4096;

fn start(test: &str) -> Option<(Ovsdb, Runtime)> {
    if !Path::new(PLUGINS).join("host-local").is_file() {
        skip(test, "host-local is not installed");
        return None;
    }
    let ovsdb = Ovsdb::start(test)?;
    FakeVswitch::start(&ovsdb.address(), ovsdb.path());
    let runtime = Runtime::new(ovsdb.path(), &ovsdb.address(), "1.1.0").with_host_local();
    Some((ovsdb, runtime))
}

#[track_caller]
fn no_port(ovsdb: &Ovsdb) {
    assert_eq!(ovsdb.names("Interface"), Vec::<String>::new());
    assert_eq!(ovsdb.names("Bridge"), Vec::<String>::new());
}

#[track_caller]
fn nothing_left(ovsdb: &Ovsdb, runtime: &Runtime) {
    no_port(ovsdb);
    assert_eq!(runtime.leftovers(), Vec::<PathBuf>::new());
}

/// The error's code, the beginning of its message, and what its details have in them.
#[track_caller]
fn assert_told(answer: &Answer, code: u64, msg: &str, details: &str) {
    assert_eq!(answer.code(), code, "{answer:?}");
    let error = answer.json();
    let (told, why) = (error["msg"].as_str().unwrap(), error["details"].as_str().unwrap());
    assert!(told.starts_with(msg) && why.contains(details), "{answer:?}");
}

#[test]
fn vswitch_that_is_down_is_code_11_and_nothing_is_left_when_it_is_back() {
    let test = "vswitch_that_is_down";
    let Some((mut ovsdb, mut runtime)) = start(test) else { return };
    let result = runtime.call("ADD").ok().json();
    ovsdb.stop();
    let unreachable = "cannot reach the database at unix:";
    assert_told(&runtime.check(&result), 11, "Open vSwitch", unreachable);
    assert_told(&runtime.call("STATUS"), 50, "Open vSwitch", unreachable);
    assert_told(&runtime.call("DEL"), 11, "Open vSwitch", unreachable);
    let first = std::mem::replace(&mut runtime.container, "other".to_owned());
    assert_told(&runtime.call("ADD"), 11, "Open vSwitch", unreachable);
    assert_told(&runtime.collect_all(), 11, "Open vSwitch", unreachable);
    // Nothing but the two records: a port may be there for all that anybody knows.
    let kept = runtime.leftovers();
    assert_eq!(kept.len(), 2, "{kept:?}");
    ovsdb.restart();
    runtime.call("DEL").ok();
    runtime.container = first;
    runtime.call("DEL").ok();
    nothing_left(&ovsdb, &runtime);
}

#[test]
fn vswitch_that_does_not_apply_a_change_is_code_11_and_nothing_is_left() {
    let test = "vswitch_that_does_not_apply_a_change";
    let Some(ovsdb) = Ovsdb::start(test) else { return };
    let mut runtime = Runtime::new(ovsdb.path(), &ovsdb.address(), "1.1.0");
    runtime.conf["ovs"]["timeoutMs"] = json!(300);
    let answer = runtime.call("ADD");
    assert_told(
        &answer,
        11,
        "Open vSwitch",
        "has not applied the change within 300ms: is it running",
    );
    nothing_left(&ovsdb, &runtime);
}

#[test]
fn attachment_outlives_a_restart_of_the_vswitch() {
    let Some((mut ovsdb, runtime)) = start("attachment_outlives_a_restart") else { return };
    let result = runtime.call("ADD").ok().json();
    ovsdb.stop();
    ovsdb.restart();
    FakeVswitch::start(&ovsdb.address(), ovsdb.path());
    runtime.check(&result).ok();
    runtime.call("STATUS").ok();
    runtime.call("DEL").ok();
    nothing_left(&ovsdb, &runtime);
}

#[test]
fn slow_database_is_waited_for_and_one_that_is_too_slow_is_code_11() {
    let Some((ovsdb, mut runtime)) = start("slow_database_is_waited_for") else { return };
    let proxy = SlowProxy::start(&ovsdb.path().join("slow.sock"), &ovsdb.socket());
    runtime.conf["ovs"]["db"] = json!(proxy.address());
    proxy.set(Fault { delay: Duration::from_millis(50), answers: None });
    let result = runtime.call("ADD").ok().json();
    runtime.check(&result).ok();
    runtime.call("DEL").ok();
    nothing_left(&ovsdb, &runtime);

    runtime.conf["ovs"]["timeoutMs"] = json!(300);
    proxy.set(Fault { delay: Duration::from_secs(2), answers: None });
    let begin = Instant::now();
    assert_told(&runtime.call("ADD"), 11, "Open vSwitch", "did not answer within 300ms");
    assert_told(&runtime.call("STATUS"), 50, "Open vSwitch", "did not answer within 300ms");
    assert!(begin.elapsed() < DEADLINE);
    proxy.set(Fault::default());
    runtime.conf["ovs"]["timeoutMs"] = json!(15000);
    runtime.call("DEL").ok();
    nothing_left(&ovsdb, &runtime);
}

/// The connection ends before the first answer, before the second and so on, as it does when the
/// database's server is restarted. It stays away until ADD has given up.
#[test]
fn database_that_goes_away_at_any_answer_leaves_nothing_behind() {
    let Some((ovsdb, mut runtime)) = start("database_that_goes_away_at_any_answer") else { return };
    let proxy = SlowProxy::start(&ovsdb.path().join("slow.sock"), &ovsdb.socket());
    runtime.conf["ovs"]["db"] = json!(proxy.address());
    let cut_at = |answers| proxy.set(Fault { answers: Some(answers), ..Fault::default() });
    let whole = || proxy.set(Fault::default());
    let mut cuts = 0;
    for verb in ["ADD", "DEL"] {
        for answers in 0.. {
            if verb == "DEL" {
                runtime.call("ADD").ok();
            }
            cut_at(answers);
            let answer = runtime.call(verb);
            let cut = proxy.cut();
            whole();
            if !answer.success {
                assert!(cut, "{answer:?}");
                assert_told(&answer, 11, "Open vSwitch", "");
                cuts += 1;
            }
            runtime.call("DEL").ok();
            nothing_left(&ovsdb, &runtime);
            if !cut {
                break;
            }
        }
    }
    assert!(cuts > 6, "{cuts}");
}

/// The disk that the records are on becomes full at the first page, at the second and so on, and the
/// same for the number of files.
#[test]
fn disk_that_is_full_at_any_page_or_file_is_code_5_and_leaves_nothing() {
    let test = "disk_that_is_full_at_any_page_or_file";
    let Some((ovsdb, runtime)) = start(test) else { return };
    if !mounts::own_mounts(test) {
        return;
    }
    for (directory, needed) in [("data", 4), ("shared", 2), ("ipam", 6)] {
        let path = ovsdb.path().join(directory);
        let mut failures = 0;
        let sizes =
            (0..=needed).map(|files| (64, files)).chain((1..=needed).map(|size| (size, 64)));
        for (pages, files) in sizes {
            // No size at all is no limit.
            mounts::small(&path, pages * PAGE, files);
            if pages < 64 {
                // So many pages are free.
                mounts::fill(&path.join("filler"));
                let filler =
                    std::fs::File::options().write(true).open(path.join("filler")).unwrap();
                filler.set_len(PAGE as u64).unwrap();
            }
            let answer = runtime.call("ADD");
            if answer.success {
                runtime.call("DEL").ok();
            } else {
                failures += 1;
                let said = answer.stdout.contains("No space left")
                    || answer.stdout.contains("no space left");
                assert!(said, "{directory} {pages} {files}: {answer:?}");
                if directory != "ipam" {
                    assert_eq!(answer.code(), 5, "{answer:?}");
                }
            }
            no_port(&ovsdb);
            let _ = std::fs::remove_file(path.join("filler"));
            // host-local makes a file and finds no room for what is to be in it.
            runtime.remove_torn_addresses();
            assert_eq!(runtime.leftovers(), Vec::<PathBuf>::new(), "{directory} {pages} {files}");
            mounts::remove(&path);
        }
        assert!(failures > 1, "{directory}");
    }
}

#[test]
fn del_succeeds_on_a_full_disk() {
    let test = "del_succeeds_on_a_full_disk";
    let Some((ovsdb, runtime)) = start(test) else { return };
    if !mounts::own_mounts(test) {
        return;
    }
    let all = ["data", "shared", "ipam"].map(|it| ovsdb.path().join(it));
    all.iter().for_each(|path| mounts::small(path, 16 * PAGE, 64));
    runtime.call("ADD").ok();
    all.iter().for_each(|path| mounts::fill(&path.join("filler")));
    runtime.call("DEL").ok();
    all.iter().for_each(|path| std::fs::remove_file(path.join("filler")).unwrap());
    nothing_left(&ovsdb, &runtime);
}

/// The runtime hears of the vswitch, and of the record that could not be written.
#[test]
fn del_without_vswitch_on_a_full_disk_tells_both_and_is_finished_later() {
    let test = "del_without_vswitch_on_a_full_disk";
    let Some((mut ovsdb, runtime)) = start(test) else { return };
    if !mounts::own_mounts(test) {
        return;
    }
    let data = ovsdb.path().join("data");
    mounts::small(&data, 16 * PAGE, 64);
    runtime.call("ADD").ok();
    mounts::fill(&data.join("filler"));
    ovsdb.stop();
    let answer = runtime.call("DEL");
    assert_told(&answer, 11, "Open vSwitch", "cannot reach the database at unix:");
    assert_told(&answer, 11, "Open vSwitch", "No space left");
    ovsdb.restart();
    runtime.call("DEL").ok();
    nothing_left(&ovsdb, &runtime);
}

#[test]
fn directory_that_cannot_be_written_is_code_5_and_leaves_nothing() {
    let test = "directory_that_cannot_be_written";
    let Some((ovsdb, runtime)) = start(test) else { return };
    if !mounts::own_mounts(test) {
        return;
    }
    for (directory, msg) in [("data", "cannot make "), ("shared", "cannot make ")] {
        let path = ovsdb.path().join(directory);
        std::fs::create_dir_all(&path).unwrap();
        mounts::read_only(&path);
        let answer = runtime.call("ADD");
        assert_told(&answer, 5, &format!("{msg}{}", path.display()), "Read-only file system");
        mounts::remove(&path);
        nothing_left(&ovsdb, &runtime);
    }
}

#[test]
fn del_where_nothing_can_be_written_is_code_5_and_is_finished_later() {
    let test = "del_where_nothing_can_be_written";
    let Some((ovsdb, runtime)) = start(test) else { return };
    if !mounts::own_mounts(test) {
        return;
    }
    for directory in ["shared", "data"] {
        runtime.call("ADD").ok();
        let path = ovsdb.path().join(directory);
        mounts::read_only(&path);
        assert_told(&runtime.call("DEL"), 5, "cannot ", "Read-only file system");
        mounts::remove(&path);
        runtime.call("DEL").ok();
        nothing_left(&ovsdb, &runtime);
    }
}
