//! Chains that a receive queue took and has not given back.

use super::held::{HeldPacket, Slot};
use super::layout::Layout;
use crate::log::RingLog;
use ringport::burst::RxPacket;
use ringport::doorbell::Doorbell;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The chains of held packets and of all that came behind them, oldest first. The data side fills it
/// and gives back from it; control empties it when nobody polls.
#[derive(Debug)]
pub(super) struct Ledger<L: Layout> {
    /// The ring once more, at the oldest of them.
    ring: L,
    taken: VecDeque<Taken<L::Chain>>,
    /// Descriptors of all of them.
    descriptors: usize,
    /// Most descriptors that are kept back.
    limit: usize,
    /// For packets to come, so that they need no memory.
    spare: Vec<Arc<Slot>>,
}

#[derive(Debug)]
struct Taken<C> {
    chain: C,
    /// Of the ring.
    descriptors: usize,
    /// Where its packet is, unless nobody held it.
    slot: Option<Arc<Slot>>,
}

/// What control does with a ledger, whatever the ring's layout.
pub(super) trait Withdraw: Debug + Send + Sync {
    /// Copies every packet out and forgets all chains, which go back to the driver if `give_back`.
    fn withdraw(&self, give_back: bool);

    /// Has what goes back be noted in `log` from now on.
    fn set_log(&self, log: Option<RingLog>);
}

impl<L: Layout> Ledger<L> {
    /// An empty one. `ring` is the driver's once more.
    pub(super) fn new(ring: L) -> Self {
        let taken = VecDeque::new();
        Self { ring, taken, descriptors: 0, limit: 0, spare: Vec::new() }
    }

    pub(super) fn lock(ledger: &Mutex<Self>) -> MutexGuard<'_, Self> {
        ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    pub(super) fn set_call(&mut self, call: Option<Arc<Doorbell>>) {
        self.ring.ground_mut().call = call;
    }

    /// Goes on where `ring` is, from which nothing is taken.
    pub(super) fn begin(&mut self, ring: &L, limit: usize) {
        self.limit = limit;
        if self.taken.is_empty() {
            self.ring.set_position(ring.position());
            let (from, to) = (ring.ground(), self.ring.ground_mut());
            to.call.clone_from(&from.call);
            to.notes.clone_from(&from.notes);
        }
    }

    /// Takes the next chain, whose packet is held from now on.
    pub(super) fn hold(
        &mut self,
        chain: L::Chain,
        descriptors: usize,
        packet: &RxPacket<'_>,
    ) -> HeldPacket {
        let held = HeldPacket::new(packet, &self.ring.ground().seat.link, &mut self.spare);
        self.push(chain, descriptors, Some(held.slot()));
        held
    }

    /// Takes the next chain, which may go back as soon as those before it.
    pub(super) fn release(&mut self, chain: L::Chain, descriptors: usize) {
        self.push(chain, descriptors, None);
    }

    fn push(&mut self, chain: L::Chain, descriptors: usize, slot: Option<Arc<Slot>>) {
        self.descriptors += descriptors;
        self.taken.push_back(Taken { chain, descriptors, slot });
    }

    /// Gives back what may go back. What is in the way of too much is copied out.
    pub(super) fn give_back(&mut self) {
        let mut excess = self.descriptors.saturating_sub(self.limit);
        let mut count = 0;
        for Taken { descriptors, slot, .. } in &self.taken {
            match slot {
                Some(slot) if excess > 0 => slot.copy_out(),
                Some(slot) if slot.is_shared() => break,
                _ => {}
            }
            excess = excess.saturating_sub(*descriptors);
            count += 1;
        }
        self.give_back_first(count);
    }

    /// Gives the `count` oldest chains back.
    fn give_back_first(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        let Self { ring, taken, descriptors, spare, .. } = self;
        ring.give_back(taken.drain(..count).map(|taken| {
            *descriptors -= taken.descriptors;
            // One that somebody still reads from is theirs.
            spare.extend(taken.slot.filter(|slot| Arc::strong_count(slot) == 1));
            (taken.chain, 0)
        }));
    }
}

impl<L: Layout> Withdraw for Mutex<Ledger<L>> {
    fn withdraw(&self, give_back: bool) {
        let mut ledger = Ledger::lock(self);
        let slots = ledger.taken.iter().filter_map(|taken| taken.slot.as_ref());
        slots.for_each(|slot| slot.copy_out());
        if give_back {
            let all = ledger.taken.len();
            ledger.give_back_first(all);
        }
        ledger.taken.clear();
        (ledger.descriptors, ledger.spare) = (0, Vec::new());
    }

    fn set_log(&self, log: Option<RingLog>) {
        Ledger::lock(self).ring.ground_mut().notes.exchange_log(log);
    }
}
