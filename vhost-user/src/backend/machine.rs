//! One connection to a front-end.

use super::memory::MemoryTable;
use super::outbox::Outbox;
use super::pending::{Asked, Waiting};
use super::ring::Ring;
use super::serve::Step;
use super::{BackendConfig, Event, PeerIncompatible};
use crate::error::ControlError;
use crate::stream::{Expect, Frame, Incoming, Intake, Outgoing, Part};
use crate::wire::{ProtocolFeatures, Request, feature};
use std::time::Instant;

/// One connection to a front-end, from the first request to the last.
///
/// Read the socket only while [`wanted`](Self::wanted) is not 0, and no more than that: the next
/// message's descriptors then stay in the socket until it is their turn.
///
/// Spec: vhost-user "Communication", "Ring states".
#[derive(Debug)]
pub struct BackendMachine {
    pub(super) config: BackendConfig,
    pub(super) state: State,
    pub(super) outbox: Outbox,
    intake: Intake,
    /// As acknowledged; `None` before SET_FEATURES.
    pub(super) features: Option<u64>,
    pub(super) protocol_features: ProtocolFeatures,
    /// One for each index that exists.
    pub(super) rings: Vec<Ring>,
    pub(super) memory: MemoryTable,
    /// Most descriptors of a ring that the memory for chains in flight has room for.
    pub(super) inflight_queue_size: Option<u16>,
    pub(super) status: u8,
}

#[derive(Debug)]
pub(super) enum State {
    Reading,
    Waiting(Waiting),
    Closed,
}

impl BackendMachine {
    /// Starts a conversation. The front-end speaks first.
    #[must_use]
    pub fn new(config: BackendConfig) -> Self {
        Self {
            config,
            state: State::Reading,
            outbox: Outbox::default(),
            intake: Intake::new(Expect::Requests),
            features: None,
            protocol_features: ProtocolFeatures::NONE,
            rings: (0..config.ring_count()).map(Ring::new).collect(),
            memory: MemoryTable::default(),
            inflight_queue_size: None,
            status: 0,
        }
    }

    /// How many bytes can be taken now; 0 while an [`Event`] waits for its answer, while 16 replies
    /// wait to be sent, and after the end.
    #[must_use]
    pub fn wanted(&self) -> usize {
        let ready = matches!(self.state, State::Reading) && !self.outbox.is_full();
        if ready { self.intake.wanted() } else { 0 }
    }

    /// Takes what one read of the socket delivered.
    ///
    /// # Errors
    /// [`ControlError::PeerMisbehaved`] and [`ControlError::PeerIncompatible`]: a request was
    /// refused. The front-end knows, or can do without, unless [`is_closed`](Self::is_closed).
    /// [`ControlError::Overfed`] for more bytes than were wanted, which ends the conversation.
    pub fn on_bytes(
        &mut self,
        incoming: Incoming<'_>,
        now: Instant,
    ) -> Result<Option<Event>, ControlError> {
        if self.is_closed() {
            return Ok(None);
        }
        let (got, wanted) = (incoming.bytes.len(), self.wanted());
        if got > wanted {
            self.close();
            return Err(ControlError::Overfed { got, wanted });
        }
        match self.intake.take(incoming) {
            Ok(Some(frame)) => self.on_frame(frame, now),
            Ok(None) => Ok(None),
            Err(why) => {
                self.close();
                Err(why.into())
            }
        }
    }

    /// Whole messages heard so far.
    #[must_use]
    pub fn heard(&self) -> u64 {
        self.intake.heard()
    }

    /// The part of a message that has begun and is not whole.
    #[must_use]
    pub fn unfinished(&self) -> Option<Part> {
        self.intake.unfinished()
    }

    /// The next message to send.
    pub fn take_outgoing(&mut self) -> Option<Outgoing> {
        self.outbox.take()
    }

    /// When to call [`on_deadline`](Self::on_deadline); `None` while no event waits for its answer.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting(waiting) => waiting.deadline,
            State::Reading | State::Closed => None,
        }
    }

    /// Ends the conversation if an answer is overdue: the front-end waits for it, and must not go on
    /// as if it had come.
    ///
    /// # Errors
    /// [`ControlError::Timeout`].
    pub fn on_deadline(&mut self, now: Instant) -> Result<(), ControlError> {
        let State::Waiting(waiting) = &self.state else {
            return Ok(());
        };
        if waiting.deadline.is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        let (request, waited) = (waiting.request, self.config.answer_timeout);
        self.close();
        Err(ControlError::Timeout { request, waited })
    }

    /// Ends the conversation, and closes every descriptor held here. The protocol has no goodbye:
    /// close the socket.
    pub fn close(&mut self) {
        self.state = State::Closed;
        self.intake.clear();
        self.outbox.clear();
        self.rings.clear();
    }

    /// Whether the conversation has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Virtio features acknowledged; none before SET_FEATURES.
    #[must_use]
    pub fn features(&self) -> u64 {
        self.features.unwrap_or(0)
    }

    /// Protocol features acknowledged.
    #[must_use]
    pub fn protocol_features(&self) -> ProtocolFeatures {
        self.protocol_features
    }

    pub(super) fn is_packed(&self) -> bool {
        self.features() & feature::RING_PACKED != 0
    }

    /// Whether the front-end knows nothing of SET_VRING_ENABLE.
    pub(super) fn is_always_enabled(&self) -> bool {
        self.features.is_some_and(|features| features & feature::PROTOCOL_FEATURES == 0)
    }

    pub(super) fn any_running(&self) -> bool {
        self.rings.iter().any(|ring| ring.running)
    }

    fn on_frame(&mut self, frame: Frame, now: Instant) -> Result<Option<Event>, ControlError> {
        let number = frame.header.request;
        let asked = Asked { number, need_reply: frame.header.need_reply };
        let Some(request) = Request::from_wire(number) else {
            return Err(self.refuse(asked, PeerIncompatible::UnknownRequest { number }.into()));
        };
        match self.serve(request, &frame.payload, frame.fds) {
            Ok(Step::Done) => self.acknowledge(asked),
            Ok(Step::Reply(reply)) => self.outbox.push(number, &reply, None),
            Ok(Step::Ask(event, question)) => {
                let deadline = now.checked_add(self.config.answer_timeout);
                self.state = State::Waiting(Waiting { asked, request, question, deadline });
                return Ok(Some(*event));
            }
            Err(error) => return Err(self.refuse(asked, error)),
        }
        Ok(None)
    }
}
