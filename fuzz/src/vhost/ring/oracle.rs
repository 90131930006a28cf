//! The independent device of the `virtio-queue` crate, on the same memory.

use super::lane::Lane;
use super::world::World;
use std::sync::Arc;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap};

/// The memory, mapped once more.
#[derive(Debug)]
pub(super) struct Oracle(GuestMemoryMmap<()>);

/// A chain that it found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) head: u16,
    buffers: Vec<(GuestAddress, usize)>,
}

impl Oracle {
    pub(super) fn new(world: &World) -> Self {
        let file = Arc::new(world.memory.file.try_clone().unwrap());
        let region = |(guest, len, at)| {
            (GuestAddress(guest), len, Some(FileOffset::from_arc(Arc::clone(&file), at)))
        };
        let regions: Vec<_> = world.table.regions().map(region).collect();
        Self(GuestMemoryMmap::from_ranges_with_files(&regions).unwrap())
    }

    /// The chains that are available on a split ring, at most `wanted`.
    pub(super) fn chains(&self, world: &World, lane: &Lane, wanted: usize) -> Vec<Found> {
        let ring = &lane.ring;
        let mut queue = Queue::new(ring.size).unwrap();
        queue.set_size(ring.size);
        let halves = |area: usize| {
            let at = world.table.guest_at(ring.areas[area]);
            let half = |at: u64| u32::try_from(at & 0xffff_ffff).ok();
            (half(at), half(at >> 32))
        };
        let [table, driver, device] = [0, 1, 2].map(halves);
        queue.set_desc_table_address(table.0, table.1);
        queue.set_avail_ring_address(driver.0, driver.1);
        queue.set_used_ring_address(device.0, device.1);
        queue.set_ready(true);
        queue.set_next_avail(lane.next.at);
        queue.set_next_used(lane.next.at);
        let mut found = Vec::new();
        while found.len() < wanted
            && let Some(chain) = queue.pop_descriptor_chain(&self.0)
        {
            let head = chain.head_index();
            let buffers = chain.map(|descriptor| {
                assert_eq!(descriptor.is_write_only(), ring.write);
                (descriptor.addr(), descriptor.len() as usize)
            });
            found.push(Found { head, buffers: buffers.collect() });
        }
        found
    }

    /// The first `len` bytes of a chain, now.
    pub(super) fn contents(&self, found: &Found, len: usize) -> Vec<u8> {
        let mut contents = Vec::new();
        for &(address, room) in &found.buffers {
            let mut part = vec![0; room.min(len - contents.len())];
            self.0.read_slice(&mut part, address).unwrap();
            contents.extend(part);
        }
        contents
    }
}

impl Found {
    pub(super) fn len(&self) -> usize {
        self.buffers.iter().map(|buffer| buffer.1).sum()
    }
}
