//! Devices that break the ring. Whatever they do, the link ends with a reason, or they mislead
//! themselves.

use super::hand::{Chain, Device, rx_by_hand, tx_by_hand};
use super::*;
use proptest::prelude::*;
use ringport::error::QueueError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a buffer holds, header included.
const CAPACITY: u32 = 268;

fn setups() -> impl Iterator<Item = Setup> {
    Setup::all(8).filter(|setup| !setup.features.indirect)
}

/// Whether the transmit queue looks at what the device gives back, or only counts it.
fn looks_at_sent(setup: &Setup) -> bool {
    !(setup.features.in_order && setup.layout == RingLayout::Split)
}

/// How the receive queue's link ends when the device does `what`.
#[track_caller]
fn rx_fault(setup: &Setup, what: impl FnOnce(&mut Device, &[Chain])) -> QueueError {
    let (mut rx, mut device, link) = rx_by_hand(setup);
    let chains = device.offered();
    what(&mut device, &chains);
    let error = rx.rx_burst(8).expect_err("nothing was found");
    for _ in 0..3 {
        assert_eq!(rx.rx_burst(8).unwrap_err(), error);
        assert_eq!(rx.arm(), Err(error));
    }
    assert_eq!(link.fault(), Some(error));
    let stats = rx.stats();
    assert_eq!(stats.bad_length + stats.bad_chain + stats.bad_index, 1, "{error}");
    error
}

/// The same for the transmit queue, after it has sent a packet of two buffers and one of one.
#[track_caller]
fn tx_fault(setup: &Setup, what: impl FnOnce(&mut Device, &[Chain])) -> QueueError {
    let (mut tx, mut device, link) = tx_by_hand(setup);
    assert_eq!(send(&mut tx, &[frame(300, 1), frame(60, 2)]), 2);
    let chains = device.offered();
    what(&mut device, &chains);
    let error = tx.tx_burst(8).expect_err("nothing was found");
    for _ in 0..3 {
        assert_eq!(tx.tx_burst(8).unwrap_err(), error);
        assert_eq!(tx.arm(), Err(error));
    }
    assert_eq!(link.fault(), Some(error));
    assert_eq!(tx.stats().bad_index, 1);
    error
}

#[test]
fn id_beyond_the_ring_ends_the_link() {
    for setup in setups() {
        for id in [8, 9, 0xffff] {
            let error = QueueError::NoSuchDescriptor { index: id, entries: 8 };
            let give = |device: &mut Device, _: &[Chain]| device.give(id.into(), 60, 1, 1);
            assert_eq!(rx_fault(&setup, give), error);
            if looks_at_sent(&setup) {
                assert_eq!(tx_fault(&setup, give), error);
            }
        }
    }
    for setup in setups().filter(|setup| setup.layout == RingLayout::Split) {
        for id in [0x1_0000, 0x1_0001, u32::MAX] {
            let error = QueueError::NoSuchDescriptor { index: 0xffff, entries: 8 };
            let give = |device: &mut Device, _: &[Chain]| device.give(id, 60, 1, 1);
            assert_eq!(rx_fault(&setup, give), error);
            if looks_at_sent(&setup) {
                assert_eq!(tx_fault(&setup, give), error);
            }
        }
    }
}

#[test]
fn buffer_that_comes_twice_ends_the_link() {
    for setup in setups() {
        let (mut rx, mut device, _link) = rx_by_hand(&setup);
        let chains = device.offered();
        device.send(&chains[..1], &frame(60, 1));
        device.send(&chains[..1], &frame(60, 1));
        assert_eq!(receive(&mut rx, &[frame(60, 1)], 8, 0), 1, "the first is good");
        assert_eq!(rx.rx_burst(8).unwrap_err(), QueueError::NotInFlight { id: 0 });

        let (mut tx, mut device, _link) = tx_by_hand(&setup);
        assert_eq!(send(&mut tx, &[frame(60, 1), frame(60, 2)]), 2);
        let chains = device.offered();
        device.give_back(&chains[0], 0);
        device.give_back(&chains[0], 0);
        match looks_at_sent(&setup) {
            true => {
                assert_eq!(tx.tx_burst(8).unwrap_err(), QueueError::NotInFlight { id: 0 });
            }
            false => assert_eq!(tx.tx_burst(8).unwrap().free(), 8, "two came back, of two"),
        }
    }
}

