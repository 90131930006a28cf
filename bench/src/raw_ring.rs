//! The fastest ring between two processes that we can write: the bound of every comparison.
//!
//! One producer, one consumer, one direction; nothing is checked, nothing is negotiated, no bell is
//! rung. What is left is what every ring must do: copy the frame in, write its length, publish; see
//! it, read the length, copy it out, give the slot back.
//!
//! | offset | what | written by |
//! |---|---|---|
//! | 0 | `head`, 8 bytes, free-running | sender |
//! | 128 | `tail`, 8 bytes, free-running | receiver |
//! | 256 | descriptors, 16 bytes each; the first 4 are the length | sender |
//! | behind them, at a page | slots, [`Shape::stride`] bytes each | sender |
//!
//! With a stride of 2112 that is the shape of our memif client's ring in memory: buffers of 2048 bytes,
//! an odd number of cache lines apart. (At 2048, as others lay them out, this ring is a third slower.)
#![expect(unsafe_code, reason = "slots are reached by address: this is the bound for safe code")]

mod copies;
mod loops;
mod ping;
mod ring_ping;

pub use copies::{Kernel, is_supported};
pub(crate) use copies::{fetch_for_reading, fetch_for_writing};
pub use loops::{receive, send};
pub use ping::{EventPing, ping_words, pong_words};
pub use ring_ping::{ping_frames, pong_frames};

use crate::frames::POOL_FRAMES;
use crate::shared::SharedMemory;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const TAIL_AT: usize = 128;
const DESCRIPTORS_AT: usize = 256;
const DESCRIPTOR_BYTES: usize = 16;
const PAGE: usize = 4096;

/// What a ring is like in memory, and what goes through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Slots, a power of two.
    pub slots: usize,
    /// Distance between slots, in bytes.
    pub stride: usize,
    /// Length of a frame, in bytes. Longer than a slot, it takes several.
    pub frame_len: usize,
    /// Whether the memory is made of hugepages.
    pub hugepages: bool,
    /// Frames in the sender's private pool, a power of two.
    pub pool_frames: usize,
}

impl Shape {
    /// The shape of our memif client's ring: 1024 slots, pages of the usual size; frames come
    /// from a pool of [`POOL_FRAMES`].
    #[must_use]
    pub fn memif(frame_len: usize) -> Self {
        Self { slots: 1024, stride: 2112, frame_len, hugepages: false, pool_frames: POOL_FRAMES }
    }

    /// Slots that a frame takes.
    #[must_use]
    pub fn slots_per_frame(&self) -> usize {
        self.frame_len.div_ceil(self.stride).max(1)
    }

    fn payload_at(&self) -> usize {
        (DESCRIPTORS_AT + self.slots * DESCRIPTOR_BYTES).next_multiple_of(PAGE)
    }

    fn len(&self) -> usize {
        self.payload_at() + self.slots * self.stride
    }
}

/// How the two sides work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Method {
    /// Most slots between two looks at the other side's index.
    pub burst: usize,
    /// How frames are copied.
    pub kernel: Kernel,
    /// How many slots ahead of its work the sender fetches lines for writing; zero for never.
    pub fetch_ahead_tx: usize,
    /// How many slots ahead of its work the receiver fetches lines; zero for never.
    pub fetch_ahead_rx: usize,
    /// Whether the sender demotes written lines towards the cache that both cores share.
    pub demote: bool,
}

/// A mapped ring.
#[derive(Debug)]
pub struct RawRing {
    memory: SharedMemory,
    shape: Shape,
}

impl RawRing {
    /// Makes an empty ring.
    ///
    /// # Errors
    /// When the kernel has no such memory.
    pub fn create(shape: Shape) -> io::Result<Self> {
        Ok(Self { memory: SharedMemory::create(shape.len(), shape.hugepages)?, shape })
    }

    /// Opens the ring that another process made with this shape.
    ///
    /// # Errors
    /// When that process is gone, or made another one.
    pub fn open(path: &Path, shape: Shape) -> io::Result<Self> {
        Ok(Self { memory: SharedMemory::open(path, shape.len())?, shape })
    }

    /// Where other processes find it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.memory.path()
    }

    /// What it is like.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Slots received so far.
    #[must_use]
    pub fn received_slots(&self) -> u64 {
        self.tail().load(Ordering::Relaxed)
    }

    fn head(&self) -> &AtomicU64 {
        self.memory.word(0)
    }

    fn tail(&self) -> &AtomicU64 {
        self.memory.word(TAIL_AT)
    }

    fn descriptors(&self) -> *mut u8 {
        // SAFETY: the mapping is `shape.len()` bytes long, which is beyond the descriptors.
        unsafe { self.memory.address().add(DESCRIPTORS_AT) }
    }

    fn payload(&self) -> *mut u8 {
        // SAFETY: as above, with the slots.
        unsafe { self.memory.address().add(self.shape.payload_at()) }
    }
}

#[cfg(test)]
mod tests;
