//! The memory that a driver shares with a device: one region with rings and buffers, or one with
//! rings and another that is a pool.
//!
//! Spec: vhost-user "Memory region description".

use super::plan::{BUFFER_MAX, PAIRS_MAX, Place, plan, stride};
use super::{QueueOptions, RingLayout, RxQueue, TxQueue};
use crate::net::HEADER;
use crate::virtqueue::RingAddresses;
use crate::wire::MemoryRegion;
use ringport::link::LinkState;
use ringport::pool::{Pool, PoolError};
use ringport::shm::guard::Watch;
use ringport::shm::{
    Backing, Mapping, MemoryPolicy, OutOfRange, OwnedMemory, RegionError, Regions,
};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use thiserror::Error;

/// Guest address of the first byte, unless it is [moved](DriverMemory::move_to). Not zero, so that no address in zeroed memory is one of ours,
/// and not the front-end address, so that a device that confuses the two finds nothing, instead of
/// what it looks for by chance. 4 GiB: below is what needs 32 bits on a machine.
const GUEST: u64 = 1 << 32;

/// Front-end address of the first byte. It names nothing in our process, so that a device learns
/// nothing of our address space. 16 TiB: as those of a process are, below 2^47.
const FRONT_END: u64 = 1 << 44;

/// A pool begins at the next multiple of this behind the rings, so that there is something between that
/// is nobody's.
const APART: u64 = 1 << 30;

/// The region of the rings, and of buffers without a pool; and that of a pool, which knows itself by
/// that number.
const OWN: u16 = 0;
const POOL: u16 = 1;

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
    /// Bytes of a packet that one buffer holds. A header of 12 bytes has its place besides. With a pool
    /// it is what the pool's buffers hold instead.
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
    /// The pool cannot provide the buffers.
    #[error("buffers from the pool")]
    Pool(#[from] PoolError),
    /// In the pool's buffers there is no room for the header in front of a packet.
    #[error("headroom of {headroom} bytes in the pool's buffers, {HEADER} are needed")]
    Headroom {
        /// The pool's headroom, in bytes.
        headroom: u16,
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
    /// Memory that would go beyond the last address.
    #[error(
        "memory of {len} bytes at guest address {guest_address:#x} goes beyond the last address"
    )]
    Address {
        /// Of its first byte.
        guest_address: u64,
        /// Its bytes, and those of a pool.
        len: u64,
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
    /// Where buffers are instead.
    pool: Option<Arc<Pool>>,
    regions: Arc<Regions>,
    rings: Vec<Place>,
    /// Guest address of the first byte.
    guest: u64,
    layout: RingLayout,
    /// What a buffer holds, header included, in bytes.
    capacity: u32,
    link: Arc<LinkState>,
    watches: Arc<[Watch]>,
}

/// What a queue is made from.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) mapping: Arc<Mapping>,
    pub(super) place: Place,
    pub(super) layout: RingLayout,
    pub(super) buffers: BufferPlace,
    /// All memory, for the queue's batch.
    pub(super) regions: Arc<Regions>,
    pub(super) link: Arc<LinkState>,
    /// Bring the link down when the device takes memory back.
    pub(super) watches: Arc<[Watch]>,
}

/// Where the buffers of a ring are.
#[derive(Debug)]
pub(super) struct BufferPlace {
    pub(super) region: u16,
    /// Guest address of the region's first byte.
    pub(super) guest: u64,
    /// Offset of the header in buffer number 0, in bytes.
    pub(super) first: u64,
    /// From one buffer to the next, in bytes.
    pub(super) stride: u64,
    /// What a buffer holds, header included, in bytes.
    pub(super) capacity: u32,
    /// The pool, and the offsets at which the buffers of this ring begin.
    pub(super) lent: Option<(Arc<Pool>, Vec<u64>)>,
}

