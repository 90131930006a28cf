//! The driver's side of a ring.
#![expect(unsafe_code, reason = "works on raw memory, as drivers do")]
#![expect(clippy::cast_possible_truncation, reason = "positions wrap, words are taken apart")]

use super::{AREA, DEVICE_AREA, DRIVER_AREA, DriverMemory, FRAME_MAX, Format, HEADER, STRIDE};
use crate::raw_ring::{fetch_for_reading, fetch_for_writing};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

/// The WRITE flag of a descriptor.
const WRITE: u64 = 2;
/// Flags of a packed descriptor.
const AVAIL: u64 = 1 << 7;
const USED: u64 = 1 << 15;
/// No notifications, as a split driver says it and as a packed one does.
const SILENT: u16 = 1;

/// One ring of a driver. Positions only grow, modulo 2^32.
#[derive(Debug)]
pub struct Ring {
    format: Format,
    /// Number of descriptors, less one.
    mask: u32,
    /// The device writes the buffers.
    receives: bool,
    /// Descriptors offered so far, and those of them that came back.
    given: u32,
    taken: u32,
    /// Of `given`, those that the device is known to have used. Split rings only.
    used: u32,
    areas: NonNull<u8>,
    /// Where the frames are, by descriptor.
    frames: Box<[NonNull<u8>]>,
    /// Frames with a length that cannot be, or not used in order.
    pub errors: u64,
    _memory: Arc<DriverMemory>,
}

// SAFETY: the pointers lead into `_memory`, which any thread may use.
unsafe impl Send for Ring {}

impl Ring {
    /// Ring `number` of `memory`, whose descriptors lead to buffers that a device writes, if the
    /// driver `receives`; none is offered yet.
    #[must_use]
    pub fn new(memory: &Arc<DriverMemory>, number: usize, format: Format, receives: bool) -> Self {
        let size = memory.extent.size;
        let frame = |slot: u16| {
            let (region, offset) = memory.buffer(number, slot.into());
            let region = &memory.regions[region];
            assert!(offset + STRIDE - 64 <= region.len(), "a buffer outside its region");
            // SAFETY: as asserted, the buffer lies in the region.
            unsafe { NonNull::new_unchecked(region.address().add(offset + HEADER)) }
        };
        assert!((number + 1) * AREA <= memory.regions[0].len(), "a ring outside its region");
        // SAFETY: as asserted, the areas lie in the region.
        let areas =
            unsafe { NonNull::new_unchecked(memory.regions[0].address().add(number * AREA)) };
        let frames = (0..size).map(frame).collect();
        let mask = u32::from(size) - 1;
        let ring = Self {
            format,
            mask,
            receives,
            given: 0,
            taken: 0,
            used: 0,
            areas,
            frames,
            errors: 0,
            _memory: Arc::clone(memory),
        };
        for slot in 0..=mask {
            let [address, rest] = ring.descriptor(slot);
            address.store(memory.guest_address(number, slot as usize), Ordering::Relaxed);
            if format == Format::Split {
                rest.store(ring.room_of_buffer() | ring.write_flag() << 32, Ordering::Relaxed);
                let head = ring.u16_at(DRIVER_AREA + 4 + 2 * slot as usize);
                head.store(slot as u16, Ordering::Relaxed);
            }
        }
        let silent = match format {
            Format::Split => DRIVER_AREA,
            Format::Packed => DRIVER_AREA + 2,
        };
        ring.u16_at(silent).store(SILENT, Ordering::Relaxed);
        ring
    }

    /// Descriptors that can be offered.
    #[must_use]
    #[inline]
    pub fn room(&self) -> usize {
        (self.mask + 1 - self.given.wrapping_sub(self.taken)) as usize
    }

