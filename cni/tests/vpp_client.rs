//! The client of VPP's API against VPPs that are broken, old, slow or none.

#![cfg(feature = "vpp")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod support;

use ringport_cni::CniError;
use ringport_cni::engines::vpp::{Session, VppError};
use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};
use support::DEADLINE;
use support::vpp::fake::{FakeVpp, Fault};
use support::vpp::lab::directory;
use support::vpp::table::Table;
use support::vpp::wire::{Body, framed, write};
use tempfile::TempDir;

const SHORT: Duration = Duration::from_millis(200);

fn fake(table: Table) -> (TempDir, FakeVpp) {
    let directory = directory();
    let fake = FakeVpp::start(directory.path(), table);
    (directory, fake)
}

/// Has `message` go wrong, and asks for the interfaces.
fn asked_with(message: &str, fault: Fault, timeout: Duration) -> Result<usize, VppError> {
    let (_directory, fake) = fake(Table::recorded());
    fake.world.lock().unwrap().fault = Some((message.to_owned(), fault));
    let mut session = Session::connect(&fake.api, timeout)?;
    session.add_bridge(3, "mark")?;
    session.interfaces().map(|interfaces| interfaces.len())
}

#[test]
fn every_release_from_20_05_is_spoken_to() {
    for release in ["20.05", "21.06", "23.06"] {
        let (_directory, fake) = fake(Table::of_release(release));
        let mut session = Session::connect(&fake.api, DEADLINE).unwrap();
        assert_eq!(session.version(), format!("{release}-release"));
        assert_eq!(session.interfaces().unwrap().len(), 1, "{release}");
    }
}

#[test]
fn release_before_20_05_is_refused_with_its_name() {
    let (_directory, fake) = fake(Table::of_release("20.01"));
    let error = Session::connect(&fake.api, DEADLINE).unwrap_err();
    assert!(error.to_string().contains("VPP 20.01-release is too old"), "{error}");
    assert_eq!(CniError::from(error).code, 50);
}

#[test]
fn unknown_crc_is_told_before_anything_is_sent() {
    let mut table = Table::recorded();
    table.change("bridge_domain_add_del", "0badc0de");
    let (_directory, fake) = fake(table);
    let mut session = Session::connect(&fake.api, DEADLINE).unwrap();
    let error = session.add_bridge(3, "").unwrap_err().to_string();
    for part in ["bridge_domain_add_del", "0badc0de", "600b7170", "26.10-rc0"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let log = &fake.world.lock().unwrap().log;
    assert!(log.iter().all(|(name, _)| name != "bridge_domain_add_del"));
}

#[test]
fn absent_message_is_told_with_the_release() {
    let mut table = Table::recorded();
    table.remove("sw_interface_dump");
    let (_directory, fake) = fake(table);
    let mut session = Session::connect(&fake.api, DEADLINE).unwrap();
    let error = session.interfaces().unwrap_err();
    assert!(matches!(error, VppError::Missing { message: "sw_interface_dump", .. }), "{error}");
    assert_eq!(CniError::from(error).code, 50);
}

#[test]
fn plugin_of_vpp_that_is_not_loaded_has_no_interfaces() {
    let mut table = Table::recorded();
    for message in ["memif_dump", "memif_socket_filename_dump", "sw_interface_vhost_user_dump"] {
        table.remove(message);
    }
    let (_directory, fake) = fake(table);
    let mut session = Session::connect(&fake.api, DEADLINE).unwrap();
    assert_eq!(session.memifs().unwrap(), []);
    assert_eq!(session.memif_sockets().unwrap(), []);
    assert_eq!(session.vhosts().unwrap(), []);
}

#[test]
fn what_vpp_ignores_is_a_timeout_that_names_it() {
    for message in ["sockclnt_create", "show_version", "bridge_domain_add_del", "control_ping"] {
        let begin = Instant::now();
        let error = asked_with(message, Fault::Ignore, SHORT).unwrap_err();
        assert!(matches!(error, VppError::Silent { .. }), "{message}: {error}");
        let asked = if message == "control_ping" { "sw_interface_dump" } else { message };
        assert!(error.to_string().contains(asked), "{message}: {error}");
        assert!(begin.elapsed() < DEADLINE);
        assert_eq!(CniError::from(error).code, 11);
    }
}

#[test]
fn refusal_is_told_with_number_and_meaning() {
    let error = asked_with("bridge_domain_add_del", Fault::Refuse(-121), DEADLINE).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("bridge_domain_add_del: -121 (bridge domain 0"), "{text}");
    assert_eq!(CniError::from(error).code, 100);
}

