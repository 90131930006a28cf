//! Why a queue stopped, and system calls that failed.

use nix::errno::Errno;
use std::io;
use thiserror::Error;

/// The operating system refused a call.
#[derive(Debug, Error)]
#[error("{operation} failed")]
pub struct CallError {
    /// What was tried.
    pub operation: &'static str,
    /// What the system said.
    pub source: io::Error,
}

impl CallError {
    /// Turns the error of `operation` into this.
    pub fn io(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { operation, source }
    }

    /// As [`io`](Self::io), for an error number.
    pub fn errno(operation: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self { operation, source: errno.into() }
    }
}

/// Why a queue delivers or takes no more packets.
///
/// The first error of a queue is latched: every later call repeats it, and the link's control side
/// is woken to disconnect with the same reason. A new link delivers new queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The link went down: the peer left, or our control side closed it.
    #[error("link is down")]
    LinkDown,
    /// The peer took back memory that it had shared; the access was caught by the SIGBUS guard.
    #[error("peer took back shared memory")]
    MemoryLost,
    /// The peer's index is further from ours than the ring is long.
    #[error("peer's ring index runs away: {queued} slots queued in a ring of {ring_size}")]
    IndexRunaway {
        /// Distance between the two indices, in slots.
        queued: u16,
        /// Slots in the ring.
        ring_size: u16,
    },
    /// A descriptor points outside its region.
    #[error(
        "descriptor out of bounds: offset {offset} length {len} in region {region} of {region_len} bytes"
    )]
    OutOfBounds {
        /// Region index of the descriptor.
        region: u16,
        /// Offset in the region, in bytes.
        offset: u64,
        /// Length, in bytes.
        len: u32,
        /// Length of that region, in bytes.
        region_len: u64,
    },
    /// A descriptor names a region that was never announced.
    #[error("descriptor names region {region}, {count} exist")]
    UnknownRegion {
        /// Region index of the descriptor.
        region: u16,
        /// How many regions the peer announced.
        count: u16,
    },
    /// A descriptor has length zero.
    #[error("descriptor of length zero")]
    EmptyDescriptor,
    /// The peer claims to have written more than the buffer holds.
    #[error("descriptor length {len} exceeds the buffer's {capacity} bytes")]
    LengthExceedsBuffer {
        /// Length that the peer wrote, in bytes.
        len: u32,
        /// What the buffer holds, in bytes.
        capacity: u32,
    },
    /// A chain of descriptors has no end within the limit.
    #[error("chain of descriptors exceeds {limit} slots")]
    ChainTooLong {
        /// Longest chain accepted, in slots.
        limit: u16,
    },
    /// A descriptor points to memory that the peer did not share, at least in part.
    #[error("{len} bytes at {address:#x} are not all in the peer's memory")]
    NotShared {
        /// Where, in the peer's address space.
        address: u64,
        /// Length, in bytes.
        len: u32,
    },
    /// A ring names a descriptor that it does not have.
    #[error("descriptor {index} of a table of {entries}")]
    NoSuchDescriptor {
        /// Index of the descriptor.
        index: u16,
        /// Descriptors in the table.
        entries: u16,
    },
    /// A descriptor's flags make no sense where it is.
    #[error("descriptor with flags {flags:#x} in a place where they are not allowed")]
    OddFlags {
        /// The flags, as found.
        flags: u16,
    },
    /// A table of indirect descriptors is empty, or ends within one.
    #[error("table of indirect descriptors of {len} bytes")]
    OddTable {
        /// Length of the table, in bytes.
        len: u32,
    },
    /// The peer gives back a buffer that it does not have.
    #[error("buffer {id} is given back, which the peer does not have")]
    NotInFlight {
        /// Its id.
        id: u16,
    },
    /// A packet goes on in buffers that are not there, or is said to have none.
    #[error("packet in {wanted} buffers, of which {found} are there")]
    MissingBuffers {
        /// What the packet's header says.
        wanted: u16,
        /// How many there are.
        found: u16,
    },
    /// A buffer has no room for a packet behind the packet's header.
    #[error("buffer of {len} bytes, too short for a header of {header} and a packet")]
    TooShort {
        /// Length of the buffer, in bytes.
        len: u32,
        /// Length of the header, in bytes.
        header: u32,
    },
}

impl From<crate::ring::IndexRunaway> for QueueError {
    fn from(runaway: crate::ring::IndexRunaway) -> Self {
        Self::IndexRunaway { queued: runaway.queued, ring_size: runaway.ring_size }
    }
}
