//! vhost-user, the shared-memory packet interface of QEMU, DPDK and OVS, in pure Rust: virtio rings
//! in a driver's memory, used from the device's (back-end's) side.
//!
//! | module | what it is for |
//! |---|---|
//! | [`memory`] | the memory that a front-end shares: regions, and addresses in them |
//! | [`net`] | the header in front of each packet |
//! | [`virtqueue`] | [`split`](virtqueue::split) and [`packed`](virtqueue::packed) rings: receive and transmit queues |
//!
//! Rx and tx are always from our side: what a driver calls its transmit queue is an
//! [`RxQueue`](virtqueue::split::RxQueue) here.
#![forbid(unsafe_code)]

#[cfg(target_endian = "big")]
compile_error!(
    "virtio 1 rings are little-endian: this crate reads them on little-endian machines only"
);

pub mod memory;
pub mod net;
pub mod virtqueue;
