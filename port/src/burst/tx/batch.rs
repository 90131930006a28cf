//! The storage behind transmit bursts, as a protocol sees it.
#![expect(unsafe_code, reason = "slots hold addresses in shared memory")]

mod headed;

use crate::burst::{Piece, Shape};
use crate::copy;
use crate::error::QueueError;
use crate::offload::{Accepts, Offload};
use crate::shm::Regions;
use headed::Fronts;
pub use headed::WrittenRange;
use std::ptr::NonNull;
use std::sync::Arc;

/// The buffer of one slot of the window.
#[derive(Debug, Clone, Copy)]
pub(super) struct TxSlot {
    /// `capacity` bytes from here lie in a mapping of the batch's regions: see
    /// [`TxBatch::reserve`].
    pub(super) address: NonNull<u8>,
    /// Its region, and its capacity as the length.
    holds: Shape,
    /// What was written to it.
    written: Shape,
}

impl TxSlot {
    const NONE: Self =
        Self { address: NonNull::dangling(), holds: Shape::EMPTY, written: Shape::EMPTY };

    #[inline(always)]
    pub(super) fn capacity(&self) -> usize {
        self.holds.len() as usize
    }

    /// Notes that `len` bytes were written.
    #[inline(always)]
    pub(super) fn set_written(&mut self, len: u32, more: bool) {
        self.written = Shape::new(self.holds.region(), len, more);
    }

    /// Exchanges the buffer for another that holds `written`; of that one no more was checked.
    pub(super) fn exchange(&mut self, written: Shape) -> &mut NonNull<u8> {
        (self.holds, self.written) = (written, written);
        &mut self.address
    }

    /// Starts to count what is written to it.
    pub(super) fn start(&mut self) {
        self.set_written(0, true);
    }

    /// Notes that the packet ends here.
    pub(super) fn set_last(&mut self) {
        self.set_written(self.written.len(), false);
    }

    #[inline(always)]
    pub(super) fn written(&self) -> usize {
        self.written.len() as usize
    }
}

/// The storage behind a transmit queue's bursts: where the buffers of the next free slots are, and
/// what was written to them. The queue's protocol reserves a window of free slots and publishes those
/// that were written; users see it as a [`TxBurst`](super::TxBurst).
///
/// It is as small as a burst on purpose. A sender lives from having many lines of its peer under way
/// at once; a table by slot of the ring would compete with them for the first-level cache.
#[derive(Debug)]
pub struct TxBatch {
    pub(super) regions: Arc<Regions>,
    /// The window, in its front: `free` slots.
    slots: Box<[TxSlot]>,
    pub(super) free: usize,
    /// Most slots that one packet may take.
    pub(super) chain_max: usize,
    pub(super) exchangeable: bool,
    /// By the first slot of a packet; absent in a protocol without offloads.
    pub(super) offloads: Option<Box<[Offload]>>,
    /// What packets may ask of those.
    pub(super) accepts: Accepts,
    /// Packets whose offloads were done in software. Here and not in the burst, which would have to
    /// begin with a zero each time.
    pub(super) finished_ever: usize,
    /// What is kept free for headers, and which slots make up one buffer.
    fronts: Fronts,
}

// SAFETY: the addresses in `slots` point into mappings that `regions` keeps alive, whichever
// thread owns the batch.
unsafe impl Send for TxBatch {}

impl TxBatch {
    /// Storage for bursts of up to `burst_max` slots in `regions`, of which at most `chain_max` a
    /// packet.
    #[must_use]
    pub fn new(regions: Arc<Regions>, burst_max: usize, chain_max: usize) -> Self {
        Self {
            regions,
            slots: vec![TxSlot::NONE; burst_max].into(),
            free: 0,
            chain_max,
            exchangeable: false,
            offloads: None,
            accepts: Accepts::default(),
            finished_ever: 0,
            fronts: Fronts::default(),
        }
    }

    /// Gives each packet offload metadata, for a protocol that carries it. Packets that ask for
    /// what is not in `accepts` are refused.
    #[must_use]
    pub fn with_offloads(mut self, accepts: Accepts) -> Self {
        self.accepts = accepts;
        self.offloads = Some(vec![Offload::default(); self.slots.len()].into());
        self
    }

