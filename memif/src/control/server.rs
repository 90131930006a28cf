//! The server's half of the handshake.

use super::handshake::{Awaited, Handshake};
use super::intake::Incoming;
use super::limits::check_version;
use super::offer::{Offer, OfferBuilder};
use super::outbox::{Outbox, Outgoing};
use super::{CacheLine, Limits, Mode, Refusal};
use crate::error::{ControlError, PeerMisbehaved};
use crate::wire::{Disconnect, Hello, Init, Message, MessageType, Name, Reason, Secret};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// What a server has to react to.
#[derive(Debug)]
pub enum ServerEvent {
    /// A client asks for an interface: answer with [`ServerMachine::admit`] or
    /// [`ServerMachine::refuse`].
    Init(InitRequest),
    /// The client has announced everything, and it passes all checks that need no mapping. Map it,
    /// then answer with [`ServerMachine::accept`] or [`ServerMachine::disconnect`].
    Offer {
        /// What the client shares.
        offer: Offer,
        /// How its rings are laid out.
        cache_line: CacheLine,
    },
    /// The client said goodbye. Close the socket.
    Disconnected(Disconnect),
}

/// A client's request for one interface.
///
/// Spec: [INIT](crate::protocol#init).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitRequest {
    /// Interface wanted.
    pub id: u32,
    /// Mode wanted.
    pub mode: Mode,
    /// Secret sent; empty when none.
    pub secret: Secret,
    /// Name of the client's application.
    pub name: Name,
    /// Protocol version chosen by the client.
    pub version: u16,
}

/// One accepted connection, from HELLO to DISCONNECT.
///
/// Read the socket only while [`wants_message`](Self::wants_message): a client that sends ahead then
/// waits in the socket while the caller decides.
#[derive(Debug)]
pub struct ServerMachine {
    state: State,
    outbox: Outbox,
    handshake: Handshake,
}

#[derive(Debug)]
enum State {
    AwaitInit,
    AwaitAdmission,
    Building(OfferBuilder),
    AwaitAcceptance,
    Up,
    Closed,
}

impl ServerMachine {
    /// Starts a conversation: HELLO waits in the outbox. CONNECT must have been answered within
    /// `timeout`.
    #[must_use]
    pub fn new(hello: Hello, now: Instant, timeout: Duration) -> Self {
        let mut outbox = Outbox::default();
        outbox.push(&Message::Hello(hello));
        Self { state: State::AwaitInit, outbox, handshake: Handshake::new(now, timeout) }
    }

    /// Takes what one read of the socket delivered.
    ///
    /// # Errors
    /// [`ControlError::PeerMisbehaved`] and [`ControlError::PeerIncompatible`]: the machine has
    /// failed, its outbox holds one DISCONNECT; send it and close.
    pub fn on_message(
        &mut self,
        incoming: Incoming<'_>,
    ) -> Result<Option<ServerEvent>, ControlError> {
        if matches!(self.state, State::Closed) {
            return Ok(None);
        }
        let handled = match incoming.parse() {
            Ok((message, fd)) => self.handle(message, fd),
            Err(why) => Err(why.into()),
        };
        handled.inspect_err(|error| self.close_with(&error.closing_message()))
    }

    /// Admits the client that asked; it may share up to `limits`.
    ///
    /// # Errors
    /// [`ControlError::OutOfOrder`] unless an [`InitRequest`] waits.
    pub fn admit(&mut self, limits: Limits) -> Result<(), ControlError> {
        if !matches!(self.state, State::AwaitAdmission) {
            return Err(ControlError::OutOfOrder { call: "admit" });
        }
        self.state = State::Building(OfferBuilder::new(limits));
        self.outbox.push(&Message::Ack);
        Ok(())
    }

