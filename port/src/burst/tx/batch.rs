//! The storage behind transmit bursts, as a protocol sees it.
#![expect(unsafe_code, reason = "slots hold addresses in shared memory")]

use crate::burst::{Piece, Shape};
use crate::copy;
use crate::error::QueueError;
use crate::offload::Offload;
use crate::shm::Regions;
use std::ptr::NonNull;
use std::sync::Arc;

/// The buffer of one slot of a transmit ring.
#[derive(Debug, Clone, Copy)]
pub(super) struct TxSlot {
    /// `capacity` bytes from here lie in a mapping of the batch's regions: see
    /// [`TxBatch::set_slot`].
    pub(super) address: NonNull<u8>,
    pub(super) capacity: u32,
    pub(super) region: u16,
}

/// The storage of a transmit queue's bursts: where the buffer of each slot is, and what was written
/// to it. The queue's protocol offers windows of free slots and publishes those that were written;
/// users see it as a [`TxBurst`](super::TxBurst).
#[derive(Debug)]
pub struct TxBatch {
    pub(super) regions: Arc<Regions>,
    /// By slot: `mask + 1` of them, a power of two.
    slots: Box<[TxSlot]>,
    /// What was written, by slot, apart from the buffers: committing reads it alone.
    shapes: Box<[Shape]>,
    mask: usize,
    /// The window on offer: `free` slots from `first` on, wrapping.
    pub(super) first: usize,
    pub(super) free: usize,
    /// Slots at the front of the next window whose lines were fetched already.
    fetched: usize,
    /// Most slots of one burst.
    burst_max: usize,
    /// Most slots that one packet may take.
    pub(super) chain_max: usize,
    pub(super) exchangeable: bool,
    /// By the first slot of a packet; absent in a protocol without offloads.
    pub(super) offloads: Option<Box<[Offload]>>,
}

// SAFETY: the addresses in `slots` point into mappings that `regions` keeps alive, whichever
// thread owns the batch.
unsafe impl Send for TxBatch {}

impl TxBatch {
    /// Storage for a ring of `ring_size` slots (a power of two) in `regions`, for bursts of up to
    /// `burst_max` slots and at most `chain_max` a packet. No slot has a buffer yet.
    #[must_use]
    pub fn new(regions: Arc<Regions>, ring_size: u16, burst_max: usize, chain_max: usize) -> Self {
        assert!(ring_size.is_power_of_two(), "ring size {ring_size} is no power of two");
        let none = TxSlot { address: NonNull::dangling(), capacity: 0, region: 0 };
        Self {
            regions,
            slots: vec![none; usize::from(ring_size)].into(),
            shapes: vec![Shape::default(); usize::from(ring_size)].into(),
            mask: usize::from(ring_size) - 1,
            first: 0,
            free: 0,
            fetched: 0,
            burst_max: burst_max.min(usize::from(ring_size)),
            chain_max,
            exchangeable: false,
            offloads: None,
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
        offloads.and_then(|o| o.get(usize::from(slot))).copied().unwrap_or_default()
    }

    /// Allows [`TxBurst::exchange`](super::TxBurst::exchange): for queues whose slots may be given other buffers of the same
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
        let piece = Piece { offset, shape: Shape::new(region, capacity, false) };
        let address = self.regions.locate(&piece)?;
        let at = usize::from(slot).wrapping_sub(self.first);
        *self.slot_mut(at) = TxSlot { address, capacity, region };
        Ok(())
    }

    /// Offers `count` slots from `first` on. Each must have been given a buffer; one that was not
    /// takes no bytes.
    #[inline]
    pub fn offer(&mut self, first: u16, count: u16) {
        self.first = usize::from(first);
        self.free = usize::from(count).min(self.burst_max);
        for at in self.fetched..self.free {
            copy::prefetch_write(self.slot(at).address.as_ptr());
        }
        self.fetched = 0;
    }

    /// Fetches the lines of the `count` slots behind the first `committed` ones of the window, those
    /// that the next burst will probably get. Done between publishing and the fence before a
    /// doorbell, the time that this takes and the time that the fence takes overlap.
    #[inline]
    pub fn fetch_ahead(&mut self, committed: usize, count: usize) {
        for at in committed..committed + count {
            copy::prefetch_write(self.slot(at).address.as_ptr());
        }
        self.fetched = count;
    }

    /// The first `count` entries of the window in a table by slot: those up to the end of the ring,
    /// and those behind the wrap.
    #[inline]
    fn window<'t, T>(&self, table: &'t [T], count: usize) -> (&'t [T], &'t [T]) {
        let (before, from) = table.split_at(self.first & self.mask);
        let count = count.min(table.len());
        (&from[..count.min(from.len())], &before[..count.saturating_sub(from.len())])
    }

    /// Offset in its region of the buffer of `slot`, for an owner whose buffers were exchanged.
    #[must_use]
    pub fn offset(&self, slot: u16) -> Option<u64> {
        let slot = self.slots.get(usize::from(slot))?;
        self.regions.offset_of(slot.region, slot.address)
    }

    /// Slot number `at` of the window.
    #[inline(always)]
    pub(super) fn slot(&self, at: usize) -> &TxSlot {
        let slot = self.first.wrapping_add(at) & self.mask;
        // SAFETY: `new` made `mask + 1` slots, and neither changes.
        unsafe { self.slots.get_unchecked(slot) }
    }

    #[inline(always)]
    pub(super) fn slot_mut(&mut self, at: usize) -> &mut TxSlot {
        let slot = self.first.wrapping_add(at) & self.mask;
        // SAFETY: `new` made `mask + 1` slots, and neither changes.
        unsafe { self.slots.get_unchecked_mut(slot) }
    }

    /// What was written to slot number `at` of the window.
    #[inline(always)]
    pub(super) fn shape_mut(&mut self, at: usize) -> &mut Shape {
        let slot = self.first.wrapping_add(at) & self.mask;
        // SAFETY: `new` made `mask + 1` shapes, and neither changes.
        unsafe { self.shapes.get_unchecked_mut(slot) }
    }
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
    pub batch: &'a mut TxBatch,
}

impl Committed<'_> {
    /// Tells what each written slot's descriptor must say, in order.
    #[inline(always)]
    pub fn for_each_written(&self, mut write: impl FnMut(u16, Shape)) {
        let (front, wrapped) = self.batch.window(&self.batch.shapes, self.slots);
        let mut at = self.batch.first;
        for run in [front, wrapped] {
            for &shape in run {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "a ring has at most 2^15 slots"
                )]
                let slot = (at & self.batch.mask) as u16;
                write(slot, shape);
                at += 1;
            }
        }
    }
}
