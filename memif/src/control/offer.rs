//! What a client shares: regions and rings, collected and checked one by one.

use super::handshake::Awaited;
use super::layout::{check_bounds, check_overlap};
use super::{CacheLine, Direction, Limits, RingPlace, detect_cache_line};
use crate::error::PeerMisbehaved;
use crate::wire::{AddRegion, AddRing, MessageType, Name};
use std::os::fd::OwnedFd;

/// Everything that a client shares. The same on both sides, so a proxy can hand it on.
#[derive(Debug)]
pub struct Offer {
    /// The client's name of the interface.
    pub if_name: Name,
    /// The regions, by index.
    pub regions: Vec<RegionOffer>,
    /// The rings; ascending by index in each direction.
    pub rings: Vec<RingOffer>,
}

/// One piece of a client's memory.
///
/// Spec: [ADD_REGION](crate::protocol#add_region).
#[derive(Debug)]
pub struct RegionOffer {
    /// The memory. Not yet checked to be memory, or to be of that size.
    pub fd: OwnedFd,
    /// Size announced, in bytes.
    pub size: u64,
}

/// One ring.
///
/// Spec: [ADD_RING](crate::protocol#add_ring).
#[derive(Debug)]
pub struct RingOffer {
    /// Which way packets travel.
    pub direction: Direction,
    /// Number among the rings of its direction.
    pub index: u16,
    /// Region that holds it.
    pub region: u16,
    /// Start in that region, in bytes.
    pub offset: u32,
    /// Base-2 logarithm of the number of descriptors.
    pub log2_ring_size: u8,
    /// The eventfd that its producer writes. Not yet checked to be an eventfd.
    pub doorbell: OwnedFd,
}

impl RingOffer {
    /// Where the ring lies.
    #[must_use]
    pub fn place(&self) -> RingPlace {
        RingPlace { region: self.region, offset: self.offset, log2_ring_size: self.log2_ring_size }
    }
}

impl Offer {
    /// How many rings there are in one direction.
    #[must_use]
    pub fn ring_count(&self, direction: Direction) -> usize {
        self.rings.iter().filter(|ring| ring.direction == direction).count()
    }
}

/// An offer in the making, on the server's side.
#[derive(Debug)]
pub(super) struct OfferBuilder {
    limits: Limits,
    total_bytes: u64,
    c2s_rings: u16,
    s2c_rings: u16,
    regions: Vec<RegionOffer>,
    rings: Vec<RingOffer>,
}

impl OfferBuilder {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            total_bytes: 0,
            c2s_rings: 0,
            s2c_rings: 0,
            regions: Vec::new(),
            rings: Vec::new(),
        }
    }

    /// What a client says next that has announced so much. Another region may come as well.
    pub(super) fn awaited(&self) -> Awaited {
        if self.regions.is_empty() {
            Awaited::Message(MessageType::AddRegion)
        } else if self.rings.is_empty() {
            Awaited::Message(MessageType::AddRing)
        } else {
            Awaited::RingOrConnect
        }
    }

    pub(super) fn add_region(
        &mut self,
        region: AddRegion,
        fd: OwnedFd,
    ) -> Result<(), PeerMisbehaved> {
        let (got, expected) = (region.index, self.region_count());
        if got != expected {
            return Err(PeerMisbehaved::RegionIndex { got, expected });
        }
        if expected >= self.limits.regions {
            return Err(PeerMisbehaved::TooManyRegions { limit: self.limits.regions });
        }
        if region.size == 0 {
            return Err(PeerMisbehaved::EmptyRegion { index: got });
        }
        let bytes = self.total_bytes.saturating_add(region.size);
        let limit = self.limits.total_bytes;
        if bytes > limit {
            return Err(PeerMisbehaved::TooMuchMemory { bytes, limit });
        }
        self.total_bytes = bytes;
        self.regions.push(RegionOffer { fd, size: region.size });
        Ok(())
    }

    pub(super) fn add_ring(
        &mut self,
        ring: AddRing,
        doorbell: OwnedFd,
    ) -> Result<(), PeerMisbehaved> {
        self.check_ring_index(&ring)?;
        self.check_ring_shape(&ring)?;
        match ring.direction {
            Direction::C2s => self.c2s_rings = self.c2s_rings.saturating_add(1),
            Direction::S2c => self.s2c_rings = self.s2c_rings.saturating_add(1),
        }
        self.rings.push(RingOffer {
            direction: ring.direction,
            index: ring.index,
            region: ring.region,
            offset: ring.offset,
            log2_ring_size: ring.log2_ring_size,
            doorbell,
        });
        Ok(())
    }

    /// Checks what only all rings together show.
    pub(super) fn finish(self, if_name: Name) -> Result<(Offer, CacheLine), PeerMisbehaved> {
        for (count, direction) in
            [(self.c2s_rings, Direction::C2s), (self.s2c_rings, Direction::S2c)]
        {
            if count == 0 {
                return Err(PeerMisbehaved::NoRings { direction });
            }
        }
        let places: Vec<_> = self.rings.iter().map(RingOffer::place).collect();
        let cache_line = self.limits.cache_line.unwrap_or_else(|| detect_cache_line(&places));
        check_overlap(&places, cache_line)?;
        for place in &places {
            check_bounds(place, self.region_len(place.region)?, cache_line)?;
        }
        Ok((Offer { if_name, regions: self.regions, rings: self.rings }, cache_line))
    }

    fn check_ring_index(&self, ring: &AddRing) -> Result<(), PeerMisbehaved> {
        let (direction, got) = (ring.direction, ring.index);
        let expected = match direction {
            Direction::C2s => self.c2s_rings,
            Direction::S2c => self.s2c_rings,
        };
        if got != expected {
            return Err(PeerMisbehaved::RingIndex { direction, got, expected });
        }
        let limit = self.limits.rings(direction);
        if got >= limit {
            return Err(PeerMisbehaved::TooManyRings { direction, limit });
        }
        Ok(())
    }

    /// Checks one ring by itself. The header counts as short as it may be: the layout is only known
    /// once all rings are.
    fn check_ring_shape(&self, ring: &AddRing) -> Result<(), PeerMisbehaved> {
        let (log2, limit) = (ring.log2_ring_size, self.limits.log2_ring_size);
        if !(1..=limit).contains(&log2) {
            return Err(PeerMisbehaved::RingSize { log2, limit });
        }
        if ring.private_header_size != 0 {
            return Err(PeerMisbehaved::PrivateHeader { size: ring.private_header_size });
        }
        if !ring.offset.is_multiple_of(16) {
            return Err(PeerMisbehaved::RingAlignment { offset: ring.offset });
        }
        let region_len = self.region_len(ring.region)?;
        let place = RingPlace { region: ring.region, offset: ring.offset, log2_ring_size: log2 };
        check_bounds(&place, region_len, CacheLine::B64)
    }

    fn region_len(&self, region: u16) -> Result<u64, PeerMisbehaved> {
        let count = self.region_count();
        self.regions
            .get(usize::from(region))
            .map(|found| found.size)
            .ok_or(PeerMisbehaved::RingRegion { region, count })
    }

    fn region_count(&self) -> u16 {
        // `add_region` stops at a limit of 16 bits.
        u16::try_from(self.regions.len()).unwrap_or(u16::MAX)
    }
}
