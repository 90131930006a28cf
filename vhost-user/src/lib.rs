//! vhost-user, the virtio rings that QEMU, DPDK, VPP and others share over a UNIX socket, in pure
//! Rust.
//!
//! The *front-end* (driver side) owns the memory and lays out rings in it; the *back-end* (device
//! side) maps that memory and moves packets. A socket carries the messages between them.
//!
//! ```no_run
//! use ringport_vhost_user::Port;
//! use std::time::Duration;
//!
//! let mut port = Port::open("vhost:/run/vm.sock,role=device,queues=1")?;
//! let mut link = port.wait_link_up(Duration::from_secs(10))?;
//! let (rx, tx) = (&mut link.rx[0], &mut link.tx[0]);
//! # let _ = (rx, tx);
//! # Ok::<(), ringport_vhost_user::DeviceError>(())
//! ```
//!
//! | module | what it is for |
//! |---|---|
//! | [`Port`] | either side, named at run time |
//! | [`device`] | a device with sockets and timers: from a configuration to queues |
//! | [`device::state`] | what a device knows of its driver, for the device that comes next |
//! | [`driver`] | the other side of it, which has the memory: a driver, and its queues |
//! | [`endpoint`] | sockets and timers of either, for who puts something of their own behind the conversation |
//! | [`port_string`] | ports named by text |
//! | [`backend`], [`frontend`] | both halves of the conversation, without input or output |
//! | [`memory`] | the memory that a front-end shares: regions, and addresses in them |
//! | [`log`] | the dirty log, in which migration sees what we wrote |
//! | [`inflight`] | memory that tells the next back-end how far the rings are |
//! | [`net`] | the header in front of each packet |
//! | [`virtqueue`] | receive and transmit queues, and the split and packed rings behind them |
//! | [`wire`] | the messages, byte for byte, and the commands of the control queue |
//! | [`error`] | what can go wrong, by whose fault it is |
//!
//! Rx and tx are always from our side: what the peer of a [`Device`] calls its transmit queue is an
//! [`RxQueue`] here.
//!
//! What hostile front-ends and drivers have tried on others, and the test for each, is in
//! `HOSTILE.md`.
#![forbid(unsafe_code)]

#[cfg(target_endian = "big")]
compile_error!(
    "virtio 1 rings are little-endian: this crate reads them on little-endian machines only"
);

pub mod backend;
pub mod device;
pub mod driver;
pub mod endpoint;
pub mod error;
mod fault;
pub mod frontend;
pub mod inflight;
pub mod log;
pub mod memory;
pub mod net;
mod port;
pub mod port_string;
mod stream;
pub mod virtqueue;
pub mod wire;

pub use device::{Device, DeviceConfig, DownReason, Event, Link};
pub use driver::{Driver, DriverConfig};
pub use error::{ConfigError, ControlError, DeviceError};
pub use port::{AnyRxQueue, AnyTxQueue, Port, PortConfig, PortEvent, PortLink, RoleConfig};
pub use virtqueue::{RxQueue, TxQueue};
