//! Queues that run while another thread writes in their memory.

use super::build;
use super::scene::{Random, Scene};
use crate::input::Input;
use crate::open_files;
use ringport::link::LinkState;
use ringport::shm::{DescTable, Mapping, MemoryPolicy, SharedU16};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Bursts over one link before it is made anew.
const BURSTS_MAX: usize = 20_000;

/// What [`mutated_server`] and [`mutated_client`] did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mutated {
    /// Links made.
    pub links: u64,
    /// Packets received.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
}

/// Runs a server's queues for `time` while another thread writes in the client's memory.
#[must_use]
pub fn mutated_server(seed: u64, time: Duration) -> Mutated {
    run(seed, time, |header| build::server(&mut Input::new(header)).expect("sealed memory"))
}

/// Runs a client's queues for `time` while another thread does what its server could.
#[must_use]
pub fn mutated_client(seed: u64, time: Duration) -> Mutated {
    run(seed, time, |header| build::client(&mut Input::new(header)))
}

fn run(seed: u64, time: Duration, make: fn(&[u8]) -> Scene) -> Mutated {
    let mut random = Random::new(seed);
    let mut done = Mutated::default();
    open_files::alone(|| {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            let [log2, flags, own, ..] = random.next().to_le_bytes();
            // No pool and no memory that cannot be sealed; any mode.
            let header = [log2 % 6, log2 % 6, flags & 7, 0, own, own % 16];
            open_files::check(|| mutate(make(&header), &mut random, deadline, &mut done));
            done.links += 1;
        }
    });
    done
}

fn mutate(mut scene: Scene, random: &mut Random, deadline: Instant, done: &mut Mutated) {
    let vandal = Vandal::new(&mut scene, random.next());
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = thread::spawn(move || vandal.run(&stopped));
    for _ in 0..BURSTS_MAX {
        let (received, sent) = (receive(&mut scene, random), send(&mut scene, random));
        done.received += received.unwrap_or(0);
        done.sent += sent.unwrap_or(0);
        if received.is_none() || sent.is_none() || Instant::now() > deadline {
            break;
        }
    }
    stop.store(true, Ordering::Relaxed);
    thread.join().expect("the other thread does not fail");
    scene.memory.check_canaries();
}

/// Receives a burst; `None` when the queue has failed.
fn receive(scene: &mut Scene, random: &mut Random) -> Option<u64> {
    let max = usize::try_from(random.below(64)).expect("small");
    let burst = scene.rx_queue.rx_burst(max).ok()?;
    assert!(burst.len() <= max && burst.slots() <= usize::from(scene.rx.size));
    for packet in burst.packets() {
        let len = packet.len();
        for piece in packet.pieces() {
            scene.memory.locate(piece);
        }
        let mut copy = vec![0; len + 1];
        assert_eq!(packet.copy_to(&mut copy), len);
        assert_eq!(packet.read_at::<2>(len), None);
    }
    let received = burst.len() as u64;
    if random.below(4) == 0 {
        burst.release(usize::try_from(random.below(8)).expect("small"));
    }
    Some(received)
}

/// Sends a burst; `None` when the queue has failed.
fn send(scene: &mut Scene, random: &mut Random) -> Option<u64> {
    let max = usize::try_from(random.below(64)).expect("small");
    let frame = [0x5A; 700];
    let mut burst = scene.tx_queue.tx_burst(max).ok()?;
    assert!(burst.free() <= max && burst.free() <= usize::from(scene.tx.size));
    while burst.push(&frame[..usize::try_from(random.below(700)).expect("small")]).is_ok() {}
    let mut writer = burst.writer();
    if writer.append(&frame[..100]).is_ok() && writer.overwrite(50, &frame[..50]) {
        writer.finish().expect("appended and overwritten");
    }
    Some(burst.commit() as u64)
}

/// The peer: keeps mostly to the rules, so that links last.
struct Vandal {
    rx: [SharedU16; 3],
    tx: [SharedU16; 3],
    tables: [DescTable; 2],
    sizes: [u16; 2],
    is_client: bool,
    region_len: u64,
    random: Random,
}

impl Vandal {
    fn new(scene: &mut Scene, seed: u64) -> Self {
        // Before there is another mapping of the same memory.
        scene.memory.find_mappings();
        let region = &scene.memory.regions[0];
        let link = Arc::new(LinkState::new().unwrap());
        let mapping = Mapping::from_peer(&region.file, region.len, MemoryPolicy::Trust, &link);
        let mapping = Arc::new(mapping.unwrap());
        let word = |offset| SharedU16::new(&mapping, offset).unwrap();
        let lanes = [&scene.rx, &scene.tx];
        let [rx, tx] = lanes.map(|l| [word(l.peer), word(l.own), word(l.flags)]);
        let tables = lanes.map(|l| DescTable::new(&mapping, l.descriptors, l.size).unwrap());
        Self {
            rx,
            tx,
            tables,
            sizes: lanes.map(|lane| lane.size),
            is_client: scene.own.is_none(),
            region_len: region.len,
            random: Random::new(seed),
        }
    }

    fn run(mut self, stop: &AtomicBool) {
        for lane in 0..2 {
            (0..self.sizes[lane]).for_each(|slot| self.describe(lane, slot));
        }
        while !stop.load(Ordering::Relaxed) {
            for _ in 0..64 {
                self.write();
            }
        }
    }

    fn write(&mut self) {
        let lane = usize::from(self.random.below(2) == 0);
        let size = self.sizes[lane];
        let [peer, own, flags] = if lane == 0 { &self.rx } else { &self.tx };
        let small = |random: &mut Random| {
            u16::try_from(random.below(u64::from(size) + 1)).expect("at most a ring")
        };
        match self.random.below(16) {
            0 => flags.set(small(&mut self.random)),
            1..=5 => {
                // As client, our index runs up to a ring ahead of the other; as server, up to it.
                let other = own.atomic().load(Ordering::Acquire);
                let limit = other.wrapping_add(if self.is_client { size } else { 0 });
                let index = peer.atomic().load(Ordering::Relaxed);
                let further = small(&mut self.random).min(limit.wrapping_sub(index));
                peer.set(index.wrapping_add(further));
            }
            6 if self.random.below(20_000) == 0 => peer.set(small(&mut self.random)),
            _ => {
                let slot = small(&mut self.random);
                self.describe(lane, slot);
            }
        }
    }

    /// Writes a descriptor, good but for one in many.
    fn describe(&mut self, lane: usize, slot: u16) {
        let mut descriptor = self.random.descriptor(self.region_len);
        if self.random.below(20_000) > 0 {
            descriptor.more &= self.random.below(4) == 0;
            descriptor.region = 0;
            descriptor.len = descriptor.len % 256 + 1;
            descriptor.offset %= u32::try_from(self.region_len - 256).expect("small");
        }
        let bytes = descriptor.to_bytes();
        let [low, high] =
            [0, 8].map(|at| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes")));
        self.tables[lane].store(slot, [low, high]);
    }
}
