//! The control side of a queue: starts, changes and stops the ring behind it.

use super::announce::announcement;
use super::command::{self, CommandQueue};
use super::ledger::Withdraw;
use super::packed::Position;
use super::rx::{self, RxQueue};
use super::seat::{AnyEngine, Mail, Mailbox, RingChange, Seat};
use super::tx::{self, TxQueue};
use super::{RingError, RingStart};
use crate::backend::RingBase;
use crate::log::RingLog;
use crate::memory::GuestMemory;
use ringport::doorbell::Doorbell;
use ringport::error::QueueError;
use ringport::link::LinkState;
use std::io;
use std::sync::{Arc, MutexGuard};

/// Starts, changes and stops the ring behind a queue. It never waits for whoever polls that queue,
/// and may be used by the same thread.
///
/// After each change, whether it has taken effect is what [`is_settled`](Self::is_settled) says:
/// answer the front-end only then. A change that finds a burst open settles when that ends, which
/// rings the doorbell that was given to [`rx_ring`]; every other settles at once, also if nobody
/// ever polls the queue. Packets that are [held](RxQueue::hold) beyond their burst keep nothing from
/// settling: they are copied out before. Memory that a queue used stays mapped until it is next
/// polled; engines that it gave up are dropped here, by `is_settled` and with the next change.
///
/// Spec: vhost-user "Ring states", "Starting and stopping rings".
#[derive(Debug)]
pub struct RingControl {
    seat: Arc<Seat>,
    mail: Mailbox,
    build: Build,
    ring: Option<RingStart>,
    stopped_at: Stopped,
    /// Counts rings, so that what was prepared for one is not applied to another.
    starts: u64,
    /// To be rung once the last change has settled.
    owed: Option<Arc<Doorbell>>,
}

type Build = fn(Arc<GuestMemory>, &RingStart, Arc<Seat>) -> Result<AnyEngine, RingError>;

/// What [`RingControl::retranslated`] found to be possible.
#[derive(Debug)]
pub struct Prepared {
    engine: Option<AnyEngine>,
    starts: u64,
}

/// Where the last ring was stopped.
#[derive(Debug, Clone, Copy)]
enum Stopped {
    Never,
    /// The data side had not begun it.
    At(RingBase),
    /// Where the data side says.
    Split,
    Packed,
}

/// A receive queue without a ring, and what controls it. `wake` is rung when control has something to
/// look at: a change has settled, or the driver broke the ring. Several queues may share it.
///
/// # Errors
/// When no descriptors are to be had (limit of open files).
pub fn rx_ring(link: Arc<LinkState>, wake: Arc<Doorbell>) -> io::Result<(RxQueue, RingControl)> {
    let control = RingControl::new(link, wake, rx::build)?;
    Ok((RxQueue::new(Arc::clone(&control.seat), Arc::clone(&control.mail)), control))
}

/// As [`rx_ring`], for a transmit queue.
///
/// # Errors
/// As [`rx_ring`].
pub fn tx_ring(link: Arc<LinkState>, wake: Arc<Doorbell>) -> io::Result<(TxQueue, RingControl)> {
    let control = RingControl::new(link, wake, tx::build)?;
    Ok((TxQueue::new(Arc::clone(&control.seat), Arc::clone(&control.mail)), control))
}

/// As [`rx_ring`], for a control queue.
///
/// # Errors
/// As [`rx_ring`].
pub fn command_ring(
    link: Arc<LinkState>,
    wake: Arc<Doorbell>,
) -> io::Result<(CommandQueue, RingControl)> {
    let control = RingControl::new(link, wake, command::build)?;
    Ok((CommandQueue::new(Arc::clone(&control.seat), Arc::clone(&control.mail)), control))
}

impl RingControl {
    fn new(link: Arc<LinkState>, wake: Arc<Doorbell>, build: Build) -> io::Result<Self> {
        Ok(Self {
            seat: Arc::new(Seat::new(link, wake)?),
            mail: Mailbox::default(),
            build,
            ring: None,
            stopped_at: Stopped::Never,
            starts: 0,
            owed: None,
        })
    }

