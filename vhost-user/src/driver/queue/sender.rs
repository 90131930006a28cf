//! What sends, on a ring of either layout.

use super::buffers::Buffers;
use super::chains::{AnyOrder, Chains, InOrder};
use super::layout::{Buffer, Layout};
use super::memory::Parts;
use super::tx::TxSide;
use crate::net::{self, HEADER, HEADER_LEN};
use crate::virtqueue::descriptor::NEXT;
use crate::virtqueue::{Called, RingFeatures};
use ringport::burst::{BURST_MAX, CommitTx, Committed, TxBatch};
use ringport::error::QueueError;
use ringport::offload::{Accepts, Checksum, Offload};
use ringport::ring_view::RingView;
use ringport::stats::TxStats;
use std::sync::Arc;

/// The header of a packet that asks for nothing.
const PLAIN: [u8; HEADER_LEN] = [0; HEADER_LEN];

#[derive(Debug)]
pub(super) struct Sender<L, C> {
    ring: L,
    buffers: Buffers,
    chains: C,
    /// Whether packets may ask anything of the device.
    offloads: bool,
    /// Whether all headers ask for nothing, as the memory did when it was made: then nobody looks at
    /// their lines. A device that writes there misleads itself.
    headers_stand: bool,
    stats: TxStats,
}

/// What sends on `ring`, and the storage of its bursts.
pub(super) fn sender<L: Layout>(
    ring: L,
    parts: &Parts,
    features: &RingFeatures,
) -> (TxBatch, Box<dyn TxSide>) {
    match features.in_order {
        true => sender_of::<L, InOrder>(ring, parts, features),
        false => sender_of::<L, AnyOrder>(ring, parts, features),
    }
}

fn sender_of<L: Layout, C: Chains>(
    ring: L,
    parts: &Parts,
    features: &RingFeatures,
) -> (TxBatch, Box<dyn TxSide>) {
    let size = parts.place.size;
    let slots = BURST_MAX.min(size.into());
    let (regions, buffers) = (Arc::clone(&parts.regions), Buffers::new(parts));
    let offloads = features.tx_offloads != Accepts::default();
    let batch = TxBatch::new(regions, slots, slots).behind(HEADER, false).keeping_fronts();
    let batch = if offloads { batch.with_offloads(features.tx_offloads) } else { batch };
    let batch = if buffers.are_lent() { batch.exchangeable() } else { batch };
    let headers_stand = !offloads && !buffers.are_lent();
    let side = Sender {
        ring,
        buffers,
        chains: C::new(size),
        offloads,
        headers_stand,
        stats: TxStats::default(),
    };
    (batch, Box::new(side))
}

impl<L: Layout, C: Chains> TxSide for Sender<L, C> {
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

    fn view(&self) -> RingView {
        self.ring.view()
    }
}

impl<L: Layout, C: Chains> Sender<L, C> {
    /// Takes back up to `wanted` chains that the device has sent.
    #[inline(always)]
    fn reclaim(&mut self, wanted: usize) -> Result<(), QueueError> {
        let Self { ring, chains, .. } = self;
        let before = chains.free();
        let wanted = u16::try_from(wanted).unwrap_or(u16::MAX);
        chains.reclaim(ring, wanted)?;
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
        let Self { ring, buffers, chains, offloads, headers_stand, stats, .. } = self;
        if *offloads {
            for at in 0..committed.slots {
                committed.batch.write_front(at, &header(committed.batch.offload(at)));
            }
        } else if !*headers_stand {
            committed.batch.write_fronts(committed.slots, &PLAIN);
        }
        let mut bytes = 0;
        let called = ring.offer(committed.shapes().enumerate().map(|(at, shape)| {
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
        let Self { ring, buffers, chains, headers_stand, stats, .. } = self;
        let headers_stand = *headers_stand;
        // Of the packet under way: its first buffer, and the last so far.
        let mut under_way: Option<(u16, u16)> = None;
        ring.offer(committed.shapes().enumerate().map(|(at, shape)| {
            let id = chains.id(at);
            stats.bytes += u64::from(shape.len());
            let (head, address, len) = match under_way {
                Some((head, last)) => {
                    chains.extend(head, last, id);
                    (head, buffers.address(id) + u64::from(HEADER), shape.len())
                }
                None => {
                    if !headers_stand {
                        committed.batch.write_front(at, &header(committed.batch.offload(at)));
                    }
                    chains.lend(id);
                    (id, buffers.address(id), shape.len() + HEADER)
                }
            };
            under_way = shape.more().then_some((head, id));
            let (flags, next) = if shape.more() { (NEXT, chains.id(at + 1)) } else { (0, 0) };
            Buffer { id, head, address, len, flags, next }
        }))
    }

    /// Notes where the buffers are that took the places of ours.
    #[inline(never)]
    fn follow_exchange(&mut self, committed: &Committed<'_>) {
        let Self { buffers, chains, .. } = self;
        for at in 0..committed.slots {
            buffers.exchange(chains.id(at), committed.batch.offset(at));
        }
    }

    /// Fetches what the next burst writes to, if it is like this one and there are as many buffers: it
    /// arrives while the caller does something else.
    #[inline(always)]
    fn fetch_ahead(&self, committed: &Committed<'_>) {
        let Self { ring, buffers, chains, .. } = self;
        let count = committed.slots.min(chains.free());
        let packet = |at| buffers.offset(chains.id(at)) + u64::from(HEADER);
        committed.batch.fetch_ahead(buffers.region, (0..count).map(packet));
        ring.fetch_ahead(u16::try_from(count).unwrap_or(0));
    }

    #[cold]
    fn fail(&mut self, error: QueueError) -> QueueError {
        let stats = &mut self.stats;
        self.ring.ground().fail(error, |error| stats.count_fault(error))
    }
}

impl<L: Layout, C: Chains> CommitTx for Sender<L, C> {
    #[inline]
    fn commit(&mut self, committed: Committed<'_>) {
        self.stats.packets += committed.packets as u64;
        if committed.exchanged {
            self.follow_exchange(&committed);
        }
        let called = match committed.packets == committed.slots {
            true => self.send_plain(&committed),
            false => self.send_odd(&committed),
        };
        self.chains.remove(committed.slots);
        self.fetch_ahead(&committed);
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
