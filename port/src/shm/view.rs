//! Typed views of shared memory: index words, descriptor tables, and the set of regions that
//! descriptors point into. Each is checked once, when it is made; none can leave its mapping.
#![expect(unsafe_code, reason = "the views turn checked offsets into addresses in shared memory")]

use super::Mapping;
use crate::burst::{Piece, Shape};
use crate::error::QueueError;
use crate::sync::{AtomicU16, Ordering};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A view would lie outside its mapping, or be misaligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{bytes} bytes at offset {offset} do not fit a mapping of {mapping_len} bytes, or not its alignment of {align}"
)]
pub struct OutOfRange {
    /// Offset asked for, in bytes.
    pub offset: u64,
    /// Bytes asked for.
    pub bytes: u64,
    /// Length of the mapping, in bytes.
    pub mapping_len: u64,
    /// Alignment that the view needs, in bytes.
    pub align: u64,
}

/// Checks that `bytes` bytes at `offset` lie in `mapping` with `align`, and returns their address.
pub(super) fn locate(
    mapping: &Mapping,
    offset: u64,
    bytes: u64,
    align: u64,
) -> Result<NonNull<u8>, OutOfRange> {
    let mapping_len = mapping.len() as u64;
    let refused = OutOfRange { offset, bytes, mapping_len, align };
    let end = offset.checked_add(bytes).ok_or(refused)?;
    if end > mapping_len || !offset.is_multiple_of(align) {
        return Err(refused);
    }
    let offset = usize::try_from(offset).map_err(|_| refused)?;
    // SAFETY: `offset <= mapping_len` was checked above, so the address stays in the mapping or at
    // its end. The base of a mapping is page aligned, so `offset`'s alignment is the address's.
    Ok(unsafe { mapping.base().add(offset) })
}

/// A 16-bit word in shared memory: an index, or flags.
#[derive(Debug, Clone)]
pub struct SharedU16 {
    word: NonNull<AtomicU16>,
    _mapping: Arc<Mapping>,
}

// SAFETY: the word is only accessed atomically and stays mapped while `_mapping` lives.
unsafe impl Send for SharedU16 {}
// SAFETY: as above.
unsafe impl Sync for SharedU16 {}

impl SharedU16 {
    /// The word at `offset` bytes.
    ///
    /// # Errors
    /// [`OutOfRange`] when it is outside the mapping or not aligned to 2 bytes.
    pub fn new(mapping: &Arc<Mapping>, offset: u64) -> Result<Self, OutOfRange> {
        let word = locate(mapping, offset, 2, 2)?.cast();
        Ok(Self { word, _mapping: Arc::clone(mapping) })
    }

    /// The word, for the functions of [`ring`](crate::ring).
    #[must_use]
    #[inline]
    pub fn atomic(&self) -> &AtomicU16 {
        // SAFETY: `new` checked range and alignment, `_mapping` keeps the memory mapped as long as
        // the reference lives, and memory behind an atomic may be changed by anyone.
        unsafe { self.word.as_ref() }
    }

    /// Writes the word before the peer knows of it, or where order does not matter.
    pub fn set(&self, value: u16) {
        self.atomic().store(value, Ordering::Relaxed);
    }
}

/// A 32-bit word in shared memory, for values read at set-up.
///
/// # Errors
/// [`OutOfRange`] when it is outside the mapping or not aligned to 4 bytes.
pub fn read_u32(mapping: &Mapping, offset: u64) -> Result<u32, OutOfRange> {
    let word = locate(mapping, offset, 4, 4)?.cast::<std::sync::atomic::AtomicU32>();
    // SAFETY: `locate` checked range and alignment; the borrow of `mapping` keeps it mapped.
    Ok(unsafe { word.as_ref() }.load(Ordering::Relaxed))
}

/// Writes a 32-bit word in shared memory at set-up.
///
/// # Errors
/// [`OutOfRange`] when it is outside the mapping or not aligned to 4 bytes.
pub fn write_u32(mapping: &Mapping, offset: u64, value: u32) -> Result<(), OutOfRange> {
    let word = locate(mapping, offset, 4, 4)?.cast::<std::sync::atomic::AtomicU32>();
    // SAFETY: as in `read_u32`.
    unsafe { word.as_ref() }.store(value, Ordering::Relaxed);
    Ok(())
}

/// A table of 16-byte descriptors in shared memory. Slots are masked, so no access can leave it.
#[derive(Debug, Clone)]
pub struct DescTable {
    first: NonNull<[AtomicU64; 2]>,
    mask: u16,
    _mapping: Arc<Mapping>,
}

// SAFETY: entries are only accessed atomically and stay mapped while `_mapping` lives.
unsafe impl Send for DescTable {}
// SAFETY: as above.
unsafe impl Sync for DescTable {}

