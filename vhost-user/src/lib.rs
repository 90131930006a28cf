//! vhost-user, the virtio rings that QEMU, DPDK, VPP and others share over a UNIX socket, in pure
//! Rust.
//!
//! The *front-end* (driver side) owns the memory and lays out rings in it; the *back-end* (device
//! side) maps that memory and moves packets. A socket carries the messages between them.
//!
//! | module | what it is for |
//! |---|---|
//! | [`backend`] | the back-end's half of the conversation, without input or output |
//! | [`wire`] | the messages, byte for byte |
//! | [`error`] | what can go wrong, by whose fault it is |
#![forbid(unsafe_code)]

pub mod backend;
pub mod error;
pub mod wire;

pub use error::ControlError;
