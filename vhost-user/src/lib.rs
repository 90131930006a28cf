//! vhost-user, the virtio rings that QEMU, DPDK, VPP and others share over a UNIX socket, in pure
//! Rust.
//!
//! The *front-end* (driver side) owns the memory and lays out rings in it; the *back-end* (device
//! side) maps that memory and moves packets. A socket carries the messages between them.
//!
//! | module | what it is for |
//! |---|---|
//! | [`backend`] | the back-end's half of the conversation, without input or output |
//! | [`memory`] | the memory that a front-end shares: regions, and addresses in them |
//! | [`net`] | the header in front of each packet |
//! | [`virtqueue`] | receive and transmit queues, and the split and packed rings behind them |
//! | [`wire`] | the messages, byte for byte |
//! | [`error`] | what can go wrong, by whose fault it is |
//!
//! Rx and tx are always from our side: what a driver calls its transmit queue is an
//! [`RxQueue`](virtqueue::RxQueue) here.
//!
//! Not there yet: a driver with sockets that joins the conversation and the rings to a port, and the
//! front-end's side.
#![forbid(unsafe_code)]

#[cfg(target_endian = "big")]
compile_error!(
    "virtio 1 rings are little-endian: this crate reads them on little-endian machines only"
);

pub mod backend;
pub mod error;
pub mod memory;
pub mod net;
pub mod virtqueue;
pub mod wire;

pub use error::ControlError;
