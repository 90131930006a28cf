//! Our driver and our device in one thread: what the driver's work costs without another core in the
//! way.

use crate::frames::{FrameCheck, FramePool, POOL_FRAMES};
use crate::in_thread::{InThreadError, Toward, give, polled, take};
use crate::virtio::Format;
use ringport::doorbell::Doorbell;
use ringport::error::QueueError;
use ringport::link::LinkState;
use ringport::offload::Accepts;
use ringport::shm::{Mapping, MemoryPolicy, RegionError};
use ringport_vhost_user::driver;
use ringport_vhost_user::driver::queue::{
    DriverMemory, DriverMemoryConfig, LayoutError, QueueOptions, RingLayout,
};
use ringport_vhost_user::memory::{GuestMemory, Region};
use ringport_vhost_user::virtqueue::{self, RingControl, RingFeatures, rx_ring, tx_ring};
use std::sync::Arc;

/// A pair of rings between our driver and our device, in order and without notifications.
#[derive(Debug)]
pub struct OwnPair {
    rx: driver::RxQueue,
    tx: driver::TxQueue,
    device_rx: virtqueue::RxQueue,
    device_tx: virtqueue::TxQueue,
    pool: FramePool,
    buffer: Vec<u8>,
    /// Of each direction: the next frame, and what checks those that came.
    ways: [(usize, FrameCheck); 2],
    _controls: [RingControl; 2],
    _memory: DriverMemory,
}

const FEATURES: RingFeatures = RingFeatures {
    mergeable: true,
    in_order: true,
    indirect: false,
    event_idx: false,
    rx_offloads: false,
    tx_offloads: Accepts { checksum: false, tcp4: false, tcp6: false, ecn: false },
};

impl OwnPair {
    /// Rings of `size` for frames of `frame_len` bytes.
    ///
    /// # Errors
    /// [`InThreadError`].
    pub fn new(format: Format, size: u16, frame_len: usize) -> Result<Self, InThreadError> {
        let layout = match format {
            Format::Split => RingLayout::Split,
            Format::Packed => RingLayout::Packed,
        };
        let link = || LinkState::new().map(Arc::new);
        let config =
            DriverMemoryConfig { layout, rx_size: size, tx_size: size, ..Default::default() };
        let mut memory = DriverMemory::allocate(&config, &link()?)?;
        let options = QueueOptions { features: FEATURES, ..QueueOptions::default() };
        let (rx, tx) = (memory.rx_queue(0, &options)?, memory.tx_queue(0, &options)?);
        let guest = mapped(&memory, &link()?)?;
        let start =
            |ring| memory.addresses(ring).map(|addresses| polled(addresses, format, FEATURES));
        let outside = |ring| LayoutError::NoSuchRing { ring, rings: memory.rings() };
        let bell = || Doorbell::create().map(Arc::new);
        let (device_tx, mut to_driver) = tx_ring(link()?, bell()?)?;
        to_driver.start(Arc::clone(&guest), start(0).ok_or_else(|| outside(0))?)?;
        let (device_rx, mut to_device) = rx_ring(link()?, bell()?)?;
        to_device.start(guest, start(1).ok_or_else(|| outside(1))?)?;
        let way = || (0, FrameCheck::new(frame_len, Some(POOL_FRAMES)));
        Ok(Self {
            rx,
            tx,
            device_rx,
            device_tx,
            pool: FramePool::new(frame_len, POOL_FRAMES),
            buffer: vec![0; frame_len],
            ways: [way(), way()],
            _controls: [to_driver, to_device],
            _memory: memory,
        })
    }

    /// One burst of `BURST` packets. Returns how many arrived.
    ///
    /// # Errors
    /// When a side gave up.
    pub fn turn<const BURST: usize>(&mut self, toward: Toward) -> Result<usize, QueueError> {
        let Self { rx, tx, device_rx, device_tx, pool, buffer, ways, .. } = self;
        let [(sent, sent_check), (received, received_check)] = ways;
        match toward {
            Toward::Device => {
                step_drive_send::<BURST>(tx, pool, sent)?;
                take(device_rx, BURST, buffer, sent_check)
            }
            Toward::Driver => {
                give(device_tx, BURST, pool, received)?;
                step_drive_receive::<BURST>(rx, buffer, received_check)
            }
        }
    }

    /// Packets that arrived damaged or out of sequence.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.ways.iter().map(|(_, check)| check.errors).sum()
    }
}

#[inline(never)]
fn step_drive_send<const BURST: usize>(
    tx: &mut driver::TxQueue,
    pool: &FramePool,
    next: &mut usize,
) -> Result<usize, QueueError> {
    give(tx, BURST, pool, next)
}

#[inline(never)]
fn step_drive_receive<const BURST: usize>(
    rx: &mut driver::RxQueue,
    buffer: &mut [u8],
    check: &mut FrameCheck,
) -> Result<usize, QueueError> {
    take(rx, BURST, buffer, check)
}

/// The driver's memory as the device maps it.
fn mapped(memory: &DriverMemory, link: &Arc<LinkState>) -> Result<Arc<GuestMemory>, InThreadError> {
    let regions = memory.regions().into_iter().map(|(said, fd)| {
        let mapping = Mapping::from_peer(fd, said.size, MemoryPolicy::Sealed, link)?;
        Ok(Region {
            guest: said.guest_address,
            front_end: said.user_address,
            size: said.size,
            mapping: Arc::new(mapping),
            offset: said.mmap_offset,
        })
    });
    let regions = regions.collect::<Result<_, RegionError>>()?;
    Ok(Arc::new(GuestMemory::new(regions)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::BURST;

    #[test]
    fn every_packet_arrives_in_sequence_both_ways() {
        for format in [Format::Split, Format::Packed] {
            let mut pair = OwnPair::new(format, 64, 64).unwrap();
            for toward in [Toward::Device, Toward::Driver] {
                let packets: usize = (0..300).map(|_| pair.turn::<BURST>(toward).unwrap()).sum();
                assert_eq!((packets, pair.errors()), (300 * BURST, 0), "{format:?} {toward:?}");
            }
        }
    }
}
