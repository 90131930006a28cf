//! Makes the scenes: memory, queues over it, and the model of both.
//!
//! Header of both targets: log2 of the sizes of the ring that we receive on and the one that we
//! send on; flags ([`WIDE_LINES`] and so on); longest chain (0: 256); two bytes of their own.

use super::memory::{Memory, Region};
use super::scene::{Lane, Own, Scene};
use crate::input::Input;
use memfd::MemfdOptions;
use ringport::link::LinkState;
use ringport::pool::Pool;
use ringport::shm::{Backing, MemoryPolicy};
use ringport_memif::queue::{ClientMemory, server_queues};
use ringport_memif::wire::COOKIE;
use ringport_memif::{
    CacheLine, ClientMemoryConfig, DataConfig, Direction, Offer, RegionOffer, RingOffer,
    RunParameters, RxMode,
};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Bits of the flags.
pub(crate) const WIDE_LINES: u8 = 1;
/// Twice: the way in which receive queues ask for doorbells.
pub(crate) const RX_MODE: u8 = 2;
/// Server: the client's memory cannot be sealed. Client: buffers come from a pool.
pub(crate) const UNSEALED_OR_POOL: u8 = 8;
/// Twice: the policy for the client's memory.
pub(crate) const POLICY: u8 = 16;
/// Server: the client offers no buffers at first.
pub(crate) const EMPTY_SLOTS: u8 = 64;

/// Bytes of the files of a client's two regions.
const FILES: [u64; 2] = [64 << 10, 8 << 10];
/// Bytes of the buffers that a client offers at first.
const BUFFER: u32 = 256;

struct Header {
    log2: [u8; 2],
    flags: u8,
    config: DataConfig,
    own: [u8; 2],
}

impl Header {
    fn read(input: &mut Input<'_>) -> Self {
        let [rx, tx, flags, chain, own @ ..] = input.take::<6>();
        let rx_mode = [RxMode::Polling, RxMode::Interrupt, RxMode::Adaptive, RxMode::Adaptive];
        let policy = [MemoryPolicy::Guarded, MemoryPolicy::Sealed, MemoryPolicy::Trust];
        let config = DataConfig {
            rx_mode: rx_mode[usize::from(flags / RX_MODE % 4)],
            policy: policy[usize::from(flags / POLICY % 4 % 3)],
            chain_max: if chain == 0 { 256 } else { u16::from(chain) },
        };
        Self { log2: [rx, tx].map(|log2| 1 + log2 % 9), flags, config, own }
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn cache_line(&self) -> CacheLine {
        if self.has(WIDE_LINES) { CacheLine::B128 } else { CacheLine::B64 }
    }
}

/// Where a ring's parts are, from the specification: flags, head, tail, descriptors.
fn parts(ring: u64, line: u64) -> [u64; 4] {
    [ring + 4, ring + 6, ring + line, ring + 2 * line]
}

fn line_len(cache_line: CacheLine) -> u64 {
    if cache_line == CacheLine::B64 { 64 } else { 128 }
}

/// A server's queues. Own bytes of the header: what is cut off the ends of the regions.
///
/// `None`: the server does not take the memory.
pub(super) fn server(input: &mut Input<'_>) -> Option<Scene> {
    let header = Header::read(input);
    let sealable = !header.has(UNSEALED_OR_POOL);
    let line = line_len(header.cache_line());
    let ring_len = |log2: u8| 2 * line + (16 << log2);
    let [rx_at, tx_at, end] =
        [0, ring_len(header.log2[0]), ring_len(header.log2[0]) + ring_len(header.log2[1])];
    let names = ["ringport-fuzz-0", "ringport-fuzz-1"];
    let regions = (0..2).map(|index| {
        let len = FILES[index] - u64::from(header.own[index]);
        region(names[index], FILES[index], len, sealable)
    });
    let memory = Memory::new(regions.collect());
    memory.set_canaries();
    for ring in [rx_at, tx_at] {
        memory.write(ring, &COOKIE.to_le_bytes());
    }
    let lane = |ring, log2: u8| {
        let [flags, head, tail, descriptors] = parts(ring, line);
        Lane::new(1 << log2, descriptors, flags, (tail, 0), (head, 0))
    };
    let (rx, tx) = (lane(rx_at, header.log2[0]), lane(tx_at, header.log2[1]));
    let (doorbells, offered) = server_offer(&memory, [rx_at, tx_at], header.log2);
    let link = Arc::new(LinkState::new().unwrap());
    let made = server_queues(offered, header.cache_line(), &link, &header.config);
    let refused = header.config.policy == MemoryPolicy::Sealed && !sealable;
    assert_eq!(made.is_err(), refused, "{made:?}");
    let mut scene = Scene::new(memory, rx, tx, made.ok()?, link, &header.config);
    scene.rings_end = end;
    scene.doorbells = doorbells;
    scene.sealed = sealable && header.config.policy != MemoryPolicy::Trust;
    scene.guarded = !sealable && header.config.policy == MemoryPolicy::Guarded;
    if !header.has(EMPTY_SLOTS) {
        scene.fill_slots(BUFFER);
        scene.memory.set_u16(scene.tx.peer, 1 << header.log2[1]);
    }
    Some(scene)
}

fn region(name: &'static str, file_len: u64, len: u64, sealable: bool) -> Region {
    let made = MemfdOptions::new().allow_sealing(sealable).create(name).unwrap();
    made.as_file().set_len(file_len).unwrap();
    Region { file: made.into_file(), len, file_len, name }
}

/// What the client announces, with descriptors of the doorbells for the harness.
fn server_offer(memory: &Memory, offsets: [u64; 2], log2: [u8; 2]) -> (Vec<File>, Offer) {
    let mut doorbells = Vec::new();
    let mut rings = Vec::new();
    for (at, direction) in [(0, Direction::C2s), (1, Direction::S2c)] {
        let doorbell = doorbell();
        doorbells.push(File::from(doorbell.try_clone().unwrap()));
        let (offset, log2_ring_size) = (u32::try_from(offsets[at]).unwrap(), log2[at]);
        rings.push(RingOffer { direction, index: 0, region: 0, offset, log2_ring_size, doorbell });
    }
    let announce = |region: &Region| RegionOffer {
        fd: region.file.try_clone().unwrap().into(),
        size: region.len,
    };
    let regions = memory.regions.iter().map(announce).collect();
    (doorbells, Offer { if_name: "fuzz".into(), regions, rings })
}

fn doorbell() -> OwnedFd {
    use nix::sys::eventfd::{EfdFlags, EventFd};
    EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC).unwrap().into()
}

