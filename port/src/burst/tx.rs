//! Bursts of free slots, to be filled with packets.
#![expect(unsafe_code, reason = "slots hold addresses in shared memory")]

use super::rx::{RxBurst, RxPacket};
use crate::copy;
use crate::error::QueueError;
use crate::offload::Offload;
use crate::shm::Regions;
use std::ptr::NonNull;
use std::sync::Arc;
use thiserror::Error;

/// One slot of a transmit ring.
#[derive(Debug, Clone, Copy)]
struct TxSlot {
    /// `capacity` bytes from here lie in a mapping of the batch's regions: see
    /// [`TxBatch::set_slot`].
    address: NonNull<u8>,
    capacity: u32,
    /// Bytes written, and [`MORE`].
    written: u32,
}

/// In [`TxSlot::written`]: the packet goes on in the next slot. No slot is that long.
const MORE: u32 = 1 << 31;

/// The storage of a transmit queue's bursts: where the buffer of each slot is, and what was written
/// to it. The queue's protocol offers windows of free slots and publishes those that were written;
/// users see it as a [`TxBurst`].
#[derive(Debug)]
pub struct TxBatch {
    regions: Arc<Regions>,
    /// By slot; a power of two.
    slots: Box<[TxSlot]>,
    /// The window on offer: `free` slots from `first` on, wrapping.
    first: usize,
    free: usize,
    /// Most slots of one burst.
    burst_max: usize,
    /// Most slots that one packet may take.
    chain_max: usize,
    exchangeable: bool,
    /// By the first slot of a packet; absent in a protocol without offloads.
    offloads: Option<Box<[Offload]>>,
}

// SAFETY: the addresses in `slots` point into mappings that `regions` keeps alive, whichever
// thread owns the batch.
unsafe impl Send for TxBatch {}

impl TxBatch {
    /// Storage for a ring of `ring_size` slots (a power of two) in `regions`, for bursts of up to
    /// `burst_max` slots and at most `chain_max` a packet. No slot has a buffer yet.
    #[must_use]
    pub fn new(regions: Arc<Regions>, ring_size: u16, burst_max: usize, chain_max: usize) -> Self {
        assert!(
            ring_size.is_power_of_two(),
            "ring size {ring_size} is no power of two"
        );
        let none = TxSlot {
            address: NonNull::dangling(),
            capacity: 0,
            written: 0,
        };
        let slots = vec![none; usize::from(ring_size)].into();
        let burst_max = burst_max.min(usize::from(ring_size));
        let (exchangeable, offloads) = (false, None);
        Self {
            regions,
            slots,
            first: 0,
            free: 0,
            burst_max,
            chain_max,
            exchangeable,
            offloads,
        }
    }

    /// Gives each packet offload metadata, for a protocol that carries it.
    #[must_use]
    pub fn with_offloads(mut self) -> Self {
        self.offloads = Some(vec![Offload::default(); self.slots.len()].into());
        self
    }

    /// The metadata of the packet that starts with `slot`.
    #[must_use]
    pub fn offload(&self, slot: u16) -> Offload {
        let offloads = self.offloads.as_deref();
        offloads
            .and_then(|o| o.get(usize::from(slot)))
            .copied()
            .unwrap_or_default()
    }

    /// Allows [`TxBurst::exchange`]: for queues whose slots may be given other buffers of the same
    /// size.
    #[must_use]
    pub fn exchangeable(mut self) -> Self {
        self.exchangeable = true;
        self
    }

    /// Most slots of one burst.
    #[must_use]
    #[inline]
    pub fn burst_max(&self) -> usize {
        self.burst_max
    }

    /// Gives `slot` its buffer: `capacity` bytes at `offset` of `region`.
    ///
    /// # Errors
    /// When they do not lie in the region, or `capacity` is zero. The slot keeps its buffer then.
    #[inline]
    pub fn set_slot(
        &mut self,
        slot: u16,
        region: u16,
        offset: u64,
        capacity: u32,
    ) -> Result<(), QueueError> {
        if capacity == 0 {
            return Err(QueueError::EmptyDescriptor);
        }
        let address = self.regions.resolve(region, offset, capacity)?;
        let mask = self.slots.len() - 1;
        // A single write uses less than 2^31 bytes of a slot, so that `MORE` is free.
        let capacity = capacity.min(MORE - 1);
        self.slots[usize::from(slot) & mask] = TxSlot {
            address,
            capacity,
            written: 0,
        };
        Ok(())
    }

    /// Offers `count` slots from `first` on. Each must have been given a buffer; one that was not
    /// takes no bytes.
    #[inline]
    pub fn offer(&mut self, first: u16, count: u16) {
        self.first = usize::from(first);
        self.free = usize::from(count).min(self.burst_max);
        for at in 0..self.free {
            copy::prefetch_write(self.slot(at).address.as_ptr());
        }
    }

