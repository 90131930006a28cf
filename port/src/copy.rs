//! The copy kernels: the only way payload enters or leaves shared memory.
//!
//! The peer may write that memory while we copy, which for an ordinary Rust copy would be a data
//! race and so undefined. The copies are therefore made where the language does not look: in
//! inline assembly on x86-64, word by word with relaxed atomics elsewhere and under Miri. What is
//! copied while the peer writes it is any mix of old and new bytes; nothing else can happen.
//! (Rust has no bytewise atomic memcpy yet: RFC 3301, unsafe-code-guidelines #152.)
#![expect(unsafe_code, reason = "raw copies between shared and private memory")]

#[cfg(any(miri, test, not(target_arch = "x86_64")))]
mod words;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86_64;

/// Copies `len` bytes between shared and private, or shared and shared, memory.
///
/// # Safety
/// `src` must be readable and `dst` writable for `len` bytes, for the whole call. They must not
/// overlap. Memory that is not shared with a peer must not be written by another thread meanwhile.
#[inline(always)]
pub(crate) unsafe fn copy(dst: *mut u8, src: *const u8, len: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the caller's contract is this function's.
    unsafe {
        x86_64::copy(dst, src, len);
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    // SAFETY: the caller's contract is this function's.
    unsafe {
        words::copy(dst, src, len);
    }
}

/// Hints that the cache line at `address` will be read soon. Any address is allowed.
#[inline(always)]
pub(crate) fn prefetch_read(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch has no effect on the program's state and faults on no address.
    unsafe {
        std::arch::asm!("prefetcht0 [{}]", in(reg) address as usize, options(nomem, nostack, preserves_flags));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

/// Hints that the cache line at `address` will be written soon. Any address is allowed.
#[inline(always)]
pub(crate) fn prefetch_write(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: as in `prefetch_read`; on a CPU without PREFETCHW the instruction is a no-op.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) address as usize, options(nomem, nostack, preserves_flags));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

/// Finds out what the CPU can do. Until it was called, the kernels that every CPU has are used.
pub(crate) fn detect() {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    x86_64::detect();
}

/// Copies `src` to `dst` with the kernels, for benchmarks. Both are private memory.
///
/// # Panics
/// When the lengths differ.
#[doc(hidden)]
pub fn copy_slice(dst: &mut [u8], src: &[u8]) {
    assert_eq!(dst.len(), src.len(), "lengths differ");
    detect();
    // SAFETY: both slices are valid for their common length, and `dst` is borrowed mutably, so
    // they do not overlap.
    unsafe { copy(dst.as_mut_ptr(), src.as_ptr(), src.len()) }
}

#[cfg(test)]
mod tests {
    type Kernel = unsafe fn(*mut u8, *const u8, usize);

    fn kernels() -> Vec<(&'static str, Kernel)> {
        super::detect();
        vec![
            ("shipped", super::copy as Kernel),
            ("words", super::words::copy as Kernel),
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            ("without AVX", copy_without_avx as Kernel),
        ]
    }

    #[cfg(all(target_arch = "x86_64", not(miri)))]
    unsafe fn copy_without_avx(dst: *mut u8, src: *const u8, len: usize) {
        // SAFETY: the caller's contract.
        unsafe { super::x86_64::copy_with(dst, src, len, false) }
    }

    #[test]
    fn every_length_and_alignment_is_copied_exactly() {
        let lengths = (0..=600).chain([1023, 1024, 1514, 2048, 4095, 9000, 65_537]);
        let src: Vec<u8> =
            (0..70_000u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
        for (name, kernel) in kernels() {
            for len in lengths.clone() {
                for (from, to) in [(0, 0), (1, 0), (0, 3), (7, 5), (16, 32), (63, 1)] {
                    let mut dst = vec![0xEEu8; len + to + 64];
                    // SAFETY: `from + len` and `to + len` lie within the two vectors.
                    unsafe { kernel(dst[to..].as_mut_ptr(), src[from..].as_ptr(), len) };
                    assert_eq!(
                        &dst[to..to + len],
                        &src[from..from + len],
                        "{name} {len} {from} {to}"
                    );
                    assert!(dst[..to].iter().all(|&b| b == 0xEE), "{name} wrote before {len}");
                    assert!(
                        dst[to + len..].iter().all(|&b| b == 0xEE),
                        "{name} wrote behind {len}"
                    );
                }
            }
        }
    }
}
