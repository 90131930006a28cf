//! Round trips of one frame through two raw rings.

use super::copies::{self, Copy};
use super::loops::{Slots, read_len, write_len};
use super::{DESCRIPTOR_BYTES, RawRing};
use crate::frames::{FramePool, SEQUENCE_AT};
use crate::shared::{Board, Counts};
use std::hint::spin_loop;
use std::sync::atomic::Ordering;

/// Sends a frame from a pool on `there`, waits until it is `back`, copies it out, and so on. Both
/// rings have the same shape, with a slot for a whole frame.
pub fn ping_frames(there: &RawRing, back: &RawRing, board: &Board) {
    let shape = there.shape();
    let pool = FramePool::new(shape.frame_len, shape.pool_frames);
    let mut buffer = vec![0u8; shape.frame_len.next_multiple_of(64)];
    let mut counts = Counts::default();
    let mut at = 0;
    board.set_ready();
    while board.may_go_on() {
        let frame = pool.frame(at);
        // SAFETY: the frame before this one is back, so the ring is empty and this slot ours; a pool
        // has room behind each frame up to a multiple of 64 bytes.
        unsafe { put(there, at, frame.as_ptr(), frame.len()) };
        if !wait(back, at, board) {
            return;
        }
        // SAFETY: the slot was published; the buffer holds a frame, rounded up to 64 bytes.
        let len = unsafe { take(back, at, buffer.as_mut_ptr(), shape.frame_len) };
        let same = frame[SEQUENCE_AT..SEQUENCE_AT + 8] == buffer[SEQUENCE_AT..SEQUENCE_AT + 8];
        counts.errors += u64::from(len != shape.frame_len || !same);
        counts.packets += 1;
        board.publish(&counts);
        at += 1;
    }
}

/// The other side of [`ping_frames`]: copies each frame from ring to ring.
pub fn pong_frames(there: &RawRing, back: &RawRing, board: &Board) {
    let len = there.shape().frame_len;
    let slots = Slots::of(there);
    board.set_ready();
    for at in 0.. {
        if !wait(there, at, board) {
            return;
        }
        // SAFETY: the slot was published, and the same slot of the other ring is free: the frame
        // before this one was taken from it. Slots have room up to a multiple of 64 bytes.
        unsafe { put(back, at, slots.payload(at), len) };
        there.tail().store(at as u64 + 1, Ordering::Release);
    }
}

/// Writes slot `at` and publishes it.
///
/// # Safety
/// The slot is ours; `from` is readable for `len` bytes, rounded up to 64.
unsafe fn put(ring: &RawRing, at: usize, from: *const u8, len: usize) {
    let slots = Slots::of(ring);
    // SAFETY: masked slots and their descriptors lie in the mapping; the rest is the contract.
    unsafe {
        copies::Library::copy(slots.payload(at).cast_mut(), from, len);
        write_len(slots.descriptors.add((at & slots.mask) * DESCRIPTOR_BYTES), len);
    }
    ring.head().store(at as u64 + 1, Ordering::Release);
}

/// Copies slot `at` out, gives it back, and returns its length.
///
/// # Safety
/// The slot is ours; `to` is writable for `len` bytes, rounded up to 64.
unsafe fn take(ring: &RawRing, at: usize, to: *mut u8, len: usize) -> usize {
    let slots = Slots::of(ring);
    // SAFETY: as in `put`.
    let got = unsafe {
        copies::Library::copy(to, slots.payload(at), len);
        read_len(slots.descriptors.add((at & slots.mask) * DESCRIPTOR_BYTES))
    };
    ring.tail().store(at as u64 + 1, Ordering::Release);
    got
}

/// Polls until slot `at` is published; `false` when the board says stop first.
fn wait(ring: &RawRing, at: usize, board: &Board) -> bool {
    while ring.head().load(Ordering::Acquire) <= at as u64 {
        if !board.may_go_on() {
            return false;
        }
        spin_loop();
    }
    true
}