impl DescTable {
    /// The table of `slots` descriptors (a power of two) at `offset` bytes.
    ///
    /// # Errors
    /// [`OutOfRange`] when it leaves the mapping, is not aligned to 16 bytes, or `slots` is no
    /// power of two.
    pub fn new(mapping: &Arc<Mapping>, offset: u64, slots: u16) -> Result<Self, OutOfRange> {
        let bytes = u64::from(slots) * 16;
        let first = locate(mapping, offset, bytes, 16)?.cast();
        if !slots.is_power_of_two() {
            let mapping_len = mapping.len() as u64;
            return Err(OutOfRange { offset, bytes, mapping_len, align: 16 });
        }
        Ok(Self { first, mask: slots - 1, _mapping: Arc::clone(mapping) })
    }

    /// The descriptor at `slot`, as two little-endian words, each read once.
    #[must_use]
    #[inline]
    pub fn load(&self, slot: u16) -> [u64; 2] {
        self.view().load(slot)
    }

    /// The table to read in a loop, whose place and size stay in registers.
    #[must_use]
    #[inline(always)]
    pub fn view(&self) -> DescView<'_> {
        DescView { first: self.first, mask: self.mask, table: PhantomData }
    }

    /// Writes the descriptor at `slot`.
    #[inline]
    pub fn store(&self, slot: u16, words: [u64; 2]) {
        self.view().store(slot, words);
    }

    /// Writes the first 8 bytes of the descriptor at `slot`.
    #[inline]
    pub fn store_low(&self, slot: u16, low: u64) {
        self.entry(slot)[0].store(low.to_le(), Ordering::Relaxed);
    }

    /// Hints that `count` descriptors from `slot` on will be read soon.
    #[inline]
    pub fn prefetch_read(&self, slot: u16, count: u16) {
        self.each_line(slot, count, crate::copy::prefetch_read);
    }

    /// Hints that `count` descriptors from `slot` on will be written soon. A side that reads
    /// descriptors and then writes them takes each line over once instead of twice.
    #[inline]
    pub fn prefetch_write(&self, slot: u16, count: u16) {
        self.each_line(slot, count, crate::copy::prefetch_write);
    }

    #[inline(always)]
    fn each_line(&self, slot: u16, count: u16, fetch: impl Fn(*const u8)) {
        const PER_LINE: usize = 4;
        for at in (0..count).step_by(PER_LINE) {
            fetch(std::ptr::from_ref(self.entry(slot.wrapping_add(at))).cast());
        }
    }

    #[inline(always)]
    fn entry(&self, slot: u16) -> &[AtomicU64; 2] {
        self.view().entry(slot)
    }
}

/// See [`DescTable::view`].
#[derive(Debug, Clone, Copy)]
pub struct DescView<'t> {
    first: NonNull<[AtomicU64; 2]>,
    mask: u16,
    table: PhantomData<&'t DescTable>,
}

impl<'t> DescView<'t> {
    /// The descriptor at `slot`, as two little-endian words, each read once.
    #[must_use]
    #[inline(always)]
    pub fn load(&self, slot: u16) -> [u64; 2] {
        let [low, high] = self.entry(slot);
        [u64::from_le(low.load(Ordering::Relaxed)), u64::from_le(high.load(Ordering::Relaxed))]
    }

    /// Writes the descriptor at `slot`.
    #[inline(always)]
    pub fn store(&self, slot: u16, [low, high]: [u64; 2]) {
        let entry = self.entry(slot);
        entry[0].store(low.to_le(), Ordering::Relaxed);
        entry[1].store(high.to_le(), Ordering::Relaxed);
    }

    #[inline(always)]
    fn entry(&self, slot: u16) -> &'t [AtomicU64; 2] {
        // SAFETY: `DescTable::new` checked that `mask + 1` entries lie in the mapping, aligned to 16
        // bytes, and the slot is masked. The table keeps them mapped while it is borrowed.
        unsafe { self.first.add(usize::from(slot & self.mask)).as_ref() }
    }
}

/// The regions that the descriptors of a link may point into, by index.
#[derive(Debug)]
pub struct Regions {
    /// Base and length of each mapping: one cache line serves four regions.
    ranges: Box<[(NonNull<u8>, u64)]>,
    mappings: Box<[Arc<Mapping>]>,
}

// SAFETY: the bases are only turned into addresses of the mappings, which are Send and Sync and
// kept alive by `mappings`.
unsafe impl Send for Regions {}
// SAFETY: as above.
unsafe impl Sync for Regions {}

impl Regions {
    /// The set of `mappings`, in the order of their indices.
    #[must_use]
    pub fn new(mappings: Vec<Arc<Mapping>>) -> Self {
        crate::copy::detect();
        let ranges = mappings.iter().map(|m| (m.base(), m.len() as u64)).collect();
        Self { ranges, mappings: mappings.into() }
    }

    /// How many regions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The mapping of a region.
    #[must_use]
    pub fn mapping(&self, region: u16) -> Option<&Arc<Mapping>> {
        self.mappings.get(usize::from(region))
    }

