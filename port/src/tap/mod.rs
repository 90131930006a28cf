//! A Linux TAP as a port: what is sent to it arrives at a network interface of the kernel, and what
//! the kernel sends out of that interface is received from it.
//!
//! ```no_run
//! use ringport::burst::forward;
//! use ringport::tap::{Tap, TapEvent};
//! use std::time::Duration;
//!
//! # fn other() -> (Box<dyn ringport::burst::PacketRx>, Box<dyn ringport::burst::PacketTx>) { todo!() }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (mut rx, mut tx) = other();
//! let mut tap = Tap::open(&"tap:ring0,address=10.0.0.1/24".parse()?)?;
//! if let Some(TapEvent::LinkUp(mut link)) = tap.poll(Some(Duration::ZERO))? {
//!     loop {
//!         forward(&mut *rx, &mut link.tx, 64)?;
//!         forward(&mut link.rx, &mut *tx, 64)?;
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! It works like the ports of the ring protocols, with these differences:
//! * There is no ring. A burst reads packets into private memory of the queue, and a commit writes
//!   them out of it: one system call a packet, beside the one that finds nothing more.
//! * The interface comes up with the port and is gone when the control side and both queues are
//!   dropped. One that was made before by somebody else (`ip tuntap add`) is used and stays.
//! * The link is there at once, and only once: it ends when the interface is deleted.
//! * One queue each way.
//!
//! # Offloads
//! Each packet has the [header](crate::virtio_net) of a virtio network device, so that checksums and
//! TCP segments of up to 64 KB can be left to whoever is at the end, both ways. What the kernel may
//! leave to us is [`TapOffload`]; it takes all of it.
//!
//! The kernel believes what that header says, and another port's peer may have written it. So it is
//! checked against the packet first; a packet that is not what it is said to be is dropped and
//! counted ([`TxStats::bad_header`](crate::stats::TxStats::bad_header)).

mod address;
mod config;
mod control;
mod device;
mod error;
mod rx;
mod settings;
mod sys;
mod tx;

pub use address::TapAddress;
pub use config::{SCHEME, TapConfig, TapOffload};
pub use control::{Tap, TapEvent, TapLink};
pub use error::TapError;
pub use rx::TapRx;
pub use tx::TapTx;

use crate::shm::{Backing, Mapping, OwnedMemory, RegionError};
use std::sync::Arc;

/// Packets that a queue holds.
pub const SLOTS: usize = 64;

/// Bytes of a packet that a slot holds: more than the longest packet of IP (65535 bytes) with an
/// Ethernet header and two VLAN tags, so that what fills it was cut.
pub const SLOT_BYTES: u32 = 65_600;

/// Memory for the packets of one queue.
fn memory() -> Result<Arc<Mapping>, RegionError> {
    let bytes = SLOTS * SLOT_BYTES as usize;
    let memory = OwnedMemory::create("ringport-tap", bytes, Backing::Pages)?;
    Ok(Arc::clone(memory.mapping()))
}

/// Where slot number `at` starts in that memory, in bytes.
fn slot_offset(at: usize) -> u64 {
    at as u64 * u64::from(SLOT_BYTES)
}

#[cfg(test)]
mod tests;
