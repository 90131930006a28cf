//! The memory that a driver shares with a device, and where rings and buffers lie in it.
//!
//! | part | offset | bytes |
//! |---|---|---|
//! | descriptor area of ring 0 | 0 | 16 an entry |
//! | driver area of ring 0 | multiple of 128 | split: 6, and 2 an entry; packed: 4 |
//! | device area of ring 0 | multiple of 128 | split: 6, and 8 an entry; packed: 4 |
//! | the areas of ring 1, and so on | multiple of 128 | |
//! | buffers of ring 0, ring 1 and so on | multiple of 4096 | [`buffer_size`](DriverMemoryConfig::buffer_size), a header, and what puts them an odd number of cache lines apart |
//!
//! Areas begin 128 bytes apart at least, because they are written by different sides, and CPUs fetch
//! lines in pairs. Ring `2n` is the receive ring of pair `n`, `2n + 1` its transmit ring.
//!
//! Spec: VIRTIO 1.3 §2.7, §2.8, §5.1.2.

use super::{QueueOptions, RingLayout, RxQueue, TxQueue};
use crate::net::HEADER;
use crate::virtqueue::RingAddresses;
use crate::wire::MemoryRegion;
use ringport::link::LinkState;
use ringport::shm::guard::Watch;
use ringport::shm::{Backing, Mapping, MemoryPolicy, OutOfRange, OwnedMemory, RegionError};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use thiserror::Error;

/// Guest address of the first byte. Not zero, so that no address in zeroed memory is one of ours,
/// and not the front-end address, so that a device that confuses the two finds nothing, instead of
/// what it looks for by chance. 4 GiB: below is what needs 32 bits on a machine.
const GUEST: u64 = 1 << 32;

/// Front-end address of the first byte. It names nothing in our process, so that a device learns
/// nothing of our address space. 16 TiB: as those of a process are, below 2^47.
const FRONT_END: u64 = 1 << 44;

/// Distance between what different sides write, in bytes.
const LINES: u64 = 128;
const LINE: u64 = 64;
const PAGE: u64 = 4096;

/// Most entries of a ring.
const SIZE_MAX: u16 = 32768;
/// Most queue pairs: messages name a ring with 8 bits.
const PAIRS_MAX: u16 = 128;
/// Most bytes of a buffer. The longest packets have 64 KiB.
const BUFFER_MAX: u32 = 1 << 20;

/// What memory a driver makes for a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriverMemoryConfig {
    /// Queue pairs, up to 128.
    pub pairs: u16,
    /// How rings are laid out.
    pub layout: RingLayout,
    /// Entries of a receive ring, each of which has a buffer.
    pub rx_size: u16,
    /// Entries of a transmit ring, each of which has a buffer.
    pub tx_size: u16,
    /// Bytes of a packet that one buffer holds. A header of 12 bytes has its place besides.
    pub buffer_size: u32,
    /// What kind of pages.
    pub backing: Backing,
    /// What to do about memory that the device could take back: huge pages.
    pub policy: MemoryPolicy,
}

impl Default for DriverMemoryConfig {
    fn default() -> Self {
        Self {
            pairs: 1,
            layout: RingLayout::default(),
            rx_size: 256,
            tx_size: 256,
            buffer_size: 2048,
            backing: Backing::Pages,
            policy: MemoryPolicy::Guarded,
        }
    }
}

/// Why there is no memory, or no queue in it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A size that no ring has.
    #[error("ring of {size} entries: up to 32768 are possible, in a split ring powers of two")]
    Size {
        /// Entries asked for.
        size: u16,
    },
    /// A number of queue pairs that no device has.
    #[error("{pairs} queue pairs, 1 to {PAIRS_MAX} are possible")]
    Pairs {
        /// Pairs asked for.
        pairs: u16,
    },
    /// Buffers that are empty, or too large.
    #[error("buffers of {buffer_size} bytes, 1 to {BUFFER_MAX} are possible")]
    BufferSize {
        /// Size asked for, in bytes.
        buffer_size: u32,
    },
    /// The memory cannot be had, or cannot be protected as the policy says.
    #[error("memory for rings and buffers")]
    Memory(#[from] RegionError),
    /// There is no such ring.
    #[error("ring {ring}, of {rings}")]
    NoSuchRing {
        /// Its number.
        ring: usize,
        /// How many there are.
        rings: usize,
    },
    /// A ring has its queue already: there is one for each link.
    #[error("ring {ring} is in use")]
    InUse {
        /// Its number.
        ring: usize,
    },
    /// A ring does not fit the memory. This does not happen.
    #[error("ring outside of the memory")]
    Outside(#[from] OutOfRange),
    /// No descriptor is to be had for a doorbell (limit of open files).
    #[error("doorbell")]
    Doorbell(#[from] io::Error),
}

/// The memory that a driver shares with a device for one link: rings, zeroed at first, and buffers.
///
/// It makes each queue once. The next link has memory of its own, so that a device of an earlier
/// one, which may still have it mapped, has no part in it.
#[derive(Debug)]
pub struct DriverMemory {
    memory: OwnedMemory,
    rings: Vec<Place>,
    layout: RingLayout,
    /// What a buffer holds, header included, in bytes.
    capacity: u32,
    link: Arc<LinkState>,
    watch: Option<Arc<Watch>>,
}

/// Where one ring is: offsets in the memory, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Entries.
    pub(super) size: u16,
    pub(super) descriptor: u64,
    pub(super) driver: u64,
    pub(super) device: u64,
    /// Of the first one.
    pub(super) buffers: u64,
    in_use: bool,
}

/// What a queue is made from.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) mapping: Arc<Mapping>,
    pub(super) place: Place,
    pub(super) layout: RingLayout,
    /// What a buffer holds, header included, in bytes.
    pub(super) capacity: u32,
    /// Guest address of the memory's first byte.
    pub(super) guest: u64,
    pub(super) link: Arc<LinkState>,
    /// Brings the link down when the device takes the memory back.
    pub(super) watch: Option<Arc<Watch>>,
}

