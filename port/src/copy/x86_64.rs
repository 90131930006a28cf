//! Copy kernels in AVX where the CPU has it, else in SSE2.
//!
//! Fewer, wider stores matter more than instructions: a store to a line that the peer's cache holds
//! waits in the store buffer, and the number of lines under way at once is what limits a sender.

use std::arch::asm;
use std::sync::atomic::{AtomicBool, Ordering};

/// Longest copy made in steps of 64 bytes. Longer ones align their destination first (AVX), or are
/// left to `rep movsb`, whose start-up costs more than it saves on shorter ones (SSE2).
const STEPS_MAX_AVX: usize = 256;
const STEPS_MAX_SSE: usize = 1024;

/// See [`super::out`], whose contract this is.
///
/// # Safety
/// As [`super::out`].
#[inline(always)]
pub(super) unsafe fn out(to: &mut [u8], from: *const u8) {
    // SAFETY: `to` is writable for its length; the rest is the caller's contract.
    unsafe { across(to.as_mut_ptr(), from, to.len()) }
}

/// See [`super::put`], whose contract this is.
///
/// # Safety
/// As [`super::put`].
#[inline(always)]
pub(super) unsafe fn put(to: *mut u8, from: &[u8]) {
    // SAFETY: `from` is readable for its length; the rest is the caller's contract.
    unsafe { across(to, from.as_ptr(), from.len()) }
}

/// See [`super::holds`], whose contract this is.
///
/// # Safety
/// As [`super::holds`].
#[inline(always)]
pub(super) unsafe fn holds<const N: usize>(at: *const u8, bytes: &[u8; N]) -> bool {
    if !(8..=16).contains(&N) {
        let mut now = [0; N];
        // SAFETY: the caller's contract is the copy's.
        unsafe { out(&mut now, at) };
        return now == *bytes;
    }
    let (first, last): (u64, u64);
    // SAFETY: two words, which overlap unless `N` is 16, within the caller's bytes.
    unsafe {
        asm!(
            "mov {first}, [{at}]",
            "mov {last}, [{at} + {last_at}]",
            at = in(reg) at, last_at = const N.saturating_sub(8),
            first = out(reg) first, last = lateout(reg) last,
            options(nostack, preserves_flags, readonly),
        );
    }
    let word = |at: usize| bytes[at..].first_chunk().map_or(0, |word| u64::from_ne_bytes(*word));
    first == word(0) && last == word(N.saturating_sub(8))
}

/// See [`super::across`]; here it is enough that `src` is readable and `dst` writable, and memory that
/// is private is written by nobody else.
///
/// # Safety
/// As just said, for `len` bytes.
#[inline(always)]
pub(super) unsafe fn across(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the caller's contract is this function's.
    unsafe { copy_with(dst, src, len, has_avx()) }
}

/// # Safety
/// As [`across`]; `avx` only on a CPU that has it.
#[inline(always)]
pub(super) unsafe fn copy_with(dst: *mut u8, src: *const u8, len: usize, avx: bool) {
    // SAFETY: each kernel copies exactly `len` bytes when `len` is in its range.
    unsafe {
        if len <= 64 {
            if len >= 32 {
                if avx {
                    copy_32_to_64_avx(dst, src, len);
                } else {
                    copy_32_to_64(dst, src, len);
                }
            } else if len >= 16 {
                copy_16_to_32(dst, src, len);
            } else {
                copy_below_16(dst, src, len);
            }
        } else if avx {
            if len <= STEPS_MAX_AVX {
                copy_by_64_avx(dst, src, len);
            } else {
                copy_long_avx(dst, src, len);
            }
        } else if len <= STEPS_MAX_SSE {
            copy_by_64(dst, src, len);
        } else {
            rep_movsb(dst, src, len);
        }
    }
}

/// Whether the CPU has AVX, once [`detect`] has looked.
static AVX: AtomicBool = AtomicBool::new(cfg!(target_feature = "avx"));

/// Looks what the CPU has. Every mapping is made through here before anything is copied.
pub(super) fn detect() {
    AVX.store(std::arch::is_x86_feature_detected!("avx"), Ordering::Relaxed);
}

/// A load and a test, or nothing when compiled for such a CPU.
#[inline(always)]
fn has_avx() -> bool {
    cfg!(target_feature = "avx") || AVX.load(Ordering::Relaxed)
}

