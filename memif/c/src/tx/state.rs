//! What is behind the handle of a transmit queue.
#![expect(unsafe_code, reason = "copies from buffers of C")]

use super::TxCounters;
use crate::error::{Failure, PacketFault};
use crate::lease::Leased;
use crate::packet::{Packet, RINGPORT_MEMIF_BURST_MAX};
use crate::raw;
use ringport::burst::{PushError, TxBurst};
use ringport_memif::TxQueue;
use std::ffi::c_int;

pub(crate) struct State {
    lease: Leased<TxQueue>,
    /// Bytes that each reserved slot holds, of the `reserved` first.
    capacities: Box<[u32; RINGPORT_MEMIF_BURST_MAX]>,
    reserved: usize,
}

impl State {
    pub(crate) fn new(queue: TxQueue) -> Self {
        let capacities = Box::new([0; RINGPORT_MEMIF_BURST_MAX]);
        Self { lease: Leased::new(queue), capacities, reserved: 0 }
    }

    /// # Safety
    /// The buffers of `packets` may be read, and nobody changes them meanwhile.
    #[inline]
    pub(super) unsafe fn burst(&mut self, packets: &[Packet]) -> Result<c_int, Failure> {
        let queue = self.lease.queue()?;
        let mut out = queue.tx_burst(packets.len())?;
        let room = out.free();
        // SAFETY: the caller's contract.
        let end = unsafe { push(&mut out, packets) };
        let sent = out.commit();
        let rest = packets.get(sent..).unwrap_or_default();
        match end {
            End::All => Ok(count(sent)),
            End::Full if room < packets.len() => Ok(count(sent)),
            // A slot for each did not do: there are longer packets.
            // SAFETY: the caller's contract.
            End::Full => unsafe { push_rest(queue, sent, rest) },
            End::Bad(_) if sent > 0 => Ok(count(sent)),
            End::Bad(why) => Err(Failure::Packet { at: 0, why }),
        }
    }

    pub(super) fn reserve(&mut self, packets: &mut [Packet]) -> Result<c_int, Failure> {
        let capacities = self.capacities.as_mut_slice();
        let reserved = self.lease.open(packets.len(), |burst| show(burst, packets, capacities))?;
        self.reserved = reserved;
        if reserved == 0 {
            self.lease.end(|burst| drop(burst));
        }
        Ok(count(reserved))
    }

    /// Whether `count` packets can be committed.
    pub(super) fn check_count(&self, count: usize) -> Result<(), Failure> {
        match self.reserved {
            0 => Err(Failure::NoBurst),
            limit if count > limit => Err(Failure::TooMany { what: "count", given: count, limit }),
            _ => Ok(()),
        }
    }

    /// Sends as many packets as were [checked](Self::check_count).
    pub(super) fn commit(&mut self, packets: &[Packet]) -> Result<c_int, Failure> {
        for (at, (packet, capacity)) in packets.iter().zip(self.capacities.iter()).enumerate() {
            let why = match packet.len {
                0 => PacketFault::Empty,
                len if len > *capacity => PacketFault::TooLong { len: len as usize },
                _ => continue,
            };
            return Err(Failure::Packet { at, why });
        }
        self.reserved = 0;
        let sent = self.lease.end(|mut burst| {
            // Each length was just compared with what its slot holds.
            let push = |packet: &Packet| burst.push_written(packet.len as usize).is_ok();
            let _all = packets.iter().all(push);
            burst.commit()
        });
        sent.map(count).ok_or(Failure::NoBurst)
    }

    pub(super) fn counters(&mut self) -> Result<TxCounters, Failure> {
        let stats = self.lease.queue()?.stats();
        let faults = [
            stats.bad_bounds,
            stats.bad_region,
            stats.bad_length,
            stats.bad_chain,
            stats.bad_index,
        ];
        Ok(TxCounters {
            packets: stats.packets,
            bytes: stats.bytes,
            ring_full: stats.ring_full,
            doorbells: stats.doorbells,
            doorbells_suppressed: stats.doorbells_suppressed,
            faults: faults.iter().fold(0, |sum, faults| sum.saturating_add(*faults)),
        })
    }
}

/// What ended a burst.
enum End {
    /// Nothing: all is in.
    All,
    /// There was no room for the next packet.
    Full,
    /// The next packet cannot be sent.
    Bad(PacketFault),
}

/// Copies packets in until one does not go in.
///
/// # Safety
/// As [`State::burst`].
#[inline]
unsafe fn push(out: &mut TxBurst<'_>, packets: &[Packet]) -> End {
    for packet in packets {
        let len = packet.len as usize;
        if packet.data.is_null() && len > 0 {
            return End::Bad(PacketFault::Null);
        }
        // SAFETY: the caller's contract.
        let frame = unsafe { raw::bytes(packet.data.cast_const().cast(), len) };
        match out.push(frame) {
            Ok(()) => {}
            Err(PushError::Full) => return End::Full,
            Err(PushError::Empty) => return End::Bad(PacketFault::Empty),
            Err(_) => return End::Bad(PacketFault::TooLong { len }),
        }
    }
    End::All
}

/// Goes on with the packets behind the `sent` first ones, with as many slots as there are.
///
/// # Safety
/// As [`State::burst`].
#[cold]
unsafe fn push_rest(
    queue: &mut TxQueue,
    mut sent: usize,
    mut rest: &[Packet],
) -> Result<c_int, Failure> {
    loop {
        let mut out = match queue.tx_burst(usize::MAX) {
            Ok(out) => out,
            Err(error) if sent == 0 => return Err(error.into()),
            // Those are gone; the next call meets the error.
            Err(_) => return Ok(count(sent)),
        };
        // SAFETY: the caller's contract.
        let end = unsafe { push(&mut out, rest) };
        let more = out.commit();
        sent = sent.saturating_add(more);
        rest = rest.get(more..).unwrap_or_default();
        match end {
            End::Full if more > 0 => {}
            End::Bad(why) if sent == 0 => return Err(Failure::Packet { at: 0, why }),
            End::All | End::Full | End::Bad(_) => return Ok(count(sent)),
        }
    }
}

/// Stores where the reserved slots are, and returns how many.
fn show(burst: &TxBurst<'_>, packets: &mut [Packet], capacities: &mut [u32]) -> usize {
    let mut shown = 0_usize;
    for (buffer, (packet, capacity)) in burst.buffers().zip(packets.iter_mut().zip(capacities)) {
        // Of 32 bits, as its descriptor says.
        *capacity = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        *packet = Packet { data: buffer.cast(), len: 0, capacity: *capacity };
        shown = shown.saturating_add(1);
    }
    shown
}

/// At most as many as an array of the caller has.
#[inline]
fn count(count: usize) -> c_int {
    c_int::try_from(count).unwrap_or(c_int::MAX)
}
