//! Engines of receive queues.

use super::RingFeatures;
use super::descriptor::Access;
use super::header::{decode, split_header};
use super::layout::{Layout, Ring};
use super::line::{Engine, Side};
use super::rx::{Rx, RxSide};
use crate::memory::GuestMemory;
use crate::net::{HEADER, HEADER_LEN};
use ringport::burst::{BURST_MAX, Piece, ReleaseRx, Released, RxBatch};
use ringport::error::QueueError;
use ringport::offload::Offload;
use ringport::stats::RxStats;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Receiver<L: Layout> {
    ring: L,
    in_order: bool,
    /// Whether headers are looked at.
    offloads: bool,
    /// Of the batch's packets.
    chains: Box<[L::Chain]>,
    /// The pieces of one chain.
    pieces: Vec<Piece>,
    stats: RxStats,
}

/// What receives from `ring`.
pub(super) fn receiver<L: Layout + 'static>(ring: L, features: &RingFeatures) -> Box<Engine<Rx>> {
    let limit = usize::from(ring.ground().walker.limit);
    let batch = RxBatch::new(Arc::clone(ring.ground().memory.regions()), BURST_MAX.max(limit));
    let RingFeatures { in_order, rx_offloads: offloads, .. } = *features;
    let side = Receiver {
        ring,
        in_order,
        offloads,
        chains: vec![L::Chain::default(); BURST_MAX].into(),
        pieces: Vec::with_capacity(limit + GuestMemory::REGIONS_MAX),
        stats: RxStats::default(),
    };
    Box::new(Engine { batch: if offloads { batch.with_offloads() } else { batch }, side })
}

impl<L: Layout> RxSide for Receiver<L> {
    #[inline]
    fn fill(&mut self, batch: &mut RxBatch, max: usize) -> Result<(), QueueError> {
        batch.clear();
        let wanted = self.ring.look(max.min(self.chains.len()))?;
        let mut ended = wanted == 0;
        let plain = self.ring.plain(Access::Read, &mut ended);
        let chains = self.chains.iter_mut().take(wanted).zip(plain);
        let pieces = chains.map(|(slot, (chain, piece))| {
            *slot = chain;
            piece
        });
        let plain = batch.fill_behind(HEADER, pieces);
        if self.offloads {
            let stats = &mut self.stats;
            batch.decode_headers(|header, len| decode(header, len, stats));
        }
        if plain < wanted && !ended && self.ring.has(self.ring.place(plain)) {
            self.take_odd(batch, wanted)?;
        }
        match batch.packets() {
            0 => self.stats.empty_bursts += 1,
            _ => self.ring.disarm(),
        }
        Ok(())
    }
}

impl<L: Layout> Receiver<L> {
    /// Goes on behind the plain packets with those of any other kind. Bad ones at the front are
    /// dropped; behind good ones they wait for the next burst.
    #[inline(never)]
    fn take_odd(&mut self, batch: &mut RxBatch, wanted: usize) -> Result<(), QueueError> {
        let (mut taken, mut dropped, mut gone) = (batch.packets(), 0, 0);
        let mut at = self.ring.place(taken);
        let mut outcome = Ok(());
        while gone + dropped + taken < wanted && self.ring.has(at) {
            let (chain, appended) = match self.take_chain(batch, at) {
                Ok(found) => found,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            };
            let Some(next) = self.ring.behind(at, chain) else { break };
            match appended {
                Ok(true) => {
                    gone += dropped;
                    self.drop_front(std::mem::take(&mut dropped));
                    self.chains[taken] = chain;
                    taken += 1;
                }
                Err(error) if taken == 0 => {
                    self.stats.count_fault(error);
                    self.chains[dropped] = chain;
                    dropped += 1;
                    outcome = Ok(());
                }
                Ok(false) | Err(_) => break,
            }
            at = next;
        }
        let progress = taken + dropped > 0;
        self.drop_front(dropped);
        if progress { Ok(()) } else { outcome }
    }

    /// Gives the first `count` of `chains` back unread.
    fn drop_front(&mut self, count: usize) {
        if count > 0 {
            self.ring.give_back(self.chains[..count].iter().map(|chain| (*chain, 0)));
        }
    }

    /// Appends the packet that the chain at `at` holds, if it fits the batch.
    fn take_chain(
        &mut self,
        batch: &mut RxBatch,
        at: L::Place,
    ) -> Result<(L::Chain, Result<bool, QueueError>), QueueError> {
        self.pieces.clear();
        let (chain, len) = self.ring.walk(at, &mut self.pieces)?;
        let appended = len.and_then(|len| {
            if len <= HEADER {
                return Err(QueueError::TooShort { len, header: HEADER });
            }
            let mut header = [0; HEADER_LEN];
            let memory = &self.ring.ground().memory;
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

impl<L: Layout> ReleaseRx for Receiver<L> {
    #[inline]
    fn release(&mut self, released: Released<'_>) {
        let chains = &self.chains[..released.packets.min(self.chains.len())];
        self.stats.packets += released.packets as u64;
        self.stats.bytes += released.bytes;
        if self.in_order {
            self.ring.give_back_run(chains);
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

impl<L: Layout> Side<RxStats> for Receiver<L> {
    fn ring(&mut self) -> &mut dyn Ring {
        &mut self.ring
    }

    fn stats(&self) -> &RxStats {
        &self.stats
    }

    fn stats_mut(&mut self) -> &mut RxStats {
        &mut self.stats
    }
}