/// Two overlapping 32 bytes from either end.
///
/// # Safety
/// As [`across`], with `32 <= len <= 64`, on a CPU with AVX.
#[inline(always)]
unsafe fn copy_32_to_64_avx(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the offsets 0 and len - 32, each with 32 bytes, lie within `len`. The caller checked
    // for AVX; `vzeroupper` leaves the registers as SSE code expects them.
    unsafe {
        asm!(
            "vmovdqu ymm0, [{src}]",
            "vmovdqu ymm1, [{src} + {len} - 32]",
            "vmovdqu [{dst}], ymm0",
            "vmovdqu [{dst} + {len} - 32], ymm1",
            "vzeroupper",
            src = in(reg) src, dst = in(reg) dst, len = in(reg) len,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            options(nostack, preserves_flags),
        );
    }
}

/// Rounds of 64 bytes, the last of which overlaps the one before.
///
/// # Safety
/// As [`across`], with `64 < len`, on a CPU with AVX.
#[inline]
unsafe fn copy_by_64_avx(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: `at` runs over multiples of 64 below `len - 64`, then is `len - 64`: each round's
    // 64 bytes lie within `len`. The caller checked for AVX; `vzeroupper` leaves the registers as
    // SSE code expects them.
    unsafe {
        asm!(
            "xor {at:e}, {at:e}",
            "2:",
            "vmovdqu ymm0, [{src} + {at}]",
            "vmovdqu ymm1, [{src} + {at} + 32]",
            "vmovdqu [{dst} + {at}], ymm0",
            "vmovdqu [{dst} + {at} + 32], ymm1",
            "add {at}, 64",
            "cmp {at}, {last}",
            "jb 2b",
            "vmovdqu ymm0, [{src} + {last}]",
            "vmovdqu ymm1, [{src} + {last} + 32]",
            "vmovdqu [{dst} + {last}], ymm0",
            "vmovdqu [{dst} + {last} + 32], ymm1",
            "vzeroupper",
            src = in(reg) src, dst = in(reg) dst, last = in(reg) len - 64, at = out(reg) _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            options(nostack),
        );
    }
}

/// The first 64 and the last 128 bytes as they lie, and between them rounds of 128 bytes to aligned
/// addresses.
///
/// # Safety
/// As [`across`], with `192 <= len`, on a CPU with AVX.
#[inline]
unsafe fn copy_long_avx(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the loads and stores at either end lie within `len`. `to` starts at most 64 bytes
    // behind `dst`, so that its first round ends within `len`; it goes on only below `last`, which
    // is 128 bytes before the end. `src` runs along at the same distance. The caller checked for
    // AVX; `vzeroupper` leaves the registers as SSE code expects them.
    unsafe {
        asm!(
            "vmovdqu ymm8, [{src}]",
            "vmovdqu ymm9, [{src} + 32]",
            "vmovdqu ymm4, [{src} + {len} - 128]",
            "vmovdqu ymm5, [{src} + {len} - 96]",
            "vmovdqu ymm6, [{src} + {len} - 64]",
            "vmovdqu ymm7, [{src} + {len} - 32]",
            "lea {last}, [{dst} + {len} - 128]",
            "lea {to}, [{dst} + 64]",
            "and {to}, -64",
            "sub {src}, {dst}",
            "add {src}, {to}",
            "2:",
            "vmovdqu ymm0, [{src}]",
            "vmovdqu ymm1, [{src} + 32]",
            "vmovdqu ymm2, [{src} + 64]",
            "vmovdqu ymm3, [{src} + 96]",
            "add {src}, 128",
            "vmovdqa [{to}], ymm0",
            "vmovdqa [{to} + 32], ymm1",
            "vmovdqa [{to} + 64], ymm2",
            "vmovdqa [{to} + 96], ymm3",
            "add {to}, 128",
            "cmp {to}, {last}",
            "jb 2b",
            "vmovdqu [{dst}], ymm8",
            "vmovdqu [{dst} + 32], ymm9",
            "vmovdqu [{last}], ymm4",
            "vmovdqu [{last} + 32], ymm5",
            "vmovdqu [{last} + 64], ymm6",
            "vmovdqu [{last} + 96], ymm7",
            "vzeroupper",
            src = inout(reg) src => _, dst = in(reg) dst, len = in(reg) len,
            last = out(reg) _, to = out(reg) _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            options(nostack),
        );
    }
}

