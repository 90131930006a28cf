//! The data side of a queue: it lives as long as the link, and rings come and go behind it.

use super::layout::Ring;
use super::seat::{AnyEngine, Mail, Mailbox, RingChange, Seat};
use crate::log::RingLog;
use ringport::burst::RxBatch;
use ringport::doorbell::Doorbell;
use ringport::error::QueueError;
use ringport::ring_view::RingView;
use std::fmt::Debug;
use std::sync::Arc;

/// One direction, from our side.
pub(super) trait Direction: Sized {
    type Batch: Debug + Send;
    type Side: Side<Self::Stats> + ?Sized;
    type Stats: Copy + Default + Debug + Send;

    /// Whether a disabled ring is worked on: what it holds is thrown away.
    const DISCARDS: bool;

    fn pack(engine: Box<Engine<Self>>) -> AnyEngine;
    /// `None` for one of the other direction.
    fn unpack(engine: AnyEngine) -> Option<Box<Engine<Self>>>;
    fn count_fault(stats: &mut Self::Stats, error: QueueError);
}

/// What runs a ring.
#[derive(Debug)]
pub(super) struct Engine<D: Direction, S: ?Sized = <D as Direction>::Side> {
    pub(super) batch: D::Batch,
    pub(super) side: S,
}

/// What the engines of both directions have.
pub(super) trait Side<Stats>: Debug + Send {
    fn ring(&mut self) -> &mut dyn Ring;
    fn stats(&self) -> &Stats;
    fn view(&self) -> RingView;
    fn stats_mut(&mut self) -> &mut Stats;

    /// Has the driver be called by `call` from now on.
    fn set_call(&mut self, call: Option<Arc<Doorbell>>) {
        self.ring().ground_mut().call = call;
    }

    /// Has the ring note what it writes to in `log` from now on. Returns what it did before.
    fn exchange_log(&mut self, log: Option<RingLog>) -> Option<RingLog> {
        self.ring().ground_mut().notes.exchange_log(log)
    }

    /// Whether any packet was ever held.
    fn has_held(&self) -> bool {
        false
    }

    /// Gives back what waits for nobody any more.
    fn catch_up(&mut self) {}

    /// Copies everything out that is held. It goes back to the driver if `give_back`, or else never.
    fn let_go(&mut self, _give_back: bool) {}
}

#[derive(Debug)]
pub(super) struct Line<D: Direction> {
    pub(super) seat: Arc<Seat>,
    pub(super) mail: Mailbox,
    pub(super) running: Option<Box<Engine<D>>>,
    /// The engine of a ring that is there and not enabled. One of the two at most is there.
    pub(super) disabled: Option<Box<Engine<D>>>,
    /// While there is no engine.
    stats: D::Stats,
    /// To be delivered by the next burst.
    pub(super) announcement: Option<Box<RxBatch>>,
}

impl<D: Direction> Line<D> {
    pub(super) fn new(seat: Arc<Seat>, mail: Mailbox) -> Self {
        let stats = D::Stats::default();
        Self { seat, mail, running: None, disabled: None, stats, announcement: None }
    }

    /// Begins a burst, with what control has changed.
    ///
    /// # Errors
    /// The link is down. No burst is open then.
    #[inline(always)]
    pub(super) fn enter(&mut self) -> Result<(), QueueError> {
        if self.seat.handover.enter() {
            self.pick_up();
        }
        if self.seat.link.is_up() { Ok(()) } else { Err(self.down()) }
    }

    /// What the ring says that was there with the last burst.
    pub(super) fn view(&self) -> Option<RingView> {
        self.running.as_ref().or(self.disabled.as_ref()).map(|engine| engine.side.view())
    }

    /// Ends a burst in which the ring was not moved on.
    pub(super) fn leave(&self) {
        if self.seat.handover.leave_unmoved() {
            self.seat.wake_control();
        }
    }

    #[cold]
    fn down(&mut self) -> QueueError {
        // Not to the driver: another link may have gone on with its ring.
        self.let_go(false);
        self.leave();
        self.seat.link.reason()
    }

    /// Copies everything out that is held.
    fn let_go(&mut self, give_back: bool) {
        let engine = self.running.as_mut().or(self.disabled.as_mut());
        if let Some(engine) = engine.filter(|engine| engine.side.has_held()) {
            engine.side.let_go(give_back);
            Mail::lock(&self.mail).held = None;
        }
    }