    /// Puts a ring behind the queue, in place of the one that is there, if any. The driver's earlier
    /// kicks may be lost: the queue's thread is woken, and looks.
    ///
    /// # Errors
    /// [`RingError`]: there is no ring at these addresses, or its kick cannot be waited for. Nothing
    /// is changed then.
    pub fn start(&mut self, memory: Arc<GuestMemory>, start: RingStart) -> Result<(), RingError> {
        let engine = (self.build)(memory, &start, Arc::clone(&self.seat))?;
        let mut mail = Mail::lock(&self.mail);
        exchange_kick(&self.seat, &mut mail, start.kick.clone())?;
        (mail.fault, mail.call, mail.log, mail.enabled) = (None, None, None, None);
        let before = mail.ring.replace(RingChange::Start { engine, enabled: start.enabled });
        (self.ring, self.stopped_at, self.owed) = (Some(start), Stopped::Never, None);
        self.starts += 1;
        post(&self.seat, mail);
        drop(before);
        Ok(())
    }

    /// Takes the ring away. Once that has settled, [`base`](Self::base) says where it goes on: what
    /// a burst holds open is given back by then.
    pub fn stop(&mut self) {
        let Some(ring) = self.ring.take() else { return };
        self.owed = None;
        let mut mail = Mail::lock(&self.mail);
        // Taking a kick away cannot fail.
        let _ = exchange_kick(&self.seat, &mut mail, None);
        self.stopped_at = match (mail.is_starting(), ring.base) {
            (true, base) => Stopped::At(base),
            (false, RingBase::Split { .. }) => Stopped::Split,
            (false, RingBase::Packed { .. }) => Stopped::Packed,
        };
        let before = mail.ring.replace(RingChange::Stop);
        post(&self.seat, mail);
        drop(before);
    }

    /// Where the ring that was stopped last goes on. `None` when there was none, or it runs.
    ///
    /// Spec: vhost-user VHOST_USER_GET_VRING_BASE.
    #[must_use]
    pub fn base(&self) -> Option<RingBase> {
        let word = self.seat.handover.position();
        match self.stopped_at {
            Stopped::Never => None,
            Stopped::At(base) => Some(base),
            Stopped::Split => Some(RingBase::Split { avail: u16::try_from(word).unwrap_or(0) }),
            Stopped::Packed => Some(Position::base_of(word)),
        }
    }

    /// Finds the ring in another generation of memory, and changes nothing yet: so all rings can be
    /// looked at before any goes on there.
    ///
    /// # Errors
    /// [`RingError`]: the ring is not in that memory.
    pub fn retranslated(&self, memory: &Arc<GuestMemory>) -> Result<Prepared, RingError> {
        let build = |ring| (self.build)(Arc::clone(memory), ring, Arc::clone(&self.seat));
        Ok(Prepared { engine: self.ring.as_ref().map(build).transpose()?, starts: self.starts })
    }

    /// Has the ring go on in the memory for which it was prepared. A burst that is open goes on in
    /// the old memory, which stays mapped for it. Does nothing when the ring was stopped or started
    /// since.
    pub fn apply(&mut self, prepared: Prepared) {
        let Prepared { engine: Some(engine), starts } = prepared else { return };
        if self.ring.is_none() || starts != self.starts {
            return;
        }
        let mut mail = Mail::lock(&self.mail);
        let change = match mail.ring {
            Some(RingChange::Start { enabled, .. }) => RingChange::Start { engine, enabled },
            _ => RingChange::Replace(engine),
        };
        let before = mail.ring.replace(change);
        post(&self.seat, mail);
        drop(before);
    }

    /// Has the next burst of a receive queue deliver a packet that announces `address`, whether or
    /// not there is a ring.
    ///
    /// # Errors
    /// When no memory is to be had for the packet.
    ///
    /// Spec: vhost-user VHOST_USER_SEND_RARP.
    pub fn announce(&mut self, address: [u8; 6]) -> io::Result<()> {
        let packet = announcement(address)?;
        let mut mail = Mail::lock(&self.mail);
        mail.announcement = Some(packet);
        post(&self.seat, mail);
        Ok(())
    }

