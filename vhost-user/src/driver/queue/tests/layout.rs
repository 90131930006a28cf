//! Where rings and buffers lie, and what is refused.

use super::*;
use ringport::burst::RxPacket;
use ringport::shm::RegionError;

/// The bytes of a ring's areas, as the specification counts them with EVENT_IDX.
fn areas(memory: &DriverMemory, layout: RingLayout) -> Vec<(u64, u64, u64)> {
    let of_ring = |ring| {
        let at = memory.addresses(ring).unwrap();
        let entries = u64::from(at.size);
        let (driver, device) = match layout {
            RingLayout::Split => ((2, 6 + 2 * entries), (4, 6 + 8 * entries)),
            RingLayout::Packed => ((4, 4), (4, 4)),
        };
        [
            (at.descriptor, 16 * entries, 16),
            (at.driver, driver.1, driver.0),
            (at.device, device.1, device.0),
        ]
    };
    (0..memory.rings()).flat_map(of_ring).collect()
}

#[test]
fn areas_are_aligned_apart_and_in_the_region() {
    for layout in LAYOUTS {
        for (pairs, rx_size, tx_size) in [(1, 2, 32768), (3, 256, 64), (128, 8, 8)] {
            let config =
                DriverMemoryConfig { pairs, layout, rx_size, tx_size, ..Default::default() };
            let memory = DriverMemory::allocate(&config, &link()).unwrap();
            assert_eq!(memory.rings(), 2 * usize::from(pairs));
            let region = memory.region();
            assert_eq!(region.size, memory.mapping().len() as u64);
            let mut areas = areas(&memory, layout);
            areas.sort_unstable();
            let mut free = region.user_address;
            for (start, len, align) in areas {
                assert!(start.is_multiple_of(align) && start.is_multiple_of(128));
                assert!(start >= free, "areas overlap, or share a line");
                free = (start + len).next_multiple_of(64);
            }
            let buffers = u64::from(pairs) * u64::from(rx_size + tx_size);
            assert!(free + buffers * 2112 <= region.user_address + region.size);
        }
    }
}

#[test]
fn every_ring_of_every_pair_has_buffers_of_its_own() {
    for layout in LAYOUTS {
        let config =
            DriverMemoryConfig { pairs: 3, layout, rx_size: 4, tx_size: 2, ..Default::default() };
        let mut memory = DriverMemory::allocate(&config, &link()).unwrap();
        let mut found = Vec::new();
        for pair in 0..3 {
            let mut tx = memory.tx_queue(pair, &QueueOptions::default()).unwrap();
            send(&mut tx, &[frame(60, 1), frame(60, 2)]);
            let _ = memory.rx_queue(pair, &QueueOptions::default()).unwrap();
            for (ring, size) in [(2 * pair, 4), (2 * pair + 1, 2)] {
                let at = memory.addresses(ring.into()).unwrap().descriptor;
                let offset = at - memory.region().user_address;
                for entry in 0..size {
                    let word =
                        |n| ringport::shm::read_u32(memory.mapping(), offset + 16 * entry + n);
                    let [low, high] = [0, 4].map(|n| u64::from(word(n).unwrap()));
                    found.push(low | high << 32);
                }
            }
        }
        found.sort_unstable();
        assert_eq!(found.len(), 18);
        assert!(found.windows(2).all(|pair| pair[1] - pair[0] >= 2060), "{found:x?}");
        let (first, region) = (found[0], memory.region());
        assert!(
            first > region.guest_address && found[17] + 2060 <= region.guest_address + region.size
        );
        assert_ne!(region.guest_address, region.user_address);
    }
}

#[test]
fn buffers_are_an_odd_number_of_lines_apart() {
    for capacity in [13, 64, 65, 128, 2048, 2060, 4096] {
        let stride = plan::stride(capacity);
        assert!(stride >= capacity.into() && stride % 128 == 64, "{capacity}: {stride}");
    }
}

#[test]
fn sizes_that_make_no_sense_are_refused() {
    let refused = |config| DriverMemory::allocate(&config, &link()).unwrap_err();
    for layout in LAYOUTS {
        let config = DriverMemoryConfig { layout, ..Default::default() };
        for size in [0, 32769] {
            let rx = DriverMemoryConfig { rx_size: size, ..config };
            let tx = DriverMemoryConfig { tx_size: size, ..config };
            assert!(matches!(refused(rx), LayoutError::Size { .. }));
            assert!(matches!(refused(tx), LayoutError::Size { .. }));
        }
        for pairs in [0, 129] {
            let config = DriverMemoryConfig { pairs, ..config };
            assert!(matches!(refused(config), LayoutError::Pairs { .. }));
        }
        for buffer_size in [0, (1 << 20) + 1, u32::MAX] {
            let config = DriverMemoryConfig { buffer_size, ..config };
            assert!(matches!(refused(config), LayoutError::BufferSize { .. }));
        }
    }
    let odd = DriverMemoryConfig { rx_size: 100, ..Default::default() };
    assert!(matches!(refused(odd), LayoutError::Size { size: 100 }));
    let packed = DriverMemoryConfig { layout: RingLayout::Packed, ..odd };
    assert!(DriverMemory::allocate(&packed, &link()).is_ok());
}