    /// The metadata of the packet that starts with slot number `at` of the window.
    #[must_use]
    pub fn offload(&self, at: usize) -> Offload {
        let offloads = self.offloads.as_deref();
        offloads.and_then(|o| o.get(at)).copied().unwrap_or_default()
    }

    /// Allows [`TxBurst::exchange`](super::TxBurst::exchange): for queues whose slots may be given
    /// other buffers of the same size.
    #[must_use]
    pub fn exchangeable(mut self) -> Self {
        self.exchangeable = true;
        self
    }

    /// Most slots of one burst.
    #[must_use]
    #[inline]
    pub fn burst_max(&self) -> usize {
        self.slots.len()
    }

    /// Forgets the window.
    #[inline]
    pub fn clear(&mut self) {
        self.free = 0;
    }

    /// Forgets the metadata of the packets of the window before.
    #[cold]
    fn forget_offloads(&mut self) {
        if let Some(offloads) = self.offloads.as_deref_mut() {
            offloads[..self.free].fill(Offload::default());
        }
    }

    /// Reserves a window of free slots whose buffers are `buffers`: the length of each is what it
    /// holds, and nothing is kept free for headers. Those beyond [`burst_max`](Self::burst_max) are left out.
    ///
    /// # Errors
    /// When a buffer does not lie in its region, or is empty. No slot is reserved then.
    #[inline(always)]
    pub fn reserve(&mut self, buffers: impl Iterator<Item = Piece>) -> Result<(), QueueError> {
        let Self { regions, slots, fronts, .. } = self;
        // First, in case that `buffers` panics: what is in the slots then has nothing in front.
        fronts.none();
        let mut alike = regions.alike();
        let mut free = 0;
        for (slot, buffer) in slots.iter_mut().zip(buffers) {
            let Some(address) = alike.locate(&buffer) else {
                self.free = 0;
                return Err(regions.refuse(&buffer));
            };
            (slot.address, slot.holds) = (address, buffer.shape);
            free += 1;
        }
        self.free = free;
        if self.offloads.is_some() {
            self.forget_offloads();
        }
        Ok(())
    }

    /// Fetches the first lines of `offsets` in `region`, where the buffers of the next burst
    /// probably are: any number will do. Done between publishing and the fence before a doorbell,
    /// the time that this takes and the time that the fence takes overlap.
    #[inline(always)]
    pub fn fetch_ahead(&self, region: u16, offsets: impl Iterator<Item = u64>) {
        let Some(mapping) = self.regions.mapping(region) else { return };
        let base = mapping.base().as_ptr();
        for offset in offsets {
            copy::prefetch_write(base.wrapping_add(usize::try_from(offset).unwrap_or(0)));
        }
    }

    /// Offset in its region of the buffer of slot number `at` of the window, for an owner whose
    /// buffers were exchanged.
    #[must_use]
    pub fn offset(&self, at: usize) -> Option<u64> {
        let slot = self.slots.get(at)?;
        self.regions.offset_of(slot.holds.region(), slot.address)
    }

    /// Slot number `at` of the window, if it was reserved.
    #[inline(always)]
    pub(super) fn free_slot(&mut self, at: usize) -> Option<&mut TxSlot> {
        self.slots.get_mut(at).filter(|_| at < self.free)
    }

    /// The slots of the window.
    pub(super) fn free_slots(&self) -> &[TxSlot] {
        self.slots.get(..self.free).unwrap_or_default()
    }

    /// Slot number `at` of the window.
    #[inline(always)]
    pub(super) fn slot_mut(&mut self, at: usize) -> &mut TxSlot {
        &mut self.slots[at]
    }
}

/// The side of a transmit queue that publishes slots.
pub trait CommitTx {
    /// Publishes the written slots with one store, and rings the doorbell if the peer wants it.
    fn commit(&mut self, committed: Committed<'_>);

    /// The burst ends, and nothing is published.
    fn end(&mut self) {}
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
    /// What was written to each slot, in order.
    #[inline(always)]
    pub fn shapes(&self) -> impl Iterator<Item = Shape> + '_ {
        self.batch.slots[..self.slots].iter().map(|slot| slot.written)
    }
}