    /// Offset in region `region` of the buffer of `slot`, for an owner whose buffers were exchanged.
    #[must_use]
    pub fn offset(&self, slot: u16, region: u16) -> Option<u64> {
        let slot = self.slots.get(usize::from(slot))?;
        self.regions.offset_of(region, slot.address)
    }

    /// Slot number `at` of the window.
    #[inline(always)]
    fn slot(&self, at: usize) -> &TxSlot {
        &self.slots[(self.first + at) & (self.slots.len() - 1)]
    }

    #[inline(always)]
    fn slot_mut(&mut self, at: usize) -> &mut TxSlot {
        let mask = self.slots.len() - 1;
        &mut self.slots[(self.first + at) & mask]
    }
}

/// What a written slot's descriptor must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenSlot {
    /// The slot.
    pub slot: u16,
    /// Bytes written.
    pub len: u32,
    /// The packet goes on in the next slot.
    pub more: bool,
}

/// The side of a transmit queue that publishes slots.
pub trait CommitTx {
    /// Publishes the written slots with one store, and rings the doorbell if the peer wants it.
    fn commit(&mut self, committed: Committed<'_>);
}

/// Slots to publish: the first ones of the burst.
#[derive(Debug)]
pub struct Committed<'a> {
    /// How many packets.
    pub packets: usize,
    /// How many slots they take.
    pub slots: usize,
    /// Whether any buffer was exchanged: see [`TxBatch::offset`].
    pub exchanged: bool,
    /// The batch.
    pub batch: &'a TxBatch,
}

impl Committed<'_> {
    /// What each descriptor must say, in order.
    #[inline]
    pub fn written(&self) -> impl Iterator<Item = WrittenSlot> + '_ {
        let mask = self.batch.slots.len() - 1;
        (self.batch.first..self.batch.first + self.slots).map(move |at| {
            let slot = at & mask;
            let written = self.batch.slots[slot].written;
            // No loss: a ring has at most 2^15 slots.
            #[expect(clippy::cast_possible_truncation, reason = "masked by a ring size")]
            let slot = slot as u16;
            WrittenSlot {
                slot,
                len: written & !MORE,
                more: written & MORE != 0,
            }
        })
    }
}

/// Why a packet was not taken. Nothing of it remains in the burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PushError {
    /// The slots reserved by this burst do not suffice: commit, and try again with another burst.
    #[error("burst is full")]
    Full,
    /// The packet needs more slots than one packet may take on this queue.
    #[error("packet of {len} bytes exceeds {chain_max} slots")]
    TooLong {
        /// Length of the packet, in bytes.
        len: usize,
        /// Most slots that one packet may take.
        chain_max: usize,
    },
    /// The packet asks for a checksum, segmentation or a VLAN tag that this queue's protocol
    /// cannot pass on.
    #[error("packet asks for an offload that the port does not have")]
    Offload,
    /// The packet has no bytes: rings have no way to say that.
    #[error("packet is empty")]
    Empty,
}

/// Reserved slots. [`commit`](Self::commit) publishes the packets written to them; dropping the
/// burst publishes nothing.
pub struct TxBurst<'q> {
    batch: &'q mut TxBatch,
    owner: &'q mut dyn CommitTx,
    /// Slots written, from the front of the window. Kept here and not in the batch, so that it
    /// lives in a register while packets are pushed.
    used: usize,
    packets: usize,
    exchanged: bool,
}

impl<'q> TxBurst<'q> {
    /// Reserves what `batch` offers; `owner` publishes.
    #[inline]
    pub fn new(batch: &'q mut TxBatch, owner: &'q mut dyn CommitTx) -> Self {
        Self {
            batch,
            owner,
            used: 0,
            packets: 0,
            exchanged: false,
        }
    }

    /// Slots that are still free. A packet takes one, or several when it is longer than a slot.
    #[must_use]
    #[inline]
    pub fn free(&self) -> usize {
        self.batch.free - self.used
    }

    /// Packets written so far.
    #[must_use]
    #[inline]
    pub fn packets(&self) -> usize {
        self.packets
    }

    /// Copies `frame` in, chained over several slots when it is longer than one.
    ///
    /// # Errors
    /// [`PushError`]; the burst is then as it was before.
    #[inline]
    pub fn push(&mut self, frame: &[u8]) -> Result<(), PushError> {
        if let Some(slot) = self.next_slot(frame.len()) {
            // SAFETY: `next_slot` returns a slot that holds the frame's length, which
            // `TxBatch::set_slot` checked to lie in a mapping that the batch keeps alive; the frame
            // is private memory.
            unsafe { copy::copy(slot.as_ptr(), frame.as_ptr(), frame.len()) };
            return Ok(());
        }
        let taken = push_chained(self.batch, self.used, frame)?;
        self.take(taken)
    }

