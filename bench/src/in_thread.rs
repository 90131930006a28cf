//! Virtio rings with driver and device in one thread: what the device's work costs without another
//! core in the way.

use crate::clock::cycles;
use crate::frames::{FrameCheck, FramePool, POOL_FRAMES};
use crate::virtio::{DriverError, DriverMemory, Extent, Format, Ring};
use ringport::burst::{PacketRx, PacketTx};
use ringport::doorbell::Doorbell;
use ringport::error::QueueError;
use ringport::link::LinkState;
use ringport_vhost_user::backend::{PackedIndex, RingBase};
use ringport_vhost_user::memory::GuestMemory;
use ringport_vhost_user::virtqueue::{
    KickMode, RingControl, RingError, RingFeatures, RingStart, RxQueue, TxQueue, rx_ring, tx_ring,
};
use std::sync::Arc;
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
}

/// Rings on which a driver sends to a device, or a device to a driver: one queue a pair, and all of
/// them in turn.
#[derive(Debug)]
pub struct Rings {
    lanes: Vec<Lane>,
    pool: FramePool,
    buffer: Vec<u8>,
    /// Cycles of the time stamp counter that the device spent so far.
    pub cycles: u64,
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
        frame_len: usize,
    ) -> Result<Self, InThreadError> {
        let memory = DriverMemory::create(extent)?;
        let guest = memory.for_device()?;
        let lane = |number| Lane::new(toward, format, (&memory, &guest), number, frame_len);
        Ok(Self {
            lanes: (0..extent.rings).map(lane).collect::<Result<_, _>>()?,
            pool: FramePool::new(frame_len, POOL_FRAMES),
            buffer: vec![0; frame_len],
            cycles: 0,
        })
    }

    /// One burst of `BURST` packets on each ring. Returns how many arrived. (A parameter of the type,
    /// so that this is compiled where it is used, as the code of a user would be.)
    ///
    /// # Errors
    /// When the device gave up.
    pub fn turn<const BURST: usize>(&mut self) -> Result<usize, QueueError> {
        let Self { lanes, pool, buffer, cycles: spent } = self;
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
    let mut burst = tx.tx_burst(BURST)?;
    while burst.push(pool.frame(*next)).is_ok() {
        *next += 1;
    }
    Ok(burst.commit())
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
    let burst = rx.rx_burst(BURST)?;
    for packet in burst.packets() {
        packet.copy_to(buffer);
        check.check(packet.len(), buffer);
    }
    Ok(burst.len())
}

impl Lane {
    fn new(
        toward: Toward,
        format: Format,
        (memory, guest): (&Arc<DriverMemory>, &Arc<GuestMemory>),
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
        control.start(Arc::clone(guest), start(memory, number, format)?)?;
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
fn start(memory: &DriverMemory, number: usize, format: Format) -> std::io::Result<RingStart> {
    let first = PackedIndex { index: 0, wrap: true };
    let bell = || Doorbell::create().map(Arc::new);
    Ok(RingStart {
        addresses: memory.addresses(number),
        base: match format {
            Format::Split => RingBase::Split { avail: 0 },
            Format::Packed => RingBase::Packed { avail: first, used: first },
        },
        features: RingFeatures { in_order: true, ..RingFeatures::default() },
        kicks: KickMode::Polling,
        kick: Some(bell()?),
        call: Some(bell()?),
        enabled: true,
        log: None,
        inflight: None,
    })
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
                    let mut all = Rings::new(toward, format, extent, 64).unwrap();
                    let packets: usize = (0..300).map(|_| all.turn::<BURST>().unwrap()).sum();
                    let what = format!("{toward:?} {format:?} {extent:?}");
                    assert_eq!((packets, all.errors()), (300 * BURST * rings, 0), "{what}");
                }
            }
        }
    }

    #[test]
    fn frame_that_is_lost_counts_as_an_error() {
        let extent = Extent { rings: 1, size: 64, regions: 1 };
        let mut rings = Rings::new(Toward::Device, Format::Split, extent, 64).unwrap();
        rings.turn::<BURST>().unwrap();
        rings.lanes[0].next += 1;
        rings.turn::<BURST>().unwrap();
        assert_eq!(rings.errors(), 1);
    }
}
