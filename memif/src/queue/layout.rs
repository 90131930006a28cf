//! Where rings and buffers lie in shared memory, and how queues are made over them.
//!
//! | ring field | offset (64-byte lines) | offset (128-byte lines) | bytes |
//! |---|---|---|---|
//! | cookie | 0 | 0 | 4 |
//! | flags | 4 | 4 | 2 |
//! | head | 6 | 6 | 2 |
//! | tail | 64 | 128 | 2 |
//! | descriptors | 128 | 256 | 16 each |
//!
//! A client of ours puts all rings first, C2S before S2C, then the buffers in ring order, all in
//! region 0; with a pool the buffers are in region 1, the pool's memory. A server takes whatever
//! the client announced.
//!
//! Spec: [rings](crate::protocol#rings), [where they lie](crate::protocol#where-rings-and-buffers-lie).

use super::ring::{Ring, RingParts, SlotTable};
use super::{ClientMemoryConfig, DataConfig, Queues, RxMode, RxQueue, TxQueue};
use crate::wire::COOKIE;
use crate::{CacheLine, Direction, Offer, RegionOffer, RingOffer, RunParameters};
use ringport::burst::{BURST_MAX, RxBatch, TxBatch};
use ringport::doorbell::{Doorbell, DoorbellError};
use ringport::link::LinkState;
use ringport::pool::{Pool, PoolError};
use ringport::ring::{Cursor, NO_DOORBELL, RingIdx};
use ringport::shm::guard::Watch;
use ringport::shm::{
    DescTable, Mapping, OutOfRange, OwnedMemory, PerSlot, RegionError, Regions, SharedU16,
    read_u32, write_u32,
};
use std::io;
use std::sync::Arc;
use thiserror::Error;

/// Largest region that descriptors can address, in bytes.
const REGION_BYTES_MAX: u64 = 1 << 32;

/// Why no queues could be made for a link.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A region cannot be mapped, or made.
    #[error("region {region}")]
    Region {
        /// Index of the region.
        region: usize,
        /// What is wrong with it.
        #[source]
        source: RegionError,
    },
    /// A ring does not fit its region.
    #[error("ring {index} {direction:?}")]
    Ring {
        /// Direction of the ring.
        direction: Direction,
        /// Index of the ring.
        index: u16,
        /// What is wrong with it.
        #[source]
        source: OutOfRange,
    },
    /// A ring names a region that was not announced.
    #[error("ring in region {region}, {count} announced")]
    NoRegion {
        /// Region of the ring.
        region: u16,
        /// Regions announced.
        count: usize,
    },
    /// A ring does not start with the cookie.
    #[error("ring {index} {direction:?} starts with {found:#010x} instead of the cookie")]
    Cookie {
        /// Direction of the ring.
        direction: Direction,
        /// Index of the ring.
        index: u16,
        /// What is there.
        found: u32,
    },
    /// A doorbell is none, or none can be made.
    #[error("doorbell")]
    Doorbell(#[from] DoorbellError),
    /// File descriptors cannot be made.
    #[error("file descriptors")]
    Io(#[from] io::Error),
    /// Rings and buffers together exceed what descriptors can address.
    #[error(
        "rings and buffers take {bytes} bytes, a region holds {max}: lower ring size, ring count or buffer size"
    )]
    TooLarge {
        /// Bytes that they take.
        bytes: u64,
        /// Bytes that a region holds.
        max: u64,
    },
    /// The headroom leaves no room for packets.
    #[error("headroom of {headroom} bytes leaves nothing of a buffer of {buffer_size}")]
    Headroom {
        /// Headroom, in bytes.
        headroom: u16,
        /// Size of a buffer, in bytes.
        buffer_size: u32,
    },
    /// The pool cannot provide the buffers.
    #[error("buffers from the pool")]
    Pool(#[from] PoolError),
}

/// Bytes in front of a ring's descriptors.
fn header_bytes(cache_line: CacheLine) -> u64 {
    2 * line_bytes(cache_line)
}

fn line_bytes(cache_line: CacheLine) -> u64 {
    match cache_line {
        CacheLine::B64 => 64,
        CacheLine::B128 => 128,
    }
}

/// The parts of one ring in shared memory.
struct RingView {
    head: SharedU16,
    tail: SharedU16,
    flags: SharedU16,
    descriptors: DescTable,
}