    /// Copies a received packet in, ring to ring, with its bytes laid out anew over our slots. Its
    /// offload metadata comes along if the queue carries any; a packet that needs what the queue
    /// does not carry is refused.
    ///
    /// # Errors
    /// [`PushError`]; the burst is then as it was before.
    #[inline]
    pub fn push_packet(&mut self, packet: &RxPacket<'_>) -> Result<(), PushError> {
        if packet.carries_offload() {
            self.set_offload(packet.offload())?;
        }
        if let [piece] = packet.entries()
            && let Some(slot) = self.next_slot(piece.len as usize)
        {
            // SAFETY: `next_slot` and `RxBatch::push` checked that `piece.len` bytes at both
            // addresses lie in mappings that their batches keep alive. A peer could make two of its
            // own slots overlap; the kernels then copy some mix of its own bytes.
            unsafe { copy::copy(slot.as_ptr(), piece.address.as_ptr(), piece.len as usize) };
            return Ok(());
        }
        let taken = push_pieces(self.batch, self.used, packet)?;
        self.take(taken)
    }

    /// Sets the offload metadata of the packet that is pushed next.
    ///
    /// # Errors
    /// [`PushError::Offload`] when the queue carries none and the packet could not be sent as it is.
    pub fn set_offload(&mut self, offload: Offload) -> Result<(), PushError> {
        match self.batch.offloads.as_deref_mut() {
            Some(offloads) => {
                let slot = (self.batch.first + self.used) & (offloads.len() - 1);
                offloads[slot] = offload;
                Ok(())
            }
            None if offload.is_plain() => Ok(()),
            None => Err(PushError::Offload),
        }
    }

    /// Starts a packet that is written in place, piece by piece. It counts once it is
    /// [finished](PacketWriter::finish).
    pub fn writer(&mut self) -> PacketWriter<'_, 'q> {
        let layout = Layout::new(self.used);
        PacketWriter {
            burst: self,
            layout,
        }
    }

    /// Moves the packets of `from` here without a copy: each slot gets the packet's buffer, and the
    /// receive ring gets this slot's buffer in its place. Returns how many packets were moved, to
    /// be [released](RxBurst::release); zero when the two queues do not share one
    /// [`Pool`](crate::pool::Pool).
    pub fn exchange(&mut self, from: &mut RxBurst<'_>) -> usize {
        let rx = from.batch_mut();
        if rx.carries_offloads()
            || !self.batch.exchangeable
            || !rx.shares_buffers_with(&self.batch.regions)
        {
            return 0;
        }
        let (packets, entries) = rx.fitting(self.free());
        for at in 0..entries {
            let (len, more) = rx.shape(at);
            let slot = self.batch.slot_mut(self.used + at);
            debug_assert!(len <= slot.capacity, "buffers of one pool have one size");
            rx.swap_buffer(at, &mut slot.address);
            slot.written = len | if more { MORE } else { 0 };
        }
        self.used += entries;
        self.packets += packets;
        self.exchanged |= entries > 0;
        packets
    }

    /// Publishes the packets with one store and at most one doorbell, and returns how many.
    #[inline]
    pub fn commit(self) -> usize {
        let Self {
            batch,
            owner,
            used: slots,
            packets,
            exchanged,
        } = self;
        if slots > 0 {
            owner.commit(Committed {
                packets,
                slots,
                exchanged,
                batch,
            });
        }
        packets
    }

    /// Takes the next slot for a packet of `len` bytes, if it fits one slot, and returns the
    /// address of at least `len` bytes.
    #[inline(always)]
    fn next_slot(&mut self, len: usize) -> Option<NonNull<u8>> {
        if self.used >= self.batch.free {
            return None;
        }
        let slot = self.batch.slot_mut(self.used);
        if len > slot.capacity as usize || len == 0 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most `capacity`, a u32")]
        let written = len as u32;
        slot.written = written;
        self.used += 1;
        self.packets += 1;
        Some(slot.address)
    }

