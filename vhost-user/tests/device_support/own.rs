//! A driver of our own on rings that our device serves, without a socket between them.

use ringport::burst::{PacketRx, PacketTx};
use ringport::doorbell::Doorbell;
use ringport::link::LinkState;
use ringport_vhost_user::backend::{PackedIndex, RingBase};
use ringport_vhost_user::driver::queue::{
    CallMode, DriverMemory, DriverMemoryConfig, QueueOptions, RingLayout, RxQueue, TxQueue,
};
use ringport_vhost_user::memory::{GuestMemory, Region};
use ringport_vhost_user::virtqueue::{self, KickMode, RingControl, RingFeatures, RingStart};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Queues of a driver, and those of the device that it shares its memory with.
#[derive(Debug)]
pub struct OwnPair {
    pub rx: RxQueue,
    pub tx: TxQueue,
    pub device_rx: virtqueue::RxQueue,
    pub device_tx: virtqueue::TxQueue,
    /// The driver's, as the device has it.
    pub memory: OwnedFd,
    _controls: [RingControl; 2],
}

fn bell() -> Arc<Doorbell> {
    Arc::new(Doorbell::create().unwrap())
}

fn link() -> Arc<LinkState> {
    Arc::new(LinkState::new().unwrap())
}

impl OwnPair {
    /// One with each layout and set of features that has code of its own.
    pub fn all(size: u16) -> [Self; 8] {
        std::array::from_fn(|mix| {
            let has = |bit: usize| mix & bit != 0;
            let layout = if has(1) { RingLayout::Packed } else { RingLayout::Split };
            let (mergeable, in_order) = (has(2), has(4));
            let features = RingFeatures { mergeable, in_order, ..RingFeatures::default() };
            Self::new(layout, size, features)
        })
    }

    pub fn new(layout: RingLayout, size: u16, features: RingFeatures) -> Self {
        let (rx_size, tx_size) = (size, size);
        let config = DriverMemoryConfig { layout, rx_size, tx_size, ..Default::default() };
        let mut memory = DriverMemory::allocate(&config, &link()).unwrap();
        let said = memory.region();
        let guest = GuestMemory::new(vec![Region {
            guest: said.guest_address,
            front_end: said.user_address,
            size: said.size,
            mapping: Arc::clone(memory.mapping()),
            offset: said.mmap_offset,
        }]);
        let guest = Arc::new(guest.unwrap());
        let calls = CallMode::Adaptive;
        let options = || QueueOptions { features, calls, kick: Some(bell()), call: Some(bell()) };
        let [rx_options, tx_options] = [options(), options()];
        let rx = memory.rx_queue(0, &rx_options).unwrap();
        let tx = memory.tx_queue(0, &tx_options).unwrap();
        let zero = PackedIndex { index: 0, wrap: true };
        let start = |ring: usize, options: QueueOptions| RingStart {
            addresses: memory.addresses(ring).unwrap(),
            base: match layout {
                RingLayout::Split => RingBase::Split { avail: 0 },
                RingLayout::Packed => RingBase::Packed { avail: zero, used: zero },
            },
            features,
            kicks: KickMode::Adaptive,
            kick: options.kick,
            call: options.call,
            enabled: true,
            log: None,
            inflight: None,
        };
        let (device_tx, mut to_driver) = virtqueue::tx_ring(link(), bell()).unwrap();
        to_driver.start(Arc::clone(&guest), start(0, rx_options)).unwrap();
        let (device_rx, mut to_device) = virtqueue::rx_ring(link(), bell()).unwrap();
        to_device.start(guest, start(1, tx_options)).unwrap();
        let controls = [to_driver, to_device];
        let memory = memory.fd().try_clone_to_owned().unwrap();
        Self { rx, tx, device_rx, device_tx, memory, _controls: controls }
    }

    /// Moves `rounds` bursts of packets of `len` bytes, at most 2048, from driver to device.
    pub fn send(&mut self, rounds: usize, len: usize) {
        (0..rounds).for_each(|_| burst(&mut self.tx, &mut self.device_rx, len));
    }

    /// The same from device to driver.
    pub fn receive(&mut self, rounds: usize, len: usize) {
        (0..rounds).for_each(|_| burst(&mut self.device_tx, &mut self.rx, len));
    }
}

/// Moves one burst, and checks it. Allocates nothing.
fn burst(tx: &mut dyn PacketTx, rx: &mut dyn PacketRx, len: usize) {
    let (frame, mut copy) = ([0x5a; 2048], [0; 2048]);
    let mut burst = tx.tx_burst(32).unwrap();
    let mut sent = 0;
    while burst.push(&frame[..len]).is_ok() {
        sent += 1;
    }
    assert!(sent > 0 && burst.commit() == sent);
    let burst = rx.rx_burst(64).unwrap();
    assert_eq!(burst.len(), sent);
    for packet in burst.packets() {
        assert_eq!(packet.copy_to(&mut copy), len);
        assert_eq!(copy[..len], frame[..len]);
    }
}