#[test]
fn connection_that_ends_is_told() {
    for message in ["sockclnt_create", "bridge_domain_add_del", "sw_interface_dump"] {
        let error = asked_with(message, Fault::Close, DEADLINE).unwrap_err();
        assert!(matches!(error, VppError::Closed), "{message}: {error}");
    }
}

#[test]
fn answer_of_any_length_is_understood_or_refused() {
    let lens = [
        ("sockclnt_create", 0..400),
        ("show_version", 0..75),
        ("bridge_domain_add_del", 0..11),
        ("sw_interface_dump", 0..296),
    ];
    for (message, lens) in lens {
        for len in lens.step_by(7) {
            // What is too short to say which answer it is counts as none.
            match asked_with(message, Fault::Truncate(len), Duration::from_millis(20)) {
                Ok(_) | Err(VppError::Malformed { .. } | VppError::Silent { .. }) => {}
                Err(error) => panic!("{message} {len}: {error}"),
            }
        }
    }
    let error = asked_with("sw_interface_dump", Fault::Truncate(294), DEADLINE).unwrap_err();
    assert!(error.to_string().contains("sw_interface_details ends 1 bytes early"), "{error}");
}

#[test]
fn answer_with_other_bytes_is_understood_or_refused() {
    let messages =
        ["sockclnt_create", "show_version", "bridge_domain_add_del", "sw_interface_dump"];
    for (message, seed) in messages.into_iter().cycle().zip(0..400) {
        let begin = Instant::now();
        let asked = asked_with(message, Fault::Garble(seed), Duration::from_millis(20));
        // Whatever it is, it is one of our errors, and in time.
        drop(asked);
        assert!(begin.elapsed() < DEADLINE / 2, "{message} {seed}");
    }
}

#[test]
fn answer_in_single_bytes_is_put_together() {
    assert_eq!(asked_with("sw_interface_dump", Fault::Dribble, DEADLINE).unwrap(), 1);
    assert_eq!(asked_with("show_version", Fault::Dribble, DEADLINE).unwrap(), 1);
}

#[test]
fn endless_message_is_refused_at_once() {
    for len in [u32::MAX, (4 << 20) + 1] {
        let mut bytes = framed(&[0; 4]);
        bytes[8..12].copy_from_slice(&len.to_be_bytes());
        let begin = Instant::now();
        let fault = Fault::Say(bytes);
        let error = asked_with("sw_interface_dump", fault, DEADLINE).unwrap_err();
        assert!(error.to_string().contains("at most 4194304"), "{error}");
        assert!(begin.elapsed() < DEADLINE / 2);
    }
}

#[test]
fn messages_that_were_not_asked_for_are_skipped() {
    let table = Table::recorded();
    let reply = table.number("bridge_domain_add_del_reply");
    let details = table.number("sw_interface_details");
    let mut bytes = Vec::new();
    // Another one's answer that refuses, an event, nothing at all.
    bytes.extend(framed(&Body::new(10).u16(0, reply).u32(2, 77).u32(6, u32::MAX).0));
    bytes.extend(framed(&Body::new(295).u16(0, details).u32(2, 77).0));
    bytes.extend(framed(&Body::new(19).u16(0, 9999).u32(2, 1).0));
    bytes.extend(framed(&[]));
    for message in ["bridge_domain_add_del", "sw_interface_dump"] {
        let asked = asked_with(message, Fault::SayFirst(bytes.clone()), DEADLINE);
        assert_eq!(asked.unwrap(), 1, "{message}");
    }
}