    /// The ranges, for a loop that looks many pieces up.
    #[inline(always)]
    pub(crate) fn ranges(&self) -> Ranges<'_> {
        let (base, len) = self.ranges.first().copied().unwrap_or((NonNull::dangling(), 0));
        Ranges { all: &self.ranges, region: 0, base, len }
    }

    /// A look-up of many pieces of the same size.
    #[inline(always)]
    pub(crate) fn alike(&self) -> Alike<'_> {
        Alike { all: &self.ranges, shape: None, base: NonNull::dangling(), last: 0 }
    }

    /// Copies the `to.len()` bytes at `offset` in `region` out, or nothing when they are not all in
    /// the region. For the few bytes of a header or a table; packets come in bursts.
    #[must_use]
    pub fn read(&self, region: u16, offset: u64, to: &mut [u8]) -> Option<()> {
        let len = u32::try_from(to.len()).ok()?;
        if len == 0 {
            return Some(());
        }
        let from = self.ranges().locate(&Piece::alone(offset, Shape::new(region, len, false)))?;
        // SAFETY: `locate` checked that `len` bytes from there lie in a mapping that `self` keeps
        // alive.
        unsafe { crate::copy::out(to, from.as_ptr()) };
        Some(())
    }

    /// Offset of an address that was located in `region`.
    pub(crate) fn offset_of(&self, region: u16, address: NonNull<u8>) -> Option<u64> {
        let &(base, region_len) = self.ranges.get(usize::from(region))?;
        let offset = (address.as_ptr() as u64).checked_sub(base.as_ptr() as u64)?;
        (offset < region_len).then_some(offset)
    }

    /// Says what is wrong with a piece.
    #[cold]
    pub(crate) fn refuse(&self, piece: &Piece) -> QueueError {
        let (region, len, offset) = (piece.shape.region(), piece.shape.len(), piece.offset);
        let Some(&(_, region_len)) = self.ranges.get(usize::from(region)) else {
            let count = u16::try_from(self.ranges.len()).unwrap_or(u16::MAX);
            return QueueError::UnknownRegion { region, count };
        };
        match len {
            0 => QueueError::EmptyDescriptor,
            _ => QueueError::OutOfBounds { region, offset, len, region_len },
        }
    }
}

/// A look-up of many pieces in a set of regions, which outlives it. It remembers the region of the
/// piece before, which is mostly that of the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ranges<'r> {
    all: &'r [(NonNull<u8>, u64)],
    /// The region that `base` and `len` belong to.
    region: u16,
    base: NonNull<u8>,
    len: u64,
}

impl Ranges<'_> {
    /// An address to fetch ahead: `offset` in the region of the piece before. It may be anywhere.
    #[inline(always)]
    pub(crate) fn hint(&self, offset: u64) -> *const u8 {
        #[expect(clippy::cast_possible_truncation, reason = "any address will do")]
        let offset = offset as usize;
        self.base.as_ptr().wrapping_add(offset)
    }

    /// The address of a piece: all of it lies in the mapping of its region, and it is not empty.
    #[inline(always)]
    pub(crate) fn locate(&mut self, piece: &Piece) -> Option<NonNull<u8>> {
        let region = piece.shape.region();
        if region != self.region {
            (self.base, self.len) = *self.all.get(usize::from(region))?;
            self.region = region;
        }
        let len = u64::from(piece.shape.len());
        if len == 0 || piece.offset.saturating_add(len) > self.len {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "less than the length of a mapping")]
        let offset = piece.offset as usize;
        // SAFETY: `offset + len <= self.len` was checked above, and `self.len` is the length of the
        // mapping that starts at `base`: both come from one entry of `all`.
        Some(unsafe { self.base.add(offset) })
    }
}

/// A look-up of many pieces, mostly with the same region and length as the one before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Alike<'r> {
    all: &'r [(NonNull<u8>, u64)],
    /// What `base` and `last` belong to.
    shape: Option<Shape>,
    base: NonNull<u8>,
    /// The last offset at which such a piece lies in the region.
    last: u64,
}

impl Alike<'_> {
    /// See [`Ranges::locate`].
    #[inline(always)]
    pub(crate) fn locate(&mut self, piece: &Piece) -> Option<NonNull<u8>> {
        if self.shape != Some(piece.shape) {
            self.change(piece.shape)?;
        }
        if piece.offset > self.last {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "less than the length of a mapping")]
        let offset = piece.offset as usize;
        // SAFETY: `offset <= self.last`, behind which at least the piece's length is left of the
        // mapping that starts at `base`.
        Some(unsafe { self.base.add(offset) })
    }

    fn change(&mut self, shape: Shape) -> Option<()> {
        let &(base, region_len) = self.all.get(usize::from(shape.region()))?;
        let last = region_len.checked_sub(shape.len().into()).filter(|_| !shape.is_empty())?;
        (self.shape, self.base, self.last) = (Some(shape), base, last);
        Some(())
    }
}
