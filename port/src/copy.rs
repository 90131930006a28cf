//! The copy kernels: the only way payload enters or leaves shared memory.
//!
//! The peer may write that memory while we copy, which for an ordinary Rust copy would be a data
//! race and so undefined. The copies are therefore made where the language does not look: in
//! inline assembly on x86-64, word by word with relaxed atomics elsewhere and under Miri. What is
//! copied while the peer writes it is any mix of old and new bytes; nothing else can happen.
//! (Rust has no bytewise atomic memcpy yet: RFC 3301, unsafe-code-guidelines #152.)
//!
//! Private memory is a slice here, and shared memory an address: only the latter may be written by
//! anybody meanwhile, and only the former may be read-only.
#![expect(unsafe_code, reason = "raw copies between shared and private memory")]

#[cfg(any(miri, test, not(target_arch = "x86_64")))]
mod words;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86_64;

#[cfg(any(miri, not(target_arch = "x86_64")))]
use words as kernel;
#[cfg(all(target_arch = "x86_64", not(miri)))]
use x86_64 as kernel;

/// Fills private memory from shared memory.
///
/// # Safety
/// At `from`, `to.len()` bytes must be mapped, readable and writable, for the whole call.
#[inline(always)]
pub(crate) unsafe fn out(to: &mut [u8], from: *const u8) {
    // SAFETY: the caller's contract is the kernel's.
    unsafe { kernel::out(to, from) }
}

/// Copies private memory to shared memory.
///
/// # Safety
/// At `to`, `from.len()` bytes must be mapped, readable and writable, for the whole call.
#[inline(always)]
pub(crate) unsafe fn put(to: *mut u8, from: &[u8]) {
    // SAFETY: the caller's contract is the kernel's.
    unsafe { kernel::put(to, from) }
}

/// Copies `len` bytes from shared memory to shared memory. Where the two overlap, which a peer can
/// bring about, some mix of their bytes is copied.
///
/// # Safety
/// At `from` and at `to`, `len` bytes must be mapped, readable and writable, for the whole call.
#[inline(always)]
pub(crate) unsafe fn across(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: the caller's contract is the kernel's.
    unsafe { kernel::across(to, from, len) }
}

/// Whether shared memory holds `bytes` now.
///
/// # Safety
/// At `at`, `N` bytes must be mapped, readable and writable, for the whole call.
#[inline(always)]
pub(crate) unsafe fn holds<const N: usize>(at: *const u8, bytes: &[u8; N]) -> bool {
    // SAFETY: the caller's contract is the kernel's.
    unsafe { kernel::holds(at, bytes) }
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

/// Bytes of a cache line.
const LINE: usize = 64;

/// Has `fetch` fetch the lines of a packet, and of the header in front of it where that is the same line.
/// A header in a line of its own is mostly not looked at.
#[inline(always)]
pub(crate) fn prefetch_behind(header: *const u8, packet: *const u8, fetch: impl Fn(*const u8)) {
    fetch(packet);
    if (header as usize ^ packet as usize) < LINE {
        // Behind a header in the same line, packets of the shortest length already go on in the next.
        fetch(header.wrapping_add(LINE));
    }
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
    // SAFETY: `dst` is as long as `src`, and borrowed mutably.
    unsafe { put(dst.as_mut_ptr(), src) }
}

#[cfg(test)]
mod tests {
    use super::words;

    /// Copies the second to the first, one of which or both stand for shared memory.
    type Kernel = fn(&mut [u8], &mut [u8]);

    fn kernels() -> Vec<(&'static str, Kernel)> {
        super::detect();
        vec![
            // SAFETY: both slices are borrowed mutably, and equally long.
            ("out", |to, from| unsafe { super::out(to, from.as_mut_ptr()) }),
            // SAFETY: both slices are borrowed mutably, and equally long.
            ("put", |to, from| unsafe { super::put(to.as_mut_ptr(), from) }),
            // SAFETY: both slices are borrowed mutably, and equally long.
            ("across", |to, from| unsafe {
                super::across(to.as_mut_ptr(), from.as_mut_ptr(), to.len())
            }),
            // SAFETY: both slices are borrowed mutably, and equally long.
            ("words out", |to, from| unsafe { words::out(to, from.as_mut_ptr()) }),
            // SAFETY: both slices are borrowed mutably, and equally long.
            ("words put", |to, from| unsafe { words::put(to.as_mut_ptr(), from) }),
            // SAFETY: both slices are borrowed mutably, and equally long.
            ("words across", |to, from| unsafe {
                words::across(to.as_mut_ptr(), from.as_mut_ptr(), to.len())
            }),
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            // SAFETY: both slices are borrowed mutably, and equally long.
            ("without AVX", |to, from| unsafe {
                super::x86_64::copy_with(to.as_mut_ptr(), from.as_ptr(), to.len(), false)
            }),
        ]
    }

    #[test]
    fn every_length_and_alignment_is_copied_exactly() {
        // Interpreted, each byte takes its time.
        let (all, some) = if cfg!(miri) { (20, &[300][..]) } else { (600, &LONG[..]) };
        let mut src: Vec<u8> = (0..if cfg!(miri) { 400 } else { 70_000_u32 })
            .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[1])
            .collect();
        for (name, kernel) in kernels() {
            for len in (0..=all).chain(some.iter().copied()) {
                for (from, to) in [(0, 0), (1, 0), (0, 3), (7, 5), (16, 32), (63, 1)] {
                    let mut dst = vec![0xEEu8; len + to + 64];
                    kernel(&mut dst[to..to + len], &mut src[from..from + len]);
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

    #[test]
    fn bytes_are_the_same_or_not_at_every_length() {
        fn check<const N: usize>() {
            let bytes: [u8; N] = std::array::from_fn(|at| at.to_le_bytes()[0] + 1);
            for other in 0..=N {
                let mut shared = bytes;
                if let Some(byte) = shared.get_mut(other) {
                    *byte ^= 0x80;
                }
                // SAFETY: both are borrowed mutably, and have N bytes.
                let found = unsafe {
                    let at = shared.as_mut_ptr();
                    [super::holds(at, &bytes), words::holds(at, &bytes)]
                };
                assert_eq!(found, [other == N; 2], "{N} bytes, of which {other} differs");
            }
        }
        check::<1>();
        check::<8>();
        check::<10>();
        check::<12>();
        check::<16>();
        check::<20>();
    }

    const LONG: [usize; 7] = [1023, 1024, 1514, 2048, 4095, 9000, 65_537];
}
