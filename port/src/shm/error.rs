//! Why memory was not accepted or made.

use nix::errno::Errno;
use std::io;
use thiserror::Error;

/// Why memory was not accepted from a peer, or could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RegionError {
    /// A region of zero bytes.
    #[error("memory region of length zero")]
    Empty,
    /// One region is longer than allowed.
    #[error("memory region of {announced} bytes, at most {limit} are accepted")]
    TooLong {
        /// Length announced, in bytes.
        announced: u64,
        /// Longest region accepted, in bytes.
        limit: u64,
    },
    /// A link has more regions than allowed.
    #[error("more than {limit} memory regions")]
    TooManyRegions {
        /// Most regions accepted.
        limit: usize,
    },
    /// All regions of a link together are longer than allowed.
    #[error("memory regions of {announced} bytes in all, at most {limit} are accepted")]
    TotalTooLong {
        /// Length of all regions with the one announced last, in bytes.
        announced: u64,
        /// Most bytes accepted.
        limit: u64,
    },
    /// The descriptor is not a file of the kernel's memory file systems.
    #[error("{found} is not shared memory (neither tmpfs, memfd nor hugetlbfs)")]
    NotMemory {
        /// What it is, in the kernel's words: `pipe:[4711]`, `anon_inode:[eventfd]`, a path.
        found: Box<str>,
    },
    /// The memory is sealed against writing: rings and packets cannot be written to it.
    #[error("memory is sealed against writing (seals {seals:#x})")]
    WriteSealed {
        /// The seals found (`F_GET_SEALS`).
        seals: u32,
    },
    /// The file is shorter than announced.
    #[error("memory file of {size} bytes, {announced} were announced")]
    Short {
        /// Length of the file, in bytes.
        size: u64,
        /// Length announced, in bytes.
        announced: u64,
    },
    /// The peer could take the memory back, and the policy is [`Sealed`](super::MemoryPolicy::Sealed).
    #[error("peer could take the memory back (seals {seals:#x}, huge pages: {huge_pages})")]
    Unsealable {
        /// The seals that it has after we tried to add ours.
        seals: u32,
        /// Whether it is made of huge pages, which can be taken back though sealed.
        huge_pages: bool,
    },
    /// A system call failed.
    #[error("cannot {operation}")]
    System {
        /// What was attempted.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl RegionError {
    /// For `map_err` on a nix call.
    pub(super) fn system(operation: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::System { operation, source: errno.into() }
    }
}