impl RingView {
    fn new(
        at: &Arc<Mapping>,
        offset: u64,
        slots: u16,
        line: CacheLine,
    ) -> Result<Self, OutOfRange> {
        Ok(Self {
            flags: SharedU16::new(at, offset + 4)?,
            head: SharedU16::new(at, offset + 6)?,
            tail: SharedU16::new(at, offset + line_bytes(line))?,
            descriptors: DescTable::new(at, offset + header_bytes(line), slots)?,
        })
    }
}

/// Maps what a client announced and makes the server's queues over it.
///
/// # Errors
/// [`LayoutError`]: what is wrong with the client's memory. Nothing stays mapped then.
pub fn server_queues(
    offer: Offer,
    cache_line: CacheLine,
    link: &Arc<LinkState>,
    config: &DataConfig,
) -> Result<Queues, LayoutError> {
    let mut mappings = Vec::with_capacity(offer.regions.len());
    for (region, RegionOffer { fd, size }) in offer.regions.into_iter().enumerate() {
        let mapping = Mapping::from_peer(fd, size, config.policy, link);
        mappings.push(Arc::new(mapping.map_err(|source| LayoutError::Region { region, source })?));
    }
    let regions = Arc::new(Regions::new(mappings));
    let mut queues = Queues::default();
    let watches = Arc::from([]);
    let mut rings = offer.rings;
    rings.sort_by_key(|ring| ring.index);
    for ring in rings {
        let view = view_of_client(&regions, &ring, cache_line)?;
        let slots = 1 << ring.log2_ring_size;
        let doorbell = Arc::new(Doorbell::from_peer(ring.doorbell)?);
        view.tail.set(0);
        let parts = RingParts {
            cursor: Cursor::new(slots, 0, 0),
            own: view.tail,
            peer: view.head,
            flags: view.flags,
            descriptors: view.descriptors,
            doorbell,
            link: Arc::clone(link),
            buffers: None,
            watches: Arc::clone(&watches),
        };
        add_queue(&mut queues, ring.direction == Direction::C2s, parts, &regions, config);
    }
    Ok(queues)
}

/// Finds a ring that the client announced, and checks its cookie.
fn view_of_client(
    regions: &Regions,
    ring: &RingOffer,
    line: CacheLine,
) -> Result<RingView, LayoutError> {
    let RingOffer { direction, index, region, offset, log2_ring_size, .. } = *ring;
    let mapping = regions.mapping(region);
    let mapping = mapping.ok_or(LayoutError::NoRegion { region, count: regions.len() })?;
    let wrong = |source| LayoutError::Ring { direction, index, source };
    let found = read_u32(mapping, u64::from(offset)).map_err(wrong)?;
    if found != COOKIE {
        return Err(LayoutError::Cookie { direction, index, found });
    }
    RingView::new(mapping, u64::from(offset), 1 << log2_ring_size, line).map_err(wrong)
}

fn add_queue(
    queues: &mut Queues,
    receives: bool,
    parts: RingParts,
    regions: &Arc<Regions>,
    config: &DataConfig,
) {
    let ring_size = parts.cursor.ring_size();
    let chain_max = config.chain_max.clamp(1, ring_size);
    let capacity = usize::from(ring_size).min(BURST_MAX.max(usize::from(chain_max)));
    let exchangeable = parts.buffers.as_ref().is_some_and(|buffers| buffers.pool.is_some());
    if receives {
        let masked = if config.rx_mode == RxMode::Interrupt { 0 } else { NO_DOORBELL };
        parts.flags.set(masked);
        parts.link.wake_at_end(Arc::clone(&parts.doorbell));
        let batch = RxBatch::new(Arc::clone(regions), capacity);
        let batch = if exchangeable { batch.exchangeable() } else { batch };
        queues.rx.push(RxQueue::new(Ring::new(parts), batch, config.rx_mode, chain_max));
    } else {
        let batch = TxBatch::new(Arc::clone(regions), capacity, usize::from(chain_max));
        let batch = if exchangeable { batch.exchangeable() } else { batch };
        queues.tx.push(TxQueue::new(Ring::new(parts), batch));
    }
}

/// The memory that a client makes for one link: rings, buffers, doorbells.
#[derive(Debug)]
pub struct ClientMemory {
    memory: OwnedMemory,
    rings: Vec<ClientRing>,
    pool_memory: Option<Arc<Pool>>,
    regions: Arc<Regions>,
    log2_ring_size: u8,
    cache_line: CacheLine,
}

/// One ring of a client, not yet in use.
#[derive(Debug)]
struct ClientRing {
    direction: Direction,
    index: u16,
    offset: u32,
    doorbell: Arc<Doorbell>,
    buffers: SlotTable,
}

