//! Bursts of free slots, to be filled with packets.
#![expect(unsafe_code, reason = "copies into slots in shared memory")]

mod batch;
mod software;
mod writer;

use batch::TxSlot;
pub use batch::{CommitTx, Committed, TxBatch, WrittenRange};
pub use writer::PacketWriter;

use super::rx::{RxBurst, RxPacket};
use crate::copy;
use crate::offload::Offload;
use crate::software::BadOffload;
use software::push_finished;
use std::ptr::NonNull;
use thiserror::Error;
use writer::{push_chained, push_pieces};

/// Reserved slots. [`commit`](Self::commit) publishes the packets written to them; dropping the
/// burst publishes nothing.
pub struct TxBurst<'q> {
    pub(super) batch: &'q mut TxBatch,
    owner: &'q mut dyn CommitTx,
    /// Slots written, from the front of the window. Kept here and not in the batch, so that it
    /// lives in a register while packets are pushed.
    pub(super) used: usize,
    packets: usize,
    exchanged: bool,
    /// To be published when the burst goes.
    committed: bool,
}

impl<'q> TxBurst<'q> {
    /// Reserves what `batch` offers; `owner` publishes.
    #[inline]
    pub fn new(batch: &'q mut TxBatch, owner: &'q mut dyn CommitTx) -> Self {
        Self { batch, owner, used: 0, packets: 0, exchanged: false, committed: false }
    }

    /// Slots that are still free. A packet takes one, or several when it is longer than a slot.
    #[must_use]
    #[inline]
    pub fn free(&self) -> usize {
        self.batch.free - self.used
    }

    /// Packets written so far: of one that was cut, all segments.
    #[must_use]
    #[inline]
    pub fn packets(&self) -> usize {
        self.packets
    }

    /// Packets whose offloads were done in software, ever: a count that wraps, to be compared with
    /// itself.
    #[inline]
    pub(super) fn finished_ever(&self) -> usize {
        self.batch.finished_ever
    }

    /// Copies `frame` in, chained over several slots when it is longer than one.
    ///
    /// # Errors
    /// [`PushError`]; the burst is then as it was before.
    // Left alone, a program with many callers calls it, for a fifth of a packet's instructions.
    #[inline(always)]
    pub fn push(&mut self, frame: &[u8]) -> Result<(), PushError> {
        if let Some(slot) = self.next_slot(frame.len()) {
            // SAFETY: `next_slot` returns a slot that holds the frame's length, which
            // `TxBatch::reserve` checked to lie in a mapping that the batch keeps alive.
            unsafe { copy::put(slot.as_ptr(), frame) };
            return Ok(());
        }
        let taken = push_chained(self.batch, self.used, frame)?;
        self.take(taken)
    }

    /// Copies a received packet in, ring to ring, with its bytes laid out anew over our slots. Its
    /// offload metadata comes along if the queue can pass it on; else what it asks for is done
    /// [in software](crate::software): then a packet that is to be cut becomes several, which are
    /// taken all or not at all.
    ///
    /// # Errors
    /// [`PushError`]; the burst is then as it was before.
    #[inline]
    pub fn push_packet(&mut self, packet: &RxPacket<'_>) -> Result<(), PushError> {
        if packet.carries_offload() {
            match self.set_offload(packet.offload()) {
                Ok(()) => {}
                Err(PushError::Offload) => return push_finished(self, packet),
                Err(error) => return Err(error),
            }
        }
        if let [piece] = packet.entries()
            && let Some(slot) = self.next_slot(piece.len() as usize)
        {
            // SAFETY: `next_slot` and `RxBatch::fill` checked that `piece.len` bytes at both
            // addresses lie in mappings that their batches keep alive.
            unsafe { copy::across(slot.as_ptr(), piece.address.as_ptr(), piece.len() as usize) };
            return Ok(());
        }
        let taken = push_pieces(self.batch, self.used, packet);
        let taken = taken.inspect_err(|_| self.forget_offload())?;
        self.take(taken)
    }

