//! One connection to a back-end.

use super::script::{RingPlace, Script, Wait, tells_config};
use super::{Agreed, Event, FrontendConfig, Offer, PeerMisbehaved, Told};
use crate::error::ControlError;
use crate::stream::{Expect, Frame, Incoming, Intake, Outgoing};
use crate::wire::{Message, ProtocolFeatures, Reply, Request, feature};
use std::time::Instant;

/// One connection to a back-end, from the first request to the last.
///
/// Read the socket whenever [`wanted`](Self::wanted) is not 0, and no more than that. A back-end that
/// says something unasked breaks the protocol.
///
/// Spec: vhost-user "Communication", "Starting and stopping rings".
#[derive(Debug)]
pub struct FrontendMachine {
    pub(super) config: FrontendConfig,
    pub(super) phase: Phase,
    pub(super) script: Script,
    pub(super) agreed: Agreed,
    /// What waits for its answer.
    asked: Option<Message>,
    intake: Intake,
    /// When the back-end must be done with this phase; `None` when nothing is asked of it, and when
    /// the clock ends before.
    deadline: Option<Instant>,
    /// What is being asked while rings run.
    job: Option<Job>,
    /// Whether the back-end offered to note what it writes.
    pub(super) logs: bool,
    /// The rings, of pairs only.
    pub(super) places: Vec<RingPlace>,
}

/// Something that is asked while rings run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    ReadConfig,
    EnablePairs(u16),
    /// Whether writes are noted from then on.
    Log(bool),
}

/// How far the conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Negotiating,
    /// Until the driver gives its memory.
    Waiting,
    Starting,
    Running,
    Stopping,
    Stopped,
    Closed,
}

impl FrontendMachine {
    /// Starts a conversation.
    #[must_use]
    pub fn new(config: FrontendConfig, now: Instant) -> Self {
        let mut script = Script::default();
        script.ask(Request::GetFeatures);
        Self {
            config,
            phase: Phase::Negotiating,
            script,
            agreed: Agreed {
                features: 0,
                protocol_features: ProtocolFeatures::NONE,
                queue_pairs: 1,
                control_ring: None,
                told: Told::NOTHING,
            },
            asked: None,
            intake: Intake::new(Expect::Replies),
            deadline: now.checked_add(config.timeout),
            job: None,
            logs: false,
            places: Vec::new(),
        }
    }

    /// How many bytes can be taken now; 0 after the end only.
    #[must_use]
    pub fn wanted(&self) -> usize {
        if self.is_closed() { 0 } else { self.intake.wanted() }
    }

    /// Takes what one read of the socket delivered.
    ///
    /// # Errors
    /// Each ends the conversation: [`ControlError::PeerMisbehaved`];
    /// [`ControlError::PeerIncompatible`] when the back-end lacks what we insist on;
    /// [`ControlError::Refused`] when it said no; [`ControlError::Overfed`] for more bytes than were
    /// wanted.
    pub fn on_bytes(&mut self, incoming: Incoming<'_>) -> Result<Option<Event>, ControlError> {
        if self.is_closed() {
            return Ok(None);
        }
        let heard = self.take(incoming);
        if heard.is_err() {
            self.close();
        }
        heard
    }

    /// Whole messages heard so far.
    pub(crate) fn heard(&self) -> u64 {
        self.intake.heard()
    }

    /// The next message to send, unless an answer has to come first.
    pub fn take_outgoing(&mut self) -> Option<Outgoing> {
        if self.asked.is_some() {
            return None;
        }
        let line = self.script.next()?;
        let bytes = line.message.encode(line.reply == Wait::Ack);
        if line.reply != Wait::Nothing {
            self.asked = Some(line.message);
        }
        Some(Outgoing { bytes, fds: line.fds })
    }

    /// Gives the back-end memory and rings, and has it start them.
    ///
    /// # Errors
    /// [`ControlError::OutOfOrder`] unless [`Event::Negotiated`] came last, or when there are not two
    /// rings for each pair agreed on.
    pub fn offer(&mut self, offer: Offer, now: Instant) -> Result<(), ControlError> {
        let rings = usize::from(self.agreed.queue_pairs).saturating_mul(2);
        if self.phase != Phase::Waiting || offer.rings.len() != rings {
            return Err(ControlError::OutOfOrder { call: "offer" });
        }
        self.enter(Phase::Starting, now);
        let places =
            (0..=u8::MAX).zip(&offer.rings).map(|(index, ring)| RingPlace::of(index, ring));
        self.places = places.collect();
        self.script.start(&self.config, &self.agreed, offer);
        Ok(())
    }

