//! Transmit queues.
#![expect(unsafe_code, reason = "functions that C calls by name, with pointers")]

mod state;

use crate::error::answer;
use crate::handle::{Kind, Table};
use crate::packet::{Packet, RINGPORT_MEMIF_BURST_MAX};
use crate::raw;
pub(crate) use state::State;
use std::ffi::c_int;

/// A transmit queue: what the peer gets on one ring.
#[derive(Debug)]
pub struct Tx {
    _opaque: [u8; 0],
}

/// What a transmit queue counted since its link came up.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct TxCounters {
    /// Packets sent.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bursts that got fewer slots than they asked for: the peer is behind.
    pub ring_full: u64,
    /// Times that the peer was rung.
    pub doorbells: u64,
    /// Bursts sent without ringing, since the peer asked for none.
    pub doorbells_suppressed: u64,
    /// Things that the peer did wrong. The first one ends the link.
    pub faults: u64,
}

pub(crate) static TX: Table<State> = Table::new(Kind::Tx);

/// Sends packets from the caller's buffers, in order. Never waits, and does not allocate; makes a system
/// call only to ring for a peer that asked for it.
///
/// Returns how many packets were sent: fewer than `count` when the ring is full, 0 when it was full before,
/// at most RINGPORT_MEMIF_BURST_MAX; or a negative code. A packet that cannot be sent
/// (RINGPORT_MEMIF_E_PACKET when it is empty or longer than the ring takes, RINGPORT_MEMIF_E_INVALID when
/// its `data` is NULL) ends the burst: those before it are sent, and the next call, which starts with it,
/// fails.
///
/// `packets` is an array of `count`, whose `data` and `len` the caller has set. Buffers are copied and not
/// kept. A packet longer than one of the client's buffers goes out in several slots.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringport_memif_tx_burst(
    tx: *mut Tx,
    packets: *const Packet,
    count: usize,
) -> c_int {
    let count = count.min(RINGPORT_MEMIF_BURST_MAX);
    answer(TX.with(tx, |state| {
        // SAFETY: the caller's part: an array that nobody changes during this call.
        let packets = unsafe { raw::slice("packets", packets, count) }?;
        // SAFETY: the caller's part: buffers of the stated lengths that nobody changes during this call.
        unsafe { state.burst(packets) }
    }))
}

/// Reserves room for up to `count` packets in the ring itself, to be written there without a copy. The
/// caller writes to `data`, at most `capacity` bytes, sets `len`, and calls ringport_memif_tx_commit(),
/// which has to come before any other call with this queue but ringport_memif_tx_free().
///
/// Returns how many elements of `packets` were set, 0 when the ring is full: then there is nothing to
/// commit; or a negative code. A packet has one buffer here: longer ones are for ringport_memif_tx_burst().
///
/// The peer can read these bytes while you write them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringport_memif_tx_reserve(
    tx: *mut Tx,
    packets: *mut Packet,
    count: usize,
) -> c_int {
    let count = count.min(RINGPORT_MEMIF_BURST_MAX);
    answer(TX.with(tx, |state| {
        // SAFETY: the caller's part: an array that is ours for this call.
        let packets = unsafe { raw::slice_mut("packets", packets, count) }?;
        state.reserve(packets)
    }))
}

/// Sends the first `count` packets that ringport_memif_tx_reserve() gave room for, with the lengths that
/// `packets` says; of the array, nothing but `len` is read. 0 sends nothing and gives the room back. No
/// pointer of that call is valid any more.
///
/// Returns `count`; RINGPORT_MEMIF_E_ORDER when nothing was reserved; RINGPORT_MEMIF_E_PACKET for a length
/// of zero or above its capacity and RINGPORT_MEMIF_E_INVALID for more than were reserved (then all stays as
/// it was); or another negative code.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringport_memif_tx_commit(
    tx: *mut Tx,
    packets: *const Packet,
    count: usize,
) -> c_int {
    answer(TX.with(tx, |state| {
        state.check_count(count)?;
        // SAFETY: the caller's part: an array that nobody changes during this call.
        let packets = unsafe { raw::slice("packets", packets, count) }?;
        state.commit(packets)
    }))
}

/// Stores what the queue counted. `size` is sizeof(ringport_memif_tx_counters); see ringport_memif_poll().
/// Works when the link is down, too.
///
/// Returns 0, or a negative code.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ringport_memif_tx_stats(
    tx: *mut Tx,
    stats: *mut TxCounters,
    size: usize,
) -> c_int {
    answer(TX.with(tx, |state| {
        raw::check_struct("stats", stats, size)?;
        let counted = state.counters()?;
        // SAFETY: checked; that it can be written is the caller's part.
        unsafe { raw::put_struct(stats, size, &counted) };
        Ok(0)
    }))
}

/// Frees a queue. What was reserved and not committed is not sent.
///
/// Returns 0, RINGPORT_MEMIF_E_HANDLE when it was freed already, or RINGPORT_MEMIF_E_BUSY.
#[unsafe(no_mangle)]
pub extern "C" fn ringport_memif_tx_free(tx: *mut Tx) -> c_int {
    answer(TX.remove(tx).map(|_| 0))
}