    fn take(&mut self, slots: usize) -> Result<(), PushError> {
        self.used += slots;
        self.packets += 1;
        Ok(())
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

/// Lays `frame` out over the slots from `used` on, and returns how many it takes.
#[cold]
#[inline(never)]
fn push_chained(batch: &mut TxBatch, used: usize, frame: &[u8]) -> Result<usize, PushError> {
    let mut layout = Layout::new(used);
    layout.append(batch, std::ptr::from_ref(frame))?;
    layout.finish(batch)
}

#[inline(never)]
fn push_pieces(
    batch: &mut TxBatch,
    used: usize,
    packet: &RxPacket<'_>,
) -> Result<usize, PushError> {
    let mut layout = Layout::new(used);
    for piece in packet.pieces() {
        layout.append(batch, piece)?;
    }
    layout.finish(batch)
}

/// Writes one packet in place, over as many slots as it needs. Dropped unfinished, it leaves
/// nothing behind.
#[derive(Debug)]
pub struct PacketWriter<'b, 'q> {
    burst: &'b mut TxBurst<'q>,
    layout: Layout,
}

impl PacketWriter<'_, '_> {
    /// Bytes written so far.
    #[expect(
        clippy::len_without_is_empty,
        reason = "finish refuses an empty packet"
    )]
    #[must_use]
    pub fn len(&self) -> usize {
        self.layout.len
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`PushError`]: the packet cannot be finished then, only dropped.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), PushError> {
        self.layout
            .append(self.burst.batch, std::ptr::from_ref(bytes))
    }

    /// Overwrites bytes that were appended before, such as a checksum. Returns whether the range
    /// lies in what was appended.
    pub fn overwrite(&mut self, offset: usize, bytes: &[u8]) -> bool {
        self.layout.overwrite(self.burst.batch, offset, bytes)
    }

    /// Ends the packet.
    ///
    /// # Errors
    /// [`PushError::Empty`] when nothing was appended.
    pub fn finish(self) -> Result<(), PushError> {
        let taken = self.layout.finish(self.burst.batch)?;
        self.burst.take(taken)
    }
}

/// A packet that is being laid out over free slots.
#[derive(Debug)]
struct Layout {
    /// First slot of the packet, counted in the window.
    first: usize,
    /// Slots taken so far.
    slots: usize,
    /// Bytes left in the last of them.
    room: usize,
    len: usize,
    /// An append failed: the packet is incomplete.
    broken: Option<PushError>,
}

impl Layout {
    fn new(first: usize) -> Self {
        Self {
            first,
            slots: 0,
            room: 0,
            len: 0,
            broken: None,
        }
    }

    /// Appends bytes of private memory, or of a leased packet: both callers pass readable memory.
    fn append(&mut self, batch: &mut TxBatch, piece: *const [u8]) -> Result<(), PushError> {
        let (mut from, mut left) = (piece.cast::<u8>(), piece.len());
        while left > 0 {
            if self.room == 0 {
                self.take_slot(batch, left)
                    .inspect_err(|error| self.broken = Some(*error))?;
            }
            let slot = batch.slot_mut(self.first + self.slots - 1);
            let now = left.min(self.room);
            let at = slot.capacity as usize - self.room;
            // SAFETY: `at + now <= capacity`, which `TxBatch::set_slot` checked to lie in a mapping
            // that the batch keeps alive; `piece` is a borrowed slice, or a piece of a leased
            // packet, which `RxBatch::push` checked in the same way.
            unsafe { copy::copy(slot.address.as_ptr().add(at), from, now) };
            from = from.wrapping_add(now);
            #[expect(clippy::cast_possible_truncation, reason = "at most `capacity`, a u32")]
            let written = (at + now) as u32;
            slot.written = written | MORE;
            self.room -= now;
            self.len += now;
            left -= now;
        }
        Ok(())
    }

    fn take_slot(&mut self, batch: &TxBatch, left: usize) -> Result<(), PushError> {
        if self.slots == batch.chain_max {
            return Err(PushError::TooLong {
                len: self.len + left,
                chain_max: batch.chain_max,
            });
        }
        let at = self.first + self.slots;
        self.room = batch.slot(at).capacity as usize;
        if at >= batch.free || self.room == 0 {
            return Err(PushError::Full);
        }
        self.slots += 1;
        Ok(())
    }

    fn overwrite(&self, batch: &mut TxBatch, mut offset: usize, mut bytes: &[u8]) -> bool {
        if offset
            .checked_add(bytes.len())
            .is_none_or(|end| end > self.len)
        {
            return false;
        }
        for at in self.first..self.first + self.slots {
            let slot = batch.slot(at);
            let len = (slot.written & !MORE) as usize;
            if offset >= len {
                offset -= len;
                continue;
            }
            let (now, later) = bytes.split_at(bytes.len().min(len - offset));
            // SAFETY: `offset + now.len()` is at most what was written, which is at most
            // `capacity`; `now` is private memory.
            unsafe { copy::copy(slot.address.as_ptr().add(offset), now.as_ptr(), now.len()) };
            (bytes, offset) = (later, 0);
        }
        true
    }

    /// Ends the packet and returns how many slots it takes.
    fn finish(&self, batch: &mut TxBatch) -> Result<usize, PushError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let Some(last) = self.slots.checked_sub(1) else {
            return Err(PushError::Empty);
        };
        batch.slot_mut(self.first + last).written &= !MORE;
        Ok(self.slots)
    }
}
