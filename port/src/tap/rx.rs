//! The receive queue of a TAP.

use super::device::Device;
use super::{SLOT_BYTES, SLOTS, TapError, memory, slot_offset, sys};
use crate::burst::{PacketRx, Piece, ReleaseRx, Released, RxBatch, RxBurst, Shape};
use crate::error::QueueError;
use crate::link::LinkState;
use crate::offload::{Offload, Segmentation};
use crate::shm::{Mapping, Regions};
use crate::software::checked;
use crate::stats::RxStats;
use crate::virtio_net::{self, HEADER_LEN};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// Delivers what the kernel sends out of the interface.
///
/// Other than with rings, [`rx_burst`](PacketRx::rx_burst) makes system calls: one for each packet,
/// and one that finds nothing more. It never blocks or allocates. [`arm`](PacketRx::arm) has nothing
/// to ask for, and only looks: the [doorbell](PacketRx::doorbell) is the interface's own descriptor,
/// readable whenever a packet waits.
#[derive(Debug)]
pub struct TapRx {
    batch: RxBatch,
    received: Received,
}

impl TapRx {
    pub(super) fn new(device: Arc<Device>, link: Arc<LinkState>) -> Result<Self, TapError> {
        let memory = memory()?;
        let regions = Arc::new(Regions::new(vec![Arc::clone(&memory)]));
        let batch = RxBatch::new(regions, SLOTS).with_offloads();
        let packets = [Packet { len: 0, offload: Offload::default() }; SLOTS];
        let stats = RxStats::default();
        Ok(Self {
            batch,
            received: Received { device, link, memory, packets, first: 0, count: 0, stats },
        })
    }
}

impl PacketRx for TapRx {
    fn rx_burst(&mut self, max: usize) -> Result<RxBurst<'_>, QueueError> {
        let Self { batch, received } = self;
        received.fill(max.min(SLOTS))?;
        batch.clear();
        for (at, packet) in received.waiting().take(max) {
            let piece = Piece::alone(slot_offset(at), Shape::new(0, packet.len, false));
            batch.append(&[piece], packet.offload)?;
        }
        received.stats.empty_bursts += u64::from(batch.packets() == 0);
        Ok(RxBurst::new(batch, received))
    }

    fn arm(&mut self) -> Result<bool, QueueError> {
        self.received.arm()
    }

    fn doorbell(&self) -> BorrowedFd<'_> {
        self.received.device.fd.as_fd()
    }

    fn stats(&self) -> RxStats {
        self.received.stats
    }
}

/// Packets that were read, in a ring of slots.
#[derive(Debug)]
struct Received {
    device: Arc<Device>,
    link: Arc<LinkState>,
    memory: Arc<Mapping>,
    /// By slot.
    packets: [Packet; SLOTS],
    /// Slot of the oldest packet.
    first: usize,
    /// Packets that were not released yet.
    count: usize,
    stats: RxStats,
}

#[derive(Debug, Clone, Copy)]
struct Packet {
    /// In bytes.
    len: u32,
    offload: Offload,
}

impl Received {
    /// Reads until `max` packets wait, or the kernel has no more.
    fn fill(&mut self, max: usize) -> Result<(), QueueError> {
        if !self.link.is_up() {
            return Err(self.link.reason());
        }
        // Unusable ones count too: there may be no end of them.
        for _ in self.count..max {
            match self.read() {
                Ok(packet) => self.push(packet),
                Err(Errno::EAGAIN | Errno::EINTR) => break,
                // A packet that the kernel has no header for, or that came with one that is wrong.
                Err(Errno::EINVAL) => self.stats.bad_header += 1,
                // What was read before is delivered first.
                Err(_) if self.count > 0 => break,
                Err(_) => return Err(self.link.fail(QueueError::LinkDown)),
            }
        }
        Ok(())
    }

    /// Reads one packet to the next free slot.
    fn read(&mut self) -> Result<Option<Packet>, Errno> {
        if self.count == 0 {
            self.first = 0;
        }
        let offset = slot_offset(self.slot(self.count));
        let mut header = [0; HEADER_LEN];
        let fd = self.device.fd.as_fd();
        let len = sys::read_packet(fd, &mut header, &self.memory, offset, SLOT_BYTES)?;
        // Longer than anything of IP: the rest is lost.
        if len >= SLOT_BYTES {
            return Ok(None);
        }
        let read = |head: &mut [u8]| sys::copy_out(&self.memory, offset, len, head);
        let offload = metadata(header, len, read).ok_or(Errno::EINVAL)?;
        Ok(Some(Packet { len, offload }))
    }

    fn push(&mut self, packet: Option<Packet>) {
        let at = self.slot(self.count);
        match (packet, self.packets.get_mut(at)) {
            (Some(packet), Some(slot)) => {
                *slot = packet;
                self.count += 1;
            }
            _ => self.stats.bad_length += 1,
        }
    }

    /// Slot of the packet that `behind` others were read before.
    fn slot(&self, behind: usize) -> usize {
        (self.first + behind) % SLOTS
    }

    /// Packets that were not released yet, with their slots, oldest first.
    fn waiting(&self) -> impl Iterator<Item = (usize, Packet)> + '_ {
        let slots = (0..self.count).map(|behind| self.slot(behind));
        slots.filter_map(|at| Some((at, *self.packets.get(at)?)))
    }

    fn arm(&mut self) -> Result<bool, QueueError> {
        if !self.link.is_up() {
            return Err(self.link.reason());
        }
        if self.count > 0 {
            return Ok(true);
        }
        let mut fds = [PollFd::new(self.device.fd.as_fd(), PollFlags::POLLIN)];
        // Whatever went wrong, the next burst meets it.
        let ready = poll(&mut fds, PollTimeout::ZERO).map_or(true, |ready| ready > 0);
        if ready && fds.iter().filter_map(PollFd::revents).any(|it| it.contains(PollFlags::POLLERR))
        {
            return Err(self.link.fail(QueueError::LinkDown));
        }
        self.stats.wake_ups += u64::from(ready);
        Ok(ready)
    }
}

impl ReleaseRx for Received {
    fn release(&mut self, released: Released<'_>) {
        let packets = released.packets.min(self.count);
        self.first = self.slot(packets);
        self.count -= packets;
        self.stats.packets += packets as u64;
        self.stats.bytes += released.bytes;
    }
}

/// What the kernel's header says of a packet of `len` bytes. Its length of headers is only a hint,
/// often that of the whole packet: what other ports want is their real length.
fn metadata(
    mut header: [u8; HEADER_LEN],
    len: u32,
    read: impl FnOnce(&mut [u8]) -> usize,
) -> Option<Offload> {
    header[2..4].fill(0);
    let offload = virtio_net::decode(&header, len).ok()?;
    if offload.segmentation == Segmentation::None {
        return Some(offload);
    }
    checked(offload, len as usize, read).ok()
}
