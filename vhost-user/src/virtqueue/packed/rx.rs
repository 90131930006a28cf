//! Receive queues: what the driver sends.

use super::chain::Chain;
use super::ring::{Position, Ring, State};
use crate::backend::PackedIndex;
use crate::memory::GuestMemory;
use crate::net::{HEADER, HEADER_LEN};
use crate::virtqueue::descriptor::{Access, KNOWN};
use crate::virtqueue::header::{decode, split_header};
use crate::virtqueue::line::{Engine, Side, Standing};
use crate::virtqueue::rx::{Rx, RxSide};
use crate::virtqueue::seat::Seat;
use crate::virtqueue::{RingError, RingStart};
use ringport::burst::{BURST_MAX, Piece, ReleaseRx, Released, RxBatch, Shape};
use ringport::doorbell::Doorbell;
use ringport::error::QueueError;
use ringport::offload::Offload;
use ringport::stats::RxStats;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Receiver {
    ring: Ring,
    in_order: bool,
    /// Whether headers are looked at.
    offloads: bool,
    /// Chains of the batch's packets.
    chains: Box<[Chain]>,
    /// The pieces of one chain.
    pieces: Vec<Piece>,
    stats: RxStats,
}

/// What receives from the ring that `start` describes.
pub(in crate::virtqueue) fn rx(
    memory: Arc<GuestMemory>,
    start: &RingStart,
    base: PackedIndex,
    seat: Arc<Seat>,
) -> Result<Box<Engine<Rx>>, RingError> {
    let (features, ring) = (&start.features, Ring::new(memory, start, base, Access::Read, seat)?);
    let limit = usize::from(ring.walker.limit);
    let batch = RxBatch::new(Arc::clone(ring.memory.regions()), BURST_MAX.max(limit));
    let offloads = features.rx_offloads;
    let batch = if offloads { batch.with_offloads() } else { batch };
    let (chains, pieces) = (
        vec![Chain::default(); BURST_MAX].into(),
        Vec::with_capacity(limit + GuestMemory::REGIONS_MAX),
    );
    let (in_order, stats) = (features.in_order, RxStats::default());
    let side = Receiver { ring, in_order, offloads, chains, pieces, stats };
    Ok(Box::new(Engine { batch, side }))
}

impl RxSide for Receiver {
    #[inline]
    fn fill(&mut self, batch: &mut RxBatch, max: usize) -> Result<(), QueueError> {
        batch.clear();
        // Not beyond the ring, however the driver moves its flags meanwhile.
        let size = usize::from(self.ring.table.slots());
        let wanted = max.min(self.chains.len()).min(size);
        let plain = self.take_plain(batch, wanted);
        if self.offloads {
            let stats = &mut self.stats;
            batch.decode_headers(|header, len| decode(header, len, stats));
        }
        if plain < wanted {
            self.take_odd(batch, wanted)?;
        }
        match batch.packets() {
            0 => self.stats.empty_bursts += 1,
            _ => self.ring.disarm(),
        }
        Ok(())
    }
}

impl Receiver {
    /// Takes packets that are in one descriptor of the ring and one region, header and all.
    #[inline]
    fn take_plain(&mut self, batch: &mut RxBatch, wanted: usize) -> usize {
        let Ring { next, memory, table, .. } = &self.ring;
        let (table, mut at) = (table.view(), *next);
        let mut memory = memory.translator();
        let chains = self.chains.iter_mut().take(wanted);
        let pieces = chains.map_while(move |chain| {
            let state = State(table.load_state(at.slot()));
            if !at.has(state) || state.flags() & KNOWN != Access::Read.flag() {
                return None;
            }
            let (region, offset) = memory.locate(table.load_address(at.slot()), state.len())?;
            *chain = Chain { id: state.id(), entries: 1 };
            at = at.ahead(1);
            Some(Piece::alone(offset, Shape::new(region, state.len(), false)))
        });
        batch.fill_behind(HEADER, pieces)
    }