#[test]
fn unwelcome_client_is_told() {
    let mut welcome = Table::recorded().welcome(&[0; 4], 1);
    welcome[10..14].copy_from_slice(&(-1i32).to_be_bytes());
    let fault = Fault::Say(framed(&welcome));
    let error = asked_with("sockclnt_create", fault, DEADLINE).unwrap_err();
    assert!(matches!(error, VppError::Unwelcome { response: -1 }), "{error}");
}

#[test]
fn table_that_promises_more_than_it_holds_is_refused() {
    let mut welcome = Table::recorded().welcome(&[0; 4], 1);
    welcome[18..20].copy_from_slice(&u16::MAX.to_be_bytes());
    let fault = Fault::Say(framed(&welcome));
    let error = asked_with("sockclnt_create", fault, DEADLINE).unwrap_err();
    assert!(matches!(error, VppError::Malformed { .. }), "{error}");
}

#[test]
fn bridge_domain_that_promises_endless_members_is_refused() {
    let (_directory, fake) = fake(Table::recorded());
    let details = fake.world.lock().unwrap().table.number("bridge_domain_details");
    let body = Body::new(93).u16(0, details).u32(2, 2).u32(89, u32::MAX).0;
    let said = Fault::SayFirst(framed(&body));
    fake.world.lock().unwrap().fault = Some(("bridge_domain_dump".to_owned(), said));
    let mut session = Session::connect(&fake.api, DEADLINE).unwrap();
    let error = session.bridges().unwrap_err();
    assert!(matches!(error, VppError::Malformed { .. }), "{error}");
}

/// VPP keeps what a client that just goes has had, and may spin on it.
#[test]
fn session_says_goodbye_when_it_is_dropped_and_waits_for_the_end() {
    let (_directory, fake) = fake(Table::recorded());
    drop(Session::connect(&fake.api, DEADLINE).unwrap());
    let log = &fake.world.lock().unwrap().log;
    assert_eq!(log.last().unwrap().0, "sockclnt_delete");
}

#[test]
fn goodbye_that_is_not_answered_does_not_take_long() {
    let (_directory, fake) = fake(Table::recorded());
    fake.world.lock().unwrap().fault = Some(("sockclnt_delete".to_owned(), Fault::Ignore));
    let session = Session::connect(&fake.api, DEADLINE).unwrap();
    let begin = Instant::now();
    drop(session);
    assert!(begin.elapsed() < DEADLINE / 4);
}

#[test]
fn absent_api_is_an_error_that_names_its_path() {
    let error = Session::connect(Path::new("/nonexistent/api.sock"), SHORT).unwrap_err();
    let error = CniError::from(error);
    assert_eq!(error.code, 11);
    assert!(error.details.contains("/nonexistent/api.sock"), "{error}");
}

/// A VPP that is stopped has a queue for connections, and it is full one day.
#[test]
fn api_that_takes_no_connections_is_a_timeout() {
    let directory = directory();
    let api = directory.path().join("api.sock");
    let _listener = UnixListener::bind(&api).unwrap();
    let mut waiting = Vec::new();
    for _ in 0..8192 {
        match nonblocking(&api) {
            Some(stream) => waiting.push(stream),
            None => break,
        }
    }
    let begin = Instant::now();
    let error = Session::connect(&api, SHORT).unwrap_err();
    assert!(matches!(error, VppError::Connect { .. }), "{error}");
    assert!(begin.elapsed() < DEADLINE);
}

/// A connection, if the queue has room.
fn nonblocking(path: &Path) -> Option<std::os::fd::OwnedFd> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    use std::os::fd::AsRawFd;
    let flags = SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
    connect(fd.as_raw_fd(), &UnixAddr::new(path).unwrap()).ok().map(|()| fd)
}

/// Whoever listens need not be a VPP.
#[test]
fn peer_that_echoes_is_no_vpp() {
    let directory = directory();
    let api = directory.path().join("api.sock");
    let listener = UnixListener::bind(&api).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _): (UnixStream, _) = listener.accept().unwrap();
        let mut bytes = [0; 4096];
        while let Ok(len @ 1..) = stream.read(&mut bytes) {
            if write(&mut stream, &bytes[..len]).is_none() {
                return;
            }
        }
    });
    let error = Session::connect(&api, SHORT).unwrap_err();
    assert!(matches!(error, VppError::Silent { .. }), "{error}");
}