    /// Takes what control has changed.
    #[cold]
    #[inline(never)]
    fn pick_up(&mut self) {
        let mut mail = Mail::lock(&self.mail);
        self.seat.handover.picked_up();
        let mut enabled = self.disabled.is_none();
        let mut engine = self.running.take().or_else(|| self.disabled.take());
        let mut is_new = false;
        if let Some(old) = engine.as_mut().filter(|_| mail.ring.is_some()) {
            old.side.let_go(self.seat.link.is_up());
            mail.held = None;
        }
        match mail.ring.take() {
            None => {}
            Some(RingChange::Start { engine: new, enabled: at_first }) => {
                mail.returned.extend(engine.take().map(|old| withdraw::<D>(old, &mut self.stats)));
                engine = D::unpack(new);
                enabled = at_first;
                is_new = true;
                if let Some(new) = &mut engine {
                    *new.side.stats_mut() = self.stats;
                }
            }
            Some(RingChange::Replace(new)) => match (D::unpack(new), engine.take()) {
                (Some(mut new), Some(mut old)) => {
                    *new.side.stats_mut() = *old.side.stats();
                    resume(new.side.ring(), old.side.ring());
                    mail.returned.push(D::pack(old));
                    is_new = true;
                    engine = Some(new);
                }
                // It broke before.
                (new, old) => {
                    mail.returned.extend(new.map(D::pack));
                    engine = old;
                }
            },
            Some(RingChange::Stop) => {
                mail.returned.extend(engine.take().map(|old| withdraw::<D>(old, &mut self.stats)));
            }
        }
        let (call, log) = (mail.call.take(), mail.log.take());
        if let Some(engine) = &mut engine {
            if let Some(call) = call {
                engine.side.set_call(call);
            }
            if let Some(log) = log {
                mail.log_before = engine.side.exchange_log(log);
            }
            if is_new {
                // Only now: it is written to the ring, and logged.
                engine.side.ring().tell();
            }
            self.seat.handover.set_position(engine.side.ring().position());
        }
        enabled = mail.enabled.take().unwrap_or(enabled);
        self.announcement = mail.announcement.take().or_else(|| self.announcement.take());
        drop(mail);
        *(if enabled { &mut self.running } else { &mut self.disabled }) = engine;
        // It may have found a burst open, and has engines to drop.
        self.seat.wake_control();
    }

    /// Gives the ring up, whose driver broke it, until it is started again. The burst stays open.
    #[cold]
    #[inline(never)]
    pub(super) fn fail(&mut self, error: QueueError) {
        // Lost memory reads as zeros, which break any ring. The next burst says so.
        if !self.seat.link.is_up() {
            let _ = self.seat.link.reason();
            return;
        }
        let Some(mut engine) = self.running.take().or_else(|| self.disabled.take()) else { return };
        D::count_fault(engine.side.stats_mut(), error);
        engine.side.let_go(true);
        self.seat.handover.set_position(engine.side.ring().position());
        let engine = withdraw::<D>(engine, &mut self.stats);
        let mut mail = Mail::lock(&self.mail);
        mail.returned.push(engine);
        mail.held = None;
        // Unless it is not the ring any more that control has in mind.
        if matches!(mail.ring, None | Some(RingChange::Replace(_))) {
            mail.fault = Some(error);
            // Nobody would drain it, so that nobody could sleep.
            if let Some(kick) = mail.kick.take() {
                self.seat.bells.remove(&kick);
            }
        }
        drop(mail);
        self.seat.wake_control();
    }

    /// Asks for a kick. Returns whether there is work already, and whether there was a kick.
    pub(super) fn arm(&mut self) -> Result<(bool, bool), QueueError> {
        // Before anything is looked at, so that a later ring is not lost.
        let _ = self.seat.bells.own().drain();
        let kick = Mail::lock(&self.mail).kick.clone();
        let kicked = kick.as_ref().map(|kick| kick.drain().map_err(|_| QueueError::LinkDown));
        self.enter()?;
        let engine = match &mut self.running {
            None if D::DISCARDS => &mut self.disabled,
            running => running,
        };
        if let Some(engine) = engine {
            engine.side.catch_up();
        }
        let armed = match (engine, kicked) {
            (None, _) => Ok(false),
            // Nothing to be woken by.
            (Some(_), None) => Ok(true),
            (Some(_), Some(Err(error))) => Err(error),
            (Some(engine), Some(Ok(_))) => engine.side.ring().arm(),
        };
        let waiting = armed.unwrap_or_else(|error| {
            self.fail(error);
            false
        });
        // Memory may have been lost under it, and then nobody kicks.
        if !self.seat.link.is_up() {
            return Err(self.down());
        }
        self.leave();
        Ok((waiting, matches!(kicked, Some(Ok(true)))))
    }

    pub(super) fn stats(&self) -> &D::Stats {
        let engine = self.running.as_ref().or(self.disabled.as_ref());
        engine.map_or(&self.stats, |engine| engine.side.stats())
    }

    pub(super) fn stats_mut(&mut self) -> &mut D::Stats {
        let engine = self.running.as_mut().or(self.disabled.as_mut());
        engine.map_or(&mut self.stats, |engine| engine.side.stats_mut())
    }
}

impl<D: Direction> Drop for Line<D> {
    /// Nothing is touched any more, also when a lease was forgotten or packets are held.
    fn drop(&mut self) {
        let engine = self.running.as_ref().or(self.disabled.as_ref());
        if engine.is_some_and(|engine| engine.side.has_held()) && self.enter().is_ok() {
            self.let_go(true);
        }
        self.leave();
    }
}

fn withdraw<D: Direction>(engine: Box<Engine<D>>, stats: &mut D::Stats) -> AnyEngine {
    *stats = *engine.side.stats();
    D::pack(engine)
}

/// Has `new` go on where `old` is, to tell the driver the same as that did.
fn resume(new: &mut dyn Ring, old: &mut dyn Ring) {
    new.set_position(old.position());
    let (from, to) = (old.ground_mut(), new.ground_mut());
    (to.armed, to.call) = (from.armed, from.call.take());
}
