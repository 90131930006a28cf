//! Queues of both roles against each other, and against hostile memory.

mod hostile;
mod traffic;

use super::*;
use crate::{CacheLine, RunParameters};
use ringport::link::LinkState;
use ringport::shm::{DescTable, Mapping, MemoryPolicy, SharedU16};

/// Both ends of one link, and a view of the memory between them as either peer has it.
pub(super) struct Pair {
    pub(super) client: Queues,
    pub(super) server: Queues,
    pub(super) client_link: Arc<LinkState>,
    pub(super) server_link: Arc<LinkState>,
    pub(super) region0: Arc<Mapping>,
    params: RunParameters,
    line: u64,
}

#[derive(Clone)]
pub(super) struct Setup {
    pub(super) params: RunParameters,
    pub(super) memory: ClientMemoryConfig,
    pub(super) client: DataConfig,
    pub(super) server: DataConfig,
}

impl Setup {
    pub(super) fn new(log2_ring_size: u8) -> Self {
        let spacing = BufferSpacing::Packed;
        let memory =
            ClientMemoryConfig { buffer_size: 256, spacing, ..ClientMemoryConfig::default() };
        let params = RunParameters { c2s_rings: 1, s2c_rings: 1, log2_ring_size, buffer_size: 256 };
        let data = DataConfig::default();
        Self { params, memory, client: data.clone(), server: data }
    }

    pub(super) fn connect(self) -> Pair {
        let Self { params, memory, client, server } = self;
        let line = match memory.cache_line {
            CacheLine::B64 => 64,
            CacheLine::B128 => 128,
        };
        let client_link = Arc::new(LinkState::new().unwrap());
        let server_link = Arc::new(LinkState::new().unwrap());
        let made = ClientMemory::allocate(&params, &memory).unwrap();
        let mut spare = made.offer("test").unwrap();
        let region0 = spare.regions.swap_remove(0);
        let trust = MemoryPolicy::Trust;
        let region0 = Mapping::from_peer(region0.fd, region0.size, trust, &client_link).unwrap();
        let offer = made.offer("test").unwrap();
        let server = server_queues(offer, memory.cache_line, &server_link, &server).unwrap();
        let client = made.into_queues(&client_link, &client).unwrap();
        Pair { client, server, client_link, server_link, region0: Arc::new(region0), params, line }
    }
}

impl Pair {
    pub(super) fn new(log2_ring_size: u8) -> Self {
        Setup::new(log2_ring_size).connect()
    }

    fn ring_at(&self, ring: u64) -> u64 {
        ring * (2 * self.line + (16 << self.params.log2_ring_size))
    }

    /// `head` of the C2S (0) or S2C (1) ring.
    pub(super) fn head(&self, ring: u64) -> SharedU16 {
        SharedU16::new(&self.region0, self.ring_at(ring) + 6).unwrap()
    }

    pub(super) fn flags(&self, ring: u64) -> SharedU16 {
        SharedU16::new(&self.region0, self.ring_at(ring) + 4).unwrap()
    }

    pub(super) fn tail(&self, ring: u64) -> SharedU16 {
        SharedU16::new(&self.region0, self.ring_at(ring) + self.line).unwrap()
    }

    pub(super) fn descriptors(&self, ring: u64) -> DescTable {
        let slots = 1 << self.params.log2_ring_size;
        DescTable::new(&self.region0, self.ring_at(ring) + 2 * self.line, slots).unwrap()
    }
}

/// A frame of `len` bytes that differs from others in length and seed.
pub(super) fn frame(len: usize, seed: u32) -> Vec<u8> {
    let byte =
        |n: u32| n.wrapping_mul(31 << 8).wrapping_add(seed.wrapping_mul(97 << 8)).to_le_bytes()[1];
    (0..u32::try_from(len).unwrap()).map(byte).collect()
}

/// Sends `frames` in one burst; returns how many were taken.
pub(super) fn send(tx: &mut TxQueue, frames: &[Vec<u8>]) -> usize {
    let mut burst = tx.tx_burst(256).unwrap();
    for frame in frames {
        if burst.push(frame).is_err() {
            break;
        }
    }
    burst.commit()
}

/// Takes everything that one burst delivers.
pub(super) fn receive(rx: &mut RxQueue) -> Vec<Vec<u8>> {
    let burst = rx.rx_burst(256).unwrap();
    burst.packets().map(|packet| packet.detach().to_vec()).collect()
}
