//! What sends, on a ring of either layout.

use super::buffers::Buffers;
use super::chains::Chains;
use super::layout::{Buffer, Layout};
use super::memory::Parts;
use super::tx::TxSide;
use crate::net::{self, HEADER, HEADER_LEN};
use crate::virtqueue::descriptor::NEXT;
use crate::virtqueue::{Called, RingFeatures};
use ringport::burst::{BURST_MAX, CommitTx, Committed, TxBatch};
use ringport::error::QueueError;
use ringport::offload::{Accepts, Checksum, Offload};
use ringport::shm::Regions;
use ringport::stats::TxStats;
use std::sync::Arc;

/// The header of a packet that asks for nothing.
const PLAIN: [u8; HEADER_LEN] = [0; HEADER_LEN];

#[derive(Debug)]
pub(super) struct Sender<L> {
    ring: L,
    buffers: Buffers,
    chains: Chains,
    in_order: bool,
    /// Whether packets may ask anything of the device.
    offloads: bool,
    stats: TxStats,
}

/// What sends on `ring`, and the storage of its bursts.
pub(super) fn sender<L: Layout>(
    ring: L,
    parts: &Parts,
    features: &RingFeatures,
) -> (TxBatch, Box<dyn TxSide>) {
    let size = parts.place.size;
    let slots = BURST_MAX.min(size.into());
    let regions = Arc::new(Regions::new(vec![Arc::clone(&parts.mapping)]));
    let offloads = features.tx_offloads != Accepts::default();
    let batch = TxBatch::new(regions, slots, slots).behind(HEADER, false);
    let batch = if offloads { batch.with_offloads(features.tx_offloads) } else { batch };
    let side = Sender {
        ring,
        buffers: Buffers::new(parts),
        chains: Chains::new(size),
        in_order: features.in_order,
        offloads,
        stats: TxStats::default(),
    };
    (batch, Box::new(side))
}

impl<L: Layout> TxSide for Sender<L> {
    fn reserve(&mut self, batch: &mut TxBatch, max: usize) -> Result<(), QueueError> {
        self.ring.ground().enter()?;
        batch.clear();
        let wanted = max.min(batch.burst_max());
        if self.chains.free() < wanted
            && let Err(error) = self.reclaim(wanted)
        {
            return Err(self.fail(error));
        }
        let free = self.chains.free().min(wanted);
        let Self { chains, buffers, .. } = self;
        batch.reserve_behind((0..free).map(|at| buffers.whole(chains.id(at))));
        batch.set_complete(free == self.chains.size());
        self.stats.ring_full += u64::from(free < wanted);
        Ok(())
    }

    fn arm(&mut self) -> Result<bool, QueueError> {
        self.ring.ground().enter()?;
        match self.arm_ring() {
            Ok(free) => Ok(free),
            Err(error) => Err(self.fail(error)),
        }
    }

    fn stats(&self) -> TxStats {
        self.stats
    }
}

impl<L: Layout> Sender<L> {
    /// Takes back up to `wanted` chains that the device has sent.
    #[inline(always)]
    fn reclaim(&mut self, wanted: usize) -> Result<(), QueueError> {
        let Self { ring, chains, .. } = self;
        let before = chains.free();
        let wanted = u16::try_from(wanted).unwrap_or(u16::MAX);
        match self.in_order {
            true => ring.take_used(wanted, |used| chains.take_back_through(used))?,
            false => ring.take_used(wanted, |used| chains.take_back(used))?,
        }
        if chains.free() > before {
            ring.disarm();
        }
        Ok(())
    }

    fn arm_ring(&mut self) -> Result<bool, QueueError> {
        if self.ring.ground().drain()?.is_none() {
            return Ok(true);
        }
        if self.chains.free() > 0 {
            return Ok(true);
        }
        self.ring.arm()
    }

    /// Sends packets of one buffer each.
    #[inline(always)]
    fn send_plain(&mut self, committed: &Committed<'_>) -> Called {
        let Self { ring, buffers, chains, offloads, stats, .. } = self;
        let mut bytes = 0;
        let called = ring.offer(committed.shapes().enumerate().map(|(at, shape)| {
            let header = if *offloads { header(committed.batch.offload(at)) } else { PLAIN };
            committed.batch.write_front(at, &header);
            let id = chains.id(at);
            chains.lend(id);
            bytes += u64::from(shape.len());
            let (address, len) = (buffers.address(id), shape.len() + HEADER);
            Buffer { id, head: id, address, len, flags: 0, next: 0 }
        }));
        stats.bytes += bytes;
        called
    }

    /// Sends packets of which some take several buffers.
    #[inline(never)]
    fn send_odd(&mut self, committed: &Committed<'_>) -> Called {
        let Self { ring, buffers, chains, stats, .. } = self;
        // Of the packet under way: its first buffer, and the last so far.
        let mut under_way: Option<(u16, u16)> = None;
        ring.offer(committed.shapes().enumerate().map(|(at, shape)| {
            let id = chains.id(at);
            let mut len = shape.len();
            stats.bytes += u64::from(len);
            let head = match under_way {
                Some((head, last)) => {
                    chains.extend(head, last, id);
                    head
                }
                None => {
                    committed.batch.write_front(at, &header(committed.batch.offload(at)));
                    chains.lend(id);
                    len += HEADER;
                    id
                }
            };
            under_way = shape.more().then_some((head, id));
            let (flags, next) = if shape.more() { (NEXT, chains.id(at + 1)) } else { (0, 0) };
            Buffer { id, head, address: buffers.address(id), len, flags, next }
        }))
    }

    #[cold]
    fn fail(&mut self, error: QueueError) -> QueueError {
        let stats = &mut self.stats;
        self.ring.ground().fail(error, |error| stats.count_fault(error))
    }
}

impl<L: Layout> CommitTx for Sender<L> {
    #[inline]
    fn commit(&mut self, committed: Committed<'_>) {
        self.stats.packets += committed.packets as u64;
        let called = match committed.packets == committed.slots {
            true => self.send_plain(&committed),
            false => self.send_odd(&committed),
        };
        self.chains.remove(committed.slots);
        match called {
            Called::Yes => self.stats.doorbells += 1,
            Called::Suppressed => self.stats.doorbells_suppressed += 1,
            Called::Never => {}
        }
    }
}

/// What a driver says of a packet. That it was verified is for devices to say, and how many buffers
/// it takes as well.
///
/// Spec: VIRTIO 1.3 §5.1.6.2.
fn header(offload: Offload) -> [u8; HEADER_LEN] {
    let checksum = match offload.checksum {
        Checksum::Verified => Checksum::Unknown,
        checksum => checksum,
    };
    net::encode(&Offload { checksum, ..offload }, 0)
}
