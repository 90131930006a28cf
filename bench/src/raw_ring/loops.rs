//! The loops of sender and receiver.

use super::copies::{self, Copy, fetch_for_reading, fetch_for_writing};
use super::{DESCRIPTOR_BYTES, Kernel, Method, RawRing};
use crate::frames::{FramePool, SEQUENCE_AT};
use crate::shared::{Board, Counts};
use std::hint::spin_loop;
use std::sync::atomic::Ordering;

/// Sends, from a pool, until the board says stop.
pub fn send(ring: &RawRing, method: Method, board: &Board) {
    match method.kernel {
        Kernel::None => send_with::<copies::None>(ring, method, board),
        Kernel::Library => send_with::<copies::Library>(ring, method, board),
        #[cfg(target_arch = "x86_64")]
        Kernel::Sse => send_with::<copies::Sse>(ring, method, board),
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx => send_with::<copies::Avx>(ring, method, board),
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512 => send_with::<copies::Avx512>(ring, method, board),
        #[cfg(target_arch = "x86_64")]
        Kernel::Bulk => send_with::<copies::Bulk>(ring, method, board),
        #[cfg(not(target_arch = "x86_64"))]
        _ => send_with::<copies::Library>(ring, method, board),
    }
}

/// Receives until the board says stop.
pub fn receive(ring: &RawRing, method: Method, board: &Board) {
    match method.kernel {
        Kernel::None => receive_with::<copies::None>(ring, method, board),
        Kernel::Library => receive_with::<copies::Library>(ring, method, board),
        #[cfg(target_arch = "x86_64")]
        Kernel::Sse => receive_with::<copies::Sse>(ring, method, board),
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx => receive_with::<copies::Avx>(ring, method, board),
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512 => receive_with::<copies::Avx512>(ring, method, board),
        #[cfg(target_arch = "x86_64")]
        Kernel::Bulk => receive_with::<copies::Bulk>(ring, method, board),
        #[cfg(not(target_arch = "x86_64"))]
        _ => receive_with::<copies::Library>(ring, method, board),
    }
}

/// The pieces of a frame: offset in it and length, one per slot.
fn pieces(ring: &RawRing) -> Vec<(usize, usize)> {
    let shape = ring.shape();
    let starts = (0..shape.frame_len).step_by(shape.stride);
    starts.map(|at| (at, shape.stride.min(shape.frame_len - at))).collect()
}

/// Slots to work on in one go: a whole number of frames.
fn burst_slots(ring: &RawRing, method: Method) -> usize {
    let per_frame = ring.shape().slots_per_frame();
    method.burst.min(ring.shape().slots / 2).next_multiple_of(per_frame)
}

/// What a loop needs to find slots: copies of what [`RawRing`] knows.
#[derive(Clone, Copy)]
pub(super) struct Slots {
    pub(super) descriptors: *mut u8,
    payload: *mut u8,
    pub(super) mask: usize,
    stride: usize,
}

impl Slots {
    pub(super) fn of(ring: &RawRing) -> Self {
        let shape = ring.shape();
        let (descriptors, payload) = (ring.descriptors(), ring.payload());
        Self { descriptors, payload, mask: shape.slots - 1, stride: shape.stride }
    }

    /// Where the payload of slot `at` is.
    pub(super) fn payload(&self, at: usize) -> *const u8 {
        self.payload.wrapping_add((at & self.mask) * self.stride)
    }

    /// Writes slot `at`, after fetching the one `ahead` of it.
    ///
    /// # Safety
    /// The slot is the sender's now, and the mapping lives; `src` is readable for `len` bytes,
    /// rounded up to 64, and `len` is at most the stride.
    #[inline(always)]
    unsafe fn put<K: Copy>(&self, at: usize, src: *const u8, len: usize, method: &Method) {
        let slot = at & self.mask;
        // SAFETY: masked slots and their descriptors lie in the mapping; the rest is the contract.
        unsafe {
            if method.fetch_ahead_tx > 0 {
                let next = (slot + method.fetch_ahead_tx) & self.mask;
                fetch_for_writing(self.payload.add(next * self.stride));
            }
            let dst = self.payload.add(slot * self.stride);
            K::copy(dst, src, len);
            write_len(self.descriptors.add(slot * DESCRIPTOR_BYTES), len);
            if method.demote {
                copies::demote(dst);
            }
        }
    }

    /// Reads slot `at`, after fetching the one `ahead` of it; returns the length that it carries.
    ///
    /// # Safety
    /// The slot is the receiver's now, and the mapping lives; `dst` is writable for `len` bytes,
    /// rounded up to 64, and `len` is at most the stride.
    #[inline(always)]
    unsafe fn take<K: Copy>(&self, at: usize, dst: *mut u8, len: usize, method: &Method) -> usize {
        let slot = at & self.mask;
        // SAFETY: as in `put`.
        unsafe {
            if method.fetch_ahead_rx > 0 {
                let next = (slot + method.fetch_ahead_rx) & self.mask;
                fetch_for_reading(self.payload.add(next * self.stride));
            }
            let got = read_len(self.descriptors.add(slot * DESCRIPTOR_BYTES));
            K::copy(dst, self.payload.add(slot * self.stride), len);
            got
        }
    }
}

