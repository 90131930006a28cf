//! What is behind the handle of a receive queue.
#![expect(unsafe_code, reason = "copies to buffers of C")]

use super::RxCounters;
use crate::error::{Failure, PacketFault};
use crate::lease::Leased;
use crate::packet::{Packet, Piece};
use crate::raw;
use ringport::burst::{RxBurst, RxPacket};
use ringport_memif::RxQueue;
use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd, RawFd};

pub(crate) struct State {
    lease: Leased<RxQueue>,
    doorbell: RawFd,
    /// Packets of the open burst that the caller was shown.
    shown: usize,
}

impl State {
    pub(crate) fn new(queue: RxQueue) -> Self {
        let doorbell = queue.as_fd().as_raw_fd();
        Self { lease: Leased::new(queue), doorbell, shown: 0 }
    }

    /// # Safety
    /// The buffers of `packets` may be written, and do not overlap.
    #[inline]
    pub(super) unsafe fn burst(&mut self, packets: &mut [Packet]) -> Result<c_int, Failure> {
        let queue = self.lease.queue()?;
        if let Some(at) = packets.iter().position(|it| it.data.is_null() && it.capacity > 0) {
            return Err(Failure::Packet { at, why: PacketFault::Null });
        }
        let burst = queue.rx_burst(packets.len())?;
        for (packet, to) in burst.packets().zip(packets) {
            // SAFETY: the caller's contract.
            let buffer = unsafe { raw::buffer(to.data.cast(), to.capacity as usize) };
            packet.copy_to(buffer);
            to.len = len(&packet);
        }
        Ok(count(burst.len()))
    }

    pub(super) fn peek(&mut self, pieces: &mut [Piece]) -> Result<c_int, Failure> {
        let (stored, shown) = self.lease.open(pieces.len(), |burst| show(burst, pieces))?;
        self.shown = shown;
        if shown > 0 {
            return Ok(count(stored));
        }
        let longer = self.lease.end(|burst| {
            let len = burst.packets().next().map(|packet| packet.len());
            burst.release(0);
            len
        });
        match longer.flatten() {
            Some(len) if !pieces.is_empty() => {
                Err(Failure::Packet { at: 0, why: PacketFault::TooLong { len } })
            }
            _ => Ok(0),
        }
    }

    pub(super) fn release(&mut self, packets: usize) -> Result<c_int, Failure> {
        if packets > self.shown {
            let (given, limit) = (packets, self.shown);
            return Err(match limit {
                0 => Failure::NoBurst,
                _ => Failure::TooMany { what: "packets", given, limit },
            });
        }
        self.shown = 0;
        let released = self.lease.end(|burst| burst.release(packets));
        released.map(|()| 0).ok_or(Failure::NoBurst)
    }

    pub(super) fn arm(&mut self) -> Result<c_int, Failure> {
        Ok(c_int::from(self.lease.queue()?.arm()?))
    }

    pub(super) fn fd(&self) -> RawFd {
        self.doorbell
    }

    pub(super) fn counters(&mut self) -> Result<RxCounters, Failure> {
        let stats = self.lease.queue()?.stats();
        let faults = [
            stats.bad_bounds,
            stats.bad_region,
            stats.bad_length,
            stats.bad_chain,
            stats.bad_index,
        ];
        Ok(RxCounters {
            packets: stats.packets,
            bytes: stats.bytes,
            empty_bursts: stats.empty_bursts,
            wake_ups: stats.wake_ups,
            faults: faults.iter().fold(0, |sum, faults| sum.saturating_add(*faults)),
        })
    }
}

/// Stores the pieces of as many whole packets as fit, and returns how many of each.
fn show(burst: &RxBurst<'_>, mut pieces: &mut [Piece]) -> (usize, usize) {
    let (mut stored, mut shown) = (0_usize, 0_usize);
    for packet in burst.packets() {
        let Some(used) = show_packet(&packet, pieces) else { break };
        pieces = pieces.get_mut(used..).unwrap_or_default();
        stored = stored.saturating_add(used);
        shown = shown.saturating_add(1);
    }
    (stored, shown)
}

/// Stores the pieces of a packet and returns how many; `None` when they do not fit.
fn show_packet(packet: &RxPacket<'_>, pieces: &mut [Piece]) -> Option<usize> {
    let mut used = 0_usize;
    for piece in packet.pieces() {
        // Of 32 bits, as its descriptor says.
        let len = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        *pieces.get_mut(used)? = Piece { data: piece.cast(), len, more: 1 };
        used = used.saturating_add(1);
    }
    pieces.get_mut(used.checked_sub(1)?)?.more = 0;
    Some(used)
}

/// Length of a packet. The peer may chain more than 32 bits can tell.
#[inline]
fn len(packet: &RxPacket<'_>) -> u32 {
    u32::try_from(packet.len()).unwrap_or(u32::MAX)
}

/// At most as many as an array of the caller has.
#[inline]
fn count(count: usize) -> c_int {
    c_int::try_from(count).unwrap_or(c_int::MAX)
}