impl ClientMemory {
    /// Makes and initialises rings, buffers and doorbells.
    ///
    /// # Errors
    /// [`LayoutError`]: what cannot be had, or does not fit.
    pub fn allocate(
        params: &RunParameters,
        config: &ClientMemoryConfig,
    ) -> Result<Self, LayoutError> {
        let plan = Plan::new(params, config)?;
        let made = OwnedMemory::create("ringport-memif", plan.bytes, config.backing);
        let memory = made.map_err(|source| LayoutError::Region { region: 0, source })?;
        let own_regions = || Arc::new(Regions::new(vec![Arc::clone(memory.mapping())]));
        let regions =
            config.pool.as_ref().map_or_else(own_regions, |pool| Arc::clone(pool.regions()));
        let mut rings = Vec::with_capacity(plan.directions.len());
        for (ring, &(direction, index)) in plan.directions.iter().enumerate() {
            let offset = plan.ring_offset(ring);
            let buffers = plan.buffers(ring, config)?;
            initialise(memory.mapping(), offset, plan.slots, config.cache_line, &buffers)
                .map_err(|source| LayoutError::Ring { direction, index, source })?;
            let doorbell = Arc::new(Doorbell::create()?);
            rings.push(ClientRing { direction, index, offset, doorbell, buffers });
        }
        Ok(Self {
            memory,
            rings,
            pool_memory: config.pool.clone(),
            regions,
            log2_ring_size: params.log2_ring_size,
            cache_line: config.cache_line,
        })
    }

    /// What is announced to the server, with file descriptors of its own.
    ///
    /// # Errors
    /// When the limit of open files is reached.
    pub fn offer(&self, if_name: &str) -> io::Result<Offer> {
        let announce = |memory: &OwnedMemory| {
            let size = memory.mapping().len() as u64;
            Ok::<_, io::Error>(RegionOffer { fd: memory.fd().try_clone_to_owned()?, size })
        };
        let mut regions = vec![announce(&self.memory)?];
        if let Some(pool) = &self.pool_memory {
            regions.push(announce(pool.memory())?);
        }
        let mut rings = Vec::with_capacity(self.rings.len());
        for ring in &self.rings {
            rings.push(RingOffer {
                direction: ring.direction,
                index: ring.index,
                region: 0,
                offset: ring.offset,
                log2_ring_size: self.log2_ring_size,
                doorbell: ring.doorbell.try_clone_fd()?,
            });
        }
        Ok(Offer { if_name: if_name.into(), regions, rings })
    }

    /// Makes the client's queues, once the server is connected. Only now are empty buffers
    /// published: libmemif and DPDK set both indices of every ring to zero while they connect.
    ///
    /// # Errors
    /// [`LayoutError::Region`] when the policy refuses memory that the server could take back, such
    /// as huge pages.
    pub fn into_queues(
        self,
        link: &Arc<LinkState>,
        config: &DataConfig,
    ) -> Result<Queues, LayoutError> {
        let watches = self.protect(link, config)?;
        let mut queues = Queues::default();
        let slots = 1u16 << self.log2_ring_size;
        for ring in self.rings {
            let ClientRing { direction, index, offset, doorbell, buffers } = ring;
            let view =
                RingView::new(self.memory.mapping(), u64::from(offset), slots, self.cache_line)
                    .map_err(|source| LayoutError::Ring { direction, index, source })?;
            let receives = direction == Direction::S2c;
            let (own_bias, peer_bias) = if receives { (slots, 0) } else { (0, slots) };
            let mut parts = RingParts {
                cursor: Cursor::new(slots, own_bias, peer_bias),
                own: view.head,
                peer: view.tail,
                flags: view.flags,
                descriptors: view.descriptors,
                doorbell,
                link: Arc::clone(link),
                buffers: Some(buffers),
                watches: Arc::clone(&watches),
            };
            parts.cursor.publish(parts.own.atomic(), 0);
            add_queue(&mut queues, receives, parts, &self.regions, config);
        }
        Ok(queues)
    }
}

impl ClientMemory {
    /// Applies the policy to memory that the server could take back.
    fn protect(
        &self,
        link: &Arc<LinkState>,
        config: &DataConfig,
    ) -> Result<Arc<[Watch]>, LayoutError> {
        let pool = self.pool_memory.as_deref().map(Pool::memory);
        let mut watches = Vec::new();
        for (region, memory) in [&self.memory].into_iter().chain(pool).enumerate() {
            let watch = memory.protect(config.policy, link);
            watches.extend(watch.map_err(|source| LayoutError::Region { region, source })?);
        }
        Ok(watches.into())
    }
}

