//! A driver's queues against our device's, against devices made by hand, and against hostile ones.

mod hand;
mod hostile;
mod keeps_order;
mod layout;
mod link;
mod notify;
mod packets;
mod pool;
mod random;

use super::*;
use crate::backend::{PackedIndex, RingBase};
use crate::memory::{GuestMemory, Region};
use crate::virtqueue::{self, KickMode, RingControl, RingStart, rx_ring, tx_ring};
use ringport::burst::{PacketRx, PacketTx, PushError};
use ringport::link::LinkState;
use ringport::offload::Accepts;
use ringport::shm::{Mapping, MemoryPolicy};

const LAYOUTS: [RingLayout; 2] = [RingLayout::Split, RingLayout::Packed];

/// What a pair of driver and device is like.
#[derive(Debug, Clone, Copy)]
struct Setup {
    layout: RingLayout,
    size: u16,
    buffer_size: u32,
    /// From the driver's side.
    features: RingFeatures,
    calls: CallMode,
    kicks: KickMode,
}

impl Setup {
    fn new(layout: RingLayout, size: u16) -> Self {
        Self {
            layout,
            size,
            buffer_size: 256,
            features: RingFeatures { mergeable: true, ..RingFeatures::default() },
            calls: CallMode::default(),
            kicks: KickMode::default(),
        }
    }

    /// Both layouts with every mix of features, in rings of `size`.
    fn all(size: u16) -> impl Iterator<Item = Self> {
        LAYOUTS.into_iter().flat_map(move |layout| {
            (0..16).map(move |bits| {
                let has = |bit: u32| bits & 1 << bit != 0;
                let features = RingFeatures {
                    mergeable: has(0),
                    in_order: has(1),
                    event_idx: has(2),
                    indirect: has(3),
                    ..RingFeatures::default()
                };
                Self { features, ..Self::new(layout, size) }
            })
        })
    }

    fn config(&self) -> DriverMemoryConfig {
        let Self { layout, size, buffer_size, .. } = *self;
        let (rx_size, tx_size) = (size, size);
        DriverMemoryConfig { layout, rx_size, tx_size, buffer_size, ..Default::default() }
    }

    /// The longest packet that the device can send.
    fn longest_received(&self) -> usize {
        let first = self.buffer_size as usize;
        let rest = if self.features.mergeable { usize::from(self.size.min(1024)) - 1 } else { 0 };
        first + rest * (first + 12)
    }

    /// The longest packet that the driver can send.
    fn longest_sent(&self) -> usize {
        self.buffer_size as usize * usize::from(self.size.min(256))
    }
}

/// One pair of queues, of a driver and of the device that it shares its memory with.
#[derive(Debug)]
struct Pair {
    memory: DriverMemory,
    rx: RxQueue,
    tx: TxQueue,
    device_rx: virtqueue::RxQueue,
    device_tx: virtqueue::TxQueue,
    link: Arc<LinkState>,
    _controls: [RingControl; 2],
}

fn bell() -> Arc<Doorbell> {
    Arc::new(Doorbell::create().unwrap())
}

fn link() -> Arc<LinkState> {
    Arc::new(LinkState::new().unwrap())
}

/// The driver's memory, as a device maps it.
fn mapped(memory: &DriverMemory) -> Arc<GuestMemory> {
    let regions = memory.regions().into_iter().map(|(said, fd)| {
        let mapping = Mapping::from_peer(fd, said.size, MemoryPolicy::Sealed, &link());
        Region {
            guest: said.guest_address,
            front_end: said.user_address,
            size: said.size,
            mapping: Arc::new(mapping.unwrap()),
            offset: said.mmap_offset,
        }
    });
    Arc::new(GuestMemory::new(regions.collect()).unwrap())
}

impl Pair {
    fn new(setup: &Setup) -> Self {
        let link = link();
        Self::over(setup, DriverMemory::allocate(&setup.config(), &link).unwrap(), link)
    }

