//! Engines of receive queues.

use super::RingFeatures;
use super::descriptor::Access;
use super::header::{decode, split_header};
use super::held::HeldPacket;
use super::layout::{Layout, Ring, Walked};
use super::ledger::{Ledger, Withdraw};
use super::line::{Engine, Side};
use super::rx::{Nobody, Rx, RxSide};
use crate::log::RingLog;
use crate::memory::GuestMemory;
use crate::net::{HEADER, HEADER_LEN};
use ringport::burst::{BURST_MAX, ReleaseRx, Released, RxBatch, RxBurst};
use ringport::doorbell::Doorbell;
use ringport::error::QueueError;
use ringport::offload::Offload;
use ringport::ring_view::RingView;
use ringport::stats::RxStats;
use std::sync::{Arc, Mutex};

#[derive(Debug)]
pub(super) struct Receiver<L: Layout> {
    ring: L,
    in_order: bool,
    /// Whether headers are looked at.
    offloads: bool,
    /// Of the batch's packets.
    chains: Box<[L::Chain]>,
    /// So many of them are one descriptor each.
    plain: usize,
    /// Descriptors of the ring that the others take.
    descriptors: Box<[u16]>,
    /// The pieces of one chain, and how many descriptors the burst has read.
    walked: Walked,
    /// Chains that were taken and not given back: the ring's position is behind them, as all have gone
    /// back when somebody wants to know it. There is none until a packet is held.
    ledger: Option<Arc<Mutex<Ledger<L>>>>,
    /// There may be some.
    holding: bool,
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
        plain: 0,
        descriptors: vec![0; BURST_MAX].into(),
        walked: Walked::new(limit + GuestMemory::REGIONS_MAX),
        ledger: None,
        holding: false,
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
        self.plain = plain;
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

    fn open(&mut self) -> Option<Arc<dyn Withdraw>> {
        if self.ledger.is_some() {
            return None;
        }
        let ledger = Arc::new(Mutex::new(Ledger::new(self.ring.clone())));
        self.ledger = Some(Arc::clone(&ledger));
        Some(ledger)
    }

    fn hold(&mut self, batch: &mut RxBatch, limit: Option<usize>, into: &mut Vec<HeldPacket>) {
        let Some(ledger) = self.ledger.clone() else { return self.end() };
        let mut ledger = Ledger::lock(&ledger);
        let size = usize::from(self.ring.size());
        ledger.begin(&self.ring, limit.unwrap_or(size / 4).min(size / 2));
        let mut nobody = Nobody;
        let burst = RxBurst::new(batch, &mut nobody);
        into.reserve(burst.len());
        for (at, packet) in burst.packets().enumerate() {
            let (chain, descriptors) = (self.chains[at], self.descriptors(at));
            match too_long(packet.len()) {
                None => {
                    self.stats.packets += 1;
                    self.stats.bytes += packet.len() as u64;
                    into.push(ledger.hold(chain, descriptors, &packet));
                }
                Some(error) => {
                    self.stats.count_fault(error);
                    ledger.release(chain, descriptors);
                }
            }
        }
        self.ring.pass(&self.chains[..burst.len()]);
        self.catch_up_with(&mut ledger);
        self.ring.leave();
    }
}

/// Bytes of the longest packet that is held, as it may have to be copied out: the longest that a
/// driver sends, without its header.
///
/// Spec: VIRTIO 1.3 §5.1.6.3.1.
const HELD_MAX: u32 = 65_550;

/// Why a packet of `len` bytes is not held, if it is not.
fn too_long(len: usize) -> Option<QueueError> {
    let (len, capacity) = (u32::try_from(len).unwrap_or(u32::MAX), HELD_MAX);
    (len > capacity).then_some(QueueError::LengthExceedsBuffer { len, capacity })
}

