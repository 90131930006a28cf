//! What tests of the look-up share.
#![allow(dead_code, reason = "each test program uses a part")]

use ringport_vdpa::files::Entry;
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long anything may take that has to come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn entry(address: &str, path: &str) -> Entry {
    Entry::new(address.parse().unwrap(), path).unwrap()
}

/// Waits until `done`.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reads until the other side closes, and returns what it said.
pub(crate) fn read_to_end(stream: &mut UnixStream) -> Vec<u8> {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => bytes,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => bytes,
        Err(error) => panic!("the connection is not closed: {error}"),
    }
}