/// Writes a ring's header and the descriptors of its empty buffers.
fn initialise(
    mapping: &Arc<Mapping>,
    offset: u32,
    slots: u16,
    cache_line: CacheLine,
    buffers: &SlotTable,
) -> Result<(), OutOfRange> {
    let view = RingView::new(mapping, u64::from(offset), slots, cache_line)?;
    write_u32(mapping, u64::from(offset), COOKIE)?;
    view.flags.set(0);
    view.head.set(0);
    view.tail.set(0);
    for slot in 0..slots {
        view.descriptors.store(slot, buffers.empty(RingIdx(slot)).to_words());
    }
    Ok(())
}

/// Sizes and places, computed in 64 bits before anything is made.
struct Plan {
    slots: u16,
    /// Direction and index of each ring, in the order in which they lie in memory.
    directions: Vec<(Direction, u16)>,
    ring_bytes: u32,
    /// Where buffers start, in region 0 (without a pool).
    buffers_base: u64,
    /// Distance between two buffers.
    buffer_stride: u64,
    /// Size of region 0.
    bytes: usize,
}

impl Plan {
    fn new(params: &RunParameters, config: &ClientMemoryConfig) -> Result<Self, LayoutError> {
        let slots = 1u16 << params.log2_ring_size;
        let c2s = (0..params.c2s_rings).map(|index| (Direction::C2s, index));
        let s2c = (0..params.s2c_rings).map(|index| (Direction::S2c, index));
        let directions: Vec<_> = c2s.chain(s2c).collect();
        let rings = directions.len() as u64;
        let ring_bytes = header_bytes(config.cache_line) + 16 * u64::from(slots);
        let buffers_base = (rings * ring_bytes).next_multiple_of(line_bytes(config.cache_line));
        let own_buffers = if config.pool.is_some() { 0 } else { rings * u64::from(slots) };
        let buffer_stride = config.spacing.stride(config.buffer_size);
        let bytes = buffers_base + own_buffers * buffer_stride;
        let too_large = LayoutError::TooLarge { bytes, max: REGION_BYTES_MAX };
        if bytes > REGION_BYTES_MAX {
            return Err(too_large);
        }
        let headroom = headroom(config);
        if u32::from(headroom) >= params.buffer_size {
            return Err(LayoutError::Headroom { headroom, buffer_size: params.buffer_size });
        }
        let (Ok(ring_bytes), Ok(bytes)) = (u32::try_from(ring_bytes), usize::try_from(bytes))
        else {
            return Err(too_large);
        };
        Ok(Self { slots, directions, ring_bytes, buffers_base, buffer_stride, bytes })
    }

    fn ring_offset(&self, ring: usize) -> u32 {
        // No loss: all rings together fit a region of 32-bit offsets.
        u32::try_from(ring).unwrap_or(u32::MAX).saturating_mul(self.ring_bytes)
    }

    /// The buffers of the ring that lies at place `ring`. Headroom is only for what the server
    /// writes, but all buffers have it, so that they can be exchanged.
    fn buffers(&self, ring: usize, config: &ClientMemoryConfig) -> Result<SlotTable, LayoutError> {
        let (slots, headroom) = (u64::from(self.slots), headroom(config));
        let (region, buffer_size, starts) = match &config.pool {
            Some(pool) => {
                (1, config.buffer_size.min(pool.buffer_size()), pool.take(usize::from(self.slots))?)
            }
            None => {
                let stride = self.buffer_stride;
                let first = self.buffers_base + ring as u64 * slots * stride;
                (0, config.buffer_size, (0..slots).map(|slot| first + slot * stride).collect())
            }
        };
        if u32::from(headroom) >= buffer_size {
            return Err(LayoutError::Headroom { headroom, buffer_size });
        }
        // No loss: every start lies in a region of 32-bit offsets, with `headroom` bytes behind it.
        let offset = |start: u64| u32::try_from(start + u64::from(headroom)).unwrap_or(u32::MAX);
        Ok(SlotTable {
            offsets: PerSlot::new(starts.into_iter().map(offset).collect()),
            capacity: buffer_size - u32::from(headroom),
            region,
            headroom,
            pool: config.pool.clone(),
        })
    }
}

/// The bytes in front of each packet.
fn headroom(config: &ClientMemoryConfig) -> u16 {
    config.pool.as_ref().map_or(config.headroom, |pool| pool.headroom())
}