/// A client's queues; both rings have the size of the first. Own bytes of the header: buffer size
/// in units of 16 bytes, less one, and headroom.
pub(super) fn client(input: &mut Input<'_>) -> Scene {
    let header = Header::read(input);
    let log2_ring_size = header.log2[0];
    let slots = 1u16 << log2_ring_size;
    let buffer_size = 16 * (1 + u32::from(header.own[0] % 64));
    let headroom = u16::from(header.own[1]) % u16::try_from(buffer_size).unwrap();
    let pool = header.has(UNSEALED_OR_POOL).then(|| {
        let pool = Pool::new(2 * u32::from(slots) + 3, buffer_size, Backing::Pages).unwrap();
        Arc::new(pool.with_headroom(headroom).unwrap())
    });
    let memory_config = ClientMemoryConfig {
        buffer_size,
        headroom,
        cache_line: header.cache_line(),
        backing: Backing::Pages,
        pool: pool.clone(),
        ..ClientMemoryConfig::default()
    };
    let params = RunParameters { c2s_rings: 1, s2c_rings: 1, log2_ring_size, buffer_size };
    let made = ClientMemory::allocate(&params, &memory_config).unwrap();
    let offer = made.offer("fuzz").unwrap();
    let names = ["ringport-memif", "ringport-pool"];
    let regions = offer.regions.into_iter().zip(names).map(|(region, name)| {
        let file = File::from(region.fd);
        assert!(file.metadata().unwrap().len() >= region.size);
        Region { file, len: region.size, file_len: region.size, name }
    });
    let memory = Memory::new(regions.collect());
    let line = line_len(header.cache_line());
    let lane = |ring: &RingOffer, own_bias, peer_bias| {
        let [flags, head, tail, descriptors] = parts(u64::from(ring.offset), line);
        let mut lane = Lane::new(slots, descriptors, flags, (head, own_bias), (tail, peer_bias));
        lane.buffers = Some(memory.descriptors(descriptors, slots));
        lane
    };
    let [c2s, s2c] = [&offer.rings[0], &offer.rings[1]];
    assert_eq!([c2s, s2c].map(|ring| ring.direction), [Direction::C2s, Direction::S2c]);
    let (rx, tx) = (lane(s2c, slots, 0), lane(c2s, 0, slots));
    let link = Arc::new(LinkState::new().unwrap());
    let queues = made.into_queues(&link, &header.config).unwrap();
    let mut scene = Scene::new(memory, rx, tx, queues, link, &header.config);
    scene.rings_end = u64::from(s2c.offset) + 2 * line + 16 * u64::from(slots);
    scene.doorbells = offer.rings.into_iter().map(|ring| File::from(ring.doorbell)).collect();
    scene.sealed = true;
    scene.own = Some(Own { capacity: buffer_size - u32::from(headroom), pool });
    scene.check_buffers();
    scene
}