    /// Goes on with packets of any other kind. Bad ones at the front are dropped; behind good ones
    /// they wait for the next burst.
    #[inline(never)]
    fn take_odd(&mut self, batch: &mut RxBatch, wanted: usize) -> Result<(), QueueError> {
        // As many entries as packets so far: they are plain.
        let plain = u16::try_from(batch.packets()).unwrap_or(u16::MAX);
        let mut at = self.ring.next.ahead(plain);
        let (mut taken, mut dropped) = (usize::from(plain), 0);
        // Not beyond the ring, however the driver moves its flags meanwhile.
        let mut left = self.ring.table.slots() - plain;
        while taken + dropped < wanted && left > 0 && self.ring.has(at) {
            let (chain, outcome) = match self.take_chain(batch, at) {
                Ok(found) => found,
                Err(error) if taken == 0 && dropped == 0 => return Err(error),
                Err(_) => break,
            };
            if chain.entries > left {
                break;
            }
            match outcome {
                Ok(true) => {
                    if let Some(slot) = self.chains.get_mut(taken) {
                        *slot = chain;
                    }
                    taken += 1;
                }
                Err(error) if taken == 0 => {
                    self.stats.count_fault(error);
                    self.ring.give_back(std::iter::once((chain, 0)));
                    dropped += 1;
                }
                Ok(false) | Err(_) => break,
            }
            at = at.ahead(chain.entries);
            left -= chain.entries;
        }
        Ok(())
    }

    /// Appends the packet that the chain at `at` holds, if it fits the batch.
    fn take_chain(
        &mut self,
        batch: &mut RxBatch,
        at: Position,
    ) -> Result<(Chain, Result<bool, QueueError>), QueueError> {
        let Ring { table, memory, walker, .. } = &self.ring;
        self.pieces.clear();
        let (chain, len) = walker.walk(table.view(), at, memory, &mut self.pieces)?;
        let appended = len.and_then(|len| {
            if len <= HEADER {
                return Err(QueueError::TooShort { len, header: HEADER });
            }
            let mut header = [0; HEADER_LEN];
            let first = split_header(memory, &mut self.pieces, &mut header)?;
            let offload = match self.offloads {
                true => decode(&header, len - HEADER, &mut self.stats),
                false => Offload::default(),
            };
            batch.append(self.pieces.get(first..).unwrap_or_default(), offload)
        });
        Ok((chain, appended))
    }
}

impl ReleaseRx for Receiver {
    #[inline]
    fn release(&mut self, released: Released<'_>) {
        let chains = &self.chains[..released.packets.min(self.chains.len())];
        self.stats.packets += released.packets as u64;
        self.stats.bytes += released.bytes;
        if let Some(last) = chains.last().filter(|_| self.in_order) {
            // The last one's id says it for all, where the first one was.
            let entries = chains.iter().map(|chain| chain.entries).sum();
            self.ring.give_back(std::iter::once((Chain { entries, ..*last }, 0)));
        } else {
            self.ring.give_back(chains.iter().map(|chain| (*chain, 0)));
        }
        self.ring.leave();
    }

    #[inline]
    fn end(&mut self) {
        self.ring.leave();
    }
}

impl Side<RxStats> for Receiver {
    fn begin(&mut self) {
        self.ring.begin();
    }

    fn standing(&self) -> Standing {
        self.ring.standing()
    }

    fn resume(&mut self, from: Standing) {
        self.ring.resume(from);
    }

    fn set_call(&mut self, call: Option<Arc<Doorbell>>) {
        self.ring.set_call(call);
    }

    fn arm(&mut self) -> Result<bool, QueueError> {
        Ok(self.ring.arm())
    }

    fn stats(&self) -> &RxStats {
        &self.stats
    }

    fn stats_mut(&mut self) -> &mut RxStats {
        &mut self.stats
    }
}
