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
mod offloads;
mod open_files;
mod ring;
pub mod seeds;
mod sum;
mod tools;
mod vdpa;
mod vhost;
mod wire;

pub use ring::{Mutated, mutated_client, mutated_server};

use std::ffi::OsString;
use std::io;

/// A target: a name, which is also that of its corpus, and what it does with one input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 24] = [
    ("wire", wire),
    ("control_server", control_server),
    ("control_client", control_client),
    ("memif_listener", memif_listener),
    ("memif_client", memif_client),
    ("ring_server", ring_server),
    ("ring_client", ring_client),
    ("vhost_messages", vhost_messages),
    ("vhost_device", vhost_device),
    ("vhost_state", vhost_state),
    ("vhost_split", vhost_split),
    ("vhost_packed", vhost_packed),
    ("vhost_notes", vhost_notes),
    ("driver_split", driver_split),
    ("driver_packed", driver_packed),
    ("frontend_messages", frontend_messages),
    ("vhost_driver", vhost_driver),
    ("relay_messages", relay_messages),
    ("pci_capabilities", pci_capabilities),
    ("offloads", offloads),
    ("station", station),
    ("dump", dump),
    ("pktgen", pktgen),
    ("port_strings", port_strings),
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

/// A whole listener, whose clients do what `data` says.
pub fn memif_listener(data: &[u8]) {
    open_files::all_closed_after(|| control::whole_listener(data));
}

/// A whole client behind a socket, whose server does what `data` says.
pub fn memif_client(data: &[u8]) {
    open_files::all_closed_after(|| control::whole_client(data));
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

/// What a device knows of its driver, from the device before, and what a driver asks of a device.
pub fn vhost_state(data: &[u8]) {
    open_files::all_closed_after(|| vhost::state(data));
}

/// Queues on split rings in memory that a driver fills and scribbles as `data` says.
pub fn vhost_split(data: &[u8]) {
    open_files::all_closed_after(|| vhost::split(data));
}

/// As [`vhost_split`], on packed rings.
pub fn vhost_packed(data: &[u8]) {
    open_files::all_closed_after(|| vhost::packed(data));
}

/// A device whose front-end logs what it writes to, keeps what is in flight, and writes to both as
/// `data` says.
pub fn vhost_notes(data: &[u8]) {
    open_files::all_closed_after(|| vhost::notes(data));
}

/// A driver's queues on split rings, whose device scribbles in their memory as `data` says.
pub fn driver_split(data: &[u8]) {
    open_files::all_closed_after(|| vhost::driver::split(data));
}

/// As [`driver_split`], on packed rings.
pub fn driver_packed(data: &[u8]) {
    open_files::all_closed_after(|| vhost::driver::packed(data));
}

/// A conversation of the front-end's state machine with a back-end that does what `data` says.
pub fn frontend_messages(data: &[u8]) {
    open_files::all_closed_after(|| vhost::frontend(data));
}

/// A whole driver behind a socket, whose device does what `data` says.
pub fn vhost_driver(data: &[u8]) {
    open_files::all_closed_after(|| vhost::driver::whole(data));
}

/// A relay with a device that fails as `data` says, and front-ends that say what they like.
pub fn relay_messages(data: &[u8]) {
    open_files::all_closed_after(|| vdpa::relay(data));
}

/// The capabilities of a PCI function's configuration space.
pub fn pci_capabilities(data: &[u8]) {
    vdpa::capabilities(data);
}

/// A packet header of virtio, and what its packet becomes where nobody else does what it asks for.
pub fn offloads(data: &[u8]) {
    open_files::all_closed_after(|| offloads::run(data));
}

/// What `ringport ping` answers to a packet.
pub fn station(data: &[u8]) {
    tools::station(data);
}

/// What `ringport dump` reads in a packet, and whether a filter holds for it.
pub fn dump(data: &[u8]) {
    tools::dump(data);
}

/// What `ringport pktgen` receives, of what it sent and of other packets.
pub fn pktgen(data: &[u8]) {
    tools::pktgen(data);
}

/// Port strings of all protocols.
pub fn port_strings(data: &[u8]) {
    tools::ports(data);
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
