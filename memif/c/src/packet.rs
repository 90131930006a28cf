//! Packets, as C sees them.

use std::ffi::c_void;

/// Most packets, or pieces of packets, of one call. A larger count is taken as this one.
pub const RINGPORT_MEMIF_BURST_MAX: usize = 256;

/// A packet, or a buffer for one.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Packet {
    /// Its bytes.
    pub data: *mut c_void,
    /// Length of the packet, in bytes.
    pub len: u32,
    /// What `data` has room for, in bytes.
    pub capacity: u32,
}

/// A part of a received packet, where the peer wrote it.
///
/// The peer can change these bytes at any time, even while you look at them: read each value once, into a
/// variable of your own, and check it there.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Piece {
    /// Its bytes. They stay readable until the packet is released.
    pub data: *const c_void,
    /// Their number.
    pub len: u32,
    /// 1: the packet goes on in the next piece. 0: this is its end, or all of it.
    pub more: u32,
}

/// Bursts of the Rust crate hold as many.
const _: () = assert!(RINGPORT_MEMIF_BURST_MAX == ringport::burst::BURST_MAX);
