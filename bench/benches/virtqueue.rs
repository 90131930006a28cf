//! Received packets of 64 bytes, each copied out, in one thread with warm caches: our split and packed
//! queues, and the `virtio-queue` crate on the same memory with the same ring.
//!
//! Each has its own copy of the ring. What the driver does, filling the ring, is not timed. Per packet
//! all three find the buffer, read header and payload, and give the buffer back; per burst they look
//! whether the driver wants to be called, which it does not.
#![expect(clippy::expect_used, reason = "a benchmark without its ring is worth nothing")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringport::burst::PacketRx;
use ringport::doorbell::Doorbell;
use ringport::link::LinkState;
use ringport::shm::{Backing, OwnedMemory};
use ringport_vhost_user::backend::{PackedIndex, RingBase};
use ringport_vhost_user::memory::{GuestMemory, Region};
use ringport_vhost_user::virtqueue::{
    KickMode, RingAddresses, RingControl, RingFeatures, RingStart, RxQueue, rx_ring,
};
use std::fs::File;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap};

/// Where the memory is, for the driver and for the front-end.
const BASE: u64 = 0x1_0000_0000;
const AVAILABLE: u64 = BASE + 0x2000;
const USED: u64 = BASE + 0x4000;
const BUFFERS: u64 = BASE + 0x1_0000;
const LEN: usize = 2 << 20;
/// An odd number of cache lines, so that buffers do not compete for the same places in the caches.
const STRIDE: u64 = 2112;
const SIZE: u16 = 256;
const BURST: usize = 32;
const HEADER: usize = 12;
const PAYLOAD: usize = 64;
/// Where a packed ring begins: the first descriptor, on its first turn.
const PACKED_START: RingBase = {
    let first = PackedIndex { index: 0, wrap: true };
    RingBase::Packed { avail: first, used: first }
};

/// A ring in memory, and the driver that fills it.
struct Driver {
    memory: OwnedMemory,
    mapped: GuestMemoryMmap,
    /// Bursts of [`SIZE`] packets that were offered.
    turns: u16,
}

impl Driver {
    fn new() -> Self {
        let memory = OwnedMemory::create("ring", LEN, Backing::Pages).expect("memory");
        let file = File::from(memory.fd().try_clone_to_owned().expect("a descriptor"));
        let range = (GuestAddress(BASE), LEN, Some(FileOffset::new(file, 0)));
        let mapped = GuestMemoryMmap::from_ranges_with_files([range]).expect("a mapping");
        Self { memory, mapped, turns: 0 }
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        self.mapped.write_slice(bytes, GuestAddress(at)).expect("inside the memory");
    }

    fn describe(&self, slot: u16, fourth: u16, fifth: u16) {
        let address = BUFFERS + STRIDE * u64::from(slot);
        let len = u32::try_from(HEADER + PAYLOAD).expect("a short packet");
        let fields: [&[u8]; 4] = [
            &address.to_le_bytes(),
            &len.to_le_bytes(),
            &fourth.to_le_bytes(),
            &fifth.to_le_bytes(),
        ];
        self.put(BASE + 16 * u64::from(slot), &fields.concat());
    }

    /// A split ring whose available entries name the descriptors in turn; none is offered yet.
    fn split() -> Self {
        let driver = Self::new();
        for slot in 0..SIZE {
            driver.describe(slot, 0, 0);
            driver.put(AVAILABLE + 4 + 2 * u64::from(slot), &slot.to_le_bytes());
        }
        // NO_INTERRUPT: the driver polls.
        driver.put(AVAILABLE, &1u16.to_le_bytes());
        driver
    }

    /// Offers the whole split ring.
    fn fill_split(&mut self) {
        self.turns = self.turns.wrapping_add(1);
        let index = self.turns.wrapping_mul(SIZE);
        let at = GuestAddress(AVAILABLE + 2);
        self.mapped.store(index, at, Ordering::Release).expect("inside the memory");
    }

    /// A packed ring; none is offered yet.
    fn packed() -> Self {
        let driver = Self::new();
        // The driver's event area: it polls.
        driver.put(AVAILABLE + 2, &1u16.to_le_bytes());
        driver
    }

    /// Offers the whole packed ring.
    fn fill_packed(&mut self) {
        let owner = if self.turns.is_multiple_of(2) { 1 << 7 } else { 1 << 15 };
        self.turns = self.turns.wrapping_add(1);
        (0..SIZE).for_each(|slot| self.describe(slot, slot, owner));
    }

    fn guest(&self) -> Arc<GuestMemory> {
        let mapping = Arc::clone(self.memory.mapping());
        let region = Region { guest: BASE, front_end: BASE, size: LEN as u64, mapping, offset: 0 };
        Arc::new(GuestMemory::new(vec![region]).expect("one region"))
    }
}

