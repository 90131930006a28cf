//! The same chains to our queue and to the independent device of `virtio-queue`: both must find the
//! same bytes and give the same chains back.

use super::*;
use proptest::prelude::*;
use std::sync::Arc;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap};

/// A packet as a chain.
#[derive(Debug, Clone)]
struct Chain {
    /// Bytes of each descriptor.
    lens: Vec<u32>,
    indirect: bool,
    /// Where it lies, from the start of the buffers.
    at: u64,
}

fn chains() -> impl Strategy<Value = Vec<Chain>> {
    let lens = prop_oneof![
        3 => proptest::collection::vec(13u32..2000, 1),
        2 => proptest::collection::vec(0u32..600, 1..7),
        1 => proptest::collection::vec(0u32..3, 1..8),
    ];
    let near_the_boundary = 0x10_0000u64 - 9000..0x10_0000 + 9000;
    let at = prop_oneof![0u64..0x20_0000, near_the_boundary];
    let chain = (lens, any::<bool>(), at);
    let chain = chain.prop_map(|(lens, indirect, at)| Chain { lens, indirect, at });
    proptest::collection::vec(chain, 1..8)
}

/// Offers `chains`, and returns their heads.
fn offer(driver: &mut Driver, chains: &[Chain]) -> Vec<u16> {
    let mut next = 0;
    let mut heads = Vec::new();
    for (seed, chain) in (0..).zip(chains) {
        let mut at = GUEST + DATA + chain.at;
        let buffers = chain.lens.iter().map(|&len| {
            driver.put(at, &frame(len as usize, seed));
            at += u64::from(len) + 1;
            (at - u64::from(len) - 1, len)
        });
        let buffers: Vec<_> = buffers.collect();
        let table = chain.indirect.then_some(GUEST + DATA + 0x28_0000 + 4096 * u64::from(seed));
        driver.chain(next, &buffers, false, table);
        driver.offer(next);
        heads.push(next);
        next += if chain.indirect { 1 } else { u16::try_from(buffers.len()).unwrap() };
    }
    heads
}

/// Everything that the independent device finds, and its elements.
fn oracle(driver: &Driver) -> Vec<Vec<u8>> {
    let file = Arc::new(driver.file.try_clone().unwrap());
    let split = driver.setup.second_region;
    let size = |len: u64| usize::try_from(len).unwrap();
    let memory = GuestMemoryMmap::<()>::from_ranges_with_files([
        (GuestAddress(GUEST), size(split), Some(FileOffset::from_arc(Arc::clone(&file), 0))),
        (
            GuestAddress(GUEST + split),
            size(0x40_0000 - split),
            Some(FileOffset::from_arc(file, split + 0x3000)),
        ),
    ]);
    let memory = memory.unwrap();
    let mut queue = Queue::new(driver.setup.size).unwrap();
    queue.set_size(driver.setup.size);
    let half = |at: u64| u32::try_from(at & u64::from(u32::MAX)).ok();
    let halves = |at: u64| (half(at), half(at >> 32));
    let [(low, high), available, used] = [0, 0x8_0000, 0xa_0000].map(|at| halves(GUEST + at));
    queue.set_desc_table_address(low, high);
    queue.set_avail_ring_address(available.0, available.1);
    queue.set_used_ring_address(used.0, used.1);
    queue.set_ready(true);
    queue.set_next_avail(driver.setup.base);
    queue.set_next_used(driver.setup.base);
    let mut packets = Vec::new();
    while let Some(chain) = queue.pop_descriptor_chain(&memory) {
        let head = chain.head_index();
        let mut bytes = Vec::new();
        for descriptor in chain {
            let mut part = vec![0; descriptor.len() as usize];
            memory.read_slice(&mut part, descriptor.addr()).unwrap();
            bytes.extend(part);
        }
        queue.add_used(&memory, head, 0).unwrap();
        packets.push(bytes);
    }
    packets
}

proptest! {
    #[test]
    fn packets_and_used_elements_are_those_of_an_independent_device(
        chains in chains(),
        base in prop_oneof![Just(0u16), Just(0xfffd), any::<u16>()],
        burst in 1usize..10,
    ) {
        let setup = Setup { base, second_region: 0x20_0000, ..Setup::new(64) };
        let (mut ours, mut rx) = setup.rx();
        let mut theirs = setup.driver();
        let heads = offer(&mut ours, &chains);
        prop_assert_eq!(&offer(&mut theirs, &chains), &heads);
        let mut packets = Vec::new();
        while ours.used_index() != ours.published {
            let taken = rx.rx_burst(burst).unwrap();
            packets.extend(taken.packets().map(|packet| packet.detach().to_vec()));
        }
        let expected = oracle(&theirs).into_iter();
        // The device of the crate knows of no header.
        let expected: Vec<_> = expected.filter(|p| p.len() > 12).map(|p| p[12..].to_vec()).collect();
        prop_assert_eq!(packets, expected);
        prop_assert_eq!(ours.used(), theirs.used());
    }
}
