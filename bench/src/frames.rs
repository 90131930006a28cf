//! The frames that every sender of a benchmark sends, and the check that every receiver makes.
//!
//! A sender copies frames from a private pool, in turn; frame `n` carries `n` as its sequence number, so that sending writes nothing but the copy. A receiver copies each frame to
//! one private buffer and checks its length and that the numbers follow one another.

/// Frames in a pool, unless a comparison says otherwise.
pub const POOL_FRAMES: usize = 4096;
/// Frames in a pool whose frames stay in the nearest caches: what testpmd's generator sends from,
/// because its memory pool hands out first what was given back last.
pub const HOT_POOL_FRAMES: usize = 64;
/// Where the sequence number is in a frame, in bytes.
pub const SEQUENCE_AT: usize = 16;
/// Shortest frame, in bytes.
pub const FRAME_MIN: usize = SEQUENCE_AT + 8;

/// In bytes.
const CACHE_LINE: usize = 64;

/// The private pool of a sender. Frames start at cache lines, one behind the other.
#[derive(Debug)]
pub struct FramePool {
    bytes: Box<[u8]>,
    /// Where the first frame starts.
    start: usize,
    /// Distance between frames, in bytes.
    stride: usize,
    len: usize,
    /// Number of frames, less one.
    mask: usize,
}

impl FramePool {
    /// `frames` frames, a power of two, of `len` bytes, at least [`FRAME_MIN`].
    ///
    /// # Panics
    /// When `frames` or `len` are not as they must be.
    #[must_use]
    pub fn new(len: usize, frames: usize) -> Self {
        assert!(len >= FRAME_MIN, "frames of {len} bytes have no room for a sequence number");
        assert!(frames.is_power_of_two(), "a pool of {frames} frames");
        let stride = len.next_multiple_of(CACHE_LINE);
        let bytes = vec![0; stride * frames + CACHE_LINE].into_boxed_slice();
        let start = bytes.as_ptr().align_offset(CACHE_LINE).min(CACHE_LINE);
        let mut pool = Self { bytes, start, stride, len, mask: frames - 1 };
        for number in 0..frames {
            let at = start + number * stride;
            fill(&mut pool.bytes[at..at + len], number);
        }
        pool
    }

    /// Length of a frame, in bytes.
    #[must_use]
    pub fn frame_len(&self) -> usize {
        self.len
    }

    /// Frame `number`, modulo the size of the pool.
    #[inline]
    #[must_use]
    pub fn frame(&self, number: usize) -> &[u8] {
        let at = self.start + (number & self.mask) * self.stride;
        &self.bytes[at..at + self.len]
    }

    /// The first frame, and how far each is from the one before it, in bytes.
    #[must_use]
    pub fn raw(&self) -> (*const u8, usize) {
        (self.bytes[self.start..].as_ptr(), self.stride)
    }
}

/// A unicast frame, as far as anybody looks: Ethernet addresses, IPv4, then its number.
fn fill(frame: &mut [u8], number: usize) {
    for (n, byte) in frame.iter_mut().enumerate() {
        *byte = (n * 7 + number).to_le_bytes()[0];
    }
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0]);
    frame[SEQUENCE_AT..FRAME_MIN].copy_from_slice(&(number as u64).to_le_bytes());
}

/// The check that a receiver makes of each frame.
#[derive(Debug)]
pub struct FrameCheck {
    len: usize,
    expected: u64,
    /// Size of the sender's pool, less one; absent when it numbers nothing.
    mask: Option<u64>,
    /// Frames with a wrong length or number.
    pub errors: u64,
}

impl FrameCheck {
    /// For frames of `len` bytes from a pool of `pool_frames`; without that, numbers are not checked.
    #[must_use]
    pub fn new(len: usize, pool_frames: Option<usize>) -> Self {
        let mask = pool_frames.map(|frames| frames as u64 - 1);
        Self { len, expected: 0, mask, errors: 0 }
    }

    /// Checks a frame of `len` bytes whose first [`FRAME_MIN`] bytes were copied to `head`. After a
    /// gap the numbers go on from what came.
    #[inline]
    pub fn check(&mut self, len: usize, head: &[u8]) {
        let number = head.get(SEQUENCE_AT..FRAME_MIN).and_then(|bytes| bytes.try_into().ok());
        let number = number.map_or(u64::MAX, u64::from_le_bytes);
        let wrong = len != self.len || self.mask.is_some_and(|_| number != self.expected);
        self.errors += u64::from(wrong);
        self.expected = number.wrapping_add(1) & self.mask.unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receiver_accepts_the_pool_in_turn_and_counts_what_is_wrong() {
        let pool = FramePool::new(64, POOL_FRAMES);
        let mut check = FrameCheck::new(64, Some(POOL_FRAMES));
        for number in 0..2 * POOL_FRAMES {
            check.check(64, pool.frame(number));
        }
        assert_eq!(check.errors, 0);
        check.check(63, pool.frame(0));
        assert_eq!(check.errors, 1, "wrong length");
        check.check(64, pool.frame(2));
        assert_eq!(check.errors, 2, "one frame is missing");
        check.check(64, pool.frame(3));
        assert_eq!(check.errors, 2, "goes on after the gap");
    }

    #[test]
    fn frames_start_at_cache_lines() {
        let pool = FramePool::new(100, 4);
        let (first, stride) = pool.raw();
        assert_eq!((first.addr() % CACHE_LINE, stride), (0, 128));
    }
}
