//! Virtio rings with driver and device in one thread: what the device's work costs without another
//! core in the way.

use crate::clock::cycles;
use crate::frames::{FrameCheck, FramePool, POOL_FRAMES};
use crate::shared::SharedMemory;
use crate::virtio::{DriverError, DriverMemory, Extent, Format, Ring};
use ringport::burst::{PacketRx, PacketTx};
use ringport::doorbell::Doorbell;
use ringport::error::QueueError;
use ringport::link::LinkState;
use ringport::shm::{OutOfRange, OwnedMemory, RegionError};
use ringport_vhost_user::backend::{PackedIndex, RingBase};
use ringport_vhost_user::driver::queue::LayoutError;
use ringport_vhost_user::log::{DirtyLog, PAGE, RingLog};
use ringport_vhost_user::memory::{GuestMemory, MemoryError};
use ringport_vhost_user::virtqueue::{
    KickMode, RingAddresses, RingControl, RingError, RingFeatures, RingStart, RxQueue, TxQueue,
    rx_ring, tx_ring,
};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use thiserror::Error;

/// Why there are no rings.
#[derive(Debug, Error)]
pub enum InThreadError {
    /// The driver cannot be made.
    #[error("driver")]
    Driver(#[from] DriverError),
    /// No doorbell, or no link.
    #[error("doorbell")]
    Doorbell(#[from] std::io::Error),
    /// A ring cannot be started.
    #[error("ring of a device")]
    Ring(#[from] RingError),
    /// The dirty log cannot be mapped.
    #[error("dirty log")]
    LogMemory(#[from] RegionError),
    /// The dirty log is too small.
    #[error("dirty log")]
    Log(#[from] OutOfRange),
    /// Our driver has no memory or queue.
    #[error("our driver")]
    Layout(#[from] LayoutError),
    /// Our driver's memory makes up none.
    #[error("memory of our driver")]
    Memory(#[from] MemoryError),
}

/// Rings on which a driver sends to a device, or a device to a driver: one queue a pair, and all of
/// them in turn.
#[derive(Debug)]
pub struct Rings {
    lanes: Vec<Lane>,
    pool: FramePool,
    buffer: Vec<u8>,
    log: Option<Log>,
    /// Cycles of the time stamp counter that the device spent so far.
    pub cycles: u64,
}

/// What becomes of the pages that the device writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Logging {
    /// They are not noted: nobody migrates the guest.
    #[default]
    Off,
    /// They are noted, and nobody takes them back: as between two looks of the front-end.
    Kept,
    /// They are noted, and taken back after each burst: as when the front-end looks without end.
    Taken,
}

/// The dirty log of a driver.
#[derive(Debug)]
struct Log {
    memory: SharedMemory,
    log: DirtyLog,
    /// The words in which bits are set, in bytes from its start; if they are to be taken back.
    taken: Option<Range<usize>>,
}

/// Which way packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toward {
    /// The device receives.
    Device,
    /// The device sends.
    Driver,
}

#[derive(Debug)]
struct Lane {
    driver: Ring,
    device: Device,
    next: usize,
    check: FrameCheck,
    _control: RingControl,
}

#[derive(Debug)]
enum Device {
    Rx(RxQueue),
    Tx(TxQueue),
}

impl Rings {
    /// Rings for frames of `frame_len` bytes, in order and without offloads.
    ///
    /// # Errors
    /// [`InThreadError`].
    pub fn new(
        toward: Toward,
        format: Format,
        extent: Extent,
        logging: Logging,
        frame_len: usize,
    ) -> Result<Self, InThreadError> {
        let memory = DriverMemory::create(extent)?;
        let guest = memory.for_device()?;
        let log = Log::new(&memory, logging)?;
        let ring_log = log
            .as_ref()
            .map(|log| RingLog { log: log.log.clone(), device_area: Some(memory.guest().start) });
        let side = Side { memory: &memory, guest: &guest, log: ring_log };
        let lane = |number| Lane::new(toward, format, &side, number, frame_len);
        Ok(Self {
            lanes: (0..extent.rings).map(lane).collect::<Result<_, _>>()?,
            pool: FramePool::new(frame_len, POOL_FRAMES),
            buffer: vec![0; frame_len],
            log,
            cycles: 0,
        })
    }

    /// One burst of `BURST` packets on each ring. Returns how many arrived. (A parameter of the type,
    /// so that this is compiled where it is used, as the code of a user would be.)
    ///
    /// # Errors
    /// When the device gave up.
    pub fn turn<const BURST: usize>(&mut self) -> Result<usize, QueueError> {
        let Self { lanes, pool, buffer, log, cycles: spent } = self;
        lanes.iter_mut().for_each(|lane| lane.prepare(BURST, pool));
        let start = cycles();
        let mut packets = 0;
        for lane in &mut *lanes {
            packets += match &mut lane.device {
                Device::Rx(rx) => step_receive::<BURST, _>(rx, buffer, &mut lane.check)?,
                Device::Tx(tx) => step_send::<BURST, _>(tx, pool, &mut lane.next)?,
            };
        }
        *spent += cycles() - start;
        lanes.iter_mut().for_each(|lane| lane.finish(BURST, buffer));
        if let Some(log) = log {
            log.take();
        }
        Ok(packets)
    }

    /// Packets that arrived damaged or out of sequence.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.check.errors + lane.driver.errors).sum()
    }
}

/// Sends a burst. Returns how many packets.
///
/// # Errors
/// When the link is down.
#[inline(never)]
pub fn step_send<const BURST: usize, T: PacketTx>(
    tx: &mut T,
    pool: &FramePool,
    next: &mut usize,
) -> Result<usize, QueueError> {
    give(tx, BURST, pool, next)
}

/// Receives a burst, copies each packet out, and checks it. Returns how many packets.
///
/// # Errors
/// When the link is down.
#[inline(never)]
pub fn step_receive<const BURST: usize, R: PacketRx>(
    rx: &mut R,
    buffer: &mut [u8],
    check: &mut FrameCheck,
) -> Result<usize, QueueError> {
    take(rx, BURST, buffer, check)
}

/// Sends up to `count` packets.
#[inline(always)]
pub(crate) fn give<T: PacketTx>(
    tx: &mut T,
    count: usize,
    pool: &FramePool,
    next: &mut usize,
) -> Result<usize, QueueError> {
    let mut burst = tx.tx_burst(count)?;
    while burst.push(pool.frame(*next)).is_ok() {
        *next += 1;
    }
    Ok(burst.commit())
}

/// Receives up to `count` packets, copies each out, and checks it.
#[inline(always)]
pub(crate) fn take<R: PacketRx>(
    rx: &mut R,
    count: usize,
    buffer: &mut [u8],
    check: &mut FrameCheck,
) -> Result<usize, QueueError> {
    let burst = rx.rx_burst(count)?;
    for packet in burst.packets() {
        packet.copy_to(buffer);
        check.check(packet.len(), buffer);
    }
    Ok(burst.len())
}

impl Log {
    fn new(driver: &DriverMemory, logging: Logging) -> Result<Option<Self>, InThreadError> {
        if logging == Logging::Off {
            return Ok(None);
        }
        // One bit a page.
        let Range { start, end } = driver.guest();
        let bytes = |address: u64| usize::try_from(address / PAGE / 8).unwrap_or(usize::MAX);
        let (first, len) = (bytes(start), (bytes(end) + 8).next_multiple_of(4096));
        let memory = SharedMemory::create(len, false)?;
        let fd = memory.fd().ok_or_else(|| std::io::Error::other("memory of another process"))?;
        let owned = OwnedMemory::from_fd(fd.try_clone_to_owned()?, len)?;
        let log = DirtyLog::new(owned.mapping(), 0, len as u64)?;
        let taken = (logging == Logging::Taken).then_some(first..bytes(end) + 1);
        Ok(Some(Self { memory, log, taken }))
    }

    /// Takes back what was noted.
    fn take(&self) {
        for at in self.taken.clone().into_iter().flatten().step_by(8) {
            self.memory.word(at).swap(0, Ordering::AcqRel);
        }
    }
}

/// What the device has of the driver.
struct Side<'m> {
    memory: &'m Arc<DriverMemory>,
    guest: &'m Arc<GuestMemory>,
    log: Option<RingLog>,
}

impl Lane {
    fn new(
        toward: Toward,
        format: Format,
        Side { memory, guest, log }: &Side<'_>,
        number: usize,
        frame_len: usize,
    ) -> Result<Self, InThreadError> {
        let mut driver = Ring::new(memory, number, format, toward == Toward::Driver);
        let wake = Arc::new(Doorbell::create()?);
        let link = Arc::new(LinkState::new()?);
        let (device, mut control) = match toward {
            Toward::Device => {
                let (rx, control) = rx_ring(link, wake)?;
                (Device::Rx(rx), control)
            }
            Toward::Driver => {
                driver.offer(driver.room());
                let (tx, control) = tx_ring(link, wake)?;
                (Device::Tx(tx), control)
            }
        };
        let features = RingFeatures { in_order: true, ..RingFeatures::default() };
        let bell = || Doorbell::create().map(Arc::new);
        let start = RingStart {
            kick: Some(bell()?),
            call: Some(bell()?),
            log: log.clone(),
            ..polled(memory.addresses(number), format, features)
        };
        control.start(Arc::clone(guest), start)?;
        let check = FrameCheck::new(frame_len, Some(POOL_FRAMES));
        Ok(Self { driver, device, next: 0, check, _control: control })
    }

    /// The driver's work before the device's.
    fn prepare(&mut self, burst: usize, pool: &FramePool) {
        if let Device::Rx(_) = self.device {
            self.driver.send(burst, || {
                self.next += 1;
                pool.frame(self.next - 1)
            });
        }
    }

    /// The driver's work behind the device's.
    fn finish(&mut self, burst: usize, buffer: &mut [u8]) {
        if let Device::Tx(_) = self.device {
            self.driver.receive(burst, buffer, |len, frame| self.check.check(len, frame));
        }
    }
}

/// How the device is to start a ring: it polls, as the driver does.
pub(crate) fn polled(
    addresses: RingAddresses,
    format: Format,
    features: RingFeatures,
) -> RingStart {
    let first = PackedIndex { index: 0, wrap: true };
    RingStart {
        addresses,
        base: match format {
            Format::Split => RingBase::Split { avail: 0 },
            Format::Packed => RingBase::Packed { avail: first, used: first },
        },
        features,
        kicks: KickMode::Polling,
        kick: None,
        call: None,
        enabled: true,
        log: None,
        inflight: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::BURST;

    #[test]
    fn every_packet_arrives_in_sequence_over_rings_and_regions() {
        for toward in [Toward::Device, Toward::Driver] {
            for format in [Format::Split, Format::Packed] {
                for (rings, regions) in [(1, 1), (3, 1), (1, 8), (2, 4)] {
                    let extent = Extent { rings, size: 256, regions };
                    let mut all = Rings::new(toward, format, extent, Logging::Off, 64).unwrap();
                    let packets: usize = (0..300).map(|_| all.turn::<BURST>().unwrap()).sum();
                    let what = format!("{toward:?} {format:?} {extent:?}");
                    assert_eq!((packets, all.errors()), (300 * BURST * rings, 0), "{what}");
                }
            }
        }
    }

    #[test]
    fn pages_that_a_device_wrote_to_are_noted_and_taken_back() {
        for (logging, left) in [(Logging::Kept, true), (Logging::Taken, false)] {
            for format in [Format::Split, Format::Packed] {
                let extent = Extent { rings: 1, size: 256, regions: 1 };
                let mut all = Rings::new(Toward::Driver, format, extent, logging, 64).unwrap();
                let packets: usize = (0..300).map(|_| all.turn::<BURST>().unwrap()).sum();
                assert_eq!((packets, all.errors()), (300 * BURST, 0));
                let Log { memory, .. } = all.log.as_ref().unwrap();
                let words = (0..memory.len()).step_by(8);
                let noted = words.map(|at| memory.word(at).load(Ordering::Acquire).count_ones());
                // Buffers of 2112 bytes, 256 of them: 132 pages, and those of the ring.
                assert_eq!(noted.sum::<u32>() > 130, left, "{logging:?} {format:?}");
            }
        }
    }

    #[test]
    fn frame_that_is_lost_counts_as_an_error() {
        let extent = Extent { rings: 1, size: 64, regions: 1 };
        let toward = Toward::Device;
        let mut rings = Rings::new(toward, Format::Split, extent, Logging::Off, 64).unwrap();
        rings.turn::<BURST>().unwrap();
        rings.lanes[0].next += 1;
        rings.turn::<BURST>().unwrap();
        assert_eq!(rings.errors(), 1);
    }
}
