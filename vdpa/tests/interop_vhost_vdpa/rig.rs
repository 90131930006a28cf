//! A driver whose rings are in memory of its own, for a device that finds them at their guest addresses.
#![allow(clippy::unwrap_used, clippy::panic, reason = "for tests")]

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ringport::doorbell::Doorbell;
use ringport::link::LinkState;
use ringport_vdpa::VdpaDevice;
use ringport_vdpa::device::{DeviceMemory, RingSetup, Setup};
use ringport_vhost_user::backend::RingBase;
use ringport_vhost_user::driver::queue::{
    DriverMemory, DriverMemoryConfig, QueueOptions, RxQueue, TxQueue,
};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `VIRTIO_F_VERSION_1` and `VIRTIO_F_ACCESS_PLATFORM`.
pub(crate) const FEATURES: u64 = 1 << 32 | 1 << 33;

/// How long a packet may be on its way.
const PATIENCE: Duration = Duration::from_secs(30);

/// One pair of rings with its driver.
pub(crate) struct Rig {
    memory: DriverMemory,
    rx: RxQueue,
    tx: TxQueue,
    /// For each ring: the driver kicks, the device calls.
    bells: [[Arc<Doorbell>; 2]; 2],
}

impl Rig {
    /// Rings of `size` descriptors.
    pub(crate) fn new(size: u16) -> Self {
        let config =
            DriverMemoryConfig { rx_size: size, tx_size: size, ..DriverMemoryConfig::default() };
        let link = Arc::new(LinkState::new().unwrap());
        let mut memory = DriverMemory::allocate(&config, &link).unwrap();
        let bells = [(); 2].map(|()| [(); 2].map(|()| Arc::new(Doorbell::create().unwrap())));
        let [rx, tx] = bells.each_ref().map(|[kick, call]| QueueOptions {
            kick: Some(Arc::clone(kick)),
            call: Some(Arc::clone(call)),
            ..QueueOptions::default()
        });
        let (rx, tx) = (memory.rx_queue(0, &rx).unwrap(), memory.tx_queue(0, &tx).unwrap());
        Self { memory, rx, tx, bells }
    }

    /// All its memory, for a device.
    pub(crate) fn memory(&self) -> DeviceMemory {
        let region = self.memory.region();
        let mapping = Arc::clone(self.memory.mapping());
        DeviceMemory { iova: region.guest_address, len: region.size, mapping, offset: 0 }
    }

    /// Where that is.
    pub(crate) fn range(&self) -> RangeInclusive<u64> {
        let memory = self.memory();
        memory.iova..=memory.iova + (memory.len - 1)
    }

    /// Both rings, which go on at these bases.
    pub(crate) fn setup(&self, bases: [RingBase; 2]) -> Setup {
        let region = self.memory.region();
        let ring = |index: u16| {
            let at = self.memory.addresses(index.into()).unwrap();
            let iova = |address: u64| address - region.user_address + region.guest_address;
            let [kick, call] = self.bells[usize::from(index)]
                .each_ref()
                .map(|bell| Arc::new(bell.try_clone_fd().unwrap()));
            RingSetup {
                index,
                size: at.size,
                descriptor_area: iova(at.descriptor),
                driver_area: iova(at.driver),
                device_area: iova(at.device),
                base: bases[usize::from(index)],
                kick,
                call,
            }
        };
        Setup { features: FEATURES, rings: vec![ring(0), ring(1)] }
    }

    /// Maps the memory and has the device begin.
    pub(crate) fn start(&self, device: &mut dyn VdpaDevice) {
        device.map(&[self.memory()]).unwrap();
        device.start(&self.setup(BEGINNING)).unwrap();
    }

    pub(crate) fn send(&mut self, frame: &[u8]) {
        let mut burst = self.tx.tx_burst(1).unwrap();
        burst.push(frame).unwrap();
        assert_eq!(burst.commit(), 1);
    }

    /// The next packet that is `wanted`. Waits for the device's call, and for nothing else.
    #[track_caller]
    pub(crate) fn receive(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let end = Instant::now() + PATIENCE;
        loop {
            let burst = self.rx.rx_burst(1).unwrap();
            let packet = burst.packets().next().map(|packet| {
                let mut bytes = vec![0; packet.len()];
                packet.copy_to(&mut bytes);
                bytes
            });
            let count = burst.len();
            burst.release(count);
            match packet {
                Some(bytes) if wanted(&bytes) => return bytes,
                Some(_) => {}
                None if self.rx.arm().unwrap() => {}
                None => {
                    let left = end.saturating_duration_since(Instant::now());
                    assert!(is_ready(self.rx.as_fd(), left), "no call within {PATIENCE:?}");
                }
            }
        }
    }

    /// Asks for a call with the next packet. Returns whether some wait already.
    #[allow(dead_code, reason = "not all tests look at calls themselves")]
    pub(crate) fn arm(&mut self) -> bool {
        self.rx.arm().unwrap()
    }

    /// Sends a frame to all, and expects it back from a device that returns those.
    #[track_caller]
    pub(crate) fn bounce(&mut self, number: u64) {
        let frame = frame(number);
        self.send(&frame);
        assert_eq!(self.receive(|_| true), frame, "frame {number}");
    }

    /// Whether nothing is received for a while, looked for without a call.
    pub(crate) fn is_silent(&mut self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while Instant::now() < end {
            if !self.rx.rx_burst(1).unwrap().is_empty() {
                return false;
            }
            std::thread::yield_now();
        }
        true
    }
}

/// A frame to all, with a number.
pub(crate) fn frame(number: u64) -> [u8; 64] {
    let mut frame = [0xff; 64];
    frame[6..14].copy_from_slice(&[2, 0, 0, 0, 0, 9, 0x88, 0xb5]);
    frame[14..22].copy_from_slice(&number.to_le_bytes());
    frame
}

/// Where rings begin.
pub(crate) const BEGINNING: [RingBase; 2] = [RingBase::Split { avail: 0 }; 2];

/// Whether a descriptor is readable within `patience`.
pub(crate) fn is_ready(fd: BorrowedFd<'_>, patience: Duration) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::try_from(patience).unwrap()).unwrap() == 1
}