#[test]
fn buffer_that_the_device_was_not_given_ends_the_link() {
    for setup in setups().filter(looks_at_sent) {
        let error = tx_fault(&setup, |device, _| device.give(5, 0, 1, 1));
        assert_eq!(error, QueueError::NotInFlight { id: 5 });
        // In the middle of a chain.
        let error = tx_fault(&setup, |device, _| device.give(1, 0, 1, 1));
        assert_eq!(error, QueueError::NotInFlight { id: 1 });
    }
}

#[test]
fn buffer_that_is_not_released_is_not_the_devices() {
    for setup in setups() {
        let (mut rx, mut device, _link) = rx_by_hand(&setup);
        let chains = device.offered();
        for chain in &chains[..3] {
            device.send(std::slice::from_ref(chain), &frame(60, 1));
        }
        let expected = vec![frame(60, 1); 3];
        assert_eq!(receive(&mut rx, &expected, 8, 3), 0);
        device.give(chains[1].id.into(), 72, 1, 1);
        assert_eq!(receive(&mut rx, &expected, 8, 0), 3);
        assert_eq!(rx.rx_burst(8).unwrap_err(), QueueError::NotInFlight { id: chains[1].id });
    }
}

#[test]
fn order_that_is_not_kept_ends_the_link_that_relies_on_it() {
    for setup in setups().filter(|setup| setup.features.in_order && looks_at_sent(setup)) {
        // Both, and the first once more.
        let error = tx_fault(&setup, |device, chains| {
            device.give(chains[1].id.into(), 0, 2, 3);
            device.give_back(&chains[0], 0);
        });
        assert_eq!(error, QueueError::NotInFlight { id: 0 });
    }
    for setup in setups().filter(|s| s.features.in_order && s.layout == RingLayout::Split) {
        // More than is published.
        let error = rx_fault(&setup, |device, _| device.give(3, 60, 3, 3));
        assert_eq!(error, QueueError::NotInFlight { id: 3 });
    }
}

#[test]
fn chains_sent_on_a_split_ring_in_order_are_counted_whatever_the_device_says_of_them() {
    for setup in setups().filter(|setup| !looks_at_sent(setup)) {
        let (mut tx, mut device, link) = tx_by_hand(&setup);
        for turn in 0..100 {
            assert_eq!(send(&mut tx, &[frame(300, turn), frame(60, turn)]), 2);
            assert_eq!(device.offered().len(), 2);
            device.give(u32::MAX - turn, turn, 2, 3);
            assert_eq!(tx.tx_burst(8).unwrap().free(), 8);
        }
        assert!(link.is_up());
    }
}

#[test]
fn index_that_runs_away_ends_the_link() {
    for setup in setups().filter(|setup| setup.layout == RingLayout::Split) {
        for by in [9, 100, 0x8000, 0xffff] {
            let error = rx_fault(&setup, |device, _| device.publish(by));
            assert_eq!(error, QueueError::IndexRunaway { queued: by, ring_size: 8 });
        }
        // Beyond what was offered, though not beyond the ring.
        for by in [3, 8, 9, 0xffff] {
            let error = tx_fault(&setup, |device, _| device.publish(by));
            assert_eq!(error, QueueError::IndexRunaway { queued: by, ring_size: 8 });
        }
    }
}

#[test]
fn length_beyond_the_buffer_or_below_a_header_ends_the_link() {
    for setup in setups() {
        for len in [CAPACITY + 1, 0x8000_0000, u32::MAX] {
            let error = rx_fault(&setup, |device, chains| device.give_back(&chains[0], len));
            assert_eq!(error, QueueError::LengthExceedsBuffer { len, capacity: CAPACITY });
        }
        for len in [0, 1, 11, 12] {
            let error = rx_fault(&setup, |device, chains| device.give_back(&chains[0], len));
            assert_eq!(error, QueueError::TooShort { len, header: 12 });
        }
    }
}