/// Where both kinds of ring are.
const ADDRESSES: RingAddresses =
    RingAddresses { size: SIZE, descriptor: BASE, driver: AVAILABLE, device: USED };

fn features() -> RingFeatures {
    RingFeatures { indirect: true, rx_offloads: true, ..RingFeatures::default() }
}

/// Our queue on the driver's ring, and what controls it.
fn ours(driver: &Driver, base: RingBase) -> (RxQueue, RingControl) {
    let bell = || Arc::new(Doorbell::create().expect("a doorbell"));
    let link = Arc::new(LinkState::new().expect("a link"));
    let (rx, mut control) = rx_ring(link, bell()).expect("a queue");
    let start = RingStart {
        addresses: ADDRESSES,
        base,
        features: features(),
        kicks: KickMode::Polling,
        kick: Some(bell()),
        call: Some(bell()),
        enabled: true,
        log: None,
        inflight: None,
    };
    control.start(driver.guest(), start).expect("a ring");
    (rx, control)
}

fn their_split(driver: &Driver) -> Queue {
    let mut queue = Queue::new(SIZE).expect("a ring");
    let half = |at: u64| u32::try_from(at & u64::from(u32::MAX)).ok();
    let halves = |at: u64| (half(at), half(at >> 32));
    let [table, available, used] = [BASE, AVAILABLE, USED].map(halves);
    queue.set_size(SIZE);
    queue.set_desc_table_address(table.0, table.1);
    queue.set_avail_ring_address(available.0, available.1);
    queue.set_used_ring_address(used.0, used.1);
    queue.set_ready(true);
    assert!(queue.is_valid(&driver.mapped), "the ring is not in the memory");
    queue
}

/// Receives one burst; returns its packets.
fn receive(rx: &mut impl PacketRx, buffer: &mut [u8; PAYLOAD]) -> usize {
    let burst = rx.rx_burst(BURST).expect("the link is up");
    for packet in burst.packets() {
        packet.copy_to(buffer);
        black_box(&buffer);
    }
    burst.len()
}

/// As [`receive`], with `virtio-queue`.
fn receive_with(
    queue: &mut Queue,
    memory: &GuestMemoryMmap,
    buffer: &mut [u8; HEADER + PAYLOAD],
) -> usize {
    let mut packets = 0;
    while packets < BURST
        && let Some(mut chain) = queue.pop_descriptor_chain(memory)
    {
        let head = chain.head_index();
        let descriptor = chain.next().expect("a descriptor");
        memory.read_slice(buffer, descriptor.addr()).expect("inside the memory");
        black_box(&buffer);
        queue.add_used(memory, head, 0).expect("inside the memory");
        packets += 1;
    }
    black_box(queue.needs_notification(memory).expect("inside the memory"));
    packets
}

/// The time of `turns` times [`SIZE`] packets, without that of filling the ring.
fn timed(
    turns: u64,
    driver: &mut Driver,
    fill: fn(&mut Driver),
    mut receive: impl FnMut(&Driver) -> usize,
) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..turns {
        fill(driver);
        let start = Instant::now();
        for _ in 0..usize::from(SIZE) / BURST {
            assert_eq!(receive(driver), BURST, "packets are missing");
        }
        spent += start.elapsed();
    }
    spent
}

fn receive_64(c: &mut Criterion) {
    let mut group = c.benchmark_group("vhost-user/rx/64");
    group.throughput(Throughput::Elements(SIZE.into()));
    group.bench_function("split", |b| {
        let (mut driver, mut buffer) = (Driver::split(), [0; PAYLOAD]);
        let (mut rx, _control) = ours(&driver, RingBase::Split { avail: 0 });
        b.iter_custom(|turns| {
            timed(turns, &mut driver, Driver::fill_split, |_| receive(&mut rx, &mut buffer))
        });
    });
    group.bench_function("split/virtio-queue", |b| {
        let (mut driver, mut buffer) = (Driver::split(), [0; HEADER + PAYLOAD]);
        let mut queue = their_split(&driver);
        b.iter_custom(|turns| {
            timed(turns, &mut driver, Driver::fill_split, |driver| {
                receive_with(&mut queue, &driver.mapped, &mut buffer)
            })
        });
    });
    group.bench_function("packed", |b| {
        let (mut driver, mut buffer) = (Driver::packed(), [0; PAYLOAD]);
        let (mut rx, _control) = ours(&driver, PACKED_START);
        b.iter_custom(|turns| {
            timed(turns, &mut driver, Driver::fill_packed, |_| receive(&mut rx, &mut buffer))
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = receive_64
}
criterion_main!(benches);