#[test]
fn each_queue_is_made_once() {
    let mut memory = DriverMemory::allocate(&Default::default(), &link()).unwrap();
    let options = QueueOptions::default();
    memory.rx_queue(0, &options).unwrap();
    memory.tx_queue(0, &options).unwrap();
    let again = memory.rx_queue(0, &options).unwrap_err();
    assert!(matches!(again, LayoutError::InUse { ring: 0 }));
    let again = memory.tx_queue(0, &options).unwrap_err();
    assert!(matches!(again, LayoutError::InUse { ring: 1 }));
    let beyond = memory.rx_queue(1, &options).unwrap_err();
    assert!(matches!(beyond, LayoutError::NoSuchRing { ring: 2, rings: 2 }));
    assert_eq!(memory.addresses(2), None);
}

#[test]
fn memory_that_cannot_be_had_is_an_error() {
    // More than an address space has.
    let config = DriverMemoryConfig {
        pairs: 128,
        layout: RingLayout::Packed,
        rx_size: 32768,
        tx_size: 32768,
        buffer_size: 1 << 20,
        ..Default::default()
    };
    match DriverMemory::allocate(&config, &link()) {
        Err(LayoutError::Memory(RegionError::System { .. } | RegionError::TooLong { .. })) => {}
        // It may be had, as long as nobody touches it.
        Ok(memory) => assert!(memory.region().size > 1 << 42),
        other => panic!("{other:?}"),
    }
}

#[test]
fn queues_outlive_the_memory_they_were_made_from() {
    for setup in LAYOUTS.map(|layout| Setup::new(layout, 8)) {
        let Pair { memory, mut rx, mut tx, mut device_rx, mut device_tx, _controls, .. } =
            Pair::new(&setup);
        drop(memory);
        transfer(&mut tx, &mut device_rx, &[frame(300, 1)]);
        transfer(&mut device_tx, &mut rx, &[frame(300, 2)]);
        let burst = rx.rx_burst(8).unwrap();
        assert_eq!(burst.packets().map(|packet: RxPacket<'_>| packet.len()).sum::<usize>(), 0);
    }
}

/// The address of the first buffer of a ring, as its first descriptor has it.
fn first_buffer(memory: &DriverMemory, ring: usize) -> u64 {
    let offset = memory.guest_addresses(ring).unwrap().descriptor - memory.region().guest_address;
    let word = |n| ringport::shm::read_u32(memory.mapping(), offset + n).unwrap();
    u64::from(word(0)) | u64::from(word(4)) << 32
}

#[test]
fn memory_that_was_moved_is_named_by_its_new_guest_addresses() {
    let at = 0x77_0000_1000;
    for layout in LAYOUTS {
        let config = DriverMemoryConfig { layout, ..Default::default() };
        let mut memory = DriverMemory::allocate(&config, &link()).unwrap();
        let [before, front_end] =
            [memory.guest_addresses(1), memory.addresses(1)].map(Option::unwrap);
        memory.move_to(at).unwrap();
        let moved = memory.guest_addresses(1).unwrap();
        assert_eq!(memory.region().guest_address, at);
        assert_eq!(moved.descriptor - at, before.descriptor - (1 << 32));
        assert_eq!(moved.device - at, front_end.device - memory.region().user_address);
        assert_eq!(memory.addresses(1), Some(front_end), "those stay");
        let _rx = memory.rx_queue(0, &QueueOptions::default()).unwrap();
        let buffer = first_buffer(&memory, 0);
        assert!((at..at + memory.region().size).contains(&buffer), "{buffer:#x}");
        assert!(matches!(memory.move_to(1 << 32), Err(LayoutError::InUse { ring: 0 })));
        assert_eq!(memory.guest_addresses(2), None);
    }
}

#[test]
fn memory_is_not_moved_beyond_the_last_address() {
    let mut memory = DriverMemory::allocate(&DriverMemoryConfig::default(), &link()).unwrap();
    let last = u64::MAX - memory.region().size;
    memory.move_to(last).unwrap();
    assert!(matches!(memory.move_to(last + 1), Err(LayoutError::Address { .. })));
    assert_eq!(memory.region().guest_address, last);
}
