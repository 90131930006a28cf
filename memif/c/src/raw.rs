//! Pointers from C, checked as far as that can be done: NULL, alignment, sizes. That the memory behind
//! them is there is the caller's part; the header says so of each function.
#![expect(unsafe_code, reason = "pointers from C")]

use crate::error::Failure;
use std::ffi::c_char;
use std::ptr;
use std::slice;

/// Longest string, in bytes: more than any port string has.
const TEXT_MAX: usize = 4096;

/// Largest structure of a caller, in bytes: a newer one may be larger than ours.
const STRUCT_MAX: usize = 4096;

/// A string.
///
/// # Safety
/// Unless NULL, `text` points to bytes up to a NUL or [`TEXT_MAX`], which nobody changes during `'a`.
pub(crate) unsafe fn text<'a>(what: &'static str, text: *const c_char) -> Result<&'a str, Failure> {
    if text.is_null() {
        return Err(Failure::Null { what });
    }
    // SAFETY: the bytes up to the first NUL are there, by the caller's contract.
    let len = (0..=TEXT_MAX).find(|&at| unsafe { text.add(at).read() } == 0);
    let len = len.ok_or(Failure::TextTooLong { what, limit: TEXT_MAX })?;
    // SAFETY: as above; `len` of them were just read.
    let bytes = unsafe { slice::from_raw_parts(text.cast::<u8>(), len) };
    std::str::from_utf8(bytes).map_err(|_| Failure::NotUtf8 { what })
}

/// An array that is written, or read and written.
///
/// # Safety
/// Unless NULL, `items` points to `count` items that nobody else uses during `'a`.
#[inline]
pub(crate) unsafe fn slice_mut<'a, T>(
    what: &'static str,
    items: *mut T,
    count: usize,
) -> Result<&'a mut [T], Failure> {
    if count == 0 {
        return Ok(&mut []);
    }
    check(what, items)?;
    // SAFETY: not NULL, aligned, and by the caller's contract there and ours. Callers bound `count`.
    Ok(unsafe { slice::from_raw_parts_mut(items, count) })
}

/// An array that is read.
///
/// # Safety
/// Unless NULL, `items` points to `count` items that nobody changes during `'a`.
#[inline]
pub(crate) unsafe fn slice<'a, T>(
    what: &'static str,
    items: *const T,
    count: usize,
) -> Result<&'a [T], Failure> {
    if count == 0 {
        return Ok(&[]);
    }
    check(what, items)?;
    // SAFETY: as in `slice_mut`.
    Ok(unsafe { slice::from_raw_parts(items, count) })
}

/// Checks where a result goes, before there is one.
#[inline]
pub(crate) fn check<T>(what: &'static str, to: *const T) -> Result<(), Failure> {
    if to.is_null() {
        return Err(Failure::Null { what });
    }
    if !to.is_aligned() {
        return Err(Failure::Unaligned { what });
    }
    Ok(())
}

/// Writes a result.
///
/// # Safety
/// `to` was [checked](check), and points to a `T` that may be written.
pub(crate) unsafe fn put<T>(to: *mut T, value: T) {
    // SAFETY: the caller's contract.
    unsafe { to.write(value) }
}

/// Checks where a structure of `size` bytes goes.
pub(crate) fn check_struct<T>(
    what: &'static str,
    to: *const T,
    size: usize,
) -> Result<(), Failure> {
    if !(size_of::<T>()..=STRUCT_MAX).contains(&size) {
        return Err(Failure::StructSize { what, size, ours: size_of::<T>() });
    }
    check(what, to)
}

/// Writes a structure, and zeros behind it: a caller who knows a newer one finds its fields empty.
///
/// # Safety
/// `to` and `size` were [checked](check_struct), and `to` points to `size` bytes that may be written.
pub(crate) unsafe fn put_struct<T: Copy>(to: *mut T, size: usize, value: &T) {
    let bytes = to.cast::<u8>();
    // SAFETY: `size` is not below that of `T`, as was checked; the rest is the caller's contract.
    unsafe {
        ptr::write_bytes(bytes, 0, size);
        to.write(*value);
    }
}

/// A caller's buffer for bytes.
///
/// # Safety
/// `data` points to `len` bytes that nobody else uses during `'a`, or `len` is 0.
#[inline]
pub(crate) unsafe fn buffer<'a>(data: *mut u8, len: usize) -> &'a mut [u8] {
    if len == 0 {
        return &mut [];
    }
    // SAFETY: the caller's contract. No allocation is longer than `isize::MAX`, nor is a `u32` here.
    unsafe { slice::from_raw_parts_mut(data, len) }
}

/// A caller's bytes.
///
/// # Safety
/// `data` points to `len` bytes that nobody changes during `'a`, or `len` is 0.
#[inline]
pub(crate) unsafe fn bytes<'a>(data: *const u8, len: usize) -> &'a [u8] {
    if len == 0 {
        return &[];
    }
    // SAFETY: as in `buffer`.
    unsafe { slice::from_raw_parts(data, len) }
}
