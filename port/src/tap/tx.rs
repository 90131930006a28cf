//! The transmit queue of a TAP.

use super::device::Device;
use super::{SLOT_BYTES, SLOTS, TapError, memory, slot_offset, sys};
use crate::burst::{CommitTx, Committed, PacketTx, Piece, Shape, TxBatch, TxBurst};
use crate::error::QueueError;
use crate::link::LinkState;
use crate::offload::{Accepts, Offload};
use crate::shm::{Mapping, Regions};
use crate::software::checked;
use crate::stats::TxStats;
use crate::virtio_net;
use nix::errno::Errno;
use std::os::fd::AsFd;
use std::sync::Arc;

/// What is sent here arrives at the interface.
///
/// Other than with rings, a [commit](TxBurst::commit) makes system calls: one for each packet. It
/// never blocks or allocates. There is always room: a packet that the kernel does not take is dropped
/// and counted ([`TxStats::refused`]), as a network card does; so is every one while the interface is
/// down (`ip link set down`).
#[derive(Debug)]
pub struct TapTx {
    batch: TxBatch,
    sender: Sender,
}

impl TapTx {
    pub(super) fn new(device: Arc<Device>, link: Arc<LinkState>) -> Result<Self, TapError> {
        let memory = memory()?;
        let regions = Arc::new(Regions::new(vec![Arc::clone(&memory)]));
        let accepts = Accepts { checksum: true, tcp4: true, tcp6: true, ecn: true };
        let batch = TxBatch::new(regions, SLOTS, 1).with_offloads(accepts);
        Ok(Self { batch, sender: Sender { device, link, memory, stats: TxStats::default() } })
    }
}

impl PacketTx for TapTx {
    fn tx_burst(&mut self, max: usize) -> Result<TxBurst<'_>, QueueError> {
        let Self { batch, sender } = self;
        if !sender.link.is_up() {
            return Err(sender.link.reason());
        }
        let slot = |at| Piece::alone(slot_offset(at), Shape::new(0, SLOT_BYTES, false));
        batch.reserve((0..max.min(SLOTS)).map(slot))?;
        Ok(TxBurst::new(batch, sender))
    }

    fn stats(&self) -> TxStats {
        self.sender.stats
    }
}

#[derive(Debug)]
struct Sender {
    device: Arc<Device>,
    link: Arc<LinkState>,
    memory: Arc<Mapping>,
    stats: TxStats,
}

impl CommitTx for Sender {
    fn commit(&mut self, committed: Committed<'_>) {
        for (slot, shape) in committed.shapes().enumerate() {
            self.send(slot, shape.len(), committed.batch.offload(slot));
        }
    }
}

impl Sender {
    /// Writes the packet in `slot`. Whatever is wrong with it, the next one has its turn.
    fn send(&mut self, slot: usize, len: u32, offload: Offload) {
        let offset = slot_offset(slot);
        let read = |head: &mut [u8]| sys::copy_out(&self.memory, offset, len, head);
        let Ok(offload) = checked(offload, len as usize, read) else {
            self.stats.bad_header += 1;
            return;
        };
        let mut header = virtio_net::encode(&offload, 1);
        match sys::write_packet(self.device.fd.as_fd(), &mut header, &self.memory, offset, len) {
            Ok(()) => {
                self.stats.packets += 1;
                self.stats.bytes += u64::from(len);
            }
            // EINVAL: not a packet for the kernel; EIO: the interface is down, and may come up again;
            // EAGAIN, ENOBUFS and the like: no room.
            Err(errno) => {
                self.stats.refused += 1;
                if matches!(errno, Errno::EBADFD | Errno::ENODEV | Errno::ENXIO) {
                    self.link.fail(QueueError::LinkDown);
                }
            }
        }
    }
}