/// Two overlapping pairs of 16 bytes from either end.
///
/// # Safety
/// As [`across`], with `32 <= len <= 64`.
#[inline(always)]
unsafe fn copy_32_to_64(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the offsets 0, 16, len - 32 and len - 16, each with 16 bytes, lie within `len`.
    unsafe {
        asm!(
            "movdqu {a}, [{src}]",
            "movdqu {b}, [{src} + 16]",
            "movdqu {c}, [{src} + {len} - 32]",
            "movdqu {d}, [{src} + {len} - 16]",
            "movdqu [{dst}], {a}",
            "movdqu [{dst} + 16], {b}",
            "movdqu [{dst} + {len} - 32], {c}",
            "movdqu [{dst} + {len} - 16], {d}",
            src = in(reg) src, dst = in(reg) dst, len = in(reg) len,
            a = out(xmm_reg) _, b = out(xmm_reg) _, c = out(xmm_reg) _, d = out(xmm_reg) _,
            options(nostack, preserves_flags),
        );
    }
}

/// Two overlapping 16 bytes from either end.
///
/// # Safety
/// As [`across`], with `16 <= len <= 32`.
#[inline(always)]
unsafe fn copy_16_to_32(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the offsets 0 and len - 16, each with 16 bytes, lie within `len`.
    unsafe {
        asm!(
            "movdqu {a}, [{src}]",
            "movdqu {b}, [{src} + {len} - 16]",
            "movdqu [{dst}], {a}",
            "movdqu [{dst} + {len} - 16], {b}",
            src = in(reg) src, dst = in(reg) dst, len = in(reg) len,
            a = out(xmm_reg) _, b = out(xmm_reg) _,
            options(nostack, preserves_flags),
        );
    }
}

/// Two overlapping words from either end, or up to three single bytes.
///
/// # Safety
/// As [`across`], with `len < 16`.
#[inline]
unsafe fn copy_below_16(dst: *mut u8, src: *const u8, len: usize) {
    macro_rules! two_words {
        ($register:tt, $bytes:tt) => {
            asm!(
                concat!("mov {a:", $register, "}, [{src}]"),
                concat!("mov {b:", $register, "}, [{src} + {len} - ", $bytes, "]"),
                concat!("mov [{dst}], {a:", $register, "}"),
                concat!("mov [{dst} + {len} - ", $bytes, "], {b:", $register, "}"),
                src = in(reg) src, dst = in(reg) dst, len = in(reg) len,
                a = out(reg) _, b = out(reg) _,
                options(nostack, preserves_flags),
            )
        };
    }
    // SAFETY: in each branch the word at 0 and the word that ends at `len` lie within `len`.
    unsafe {
        match len {
            8.. => two_words!("r", "8"),
            4.. => two_words!("e", "4"),
            2.. => two_words!("x", "2"),
            1 => rep_movsb(dst, src, 1),
            0 => {}
        }
    }
}

/// Rounds of 64 bytes, the last of which overlaps the one before.
///
/// # Safety
/// As [`across`], with `64 < len`.
#[inline]
unsafe fn copy_by_64(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: `at` runs over multiples of 64 below `len - 64`, then is `len - 64`: each round's
    // 64 bytes lie within `len`.
    unsafe {
        asm!(
            "xor {at:e}, {at:e}",
            "2:",
            "movdqu {a}, [{src} + {at}]",
            "movdqu {b}, [{src} + {at} + 16]",
            "movdqu {c}, [{src} + {at} + 32]",
            "movdqu {d}, [{src} + {at} + 48]",
            "movdqu [{dst} + {at}], {a}",
            "movdqu [{dst} + {at} + 16], {b}",
            "movdqu [{dst} + {at} + 32], {c}",
            "movdqu [{dst} + {at} + 48], {d}",
            "add {at}, 64",
            "cmp {at}, {last}",
            "jb 2b",
            "movdqu {a}, [{src} + {last}]",
            "movdqu {b}, [{src} + {last} + 16]",
            "movdqu {c}, [{src} + {last} + 32]",
            "movdqu {d}, [{src} + {last} + 48]",
            "movdqu [{dst} + {last}], {a}",
            "movdqu [{dst} + {last} + 16], {b}",
            "movdqu [{dst} + {last} + 32], {c}",
            "movdqu [{dst} + {last} + 48], {d}",
            src = in(reg) src, dst = in(reg) dst, last = in(reg) len - 64, at = out(reg) _,
            a = out(xmm_reg) _, b = out(xmm_reg) _, c = out(xmm_reg) _, d = out(xmm_reg) _,
            options(nostack),
        );
    }
}

/// `rep movsb`, which current CPUs run in wide steps.
///
/// # Safety
/// As [`across`].
#[inline(always)]
unsafe fn rep_movsb(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: reads and writes `len` bytes upwards; the direction flag is clear by the ABI.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") len => _, inout("rdi") dst => _, inout("rsi") src => _,
            options(nostack, preserves_flags),
        );
    }
}