impl<L: Layout> Receiver<L> {
    /// Goes on behind the plain packets with those of any other kind, until enough descriptors were
    /// read. Bad ones at the front are dropped; behind good ones they wait for the next burst.
    #[inline(never)]
    fn take_odd(&mut self, batch: &mut RxBatch, wanted: usize) -> Result<(), QueueError> {
        let (mut taken, mut dropped, mut gone) = (batch.packets(), 0, 0);
        let mut at = self.ring.place(taken);
        let mut outcome = Ok(());
        self.walked.clear();
        while gone + dropped + taken < wanted && !self.walked.is_enough() && self.ring.has(at) {
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
                    self.note(taken, chain);
                    taken += 1;
                }
                Err(error) if taken == 0 => {
                    self.stats.count_fault(error);
                    self.note(dropped, chain);
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

    /// The chain that was walked last is number `at` of the burst.
    fn note(&mut self, at: usize, chain: L::Chain) {
        (self.chains[at], self.descriptors[at]) = (chain, self.walked.in_ring);
    }

    /// Descriptors of the ring that chain `at` of the burst takes.
    fn descriptors(&self, at: usize) -> usize {
        if at < self.plain { 1 } else { self.descriptors[at].into() }
    }

    /// Gives the first `count` of `chains` back unread.
    fn drop_front(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        if self.holding {
            self.put_behind(count);
        } else {
            self.ring.give_back(self.chains[..count].iter().map(|chain| (*chain, 0)));
        }
    }

    /// Appends the packet that the chain at `at` holds, if it fits the batch.
    fn take_chain(
        &mut self,
        batch: &mut RxBatch,
        at: L::Place,
    ) -> Result<(L::Chain, Result<bool, QueueError>), QueueError> {
        self.walked.pieces.clear();
        let (chain, len) = self.ring.walk(at, &mut self.walked)?;
        let appended = len.and_then(|len| {
            if len <= HEADER {
                return Err(QueueError::TooShort { len, header: HEADER });
            }
            let mut header = [0; HEADER_LEN];
            let memory = &self.ring.ground().memory;
            let first = split_header(memory, &mut self.walked.pieces, &mut header)?;
            let offload = match self.offloads {
                true => decode(&header, len - HEADER, &mut self.stats),
                false => Offload::default(),
            };
            batch.append(self.walked.pieces.get(first..).unwrap_or_default(), offload)
        });
        Ok((chain, appended))
    }
}

/// What is different while packets are held.
impl<L: Layout> Receiver<L> {
    /// Ends a burst of whose packets the first `count` go back.
    #[cold]
    #[inline(never)]
    fn leave_behind(&mut self, count: usize) {
        self.put_behind(count);
        self.ring.leave();
    }

    /// Has the first `count` of `chains` go back behind those that are held.
    #[cold]
    fn put_behind(&mut self, count: usize) {
        let Some(ledger) = self.ledger.clone() else { return };
        let mut ledger = Ledger::lock(&ledger);
        (0..count).for_each(|at| ledger.release(self.chains[at], self.descriptors(at)));
        self.ring.pass(&self.chains[..count]);
        self.catch_up_with(&mut ledger);
    }

    fn catch_up_with(&mut self, ledger: &mut Ledger<L>) {
        ledger.give_back();
        self.holding = !ledger.is_empty();
    }
}

impl<L: Layout> ReleaseRx for Receiver<L> {
    #[inline]
    fn release(&mut self, released: Released<'_>) {
        let chains = &self.chains[..released.packets.min(self.chains.len())];
        self.stats.packets += released.packets as u64;
        self.stats.bytes += released.bytes;
        if self.holding {
            return self.leave_behind(released.packets);
        }
        if self.in_order {
            self.ring.give_back_run(chains);
        } else {
            self.ring.give_back(chains.iter().map(|chain| (*chain, 0)));
        }
        self.ring.leave();
    }

    #[inline]
    fn end(&mut self) {
        if self.holding {
            return self.leave_behind(0);
        }
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

    fn view(&self) -> RingView {
        self.ring.view()
    }

    fn stats_mut(&mut self) -> &mut RxStats {
        &mut self.stats
    }

    fn set_call(&mut self, call: Option<Arc<Doorbell>>) {
        if let Some(ledger) = &self.ledger {
            Ledger::lock(ledger).set_call(call.clone());
        }
        self.ring.ground_mut().call = call;
    }

    fn exchange_log(&mut self, log: Option<RingLog>) -> Option<RingLog> {
        if let Some(ledger) = &self.ledger {
            ledger.set_log(log.clone());
        }
        self.ring.ground_mut().notes.exchange_log(log)
    }

    fn has_held(&self) -> bool {
        self.ledger.is_some()
    }

    fn catch_up(&mut self) {
        if self.holding {
            self.put_behind(0);
        }
    }

    fn let_go(&mut self, give_back: bool) {
        let Some(ledger) = self.ledger.take() else { return };
        ledger.withdraw(give_back);
        self.holding = false;
    }
}