#[test]
fn number_of_buffers_that_cannot_be_ends_the_link() {
    for setup in setups().filter(|setup| setup.features.mergeable) {
        for (buffers, given) in [(0, 1), (2, 1), (3, 2), (8, 7)] {
            let error = rx_fault(&setup, |device, chains| {
                device.fill(&chains[..1], buffers, &frame(60, 1));
                chains[..given].iter().for_each(|chain| device.give_back(chain, 72));
            });
            let found = u16::try_from(given).unwrap();
            assert_eq!(error, QueueError::MissingBuffers { wanted: buffers, found });
        }
        for buffers in [9, 0xffff] {
            let error = rx_fault(&setup, |device, chains| {
                device.fill(&chains[..1], buffers, &frame(60, 1));
                chains.iter().for_each(|chain| device.give_back(chain, 72));
            });
            assert_eq!(error, QueueError::ChainTooLong { limit: 8 });
        }
        let error = rx_fault(&setup, |device, chains| {
            device.fill(&chains[..1], 2, &frame(60, 1));
            device.give_back(&chains[0], 72);
            device.give_back(&chains[1], 0);
        });
        assert_eq!(error, QueueError::EmptyDescriptor);
    }
}

#[test]
fn number_of_buffers_is_not_looked_at_without_mergeable_buffers() {
    for setup in setups().filter(|setup| !setup.features.mergeable) {
        let (mut rx, mut device, _link) = rx_by_hand(&setup);
        let chains = device.offered();
        for (chain, buffers) in chains.iter().zip([0, 1, 2, 0xffff]) {
            let packet = frame(60, buffers.into());
            let lens = device.fill(std::slice::from_ref(chain), buffers, &packet);
            device.give_back(chain, lens[0]);
        }
        let expected = [0, 1, 2, 0xffff].map(|seed| frame(60, seed));
        assert_eq!(receive(&mut rx, &expected, 8, 0), 4);
    }
}

#[test]
fn good_packets_before_a_bad_one_are_delivered() {
    for setup in setups() {
        let bad: [fn(&mut Device, &Chain); 3] = [
            |device, chain| device.give_back(chain, CAPACITY + 1),
            |device, chain| device.give_back(chain, 5),
            |device, _| device.give(99, 60, 1, 1),
        ];
        for bad in bad {
            let (mut rx, mut device, link) = rx_by_hand(&setup);
            let chains = device.offered();
            let good = [frame(60, 1), frame(200, 2), frame(256, 3)];
            for (chain, packet) in chains.iter().zip(&good) {
                device.send(std::slice::from_ref(chain), packet);
            }
            bad(&mut device, &chains[3]);
            assert_eq!(receive(&mut rx, &good, 8, 2), 1);
            assert!(link.is_up());
            assert_eq!(rx.arm(), Ok(true));
            assert_eq!(receive(&mut rx, &good[1..], 8, 0), 2);
            assert_eq!(rx.arm(), Ok(true), "an error is waiting");
            assert!(rx.rx_burst(8).is_err() && !link.is_up());
        }
    }
}

#[test]
fn error_behind_good_packets_stays_though_the_device_takes_it_back() {
    let packed = |setup: &Setup| setup.layout == RingLayout::Packed;
    for setup in setups().filter(packed) {
        let (mut rx, mut device, _link) = rx_by_hand(&setup);
        let chains = device.offered();
        device.send(&chains[..1], &frame(60, 1));
        device.give(99, 60, 1, 1);
        assert_eq!(receive(&mut rx, &[frame(60, 1)], 8, 0), 1);
        device.write(device.descriptor + 16 + 14, &[0; 2]);
        assert_eq!(rx.arm(), Ok(true));
        let error = QueueError::NoSuchDescriptor { index: 99, entries: 8 };
        assert_eq!(rx.rx_burst(8).unwrap_err(), error);
    }
}

