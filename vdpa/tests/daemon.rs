//! A daemon with fake devices that come, go, fail and hang.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test"
)]

#[path = "daemon/control.rs"]
mod control;
#[path = "daemon/lab.rs"]
mod lab;
mod relay_support;
#[path = "daemon/shelf.rs"]
mod shelf;

use lab::{A, B, C, Lab, is, name, state, trouble, wanted};
use relay_support::{FakeConfig, drive_at, eventually, exchange, link_up};
use ringport_vdpa::daemon::{DaemonError, Kicks, Side, State, Wanted};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

#[test]
fn packets_pass_and_links_are_counted() {
    let lab = Lab::with(&[A]);
    let daemon = lab.start();
    assert!(daemon.replace(wanted(&[A])).is_empty());
    is(&daemon, A, State::Ready);
    let mut driver = drive_at(&lab.path("vdpa-0"), false);
    let mut link = link_up(&mut driver);
    is(&daemon, A, State::Linked);
    exchange(&mut link, &lab.shelf.device(&name(A)), 5);
    drop((link, driver));
    is(&daemon, A, State::Ready);
    let [status] = &daemon.list()[..] else { panic!("one device") };
    let counts = status.statistics;
    assert_eq!((counts.opened, counts.links, counts.links_lost), (1, 1, 1), "{counts:?}");
}

#[test]
fn kind_is_told_while_a_device_is_there_and_the_way_of_kicks_while_it_has_a_link() {
    let lab = Lab::with(&[A, B]);
    let thread = FakeConfig { kick_thread: Some("none is taken"), ..FakeConfig::default() };
    lab.shelf.put(&name(A), thread);
    let daemon = lab.start();
    daemon.replace(wanted(&[A, B, C]));
    let told = |device: &str, kind: Option<&str>, kicks: Option<Kicks>| {
        eventually(&format!("{device} is of {kind:?} with {kicks:?}"), || {
            let status = daemon.list().into_iter().find(|it| it.device == name(device)).unwrap();
            status.kind.as_deref() == kind && status.kicks == kicks
        });
    };
    told(A, Some("fake"), None);
    told(C, None, None);
    let [mut a, mut b] = ["vdpa-0", "vdpa-1"].map(|socket| drive_at(&lab.path(socket), false));
    let _links = [link_up(&mut a), link_up(&mut b)];
    told(A, Some("fake"), Some(Kicks::Thread));
    told(B, Some("fake"), Some(Kicks::Kernel));
    drop((a, b));
    told(A, Some("fake"), None);
    lab.shelf.take_away(&name(A));
    told(A, None, None);
}

#[test]
fn numbers_stay_with_devices_when_the_list_changes_and_the_daemon_starts_again() {
    let lab = Lab::with(&[A, B, C]);
    let daemon = lab.start();
    daemon.replace(wanted(&[B, A]));
    lab.lists(&[(A, "vdpa-1"), (B, "vdpa-0")]);
    daemon.replace(wanted(&[C, A]));
    lab.lists(&[(A, "vdpa-1"), (C, "vdpa-2")]);
    daemon.replace(wanted(&[A, B, C]));
    lab.lists(&[(A, "vdpa-1"), (B, "vdpa-0"), (C, "vdpa-2")]);
    drop(daemon);
    lab.lists(&[]);
    assert!(!lab.path("vdpa-0").exists(), "sockets go with the daemon");
    let daemon = lab.start();
    daemon.replace(wanted(&[C, B]));
    lab.lists(&[(B, "vdpa-0"), (C, "vdpa-2")]);
}