impl DriverMemory {
    /// Makes zeroed memory for the rings and buffers of `link`.
    ///
    /// # Errors
    /// [`LayoutError`]: sizes that make no sense, or memory that cannot be had.
    pub fn allocate(
        config: &DriverMemoryConfig,
        link: &Arc<LinkState>,
    ) -> Result<Self, LayoutError> {
        let (rings, bytes) = plan(config)?;
        let len = usize::try_from(bytes).unwrap_or(usize::MAX);
        let memory = OwnedMemory::create("ringport-vhost-user", len, config.backing)?;
        let watch = memory.protect(config.policy, link)?.map(Arc::new);
        let (layout, capacity) = (config.layout, config.buffer_size + HEADER);
        Ok(Self { memory, rings, layout, capacity, link: Arc::clone(link), watch })
    }

    /// The descriptor to send to the device.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.memory.fd()
    }

    /// The one region that the memory is, as messages describe it.
    ///
    /// Spec: vhost-user "Memory region description".
    #[must_use]
    pub fn region(&self) -> MemoryRegion {
        let size = self.memory.mapping().len() as u64;
        MemoryRegion { guest_address: GUEST, size, user_address: FRONT_END, mmap_offset: 0 }
    }

    /// The memory, mapped here.
    #[must_use]
    pub fn mapping(&self) -> &Arc<Mapping> {
        self.memory.mapping()
    }

    /// How many rings there are: two a pair.
    #[must_use]
    pub fn rings(&self) -> usize {
        self.rings.len()
    }

    /// Size and front-end addresses of a ring, as messages describe it.
    ///
    /// Spec: vhost-user "A vring address description".
    #[must_use]
    pub fn addresses(&self, ring: usize) -> Option<RingAddresses> {
        let &Place { size, descriptor, driver, device, .. } = self.rings.get(ring)?;
        Some(RingAddresses {
            size,
            descriptor: FRONT_END + descriptor,
            driver: FRONT_END + driver,
            device: FRONT_END + device,
        })
    }

    /// Makes the receive queue of a pair: fills its ring with empty buffers, and kicks. That may be
    /// before the device knows of the ring.
    ///
    /// # Errors
    /// [`LayoutError`]: there is no such pair, its queue was made before, or no doorbell can be had.
    pub fn rx_queue(&mut self, pair: u16, options: &QueueOptions) -> Result<RxQueue, LayoutError> {
        let parts = self.take(2 * usize::from(pair))?;
        RxQueue::new(&parts, options)
    }

    /// Makes the transmit queue of a pair.
    ///
    /// # Errors
    /// As [`rx_queue`](Self::rx_queue).
    pub fn tx_queue(&mut self, pair: u16, options: &QueueOptions) -> Result<TxQueue, LayoutError> {
        let parts = self.take(2 * usize::from(pair) + 1)?;
        TxQueue::new(&parts, options)
    }

    fn take(&mut self, ring: usize) -> Result<Parts, LayoutError> {
        let rings = self.rings.len();
        let place = self.rings.get_mut(ring).ok_or(LayoutError::NoSuchRing { ring, rings })?;
        if std::mem::replace(&mut place.in_use, true) {
            return Err(LayoutError::InUse { ring });
        }
        Ok(Parts {
            mapping: Arc::clone(self.memory.mapping()),
            place: *place,
            layout: self.layout,
            capacity: self.capacity,
            guest: GUEST,
            link: Arc::clone(&self.link),
            watch: self.watch.clone(),
        })
    }
}

/// Distance between the starts of two buffers of `capacity` bytes: an odd number of cache lines, so
/// that their first lines use all sets of a cache.
pub(super) fn stride(capacity: u32) -> u64 {
    (u64::from(capacity).div_ceil(LINE) | 1) * LINE
}

/// Where everything goes, and how many bytes that takes. Nothing can overflow: all limits together
/// make less than 2^45 bytes.
fn plan(config: &DriverMemoryConfig) -> Result<(Vec<Place>, u64), LayoutError> {
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
    for ring in &mut rings {
        ring.buffers = end;
        end += u64::from(ring.size) * stride;
    }
    Ok((rings, end.next_multiple_of(PAGE)))
}

/// Where the areas of a ring go, from `end` on.
fn place(layout: RingLayout, size: u16, end: &mut u64) -> Place {
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
