//! What the two sides of a queue share.

use super::command::Commands;
use super::ledger::Withdraw;
use super::line::Engine;
use super::rx::Rx;
use super::tx::Tx;
use crate::log::RingLog;
use ringport::burst::RxBatch;
use ringport::doorbell::{Doorbell, DoorbellSet};
use ringport::error::QueueError;
use ringport::handover::Handover;
use ringport::link::LinkState;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What each burst and each engine sees of control.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) handover: Handover,
    /// The kick of the ring that is there, and a doorbell that control rings after each change.
    pub(super) bells: DoorbellSet,
    /// Rung when control has something to look at.
    wake: Arc<Doorbell>,
    pub(super) link: Arc<LinkState>,
}

/// Where control puts what the data side is to pick up.
pub(super) type Mailbox = Arc<Mutex<Mail>>;

#[derive(Debug, Default)]
pub(super) struct Mail {
    pub(super) ring: Option<RingChange>,
    pub(super) enabled: Option<bool>,
    pub(super) call: Option<Option<Arc<Doorbell>>>,
    pub(super) log: Option<Option<RingLog>>,
    /// Of the ring that is there. In the set of bells.
    pub(super) kick: Option<Arc<Doorbell>>,
    /// How the driver broke the ring that was there.
    pub(super) fault: Option<QueueError>,
    /// A packet of ours that the next burst is to deliver.
    pub(super) announcement: Option<Box<RxBatch>>,
    /// Of the ring that the data side has, once packets were held there.
    pub(super) held: Option<Arc<dyn Withdraw>>,
    /// From the data side, to be dropped by control.
    pub(super) returned: Vec<AnyEngine>,
    /// As well.
    pub(super) log_before: Option<RingLog>,
}

#[derive(Debug)]
pub(super) enum RingChange {
    /// A ring is there from now on.
    Start { engine: AnyEngine, enabled: bool },
    /// The ring that is there goes on in another engine.
    Replace(AnyEngine),
    /// No ring is there any more.
    Stop,
}

/// A ring, ready to run.
#[derive(Debug)]
pub(super) enum AnyEngine {
    Rx(Box<Engine<Rx>>),
    Tx(Box<Engine<Tx>>),
    Command(Box<Engine<Commands>>),
}

/// Most engines that come back between two posts: the one that is there, and one that finds none to
/// go on from.
const RETURNED_MAX: usize = 2;

impl Seat {
    pub(super) fn new(link: Arc<LinkState>, wake: Arc<Doorbell>) -> std::io::Result<Self> {
        let bells = DoorbellSet::new()?;
        link.wake_at_end(Arc::clone(bells.own()));
        Ok(Self { handover: Handover::default(), bells, wake, link })
    }

    /// Data side: ends a burst after which the ring is at `position`.
    #[inline(always)]
    pub(super) fn leave(&self, position: u32) {
        if self.handover.leave(position) {
            self.wake_control();
        }
    }

    #[cold]
    pub(super) fn wake_control(&self) {
        // Refused only where no thread can be started: then control has its own timeout.
        let _ = self.wake.ring();
    }

    /// Control side: has a data thread look, if it sleeps.
    pub(super) fn wake_data(&self) {
        // As above.
        let _ = self.bells.own().ring();
    }
}

impl Mail {
    pub(super) fn lock(mail: &Mutex<Self>) -> MutexGuard<'_, Self> {
        mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for what the data side gives back, and returns what it gave.
    pub(super) fn take_returned(&mut self) -> Vec<AnyEngine> {
        if self.returned.is_empty() {
            self.returned.reserve(RETURNED_MAX);
            return Vec::new();
        }
        std::mem::replace(&mut self.returned, Vec::with_capacity(RETURNED_MAX))
    }

    /// Whether the data side has not picked up that a ring starts.
    pub(super) fn is_starting(&self) -> bool {
        matches!(self.ring, Some(RingChange::Start { .. }))
    }
}