    fn over(setup: &Setup, mut memory: DriverMemory, link: Arc<LinkState>) -> Self {
        let guest = mapped(&memory);
        let options = || QueueOptions {
            features: setup.features,
            calls: setup.calls,
            kick: Some(bell()),
            call: Some(bell()),
        };
        let (rx_options, tx_options) = (options(), options());
        let rx = memory.rx_queue(0, &rx_options).unwrap();
        let tx = memory.tx_queue(0, &tx_options).unwrap();
        let start = PackedIndex { index: 0, wrap: true };
        let start = |ring: usize, QueueOptions { kick, call, .. }: QueueOptions| RingStart {
            addresses: memory.addresses(ring).unwrap(),
            base: match setup.layout {
                RingLayout::Split => RingBase::Split { avail: 0 },
                RingLayout::Packed => RingBase::Packed { avail: start, used: start },
            },
            features: device_features(setup.features),
            kicks: setup.kicks,
            kick,
            call,
            enabled: true,
            log: None,
            inflight: None,
        };
        let device = || Arc::new(LinkState::new().unwrap());
        let (device_tx, mut to_driver) = tx_ring(device(), bell()).unwrap();
        to_driver.start(Arc::clone(&guest), start(0, rx_options)).unwrap();
        let (device_rx, mut to_device) = rx_ring(device(), bell()).unwrap();
        to_device.start(guest, start(1, tx_options)).unwrap();
        let _controls = [to_driver, to_device];
        Self { memory, rx, tx, device_rx, device_tx, link, _controls }
    }

    /// Nobody has broken anything.
    fn assert_whole(&self) {
        assert!(self.link.is_up());
        assert_eq!(self._controls.each_ref().map(RingControl::fault), [None, None]);
    }
}

/// The same features, from the device's side.
fn device_features(of_driver: RingFeatures) -> RingFeatures {
    let all = Accepts { checksum: true, tcp4: true, tcp6: true, ecn: true };
    let tx_offloads = if of_driver.rx_offloads { all } else { Accepts::default() };
    let rx_offloads = of_driver.tx_offloads != Accepts::default();
    RingFeatures { rx_offloads, tx_offloads, ..of_driver }
}

/// A packet of `len` bytes, none like that of another `seed`.
fn frame(len: usize, seed: u32) -> Vec<u8> {
    let byte = |n: u32| (n.wrapping_mul(31) ^ seed.wrapping_mul(97) ^ (n >> 8)).to_le_bytes()[0];
    (0..u32::try_from(len).unwrap()).map(byte).collect()
}

/// Takes what one burst delivers and checks that it begins with `expected`; releases `keep` packets
/// less than came. Returns how many were released.
fn receive(rx: &mut dyn PacketRx, expected: &[Vec<u8>], max: usize, keep: usize) -> usize {
    let burst = rx.rx_burst(max).unwrap();
    assert!(burst.len() <= max);
    for (at, packet) in burst.packets().enumerate() {
        assert!(at < expected.len(), "a packet that nobody sent");
        assert_eq!(packet.detach(), expected[at], "packet {at}");
    }
    let taken = burst.len() - keep.min(burst.len());
    burst.release(taken);
    taken
}

/// Sends as many of `frames` as one burst takes, and returns how many.
fn send(tx: &mut dyn PacketTx, frames: &[Vec<u8>]) -> usize {
    let mut burst = tx.tx_burst(1024).unwrap();
    for frame in frames {
        match burst.push(frame) {
            Ok(()) => {}
            Err(PushError::Full) => break,
            Err(error) => panic!("{} bytes: {error}", frame.len()),
        }
    }
    burst.commit()
}

/// Moves all of `frames` from `tx` to `rx`.
fn transfer(tx: &mut dyn PacketTx, rx: &mut dyn PacketRx, frames: &[Vec<u8>]) {
    let (mut sent, mut received) = (0, 0);
    for turn in 0.. {
        sent += send(tx, &frames[sent..]);
        received += receive(rx, &frames[received..sent], 1 + turn % 64, turn % 3);
        if received == frames.len() {
            return;
        }
        assert!(turn < 100 * frames.len() + 1000, "{sent} sent, {received} received");
    }
}