    /// Enables or disables the ring that is there.
    pub fn set_enabled(&mut self, enabled: bool) {
        if self.ring.is_none() {
            return;
        }
        let mut mail = Mail::lock(&self.mail);
        mail.enabled = Some(enabled);
        post(&self.seat, mail);
    }

    /// Gives the ring that is there another doorbell from the driver; `None` when it is to be polled.
    ///
    /// # Errors
    /// [`RingError::Kick`]; the one before stays.
    pub fn set_kick(&mut self, kick: Option<Arc<Doorbell>>) -> Result<(), RingError> {
        if self.ring.is_none() {
            return Ok(());
        }
        let mut mail = Mail::lock(&self.mail);
        let kick = kick.filter(|_| mail.fault.is_none());
        exchange_kick(&self.seat, &mut mail, kick)?;
        post(&self.seat, mail);
        Ok(())
    }

    /// Gives the ring that is there another doorbell to the driver; `None` when the driver polls.
    /// It is rung once this has settled, because a call may have been lost.
    pub fn set_call(&mut self, call: Option<Arc<Doorbell>>) {
        let Some(ring) = &mut self.ring else { return };
        (ring.call, self.owed) = (call.clone(), call.clone());
        let mut mail = Mail::lock(&self.mail);
        mail.call = Some(call);
        post(&self.seat, mail);
        self.is_settled();
    }

    /// Has the ring that is there note what it writes to elsewhere, or nowhere.
    pub fn set_log(&mut self, log: Option<RingLog>) {
        let Some(ring) = &mut self.ring else { return };
        ring.log.clone_from(&log);
        let mut mail = Mail::lock(&self.mail);
        mail.log = Some(log);
        post(&self.seat, mail);
    }

    /// Whether the last change has taken effect: the data side uses nothing any more that was there
    /// before it.
    pub fn is_settled(&mut self) -> bool {
        let settled = self.seat.handover.is_settled();
        if settled && let Some(call) = self.owed.take() {
            // One that cannot be rung ends the link as soon as there are packets.
            let _ = call.ring();
        }
        let mut mail = Mail::lock(&self.mail);
        let held = if settled { self.withdraw_held(&mut mail) } else { None };
        let returned = (mail.take_returned(), mail.log_before.take());
        drop(mail);
        drop((returned, held));
        settled
    }

    /// Copies out what is held of a ring that the data side is to give up and has not: nobody polls
    /// it, and nobody goes on with it while the mail is ours. The buffers go back.
    fn withdraw_held(&self, mail: &mut Mail) -> Option<Arc<dyn Withdraw>> {
        let held = mail.held.take_if(|_| mail.ring.is_some())?;
        if let Some(log) = &mail.log {
            held.set_log(log.clone());
        }
        held.withdraw(self.seat.link.is_up());
        Some(held)
    }

    /// How the driver broke the ring. Its queue is like one without a ring until it is started
    /// again.
    #[must_use]
    pub fn fault(&self) -> Option<QueueError> {
        Mail::lock(&self.mail).fault
    }
}

/// Announces what was put into `mail`, drops what came back, and wakes the data thread.
fn post(seat: &Seat, mut mail: MutexGuard<'_, Mail>) {
    let returned = mail.take_returned();
    drop(mail);
    drop(returned);
    seat.handover.announce();
    seat.wake_data();
}

/// Has the queue's descriptor wait for `kick`, and for the one before no more.
fn exchange_kick(
    seat: &Seat,
    mail: &mut Mail,
    kick: Option<Arc<Doorbell>>,
) -> Result<(), RingError> {
    if let Some(kick) = &kick {
        seat.bells.add(kick).map_err(|error| RingError::Kick(error.kind()))?;
    }
    match std::mem::replace(&mut mail.kick, kick) {
        Some(old) if !mail.kick.as_ref().is_some_and(|kick| Arc::ptr_eq(kick, &old)) => {
            seat.bells.remove(&old);
        }
        _ => {}
    }
    Ok(())
}