#[test]
fn devices_that_fail_or_hang_leave_the_others() {
    let lab = Lab::with(&[C]);
    lab.shelf.hang(&name(B));
    let mut past_iommu = FakeConfig::default();
    past_iommu.capabilities.translated = true;
    lab.shelf.put(&name("82:01.0"), past_iommu);
    let daemon = lab.start();
    daemon.replace(wanted(&[A, B, "82:01.0", C]));
    lab.lists(&[(C, "vdpa-3")]);
    let mut driver = drive_at(&lab.path("vdpa-3"), false);
    let mut link = link_up(&mut driver);
    exchange(&mut link, &lab.shelf.device(&name(C)), 5);
    is(&daemon, C, State::Linked);
    eventually("what is wrong is said", || {
        trouble(&daemon, A).contains("no PCI function 0000:82:00.2")
            && trouble(&daemon, "82:01.0").contains("IOMMU")
    });
    assert_eq!(state(&daemon, B), Some(State::Absent));
    // Nor does it keep its place: what comes after waits for it.
    let began = Instant::now();
    daemon.replace(wanted(&[A, "82:01.0", C]));
    assert!(began.elapsed() < Duration::from_secs(2), "nobody waits for it");
    daemon.add(Wanted::new(name(B))).unwrap();
    lab.shelf.put(&name(B), FakeConfig::default());
    lab.lists(&[(B, "vdpa-1"), (C, "vdpa-3")]);
    assert_eq!(state(&daemon, C), Some(State::Linked), "nothing happened to it");
    exchange(&mut link, &lab.shelf.device(&name(C)), 5);
}

#[test]
fn device_that_is_gone_is_given_up_and_taken_back_with_its_socket() {
    let lab = Lab::with(&[A, B]);
    let daemon = lab.start();
    daemon.replace(wanted(&[A, B]));
    lab.lists(&[(A, "vdpa-0"), (B, "vdpa-1")]);
    let mut driver = drive_at(&lab.path("vdpa-0"), false);
    let _link = link_up(&mut driver);
    let device = lab.shelf.take_away(&name(A));
    lab.lists(&[(B, "vdpa-1")]);
    assert!(!device.runs(), "it was reset");
    eventually("its socket is gone", || !lab.path("vdpa-0").exists());
    lab.shelf.put(&name(A), FakeConfig::default());
    lab.lists(&[(A, "vdpa-0"), (B, "vdpa-1")]);
    // The driver comes back by itself.
    let mut link = link_up(&mut driver);
    exchange(&mut link, &lab.shelf.device(&name(A)), 5);
    is(&daemon, A, State::Linked);
    let counts = daemon.list()[0].statistics;
    assert_eq!((counts.opened, counts.given_up), (2, 1), "{counts:?}");
    assert_eq!((counts.links, counts.links_lost), (2, 1), "{counts:?}");
}

#[test]
fn device_that_keeps_memory_is_opened_anew_for_the_next_front_end() {
    let lab = Lab::with(&[]);
    lab.shelf.put(&name(A), FakeConfig { keeps: true, ..FakeConfig::default() });
    let daemon = lab.start();
    daemon.replace(wanted(&[A]));
    for round in 1..4 {
        is(&daemon, A, State::Ready);
        let mut driver = drive_at(&lab.path("vdpa-0"), false);
        let mut link = link_up(&mut driver);
        exchange(&mut link, &lab.shelf.device(&name(A)), 2);
        drop((link, driver));
        eventually("it is opened anew", || daemon.list()[0].statistics.opened == round + 1);
        let counts = daemon.list()[0].statistics;
        assert_eq!((counts.given_up, counts.links, counts.links_lost), (round, round, round));
    }
}

#[test]
fn device_that_is_not_there_is_listed_if_that_is_asked_for() {
    let lab = Lab::with(&[A]);
    let daemon = lab.start_with(|config| config.keep_listed = true);
    daemon.replace(wanted(&[A, B]));
    lab.lists(&[(A, "vdpa-0"), (B, "vdpa-1")]);
    lab.shelf.take_away(&name(A));
    is(&daemon, A, State::Absent);
    lab.lists(&[(A, "vdpa-0"), (B, "vdpa-1")]);
    drop(daemon);
    lab.lists(&[(A, "vdpa-0"), (B, "vdpa-1")]);
}

#[test]
fn reload_leaves_links_in_place() {
    let lab = Lab::with(&[A, B]);
    let daemon = lab.start();
    daemon.replace(wanted(&[A]));
    is(&daemon, A, State::Ready);
    let mut driver = drive_at(&lab.path("vdpa-0"), false);
    let mut link = link_up(&mut driver);
    daemon.replace(wanted(&[B, A]));
    lab.lists(&[(A, "vdpa-0"), (B, "vdpa-1")]);
    exchange(&mut link, &lab.shelf.device(&name(A)), 5);
    daemon.replace(wanted(&[]));
    lab.lists(&[]);
    eventually("sockets are gone", || !lab.path("vdpa-0").exists() && !lab.path("vdpa-1").exists());
}