    /// Sets the offload metadata of the packet that is pushed next.
    ///
    /// # Errors
    /// [`PushError::Offload`] when the queue cannot pass it on and the packet could not be sent as
    /// it is; [`PushError::Full`].
    pub fn set_offload(&mut self, offload: Offload) -> Result<(), PushError> {
        if !self.carries(&offload) {
            return Err(PushError::Offload);
        }
        if let Some(offloads) = self.batch.offloads.as_deref_mut() {
            *offloads.get_mut(self.used).ok_or(PushError::Full)? = offload;
        }
        Ok(())
    }

    /// Whether a packet with `offload` can be passed on as it is.
    fn carries(&self, offload: &Offload) -> bool {
        match self.batch.offloads {
            Some(_) => self.batch.accepts.allows(offload),
            None => offload.is_plain(),
        }
    }

    /// Starts a packet that is written in place, piece by piece. It counts once it is
    /// [finished](PacketWriter::finish).
    pub fn writer(&mut self) -> PacketWriter<'_, 'q> {
        PacketWriter::new(self)
    }

    /// The memory of the slots that are still free, in order, for code that works on raw memory itself.
    /// It stays mapped while the lease lives; the peer may write it at any time. What is written there
    /// becomes a packet by [`push_written`](Self::push_written).
    pub fn buffers(&self) -> impl Iterator<Item = *mut [u8]> + '_ {
        let slots = self.batch.free_slots().get(self.used..).unwrap_or_default();
        slots
            .iter()
            .map(|slot| std::ptr::slice_from_raw_parts_mut(slot.address.as_ptr(), slot.capacity()))
    }

    /// Takes the next slot as a packet: the first `len` bytes of its [buffer](Self::buffers), whoever
    /// wrote them. What nobody wrote is what the memory held before, which the peer can read anyway.
    ///
    /// # Errors
    /// [`PushError`]: the slot does not hold as much, or there is none; the burst is then as it was
    /// before.
    #[inline]
    pub fn push_written(&mut self, len: usize) -> Result<(), PushError> {
        match self.next_slot(len) {
            Some(_) => Ok(()),
            None if len == 0 => Err(PushError::Empty),
            None if self.free() == 0 => Err(PushError::Full),
            None => Err(PushError::TooLong { len, chain_max: 1 }),
        }
    }

    /// Moves the packets of `from` here without a copy: each slot gets the packet's buffer, and the
    /// receive ring gets this slot's buffer in its place. Returns how many packets were moved, to
    /// be [released](RxBurst::release); zero when the two queues do not share one
    /// [`Pool`](crate::pool::Pool). Ends at a packet that is longer than the buffer in its place.
    pub fn exchange(&mut self, from: &mut RxBurst<'_>) -> usize {
        let rx = from.batch_mut();
        if rx.carries_offloads()
            || !self.batch.exchangeable
            || !rx.shares_buffers_with(&self.batch.regions)
        {
            return 0;
        }
        let slots = self.batch.free_slots().get(self.used..).unwrap_or_default();
        let capacities = slots.iter().map(TxSlot::capacity);
        let (packets, entries) = rx.fitting(capacities, self.batch.front());
        for at in 0..entries {
            let shape = rx.shape(at);
            rx.swap_buffer(at, self.batch.slot_mut(self.used + at).exchange(shape));
        }
        self.used += entries;
        self.packets += packets;
        self.exchanged |= entries > 0;
        packets
    }

    /// Publishes the packets with one store and at most one doorbell, and returns how many.
    #[inline]
    pub fn commit(mut self) -> usize {
        self.committed = true;
        self.packets
    }

    /// Takes the next slot for a packet of `len` bytes, if it fits one slot, and returns the
    /// address of at least `len` bytes.
    #[inline(always)]
    fn next_slot(&mut self, len: usize) -> Option<NonNull<u8>> {
        let slot = self.batch.free_slot(self.used)?;
        if len > slot.capacity() || len == 0 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most the capacity, a u32")]
        slot.set_written(len as u32, false);
        let address = slot.address;
        self.used += 1;
        self.packets += 1;
        Some(address)
    }

    /// A packet was not taken: its metadata must not become the next one's.
    #[cold]
    fn forget_offload(&mut self) {
        if let Some(offload) = self.batch.offloads.as_deref_mut().and_then(|o| o.get_mut(self.used))
        {
            *offload = Offload::default();
        }
    }

    pub(super) fn take(&mut self, slots: usize) -> Result<(), PushError> {
        self.used += slots;
        self.packets += 1;
        Ok(())
    }
}