    /// Turns the client away, and tells it why. Possible at any time.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.disconnect(Reason::of(&refusal));
    }

    /// Tells the client that packets may flow. `if_name` is our name of the interface.
    ///
    /// # Errors
    /// [`ControlError::OutOfOrder`] unless an [`Offer`] waits.
    pub fn accept(&mut self, if_name: Name) -> Result<(), ControlError> {
        if !matches!(self.state, State::AwaitAcceptance) {
            return Err(ControlError::OutOfOrder { call: "accept" });
        }
        self.state = State::Up;
        self.outbox.push(&Message::Connected { if_name });
        Ok(())
    }

    /// Ends the conversation; the outbox then holds one DISCONNECT. Does nothing when it has ended.
    pub fn disconnect(&mut self, text: Reason) {
        if !matches!(self.state, State::Closed) {
            self.close_with(&Message::Disconnect(Disconnect { code: 0, text }));
        }
    }

    /// The next message to send.
    pub fn take_outgoing(&mut self) -> Option<Outgoing> {
        self.outbox.take()
    }

    /// Whether a message can be taken now, as opposed to a question waiting for the caller's answer.
    #[must_use]
    pub fn wants_message(&self) -> bool {
        matches!(self.state, State::AwaitInit | State::Building(_) | State::Up)
    }

    /// When to call [`on_deadline`](Self::on_deadline); `None` once the handshake is over.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let over = matches!(self.state, State::Up | State::Closed);
        if over { None } else { self.handshake.deadline }
    }

    /// Fails the machine if the handshake has taken too long.
    ///
    /// # Errors
    /// [`ControlError::Stalled`].
    pub fn on_deadline(&mut self, now: Instant) -> Result<(), ControlError> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        let error = self.handshake.timed_out(self.awaited());
        self.close_with(&error.closing_message());
        Err(error)
    }

    /// Whether CONNECTED was sent and nothing ended it since.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up)
    }

    /// Whether the conversation has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// What the client has to say next.
    fn awaited(&self) -> Awaited {
        match &self.state {
            State::AwaitInit => Awaited::Message(MessageType::Init),
            State::Building(builder) => builder.awaited(),
            State::AwaitAdmission | State::AwaitAcceptance | State::Up | State::Closed => {
                Awaited::OwnAnswer
            }
        }
    }

    fn close_with(&mut self, last: &Message) {
        self.state = State::Closed;
        self.outbox.replace_with(last);
    }

    fn handle(
        &mut self,
        message: Message,
        fd: Option<OwnedFd>,
    ) -> Result<Option<ServerEvent>, ControlError> {
        match (message, fd) {
            (Message::Disconnect(disconnect), _) => {
                self.state = State::Closed;
                self.outbox.clear();
                Ok(Some(ServerEvent::Disconnected(disconnect)))
            }
            (Message::Init(init), _) => self.on_init(init).map(Some),
            (Message::AddRegion(region), Some(fd)) => {
                self.building(MessageType::AddRegion)?.add_region(region, fd)?;
                self.outbox.push(&Message::Ack);
                Ok(None)
            }
            (Message::AddRing(ring), Some(fd)) => {
                self.building(MessageType::AddRing)?.add_ring(ring, fd)?;
                self.outbox.push(&Message::Ack);
                Ok(None)
            }
            (Message::Connect { if_name }, _) => self.on_connect(if_name).map(Some),
            (other, _) => Err(PeerMisbehaved::WrongRole { message: other.message_type() }.into()),
        }
    }

    fn on_init(&mut self, init: Init) -> Result<ServerEvent, ControlError> {
        if !matches!(self.state, State::AwaitInit) {
            return Err(PeerMisbehaved::SecondInit.into());
        }
        check_version(init.version, init.version)?;
        let request = InitRequest {
            id: init.id,
            mode: Mode::from_wire(init.mode)?,
            secret: init.secret,
            name: init.name,
            version: init.version,
        };
        self.state = State::AwaitAdmission;
        Ok(ServerEvent::Init(request))
    }

    fn on_connect(&mut self, if_name: Name) -> Result<ServerEvent, ControlError> {
        self.building(MessageType::Connect)?;
        let State::Building(builder) = std::mem::replace(&mut self.state, State::AwaitAcceptance)
        else {
            return Err(PeerMisbehaved::Unexpected { message: MessageType::Connect }.into());
        };
        let (offer, cache_line) = builder.finish(if_name)?;
        Ok(ServerEvent::Offer { offer, cache_line })
    }

    fn building(&mut self, message: MessageType) -> Result<&mut OfferBuilder, PeerMisbehaved> {
        match &mut self.state {
            State::Building(builder) => Ok(builder),
            State::AwaitInit => Err(PeerMisbehaved::BeforeInit { message }),
            State::AwaitAcceptance | State::Up => Err(PeerMisbehaved::AfterConnect { message }),
            State::AwaitAdmission | State::Closed => Err(PeerMisbehaved::Unexpected { message }),
        }
    }
}
