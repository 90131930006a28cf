//! Why a queue stopped.

use thiserror::Error;

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
}

impl From<crate::ring::IndexRunaway> for QueueError {
    fn from(runaway: crate::ring::IndexRunaway) -> Self {
        Self::IndexRunaway { queued: runaway.queued, ring_size: runaway.ring_size }
    }
}