impl BufferPlace {
    /// Of a ring whose buffers are looked after by whoever has it.
    pub(super) fn none() -> Self {
        Self { region: OWN, guest: 0, first: 0, stride: 0, capacity: 0, lent: None }
    }
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
        Self::build(config, None, link)
    }

    /// As [`allocate`](Self::allocate), for rings only: buffers are those of `pool`.
    ///
    /// # Errors
    /// [`LayoutError`]; as well when the pool's headroom does not hold a header.
    pub fn on_pool(
        config: &DriverMemoryConfig,
        pool: &Arc<Pool>,
        link: &Arc<LinkState>,
    ) -> Result<Self, LayoutError> {
        let headroom = pool.headroom();
        if u32::from(headroom) < HEADER {
            return Err(LayoutError::Headroom { headroom });
        }
        let config = DriverMemoryConfig { buffer_size: pool.capacity(), ..*config };
        Self::build(&config, Some(Arc::clone(pool)), link)
    }

    fn build(
        config: &DriverMemoryConfig,
        pool: Option<Arc<Pool>>,
        link: &Arc<LinkState>,
    ) -> Result<Self, LayoutError> {
        let (rings, bytes) = plan(config, pool.is_none())?;
        let len = usize::try_from(bytes).unwrap_or(usize::MAX);
        let memory = OwnedMemory::create("ringport-vhost-user", len, config.backing)?;
        let shared = [Some(&memory), pool.as_deref().map(Pool::memory)];
        let watches =
            shared.into_iter().flatten().map(|shared| shared.protect(config.policy, link));
        let watches = watches.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        let own = || Arc::new(Regions::new(vec![Arc::clone(memory.mapping())]));
        let regions = pool.as_ref().map_or_else(own, |pool| Arc::clone(pool.regions()));
        let (layout, capacity) = (config.layout, config.buffer_size + HEADER);
        let link = Arc::clone(link);
        Ok(Self { memory, pool, regions, rings, guest: GUEST, layout, capacity, link, watches })
    }

    /// Has the device find this memory from this guest address on, and not from 4 GiB on: for devices that
    /// do not reach all addresses. A pool is behind it, at the next multiple of 1 GiB from its beginning.
    ///
    /// # Errors
    /// [`LayoutError::InUse`] once a queue was made, whose ring may have addresses already, and
    /// [`LayoutError::Address`].
    pub fn move_to(&mut self, guest_address: u64) -> Result<(), LayoutError> {
        if let Some(ring) = self.rings.iter().position(|ring| ring.in_use) {
            return Err(LayoutError::InUse { ring });
        }
        let pool = self.pool.as_ref().map(|pool| pool.memory().mapping().len() as u64);
        let len = pool.map_or_else(|| self.region().size, |pool| self.apart() + pool);
        if guest_address.checked_add(len).is_none() {
            return Err(LayoutError::Address { guest_address, len });
        }
        self.guest = guest_address;
        Ok(())
    }

    /// All that the device maps, each with its descriptor: this memory, and the pool.
    ///
    /// Spec: vhost-user "Memory region description".
    #[must_use]
    pub fn regions(&self) -> Vec<(MemoryRegion, BorrowedFd<'_>)> {
        let mut all = vec![(self.region(), self.fd())];
        if let Some(pool) = &self.pool {
            let (size, apart) = (pool.memory().mapping().len() as u64, self.apart());
            let (guest_address, user_address) = (self.guest + apart, FRONT_END + apart);
            let region = MemoryRegion { guest_address, size, user_address, mmap_offset: 0 };
            all.push((region, pool.memory().fd()));
        }
        all
    }

    /// The descriptor of the memory with the rings.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.memory.fd()
    }

    /// The region with the rings, as messages describe it.
    #[must_use]
    pub fn region(&self) -> MemoryRegion {
        let size = self.memory.mapping().len() as u64;
        MemoryRegion { guest_address: self.guest, size, user_address: FRONT_END, mmap_offset: 0 }
    }

    /// The memory with the rings, mapped here.
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
        self.addresses_from(FRONT_END, ring)
    }

    /// Size and guest addresses of a ring, for a device that is told of rings by the addresses by which
    /// rings name buffers.
    #[must_use]
    pub fn guest_addresses(&self, ring: usize) -> Option<RingAddresses> {
        self.addresses_from(self.guest, ring)
    }

    fn addresses_from(&self, first: u64, ring: usize) -> Option<RingAddresses> {
        let &Place { size, descriptor, driver, device, .. } = self.rings.get(ring)?;
        Some(RingAddresses {
            size,
            descriptor: first + descriptor,
            driver: first + driver,
            device: first + device,
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
        let place = *place;
        Ok(Parts {
            mapping: Arc::clone(self.memory.mapping()),
            place,
            layout: self.layout,
            buffers: self.buffers(&place)?,
            regions: Arc::clone(&self.regions),
            link: Arc::clone(&self.link),
            watches: Arc::clone(&self.watches),
        })
    }

    fn buffers(&self, ring: &Place) -> Result<BufferPlace, LayoutError> {
        let capacity = self.capacity;
        let Some(pool) = &self.pool else {
            let (first, stride) = (ring.buffers, stride(capacity));
            return Ok(BufferPlace {
                region: OWN,
                guest: self.guest,
                first,
                stride,
                capacity,
                lent: None,
            });
        };
        Ok(BufferPlace {
            region: POOL,
            guest: self.guest + self.apart(),
            first: u64::from(pool.headroom()) - u64::from(HEADER),
            stride: pool.buffer_size().into(),
            capacity,
            lent: Some((Arc::clone(pool), pool.take(ring.size.into())?)),
        })
    }

    /// From the beginning of this memory to that of the pool, as the device sees them.
    fn apart(&self) -> u64 {
        (self.memory.mapping().len() as u64).next_multiple_of(APART)
    }
}