#[test]
fn header_that_makes_no_sense_is_counted_and_taken_as_empty() {
    for mut setup in setups() {
        setup.features.rx_offloads = true;
        let (mut rx, mut device, _link) = rx_by_hand(&setup);
        let chains = device.offered();
        for chain in &chains[..3] {
            let lens = device.fill(std::slice::from_ref(chain), 1, &frame(60, 7));
            let guest = 1u64 << 32;
            // A checksum beyond the packet.
            device.write(chain.buffers[0].0 - guest, &[1, 0, 0, 0, 0, 0, 0xff, 0xff, 2, 0]);
            device.give_back(chain, lens[0]);
        }
        let burst = rx.rx_burst(8).unwrap();
        assert_eq!(burst.len(), 3);
        assert!(burst.packets().all(|packet| packet.offload().is_plain() && packet.len() == 60));
        drop(burst);
        assert_eq!(rx.stats().bad_header, 3);
    }
}

#[test]
fn device_that_changes_what_we_wrote_misleads_itself_only() {
    for setup in setups().filter(|setup| setup.layout == RingLayout::Split) {
        let (mut rx, mut device, _link) = rx_by_hand(&setup);
        let chains = device.offered();
        device.send(&chains[..3], &frame(700, 1));
        device.write(device.descriptor, &[0xff; 16 * 8]);
        device.write(device.driver + 4, &[0xff; 2 * 8]);
        let expected = [frame(700, 1)];
        match setup.features.mergeable {
            true => assert_eq!(receive(&mut rx, &expected, 8, 0), 1),
            false => assert_eq!(rx.rx_burst(8).unwrap().len(), 3),
        }
        let offered = (0..3).map(|at| device.word(device.driver + 4 + 2 * at));
        // In order they stand there from the turn before, and are not looked at.
        let anew =
            if setup.features.in_order { [0xffff; 3] } else { [0, 1, 2].map(|at| chains[at].id) };
        assert!(offered.eq(anew), "written anew");

        let (mut tx, mut device, _link) = tx_by_hand(&setup);
        for turn in 0..20 {
            assert_eq!(send(&mut tx, &[frame(300, turn)]), 1);
            let chains = device.offered();
            assert_eq!(device.packet(&chains[0]).1, frame(300, turn));
            device.write(device.descriptor, &[0xff; 16 * 8]);
            device.write(device.driver + 4, &[0xff; 2 * 8]);
            device.give_back(&chains[0], 0);
        }
    }
}

/// What is done in turns to a pair of queues and their memory.
#[derive(Debug, Clone)]
enum Act {
    /// Bytes at a place of a ring's areas, or of the memory where `ring` is neither.
    Write {
        ring: usize,
        area: usize,
        at: u64,
        bytes: Vec<u8>,
    },
    /// An element that may be right.
    Give {
        ring: usize,
        id: u32,
        len: u32,
        chains: u16,
    },
    Receive {
        max: usize,
        keep: usize,
    },
    Send {
        lens: Vec<usize>,
    },
    Arm,
}

fn act() -> impl Strategy<Value = Act> {
    let write = (0..3usize, 0..3usize, any::<u64>(), proptest::collection::vec(any::<u8>(), 1..9));
    prop_oneof![
        write.prop_map(|(ring, area, at, bytes)| Act::Write { ring, area, at, bytes }),
        (0..2usize, 0..9u32, prop_oneof![12..80u32, any::<u32>()], 0..3u16)
            .prop_map(|(ring, id, len, chains)| Act::Give { ring, id, len, chains }),
        (0..9usize, 0..4usize).prop_map(|(max, keep)| Act::Receive { max, keep }),
        proptest::collection::vec(1..900usize, 0..4).prop_map(|lens| Act::Send { lens }),
        Just(Act::Arm),
    ]
}

