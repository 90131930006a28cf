//! Fuzz targets: what a hostile peer can send, and what it can write in shared memory.
//!
//! Each target is a plain function from bytes to nothing that panics when a rule is broken. The
//! binaries in `fuzz_targets` hand it to libFuzzer, and `tests/replay.rs` runs it over the corpora,
//! the [seeds], and pseudo-random inputs. `README.md` says what each target asserts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a target reports by panicking"
)]

mod control;
mod input;
mod open_files;
mod ring;
pub mod seeds;
mod vhost;
mod wire;

pub use ring::{Mutated, mutated_client, mutated_server};

use std::ffi::OsString;
use std::io;

/// A target: a name, which is also that of its corpus, and what it does with one input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 11] = [
    ("wire", wire),
    ("control_server", control_server),
    ("control_client", control_client),
    ("ring_server", ring_server),
    ("ring_client", ring_client),
    ("vhost_messages", vhost_messages),
    ("vhost_device", vhost_device),
    ("vhost_split", vhost_split),
    ("vhost_packed", vhost_packed),
    ("driver_split", driver_split),
    ("driver_packed", driver_packed),
];

/// One control message from its bytes, and back.
pub fn wire(data: &[u8]) {
    wire::run(data);
}

/// A conversation of the server's state machine with a client that does what `data` says.
pub fn control_server(data: &[u8]) {
    open_files::all_closed_after(|| control::server(data));
}

/// A conversation of the client's state machine with a server that does what `data` says.
pub fn control_client(data: &[u8]) {
    open_files::all_closed_after(|| control::client(data));
}

/// A server's queues over memory that a client fills and scribbles as `data` says.
pub fn ring_server(data: &[u8]) {
    open_files::all_closed_after(|| ring::server(data));
}

/// A client's queues whose server scribbles in their memory as `data` says.
pub fn ring_client(data: &[u8]) {
    open_files::all_closed_after(|| ring::client(data));
}

/// A conversation of the back-end's state machine with a front-end that does what `data` says.
pub fn vhost_messages(data: &[u8]) {
    open_files::all_closed_after(|| vhost::messages(data));
}

/// A whole device behind a socket, whose front-end does what `data` says.
pub fn vhost_device(data: &[u8]) {
    open_files::all_closed_after(|| vhost::device(data));
}

/// Queues on split rings in memory that a driver fills and scribbles as `data` says.
pub fn vhost_split(data: &[u8]) {
    open_files::all_closed_after(|| vhost::split(data));
}

/// As [`vhost_split`], on packed rings.
pub fn vhost_packed(data: &[u8]) {
    open_files::all_closed_after(|| vhost::packed(data));
}

/// A driver's queues on split rings, whose device scribbles in their memory as `data` says.
pub fn driver_split(data: &[u8]) {
    open_files::all_closed_after(|| vhost::driver::split(data));
}

/// As [`driver_split`], on packed rings.
pub fn driver_packed(data: &[u8]) {
    open_files::all_closed_after(|| vhost::driver::packed(data));
}

/// Runs `target` on each of `files`.
///
/// # Errors
/// When a file cannot be read.
pub fn replay(target: fn(&[u8]), files: impl Iterator<Item = OsString>) -> io::Result<()> {
    for file in files {
        target(&std::fs::read(file)?);
    }
    Ok(())
}