    /// Whether rings run, and nothing is being asked.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Running && self.job.is_none()
    }

    /// Reads the configuration space again; [`Event::ConfigRead`] follows.
    ///
    /// # Errors
    /// [`ControlError::OutOfOrder`] unless the machine [is idle](Self::is_idle), and the back-end has
    /// a configuration space that says anything.
    pub fn read_config(&mut self, now: Instant) -> Result<(), ControlError> {
        if !self.is_idle() || !tells_config(&self.agreed) {
            return Err(ControlError::OutOfOrder { call: "read_config" });
        }
        self.script.read_config();
        self.begin(Job::ReadConfig, now);
        Ok(())
    }

    /// Has the back-end enable the first `pairs` of the pairs agreed on, and disable the others;
    /// [`Event::PairsEnabled`] follows.
    ///
    /// # Errors
    /// [`ControlError::OutOfOrder`] unless the machine [is idle](Self::is_idle), rings can be enabled
    /// one by one ([`PROTOCOL_FEATURES`](crate::wire::feature::PROTOCOL_FEATURES)), and there are so
    /// many, at least one.
    pub fn enable_pairs(&mut self, pairs: u16, now: Instant) -> Result<(), ControlError> {
        let all = self.agreed.queue_pairs;
        let can = self.agreed.features & feature::PROTOCOL_FEATURES != 0;
        if !self.is_idle() || !can || !(1..=all).contains(&pairs) {
            return Err(ControlError::OutOfOrder { call: "enable_pairs" });
        }
        self.script.enable_pairs(all, pairs);
        self.begin(Job::EnablePairs(pairs), now);
        Ok(())
    }

    /// Has the back-end stop all rings; [`Event::Stopped`] follows.
    ///
    /// # Errors
    /// [`ControlError::OutOfOrder`] unless they run.
    pub fn stop(&mut self, now: Instant) -> Result<(), ControlError> {
        if self.phase != Phase::Running {
            return Err(ControlError::OutOfOrder { call: "stop" });
        }
        self.enter(Phase::Stopping, now);
        self.job = None;
        self.script.stop(&self.agreed);
        Ok(())
    }

    /// When to call [`on_deadline`](Self::on_deadline); `None` while nothing is asked of the
    /// back-end.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Ends the conversation if the back-end is late.
    ///
    /// # Errors
    /// [`ControlError::Timeout`].
    pub fn on_deadline(&mut self, now: Instant) -> Result<(), ControlError> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        let waiting = self.asked.as_ref().map(Message::request);
        let request = waiting.or_else(|| self.script.upcoming()).unwrap_or(Request::GetFeatures);
        self.close();
        Err(ControlError::Timeout { request, waited: self.config.timeout })
    }

    /// Ends the conversation, and closes every descriptor held here. The protocol has no goodbye:
    /// close the socket.
    pub fn close(&mut self) {
        self.phase = Phase::Closed;
        self.intake.clear();
        self.script.clear();
        self.asked = None;
        self.deadline = None;
        self.job = None;
    }

    /// Whether the conversation has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// What was agreed on so far.
    #[must_use]
    pub fn agreed(&self) -> &Agreed {
        &self.agreed
    }

    fn take(&mut self, incoming: Incoming<'_>) -> Result<Option<Event>, ControlError> {
        let (got, wanted) = (incoming.bytes.len(), self.wanted());
        if got > wanted {
            return Err(ControlError::Overfed { got, wanted });
        }
        let Some(frame) = self.intake.take(incoming)? else { return Ok(None) };
        self.on_frame(frame)?;
        Ok(self.advance())
    }

    fn on_frame(&mut self, frame: Frame) -> Result<(), ControlError> {
        let number = frame.header.request;
        let asked = self.asked.take_if(|asked| asked.request() as u32 == number);
        let asked = asked.ok_or(PeerMisbehaved::Unasked { request: number })?;
        let (request, got) = (asked.request(), frame.fds.len());
        if got > 0 {
            return Err(PeerMisbehaved::FdCount { request, got, min: 0, max: 0 }.into());
        }
        let reply = Reply::decode(request, &frame.payload)?;
        self.hear(&asked, reply)
    }

    /// Goes on when the last answer of a phase has come. Requests without an answer may follow it.
    fn advance(&mut self) -> Option<Event> {
        if self.script.will_wait() {
            return None;
        }
        let (phase, event) = match self.phase {
            Phase::Negotiating => (Phase::Waiting, Event::Negotiated(self.agreed)),
            Phase::Starting => (Phase::Running, Event::Running),
            Phase::Stopping => (Phase::Stopped, Event::Stopped),
            Phase::Running => (Phase::Running, self.done()?),
            Phase::Waiting | Phase::Stopped | Phase::Closed => return None,
        };
        self.phase = phase;
        self.deadline = None;
        Some(event)
    }

    fn done(&mut self) -> Option<Event> {
        Some(match self.job.take()? {
            Job::ReadConfig => Event::ConfigRead(self.agreed.told),
            Job::EnablePairs(pairs) => Event::PairsEnabled(pairs),
            Job::Log(on) => Event::Logging(on),
        })
    }

    pub(super) fn begin(&mut self, job: Job, now: Instant) {
        self.job = Some(job);
        self.deadline = now.checked_add(self.config.timeout);
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.deadline = now.checked_add(self.config.timeout);
    }
}