    /// Copies up to `max` frames into buffers and offers them, after taking back what was used.
    /// `next` tells the frames. Returns how many.
    #[inline]
    pub fn send<'f>(&mut self, max: usize, mut next: impl FnMut() -> &'f [u8]) -> usize {
        self.reclaim();
        let count = max.min(self.room());
        let mut len = 0;
        for at in 0..count {
            let frame = next();
            len = frame.len().min(FRAME_MAX);
            let to = self.frame(self.given.wrapping_add(at as u32));
            // SAFETY: a buffer holds FRAME_MAX bytes from there on, and is the driver's now; the
            // device may read it all the same, and gets what it deserves.
            unsafe { to.as_ptr().copy_from_nonoverlapping(frame.as_ptr(), len) };
        }
        self.publish(count, HEADER + len);
        for at in 0..count {
            fetch_for_writing(self.frame(self.given.wrapping_add(at as u32)).as_ptr());
        }
        count
    }

    /// Offers up to `max` buffers to be written, all of each.
    #[inline]
    pub fn offer(&mut self, max: usize) {
        self.publish(max.min(self.room()), HEADER + FRAME_MAX);
    }

    /// Takes up to `max` received frames, copies each to `to`, hands its length and the copy to
    /// `look`, and offers the buffers again. Returns how many.
    #[inline]
    pub fn receive(
        &mut self,
        max: usize,
        to: &mut [u8],
        mut look: impl FnMut(usize, &[u8]),
    ) -> usize {
        let mut count = 0;
        let known = self.used_by(max);
        while count < known {
            let Some(len) = self.next_used(self.taken) else { break };
            let from = self.frame(self.taken);
            fetch_for_reading(self.frame(self.taken.wrapping_add(32)).as_ptr());
            let len = len.saturating_sub(HEADER);
            let copied = len.min(to.len()).min(FRAME_MAX);
            // SAFETY: `copied` bytes lie in the buffer, and fit `to`, which is private.
            unsafe { to.as_mut_ptr().copy_from_nonoverlapping(from.as_ptr(), copied) };
            look(len, to);
            self.taken = self.taken.wrapping_add(1);
            count += 1;
        }
        self.offer(count);
        count
    }

    /// Takes back what the device used, without a look at it: of several in a row the last one speaks
    /// for all.
    #[inline]
    pub fn reclaim(&mut self) {
        if self.format == Format::Split {
            self.taken = self.used_index();
            return;
        }
        while self.taken != self.given {
            let state = self.descriptor(self.taken & self.mask)[1].load(Ordering::Acquire);
            if !self.is_used(self.taken, state) {
                break;
            }
            let id = (state >> 32) as u32 & self.mask;
            self.taken = self.taken.wrapping_add((id.wrapping_sub(self.taken) & self.mask) + 1);
        }
    }

    /// How many of `max` used buffers may be looked at.
    #[inline]
    fn used_by(&mut self, max: usize) -> usize {
        if self.format == Format::Packed {
            return max.min(self.given.wrapping_sub(self.taken) as usize);
        }
        if (self.used.wrapping_sub(self.taken) as usize) < max {
            self.used = self.used_index();
        }
        max.min(self.used.wrapping_sub(self.taken) as usize)
    }

    /// How many bytes the device wrote to the buffer at `position`, if it used it.
    #[inline]
    fn next_used(&mut self, position: u32) -> Option<usize> {
        let slot = position & self.mask;
        let (id, len) = match self.format {
            Format::Split => {
                let at = DEVICE_AREA + 4 + 8 * slot as usize;
                let [id, len] = [at, at + 4].map(|at| self.u32_at(at).load(Ordering::Relaxed));
                (id, len)
            }
            Format::Packed => {
                let state = self.descriptor(slot)[1].load(Ordering::Acquire);
                if !self.is_used(position, state) {
                    return None;
                }
                ((state >> 32) as u32 & 0xffff, state as u32)
            }
        };
        self.errors += u64::from(id != slot);
        Some(len as usize)
    }

    /// Offers the next `count` buffers of `len` bytes, all at once.
    #[inline]
    fn publish(&mut self, count: usize, len: usize) {
        if count == 0 {
            return;
        }
        let first = self.given;
        self.given = first.wrapping_add(count as u32);
        if self.format == Format::Split {
            if !self.receives {
                for at in 0..count as u32 {
                    let [_, rest] = self.descriptor(first.wrapping_add(at) & self.mask);
                    rest.store(len as u64, Ordering::Relaxed);
                }
            }
            self.u16_at(DRIVER_AREA + 2).store(self.given as u16, Ordering::Release);
            return;
        }
        for at in (0..count as u32).rev() {
            let position = first.wrapping_add(at);
            let slot = position & self.mask;
            let owner = if self.turn(position) { AVAIL } else { USED };
            let flags = owner | self.write_flag();
            let state = len as u64 | u64::from(slot) << 32 | flags << 48;
            // The first one comes last, so that all are seen at once.
            self.descriptor(slot)[1].store(state, Ordering::Release);
        }
    }

    /// The used index of a split ring, as a position.
    #[inline]
    fn used_index(&self) -> u32 {
        let index = self.u16_at(DEVICE_AREA + 2).load(Ordering::Acquire);
        self.taken.wrapping_add(index.wrapping_sub(self.taken as u16).into())
    }

    #[inline]
    fn is_used(&self, position: u32, state: u64) -> bool {
        let flags = state >> 48;
        let both = if self.turn(position) { AVAIL | USED } else { 0 };
        flags & (AVAIL | USED) == both
    }

    /// The wrap counter at `position`.
    #[inline]
    fn turn(&self, position: u32) -> bool {
        position & (self.mask + 1) == 0
    }

    fn write_flag(&self) -> u64 {
        if self.receives { WRITE } else { 0 }
    }

    fn room_of_buffer(&self) -> u64 {
        (HEADER + FRAME_MAX) as u64
    }

    #[inline]
    fn frame(&self, position: u32) -> NonNull<u8> {
        self.frames[(position & self.mask) as usize]
    }

    /// The two words of a descriptor.
    #[inline]
    fn descriptor(&self, slot: u32) -> &[AtomicU64; 2] {
        let at = 16 * (slot & self.mask) as usize;
        // SAFETY: less than 16384 bytes behind the beginning of the ring's areas, which `new`
        // checked; the region is mapped as long as `self` lives, and aligned to pages.
        unsafe { self.areas.add(at).cast().as_ref() }
    }

    #[inline]
    fn u16_at(&self, at: usize) -> &AtomicU16 {
        debug_assert!(at + 2 <= AREA && at.is_multiple_of(2));
        // SAFETY: in the ring's areas, as above.
        unsafe { self.areas.add(at).cast().as_ref() }
    }

    #[inline]
    fn u32_at(&self, at: usize) -> &AtomicU32 {
        debug_assert!(at + 4 <= AREA && at.is_multiple_of(4));
        // SAFETY: in the ring's areas, as above.
        unsafe { self.areas.add(at).cast().as_ref() }
    }
}