fn send_with<K: Copy>(ring: &RawRing, method: Method, board: &Board) {
    let shape = ring.shape();
    let slots = Slots::of(ring);
    let pieces = pieces(ring);
    let burst = burst_slots(ring, method);
    let frames_per_burst = burst / pieces.len();
    let pool = FramePool::new(shape.frame_len, shape.pool_frames);
    let (frames, frame_stride) = pool.raw();
    let pool_mask = shape.pool_frames - 1;
    let (mut head, mut tail, mut frame) = (0u64, 0u64, 0usize);
    // Masked before it is used: what wraps around does no harm.
    let mut at = 0usize;
    board.set_ready();
    while board.may_go_on() {
        while head + burst as u64 > tail + shape.slots as u64 {
            if !board.may_go_on() {
                return;
            }
            spin_loop();
            tail = ring.tail().load(Ordering::Acquire);
        }
        for _ in 0..frames_per_burst {
            // SAFETY: the pool has `pool_frames` frames of `frame_stride` bytes, a multiple of 64;
            // the slots up to `tail + shape.slots` are ours; pieces are no longer than the stride.
            unsafe {
                let src = frames.add(frame * frame_stride);
                if pieces.len() == 1 {
                    slots.put::<K>(at, src, shape.frame_len, &method);
                    at = at.wrapping_add(1);
                } else {
                    for &(offset, len) in &pieces {
                        slots.put::<K>(at, src.add(offset), len, &method);
                        at = at.wrapping_add(1);
                    }
                }
            }
            frame = (frame + 1) & pool_mask;
        }
        K::finish_burst();
        head += burst as u64;
        ring.head().store(head, Ordering::Release);
    }
}

fn receive_with<K: Copy>(ring: &RawRing, method: Method, board: &Board) {
    let shape = ring.shape();
    let slots = Slots::of(ring);
    let pieces = pieces(ring);
    let burst = burst_slots(ring, method) as u64;
    let room = shape.frame_len.next_multiple_of(64);
    let mut buffer = vec![0u8; room + 64].into_boxed_slice();
    let align = buffer.as_ptr().align_offset(64).min(64);
    let buffer = buffer[align..].as_mut_ptr();
    let pool_mask = shape.pool_frames as u64 - 1;
    let checked = method.kernel != Kernel::None;
    let (mut head, mut tail, mut number) = (0u64, 0u64, 0u64);
    // Masked before it is used: what wraps around does no harm.
    let mut at = 0usize;
    let mut counts = Counts::default();
    board.set_ready();
    while board.may_go_on() {
        if head == tail {
            head = ring.head().load(Ordering::Acquire);
            if head == tail {
                spin_loop();
                continue;
            }
        }
        let now = burst.min(head - tail);
        let frames = now / pieces.len() as u64;
        for _ in 0..frames {
            // SAFETY: the slots up to `head` are ours; `buffer` holds a frame, rounded up to 64
            // bytes, which is at least the 64 that a number lies in.
            unsafe {
                if pieces.len() == 1 {
                    let got = slots.take::<K>(at, buffer, shape.frame_len, &method);
                    counts.errors += u64::from(got != shape.frame_len);
                    at = at.wrapping_add(1);
                } else {
                    for &(offset, len) in &pieces {
                        let got = slots.take::<K>(at, buffer.add(offset), len, &method);
                        counts.errors += u64::from(got != len);
                        at = at.wrapping_add(1);
                    }
                }
                if checked {
                    let got = buffer.add(SEQUENCE_AT).cast::<u64>().read_volatile();
                    counts.errors += u64::from(got != number);
                    number = (number + 1) & pool_mask;
                }
            }
        }
        K::finish_burst();
        tail += now;
        ring.tail().store(tail, Ordering::Release);
        counts.packets += frames;
        counts.bytes = counts.packets * shape.frame_len as u64;
        board.publish(&counts);
    }
}

/// # Safety
/// `at` is an aligned descriptor that only we may touch now.
#[inline(always)]
pub(super) unsafe fn write_len(at: *mut u8, len: usize) {
    // SAFETY: the caller's contract. Volatile: another process reads it.
    unsafe { at.cast::<u64>().write_volatile(len as u64) }
}

/// # Safety
/// `at` is an aligned descriptor that only we may touch now.
#[inline(always)]
pub(super) unsafe fn read_len(at: *const u8) -> usize {
    // SAFETY: the caller's contract. Volatile: another process writes it.
    let len = unsafe { at.cast::<u64>().read_volatile() };
    // No loss: what does not fit is no length that we wrote.
    usize::try_from(len).unwrap_or(usize::MAX)
}
