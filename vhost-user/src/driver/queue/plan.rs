//! Where rings and buffers lie in the memory that a driver makes.
//!
//! | part | offset | bytes |
//! |---|---|---|
//! | descriptor area of ring 0 | 0 | 16 an entry |
//! | driver area of ring 0 | multiple of 128 | split: 6, and 2 an entry; packed: 4 |
//! | device area of ring 0 | multiple of 128 | split: 6, and 8 an entry; packed: 4 |
//! | the areas of ring 1, and so on | multiple of 128 | |
//! | buffers of ring 0, ring 1 and so on, unless they are a pool's | multiple of 4096 | 52, a header, [`buffer_size`](DriverMemoryConfig::buffer_size), and what puts them an odd number of cache lines apart |
//!
//! The 52 bytes in front of a header put the packet behind it at the beginning of a cache line. The
//! line of the header stays in the caches of both sides, for what it says is mostly the same as before,
//! and is not written then: of the shortest packets one line changes hands instead of two.
//!
//! Areas begin 128 bytes apart at least, because they are written by different sides, and CPUs fetch
//! lines in pairs. Ring `2n` is the receive ring of pair `n`, `2n + 1` its transmit ring.
//!
//! Spec: VIRTIO 1.3 §2.7, §2.8, §5.1.2.

use super::{DriverMemoryConfig, LayoutError, RingLayout};
use crate::net::HEADER;

/// Distance between what different sides write, in bytes.
const LINES: u64 = 128;
const LINE: u64 = 64;
const PAGE: u64 = 4096;

/// In front of a header, in bytes.
const FRONT: u64 = LINE - HEADER as u64;

/// Most entries of a ring.
const SIZE_MAX: u16 = 32768;
/// Most queue pairs: messages name a ring with 8 bits.
pub(super) const PAIRS_MAX: u16 = 128;
/// Most bytes of a buffer. The longest packets have 64 KiB.
pub(super) const BUFFER_MAX: u32 = 1 << 20;

/// Where one ring is: offsets in the memory, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Entries.
    pub(super) size: u16,
    pub(super) descriptor: u64,
    pub(super) driver: u64,
    pub(super) device: u64,
    /// Of the first one's header, unless they are a pool's.
    pub(super) buffers: u64,
    pub(super) in_use: bool,
}

/// Distance between the starts of two buffers of `capacity` bytes: an odd number of cache lines, so
/// that their first lines use all sets of a cache.
pub(super) fn stride(capacity: u32) -> u64 {
    ((FRONT + u64::from(capacity)).div_ceil(LINE) | 1) * LINE
}

/// Where everything goes, with `buffers` or without, and how many bytes that takes. Nothing can
/// overflow: all limits together make less than 2^45 bytes.
pub(super) fn plan(
    config: &DriverMemoryConfig,
    buffers: bool,
) -> Result<(Vec<Place>, u64), LayoutError> {
    let &DriverMemoryConfig { pairs, layout, rx_size, tx_size, buffer_size, .. } = config;
    if pairs == 0 || pairs > PAIRS_MAX {
        return Err(LayoutError::Pairs { pairs });
    }
    if buffer_size == 0 || buffer_size > BUFFER_MAX {
        return Err(LayoutError::BufferSize { buffer_size });
    }
    for size in [rx_size, tx_size] {
        let exists = size > 0 && size <= SIZE_MAX;
        if !exists || layout == RingLayout::Split && !size.is_power_of_two() {
            return Err(LayoutError::Size { size });
        }
    }
    let sizes = (0..pairs).flat_map(|_| [rx_size, tx_size]);
    let mut end = 0;
    let mut rings: Vec<_> = sizes.map(|size| place(layout, size, &mut end)).collect();
    let stride = stride(buffer_size + HEADER);
    end = end.next_multiple_of(PAGE);
    for ring in rings.iter_mut().filter(|_| buffers) {
        ring.buffers = end + FRONT;
        end += u64::from(ring.size) * stride;
    }
    Ok((rings, end.next_multiple_of(PAGE)))
}

/// Where the areas of a ring go, from `end` on.
pub(super) fn place(layout: RingLayout, size: u16, end: &mut u64) -> Place {
    let entries = u64::from(size);
    let (driver, device) = match layout {
        RingLayout::Split => (6 + 2 * entries, 6 + 8 * entries),
        RingLayout::Packed => (4, 4),
    };
    let [descriptor, driver, device] = [16 * entries, driver, device].map(|bytes| {
        let at = *end;
        *end = (at + bytes).next_multiple_of(LINES);
        at
    });
    Place { size, descriptor, driver, device, buffers: 0, in_use: false }
}