impl Drop for TxBurst<'_> {
    #[inline]
    fn drop(&mut self) {
        let Self { batch, owner, used: slots, packets, exchanged, committed } = self;
        match *slots {
            slots if *committed && slots > 0 => {
                let (packets, exchanged) = (*packets, *exchanged);
                owner.commit(Committed { packets, slots, exchanged, batch });
            }
            _ => owner.end(),
        }
    }
}

impl std::fmt::Debug for TxBurst<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TxBurst")
            .field("free", &self.free())
            .field("packets", &self.packets)
            .finish()
    }
}

/// Why a packet was not taken. Nothing of it remains in the burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PushError {
    /// The slots reserved by this burst do not suffice: commit, and try again with another burst.
    #[error("burst is full")]
    Full,
    /// The packet needs more slots than one packet may take on this queue, or its segments more than
    /// a burst ever has.
    #[error("packet of {len} bytes exceeds {chain_max} slots")]
    TooLong {
        /// Length of the packet, in bytes.
        len: usize,
        /// Most slots that one packet may take.
        chain_max: usize,
    },
    /// The packet asks for a checksum, segmentation or a VLAN tag that this queue's protocol
    /// cannot pass on, and it is not here yet for that to be done in software.
    #[error("packet asks for an offload that the port does not have")]
    Offload,
    /// The packet asks for something to be done in software that cannot be done to it.
    #[error("packet is not what its offload metadata says")]
    Malformed(#[source] BadOffload),
    /// The packet has no bytes: rings have no way to say that.
    #[error("packet is empty")]
    Empty,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::burst::{Piece, ReleaseRx, Released, RxBatch, Shape};
    use crate::shm::{Backing, OwnedMemory, Regions};
    use std::sync::Arc;

    /// Bytes of the memory that both queues have their buffers in.
    const BYTES: u32 = 4096;

    struct Nobody;

    impl ReleaseRx for Nobody {
        fn release(&mut self, _: Released<'_>) {}
    }

    impl CommitTx for Nobody {
        fn commit(&mut self, _: Committed<'_>) {}
    }

    /// The last `len` bytes of the memory.
    fn last(len: u32) -> Piece {
        Piece::alone((BYTES - len).into(), Shape::new(0, len, false))
    }

    /// A received packet in `packet`, and a free slot of `slot`.
    fn batches(packet: Piece, slot: Piece) -> (RxBatch, TxBatch) {
        let memory = OwnedMemory::create("exchange-test", BYTES as usize, Backing::Pages).unwrap();
        let regions = Arc::new(Regions::new(vec![Arc::clone(memory.mapping())]));
        let mut rx = RxBatch::new(Arc::clone(&regions), 1).exchangeable();
        assert!(rx.append(&[packet], Offload::default()).unwrap());
        let mut tx = TxBatch::new(regions, 1, 1).exchangeable();
        tx.reserve([slot].into_iter()).unwrap();
        (rx, tx)
    }

    #[test]
    fn packet_that_is_longer_than_the_buffer_in_its_place_is_not_exchanged() {
        let (mut rx, mut tx) = batches(last(9), last(8));
        let (mut rx_owner, mut tx_owner) = (Nobody, Nobody);
        let mut burst = RxBurst::new(&mut rx, &mut rx_owner);
        assert_eq!(TxBurst::new(&mut tx, &mut tx_owner).exchange(&mut burst), 0);
        drop(burst);
        assert_eq!(rx.offset(0), Some(u64::from(BYTES) - 9));
    }

    #[test]
    fn exchanged_buffer_holds_no_more_than_its_packet() {
        let (mut rx, mut tx) = batches(last(8), last(64));
        let (mut rx_owner, mut tx_owner) = (Nobody, Nobody);
        let mut burst = RxBurst::new(&mut rx, &mut rx_owner);
        assert_eq!(TxBurst::new(&mut tx, &mut tx_owner).exchange(&mut burst), 1);
        let mut again = TxBurst::new(&mut tx, &mut tx_owner);
        assert_eq!(again.push(&[0; 9]), Err(PushError::TooLong { len: 9, chain_max: 1 }));
        assert_eq!(again.push(&[0; 8]), Ok(()));
    }
}
