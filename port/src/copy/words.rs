//! Word-atomic copies, for machines without a kernel of their own and for Miri.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// See [`super::copy`], whose contract this is.
///
/// # Safety
/// As [`super::copy`].
pub(super) unsafe fn copy(dst: *mut u8, src: *const u8, len: usize) {
    let mut done = 0;
    let aligned_alike = (dst as usize) % 8 == (src as usize) % 8;
    while done < len {
        let (to, from) = (dst.wrapping_add(done), src.wrapping_add(done));
        if aligned_alike && (to as usize).is_multiple_of(8) && len - done >= 8 {
            // SAFETY: 8 bytes are left at both places, which are aligned to 8.
            unsafe {
                let word = AtomicU64::from_ptr(from.cast_mut().cast()).load(Relaxed);
                AtomicU64::from_ptr(to.cast()).store(word, Relaxed);
            }
            done += 8;
        } else {
            // SAFETY: at least one byte is left at both places.
            unsafe {
                let byte = AtomicU8::from_ptr(from.cast_mut()).load(Relaxed);
                AtomicU8::from_ptr(to).store(byte, Relaxed);
            }
            done += 1;
        }
    }
}
