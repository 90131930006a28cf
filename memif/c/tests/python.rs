//! The shared library as Python's ctypes finds it.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

mod support;

use ringport_bench::peers::CommandGuard;
use ringport_memif::{EventKind, Port};
use std::process::Command;
use std::time::Duration;
use support::library::{Library, crate_dir, find_or_skip};
use support::{Outcome, PATIENCE, receive, send, wait_until};

#[test]
fn python_sends_packets_back_and_is_told_of_a_second_close() -> Outcome {
    let test = "python_sends_packets_back_and_is_told_of_a_second_close";
    let Some(python) = find_or_skip(test, "python3") else { return Ok(()) };
    let Some(library) = Library::install(test) else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("memif.sock");
    let mut port = Port::open(&format!("memif:{},role=server", socket.display()))?;
    let mut command = Command::new(python);
    command.arg(crate_dir().join("tests/ctypes_echo.py")).arg(library.shared());
    command.args([&format!("memif:{},role=client", socket.display()), "5"]);
    let mut script = CommandGuard::spawn("python3", &mut command)?;
    let mut link = port.wait_link_up(PATIENCE).map_err(|e| format!("{e}: {}", script.log()))?;
    for len in [14, 64, 1518, 2049, 9000] {
        let frame = vec![len as u8; len];
        send(&mut link.tx[0], &frame)?;
        assert_eq!(receive(&mut link.rx[0])?, frame, "{}", script.log());
    }
    let reason = wait_until("goodbye", || {
        match port.poll(Some(Duration::from_millis(1)))?.map(|event| event.kind) {
            Some(EventKind::LinkDown(reason)) => Ok(Some(reason)),
            _ => Ok(None),
        }
    })?;
    assert_eq!(reason.to_string(), "peer disconnected: done (code 0)");
    let status = script.wait_end(PATIENCE)?;
    assert!(status.is_some_and(|status| status.success()), "{}", script.log());
    assert!(script.log().starts_with("no such handle"), "{}", script.log());
    Ok(())
}
