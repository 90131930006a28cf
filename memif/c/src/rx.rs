//! Receive queues.
#![expect(unsafe_code, reason = "functions that C calls by name, with pointers")]

mod state;

use crate::error::answer;
use crate::handle::{Kind, Table};
use crate::packet::{Packet, Piece, RINGPORT_MEMIF_BURST_MAX};
use crate::raw;
pub(crate) use state::State;
use std::ffi::c_int;

/// A receive queue: what the peer sends on one ring.
#[derive(Debug)]
pub struct Rx {
    _opaque: [u8; 0],
}

/// What a receive queue counted since its link came up.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct RxCounters {
    /// Packets taken from the ring.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bursts asked for while the ring was empty.
    pub empty_bursts: u64,
    /// Times ringport_memif_rx_arm() found that the peer had rung.
    pub wake_ups: u64,
    /// Things that the peer did wrong. The first one ends the link.
    pub faults: u64,
}

pub(crate) static RX: Table<State> = Table::new(Kind::Rx);

/// Receives packets, oldest first, into the caller's buffers. Never waits, allocates, or makes a system
/// call.
///
/// Returns how many packets were received, 0 when there was none, at most RINGPORT_MEMIF_BURST_MAX; or a
/// negative code.
///
/// `packets` is an array of `count`, whose `data` and `capacity` the caller has set. Of each packet that was
/// received, as many bytes are stored as fit, and `len` is set to the packet's whole length: when it is
/// above `capacity`, the rest is lost. A `data` of NULL goes with a `capacity` of 0. Buffers are not kept,
/// and must not overlap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringport_memif_rx_burst(
    rx: *mut Rx,
    packets: *mut Packet,
    count: usize,
) -> c_int {
    let count = count.min(RINGPORT_MEMIF_BURST_MAX);
    answer(RX.with(rx, |state| {
        // SAFETY: the caller's part: an array that is ours for this call.
        let packets = unsafe { raw::slice_mut("packets", packets, count) }?;
        // SAFETY: the caller's part: buffers of the stated sizes that are ours for this call.
        unsafe { state.burst(packets) }
    }))
}

/// Shows received packets where the peer wrote them, oldest first, without a copy. They stay until
/// ringport_memif_rx_release(), which has to come before any other call with this queue but
/// ringport_memif_rx_fd() and ringport_memif_rx_free().
///
/// Returns how many pieces were stored: of whole packets only, each one piece unless it is longer than the
/// client's buffers (`more`). 0: there was no packet, and nothing needs to be released.
/// RINGPORT_MEMIF_E_PACKET: the array is too short for the first packet; one of RINGPORT_MEMIF_BURST_MAX
/// is long enough unless the port has a larger chain-max, and ringport_memif_rx_burst() takes all. Or
/// another negative code.
///
/// `pieces` is an array of `count`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringport_memif_rx_peek(
    rx: *mut Rx,
    pieces: *mut Piece,
    count: usize,
) -> c_int {
    let count = count.min(RINGPORT_MEMIF_BURST_MAX);
    answer(RX.with(rx, |state| {
        // SAFETY: the caller's part: an array that is ours for this call.
        let pieces = unsafe { raw::slice_mut("pieces", pieces, count) }?;
        state.peek(pieces)
    }))
}

/// Gives the first `packets` of the packets that ringport_memif_rx_peek() showed back to the peer: packets,
/// not pieces. The others are delivered again. No pointer of that call is valid any more.
///
/// Returns 0, RINGPORT_MEMIF_E_ORDER when nothing was shown, RINGPORT_MEMIF_E_INVALID when not as many were
/// (then all stays as it was), or another negative code.
#[unsafe(no_mangle)]
pub extern "C" fn ringport_memif_rx_release(rx: *mut Rx, packets: usize) -> c_int {
    answer(RX.with(rx, |state| state.release(packets)))
}

/// Asks the peer to ring for the next packet, for callers who want to sleep: call this first, then wait
/// until ringport_memif_rx_fd() is readable. One system call.
///
/// Returns 0: the descriptor will be readable. 1: packets are waiting, do not sleep; always so with
/// rx-mode=polling. Or a negative code, such as RINGPORT_MEMIF_E_LINK_DOWN.
#[unsafe(no_mangle)]
pub extern "C" fn ringport_memif_rx_arm(rx: *mut Rx) -> c_int {
    answer(RX.with(rx, |state| state.arm()))
}

/// The queue's doorbell, for the caller's own poll() or epoll: readable once the peer rang after
/// ringport_memif_rx_arm(), and when the link goes down. It stays the same for the queue's life and belongs
/// to it: do not read, write or close it.
///
/// Returns the descriptor, or a negative code.
#[unsafe(no_mangle)]
pub extern "C" fn ringport_memif_rx_fd(rx: *mut Rx) -> c_int {
    answer(RX.with(rx, |state| Ok(state.fd())))
}

/// Stores what the queue counted. `size` is sizeof(ringport_memif_rx_counters); see ringport_memif_poll().
/// Works when the link is down, too.
///
/// Returns 0, or a negative code.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringport_memif_rx_stats(
    rx: *mut Rx,
    stats: *mut RxCounters,
    size: usize,
) -> c_int {
    answer(RX.with(rx, |state| {
        raw::check_struct("stats", stats, size)?;
        let counted = state.counters()?;
        // SAFETY: checked; that it can be written is the caller's part.
        unsafe { raw::put_struct(stats, size, &counted) };
        Ok(0)
    }))
}

/// Frees a queue. Packets that were shown are given back; no pointer to them is valid any more.
///
/// Returns 0, RINGPORT_MEMIF_E_HANDLE when it was freed already, or RINGPORT_MEMIF_E_BUSY.
#[unsafe(no_mangle)]
pub extern "C" fn ringport_memif_rx_free(rx: *mut Rx) -> c_int {
    answer(RX.remove(rx).map(|_| 0))
}
