//! Ways to copy a frame. All of them are inline assembly, or end in a call that the compiler cannot
//! look into: the other process may write the slot at any time.

use serde::{Deserialize, Serialize};
#[cfg(target_arch = "x86_64")]
use std::arch::asm;

/// A way to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kernel {
    /// Not at all: descriptors only.
    None,
    /// `ptr::copy_nonoverlapping`: the C library's choice.
    Library,
    /// Rounds of 64 bytes by 16.
    Sse,
    /// Rounds of 64 bytes by 32.
    Avx,
    /// Rounds of 64 bytes at once.
    Avx512,
    /// `rep movsb`.
    Bulk,
}

impl Kernel {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::None, Self::Library, Self::Sse, Self::Avx, Self::Avx512, Self::Bulk];
}

/// Whether this CPU can run a kernel.
#[must_use]
pub fn is_supported(kernel: Kernel) -> bool {
    match kernel {
        Kernel::None | Kernel::Library => true,
        #[cfg(target_arch = "x86_64")]
        Kernel::Sse | Kernel::Bulk => true,
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx => is_x86_feature_detected!("avx"),
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512 => is_x86_feature_detected!("avx512f"),
        #[cfg(not(target_arch = "x86_64"))]
        _ => false,
    }
}

/// A copy that the loops are compiled with.
pub(super) trait Copy {
    /// Copies `len` bytes, or up to the next multiple of 64.
    ///
    /// # Safety
    /// `src` is readable and `dst` writable for `len` bytes, rounded up to a multiple of 64; they
    /// do not overlap; the CPU supports the kernel.
    unsafe fn copy(dst: *mut u8, src: *const u8, len: usize);

    /// Once a burst.
    fn finish_burst() {}
}

pub(super) struct None;
pub(super) struct Library;
#[cfg(target_arch = "x86_64")]
pub(super) struct Sse;
#[cfg(target_arch = "x86_64")]
pub(super) struct Avx;
#[cfg(target_arch = "x86_64")]
pub(super) struct Avx512;
#[cfg(target_arch = "x86_64")]
pub(super) struct Bulk;

impl Copy for None {
    #[inline(always)]
    unsafe fn copy(_: *mut u8, _: *const u8, _: usize) {}
}

impl Copy for Library {
    #[inline(always)]
    unsafe fn copy(dst: *mut u8, src: *const u8, len: usize) {
        // SAFETY: the caller's contract.
        unsafe { std::ptr::copy_nonoverlapping(src, dst, len) }
    }
}

#[cfg(target_arch = "x86_64")]
impl Copy for Sse {
    #[inline(always)]
    unsafe fn copy(dst: *mut u8, src: *const u8, len: usize) {
        let mut at = 0;
        while at < len {
            // SAFETY: `at` is a multiple of 64 below `len`.
            unsafe {
                asm!(
                    "movdqu {a}, [{s}]", "movdqu {b}, [{s} + 16]",
                    "movdqu {c}, [{s} + 32]", "movdqu {e}, [{s} + 48]",
                    "movdqu [{d}], {a}", "movdqu [{d} + 16], {b}",
                    "movdqu [{d} + 32], {c}", "movdqu [{d} + 48], {e}",
                    s = in(reg) src.add(at), d = in(reg) dst.add(at),
                    a = out(xmm_reg) _, b = out(xmm_reg) _, c = out(xmm_reg) _, e = out(xmm_reg) _,
                    options(nostack, preserves_flags),
                );
            }
            at += 64;
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Copy for Avx {
    #[inline(always)]
    unsafe fn copy(dst: *mut u8, src: *const u8, len: usize) {
        let mut at = 0;
        while at < len {
            // SAFETY: `at` is a multiple of 64 below `len`.
            unsafe {
                asm!(
                    "vmovdqu ymm0, [{s}]", "vmovdqu ymm1, [{s} + 32]",
                    "vmovdqu [{d}], ymm0", "vmovdqu [{d} + 32], ymm1",
                    s = in(reg) src.add(at), d = in(reg) dst.add(at),
                    out("xmm0") _, out("xmm1") _,
                    options(nostack, preserves_flags),
                );
            }
            at += 64;
        }
    }

    #[inline(always)]
    fn finish_burst() {
        // SAFETY: the loops are compiled for a CPU without AVX: no upper half is in use.
        unsafe { asm!("vzeroupper", options(nostack, nomem, preserves_flags)) }
    }
}

#[cfg(target_arch = "x86_64")]
impl Copy for Avx512 {
    #[inline(always)]
    unsafe fn copy(dst: *mut u8, src: *const u8, len: usize) {
        let mut at = 0;
        while at < len {
            // SAFETY: `at` is a multiple of 64 below `len`. The compiler, which does not build for
            // AVX-512, never uses register 16; and unlike 0 to 15 it slows no other code down.
            unsafe {
                asm!(
                    "vmovdqu64 zmm16, [{s}]", "vmovdqu64 [{d}], zmm16",
                    s = in(reg) src.add(at), d = in(reg) dst.add(at),
                    options(nostack, preserves_flags),
                );
            }
            at += 64;
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Copy for Bulk {
    #[inline(always)]
    unsafe fn copy(dst: *mut u8, src: *const u8, len: usize) {
        // SAFETY: the caller's contract; the direction flag is clear by the ABI.
        unsafe {
            asm!(
                "rep movsb",
                inout("rcx") len => _, inout("rdi") dst => _, inout("rsi") src => _,
                options(nostack, preserves_flags),
            );
        }
    }
}

/// Fetches a line that will be read.
#[inline(always)]
pub(crate) fn fetch_for_reading(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch faults on no address and changes no state that the program sees.
    unsafe {
        asm!("prefetcht0 [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Fetches a line that will be written.
#[inline(always)]
pub(crate) fn fetch_for_writing(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as above.
    unsafe {
        asm!("prefetchw [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Moves a written line towards the cache that the cores share. A no-op where it is unknown.
#[inline(always)]
pub(super) fn demote(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: CLDEMOTE is a hint; CPUs without it run it as a no-op.
    unsafe {
        asm!("cldemote [{}]", in(reg) address, options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