#[test]
fn requests_have_precedence_over_lists() {
    let lab = Lab::with(&[A, B, C]);
    let daemon = lab.start();
    daemon.replace(wanted(&[A, B]));
    daemon.add(Wanted::new(name(C))).unwrap();
    assert!(daemon.remove(&name(A)).unwrap(), "in time");
    lab.lists(&[(B, "vdpa-1"), (C, "vdpa-2")]);
    daemon.replace(wanted(&[A, B]));
    assert_eq!(state(&daemon, A), None);
    // It leaves the lists, and comes back.
    daemon.replace(wanted(&[B]));
    daemon.replace(wanted(&[A, B]));
    lab.lists(&[(A, "vdpa-0"), (B, "vdpa-1"), (C, "vdpa-2")]);
}

#[test]
fn device_is_served_once_and_so_is_a_socket() {
    let lab = Lab::with(&[A, B]);
    let daemon = lab.start();
    let at = |device: &str, socket: &str| {
        daemon.add(Wanted { socket: Some(socket.to_owned()), ..Wanted::new(name(device)) })
    };
    let path = lab.path("own.sock").to_str().unwrap().to_owned();
    at(A, &path).unwrap();
    let again = daemon.add(Wanted::new(name(A)));
    assert!(matches!(again, Err(DaemonError::AlreadyServed { .. })), "{again:?}");
    let taken = at(B, &path);
    assert!(matches!(taken, Err(DaemonError::SocketTaken { .. })), "{taken:?}");
    let relative = at(B, "own.sock");
    assert!(matches!(relative, Err(DaemonError::Socket(_))), "{relative:?}");
    let unknown = daemon.remove(&name(C));
    assert!(matches!(unknown, Err(DaemonError::NotServed(_))), "{unknown:?}");
    lab.lists(&[(A, "own.sock")]);
}

#[test]
fn front_end_may_make_the_socket() {
    let lab = Lab::with(&[A]);
    let path = lab.path("theirs.sock");
    let daemon = lab.start();
    let socket = Some(path.to_str().unwrap().to_owned());
    daemon.add(Wanted { socket, side: Side::Client, ..Wanted::new(name(A)) }).unwrap();
    let mut driver = drive_at(&path, true);
    let mut link = link_up(&mut driver);
    exchange(&mut link, &lab.shelf.device(&name(A)), 5);
}

#[test]
fn socket_that_a_killed_daemon_left_is_replaced_and_has_the_mode_that_was_asked_for() {
    let lab = Lab::with(&[A]);
    // The file stays, and nobody listens.
    drop(UnixListener::bind(lab.path("vdpa-0")).unwrap());
    let daemon = lab.start_with(|config| config.access.mode = Some(0o620));
    daemon.replace(wanted(&[A]));
    is(&daemon, A, State::Ready);
    let mode = fs::metadata(lab.path("vdpa-0")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o620);
    let mut driver = drive_at(&lab.path("vdpa-0"), false);
    link_up(&mut driver);
}

#[test]
fn socket_that_another_has_is_waited_for() {
    let lab = Lab::with(&[A]);
    let other = UnixListener::bind(lab.path("vdpa-0")).unwrap();
    let daemon = lab.start();
    daemon.replace(wanted(&[A]));
    eventually("why it is not served is said", || {
        trouble(&daemon, A).contains("another server listens there")
    });
    drop(other);
    is(&daemon, A, State::Ready);
}

#[test]
fn list_that_cannot_be_written_harms_no_device() {
    let lab = Lab::with(&[A]);
    let daemon = lab.start_with(|config| {
        config.socket_list = Some("/absent/socketList.dat".into());
        config.numbers = Some("/absent/socketNumbers.json".into());
    });
    daemon.replace(wanted(&[A]));
    is(&daemon, A, State::Ready);
    eventually("the look-up knows it", || lab.table.entries().len() == 1);
}
