//! Copies for machines without a kernel of their own, and for Miri: shared memory is accessed by
//! relaxed atomics, in words where these are aligned, and private memory as usual.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// Bytes that take the way from shared to shared memory at a time.
const BLOCK: usize = 256;

/// A word of private memory, aligned or not.
type Word = [u8; size_of::<u64>()];

/// See [`super::out`], whose contract this is.
///
/// # Safety
/// As [`super::out`].
pub(super) unsafe fn out(to: &mut [u8], from: *const u8) {
    let unaligned = bytes_to_a_word(from).min(to.len());
    let (head, rest) = to.split_at_mut(unaligned);
    let (words, tail) = rest.as_chunks_mut::<{ size_of::<Word>() }>();
    let from_words = from.wrapping_add(unaligned);
    let from_tail = from_words.wrapping_add(size_of_val(words));
    // SAFETY: the caller's bytes in three parts, of which the one in words is aligned unless empty.
    unsafe {
        bytes_out(head, from);
        words_out(words, from_words.cast());
        bytes_out(tail, from_tail);
    }
}

/// See [`super::put`], whose contract this is.
///
/// # Safety
/// As [`super::put`].
pub(super) unsafe fn put(to: *mut u8, from: &[u8]) {
    let unaligned = bytes_to_a_word(to).min(from.len());
    let (head, rest) = from.split_at(unaligned);
    let (words, tail) = rest.as_chunks::<{ size_of::<Word>() }>();
    let to_words = to.wrapping_add(unaligned);
    let to_tail = to_words.wrapping_add(size_of_val(words));
    // SAFETY: the caller's bytes in three parts, of which the one in words is aligned unless empty.
    unsafe {
        put_bytes(to, head);
        put_words(to_words.cast(), words);
        put_bytes(to_tail, tail);
    }
}

/// See [`super::holds`], whose contract this is.
///
/// # Safety
/// As [`super::holds`].
pub(super) unsafe fn holds<const N: usize>(at: *const u8, bytes: &[u8; N]) -> bool {
    let mut now = [0; N];
    // SAFETY: the caller's contract is the copy's.
    unsafe { out(&mut now, at) };
    now == *bytes
}

/// See [`super::across`], whose contract this is.
///
/// # Safety
/// As [`super::across`].
pub(super) unsafe fn across(to: *mut u8, from: *const u8, len: usize) {
    let mut block = [0; BLOCK];
    for at in (0..len).step_by(BLOCK) {
        let block = &mut block[..BLOCK.min(len - at)];
        // SAFETY: `at + block.len() <= len` bytes are there at both places.
        unsafe {
            out(block, from.wrapping_add(at));
            put(to.wrapping_add(at), block);
        }
    }
}

/// Bytes before the next address that is aligned for a word.
fn bytes_to_a_word(address: *const u8) -> usize {
    address.align_offset(align_of::<AtomicU64>())
}

/// # Safety
/// As [`super::out`].
unsafe fn bytes_out(to: &mut [u8], from: *const u8) {
    for (at, byte) in to.iter_mut().enumerate() {
        // SAFETY: at this place there are more than `at` bytes.
        let shared = unsafe { AtomicU8::from_ptr(from.wrapping_add(at).cast_mut()) };
        *byte = shared.load(Relaxed);
    }
}

/// # Safety
/// As [`super::out`], in words; `from` is aligned unless there are none.
unsafe fn words_out(to: &mut [Word], from: *const u64) {
    for (at, word) in to.iter_mut().enumerate() {
        // SAFETY: at this place, which is aligned, there are more than `at` words.
        let shared = unsafe { AtomicU64::from_ptr(from.wrapping_add(at).cast_mut()) };
        *word = shared.load(Relaxed).to_ne_bytes();
    }
}

/// # Safety
/// As [`super::put`].
unsafe fn put_bytes(to: *mut u8, from: &[u8]) {
    for (at, byte) in from.iter().enumerate() {
        // SAFETY: at this place there are more than `at` bytes.
        unsafe { AtomicU8::from_ptr(to.wrapping_add(at)) }.store(*byte, Relaxed);
    }
}

/// # Safety
/// As [`super::put`], in words; `to` is aligned unless there are none.
unsafe fn put_words(to: *mut u64, from: &[Word]) {
    for (at, word) in from.iter().enumerate() {
        // SAFETY: at this place, which is aligned, there are more than `at` words.
        let shared = unsafe { AtomicU64::from_ptr(to.wrapping_add(at)) };
        shared.store(u64::from_ne_bytes(*word), Relaxed);
    }
}