fn play(setup: &Setup, acts: &[Act]) {
    let link = link();
    let mut memory = DriverMemory::allocate(&setup.config(), &link).unwrap();
    let options = || QueueOptions {
        features: setup.features,
        calls: setup.calls,
        kick: Some(bell()),
        call: Some(bell()),
    };
    let mut rx = memory.rx_queue(0, &options()).unwrap();
    let mut tx = memory.tx_queue(0, &options()).unwrap();
    let mut devices = [0, 1].map(|ring| Device::new(&memory, setup.layout, ring));
    for act in acts {
        match act {
            Act::Write { ring, area, at, bytes } => {
                let device = &devices[ring % 2];
                let start = [device.descriptor, device.driver, device.device][*area];
                let at = if *ring < 2 { start + at % 160 } else { at % (device.len() - 8) };
                device.write(at, bytes);
            }
            Act::Give { ring, id, len, chains } => devices[*ring].give(*id, *len, *chains, 1),
            Act::Receive { max, keep } => {
                let Ok(burst) = rx.rx_burst(*max) else { continue };
                let limit = burst.slots() * CAPACITY as usize;
                let lens = burst.packets().map(|packet| packet.detach().len());
                assert!(lens.sum::<usize>() <= limit);
                let taken = burst.len().saturating_sub(*keep);
                burst.release(taken);
            }
            Act::Send { lens } => {
                let Ok(mut burst) = tx.tx_burst(8) else { continue };
                assert!(burst.free() <= 8);
                for len in lens {
                    let _ = burst.push(&frame(*len, 1));
                }
                burst.commit();
            }
            Act::Arm => {
                let _ = (rx.arm(), tx.arm());
            }
        }
    }
    assert_eq!(link.is_up(), link.fault().is_none());
}

proptest! {
    #[test]
    fn nothing_that_a_device_writes_does_harm(
        acts in proptest::collection::vec(act(), 1..60),
        mix in 0..32usize,
        calls in prop_oneof![Just(CallMode::Interrupt), Just(CallMode::Adaptive)],
    ) {
        let mut setup = Setup::all(8).nth(mix).unwrap();
        setup.calls = calls;
        setup.features.rx_offloads = mix % 3 == 0;
        play(&setup, &acts);
    }
}

/// Sets a flag when it goes, also by a panic: another thread must not run for ever.
struct AtTheEnd<'f>(&'f AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A little of everything, until the link is down.
fn work(rx: &mut RxQueue, tx: &mut TxQueue, deadline: Instant) -> u64 {
    let mut moved = 0;
    while Instant::now() < deadline {
        let Ok(burst) = rx.rx_burst(8) else { return moved };
        moved += burst.packets().map(|packet| packet.detach().len().min(1) as u64).sum::<u64>();
        drop(burst);
        let Ok(mut burst) = tx.tx_burst(8) else { return moved };
        while burst.push(&[7; 300]).is_ok() {}
        moved += burst.commit() as u64;
        if rx.arm().is_err() || tx.arm().is_err() {
            return moved;
        }
    }
    moved
}

#[test]
fn queues_withstand_a_thread_that_writes_in_their_memory() {
    let deadline = Instant::now() + Duration::from_secs(2);
    let (mut moved, mut links) = (0, 0u64);
    let all: Vec<_> = setups().collect();
    for setup in all.iter().cycle().take_while(|_| Instant::now() < deadline) {
        let link = link();
        let mut memory = DriverMemory::allocate(&setup.config(), &link).unwrap();
        let options = QueueOptions { features: setup.features, ..QueueOptions::default() };
        let mut rx = memory.rx_queue(0, &options).unwrap();
        let mut tx = memory.tx_queue(0, &options).unwrap();
        let mut devices = [0, 1].map(|ring| Device::new(&memory, setup.layout, ring));
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut seed = links;
                while !over.load(Ordering::Relaxed) {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let [a, b, c, d, ..] = seed.to_be_bytes();
                    let device = &mut devices[usize::from(a & 1)];
                    // Mostly what looks right.
                    match b % 16 {
                        0 => device.write(device.descriptor + u64::from(c) % 128, &[d]),
                        1 => device.write(device.device + u64::from(c) % 70, &[d]),
                        2 => device.write(u64::from(c) << 4, &[d; 16]),
                        _ => device.give((c % 8).into(), u32::from(d) + 13, 1, 1),
                    }
                }
            });
            let _over = AtTheEnd(&over);
            moved += work(&mut rx, &mut tx, deadline);
        });
        links += 1;
    }
    assert!(links > 10 && moved > links, "{links} links, {moved} packets");
}
