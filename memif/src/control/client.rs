//! The client's half of the handshake.

use super::handshake::{Awaited, Handshake};
use super::intake::Incoming;
use super::limits::check_version;
use super::offer::Offer;
use super::outbox::{Outbox, Outgoing};
use super::{Direction, Mode};
use crate::error::{ControlError, PeerIncompatible, PeerMisbehaved};
use crate::wire::{
    AddRegion, AddRing, Disconnect, Hello, Init, Message, MessageType, Name, Reason, Secret,
    VERSION,
};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// What a client has to react to.
#[derive(Debug)]
pub enum ClientEvent {
    /// The server says what it accepts. Allocate within it
    /// ([`RunParameters::negotiate`](super::RunParameters::negotiate)), then call
    /// [`ClientMachine::offer`].
    Hello(Hello),
    /// The server has mapped everything; packets may flow.
    Connected {
        /// The server's name of the interface.
        if_name: Name,
    },
    /// The server said goodbye, or no. Close the socket.
    Disconnected(Disconnect),
}

/// Who asks, and for which interface.
///
/// Spec: [INIT](crate::protocol#init).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// Interface wanted.
    pub id: u32,
    /// Mode wanted.
    pub mode: Mode,
    /// Secret of the interface; empty when there is none.
    pub secret: Secret,
    /// Name of our application.
    pub name: Name,
}

/// One connection to a server, from HELLO to DISCONNECT.
///
/// Messages go out one at a time: each waits for the ACK of the one before, which is the only pace
/// that every known server keeps.
#[derive(Debug)]
pub struct ClientMachine {
    state: State,
    identity: ClientIdentity,
    outbox: Outbox,
    /// What follows, one message for each ACK.
    script: VecDeque<Line>,
    handshake: Handshake,
}

/// A message of ours.
#[derive(Debug)]
struct Line {
    kind: MessageType,
    outgoing: Outgoing,
}

#[derive(Debug)]
enum State {
    AwaitHello,
    AwaitOffer(Hello),
    /// Of this message.
    AwaitAck(MessageType),
    AwaitConnected,
    Up,
    Closed,
}

impl ClientMachine {
    /// Starts a conversation. CONNECTED must have come within `timeout`.
    #[must_use]
    pub fn new(identity: ClientIdentity, now: Instant, timeout: Duration) -> Self {
        Self {
            state: State::AwaitHello,
            identity,
            outbox: Outbox::default(),
            script: VecDeque::new(),
            handshake: Handshake::new(now, timeout),
        }
    }

    /// Takes what one read of the socket delivered.
    ///
    /// # Errors
    /// [`ControlError::PeerMisbehaved`] and [`ControlError::PeerIncompatible`]: the machine has
    /// failed, its outbox holds one DISCONNECT; send it and close.
    pub fn on_message(
        &mut self,
        incoming: Incoming<'_>,
    ) -> Result<Option<ClientEvent>, ControlError> {
        if matches!(self.state, State::Closed) {
            return Ok(None);
        }
        let handled = match incoming.parse() {
            Ok((message, _)) => self.handle(message),
            Err(why) => Err(why.into()),
        };
        handled.inspect_err(|error| self.close_with(&error.closing_message()))
    }

    /// Says what we share, after [`ClientEvent::Hello`]. INIT goes out now, the rest follows.
    ///
    /// # Errors
    /// [`ControlError::OutOfOrder`] unless a HELLO waits; [`ControlError::PeerIncompatible`] when
    /// `offer` has more than the server accepts, which also ends the conversation.
    pub fn offer(&mut self, offer: Offer) -> Result<(), ControlError> {
        let State::AwaitOffer(hello) = self.state else {
            return Err(ControlError::OutOfOrder { call: "offer" });
        };
        if let Err(why) = fits(&hello, &offer) {
            let error = ControlError::from(why);
            self.close_with(&error.closing_message());
            return Err(error);
        }
        self.outbox.push(&self.init());
        self.script = script(offer);
        self.state = State::AwaitAck(MessageType::Init);
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

    /// Whether a message can be taken now, as opposed to a HELLO waiting for the caller's offer.
    #[must_use]
    pub fn wants_message(&self) -> bool {
        !matches!(self.state, State::AwaitOffer(_) | State::Closed)
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

    /// Whether CONNECTED came and nothing ended it since.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up)
    }

    /// Whether the conversation has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// What the server has to say next.
    fn awaited(&self) -> Awaited {
        match self.state {
            State::AwaitHello => Awaited::Message(MessageType::Hello),
            State::AwaitAck(message) => Awaited::AckOf(message),
            State::AwaitConnected => Awaited::Message(MessageType::Connected),
            State::AwaitOffer(_) | State::Up | State::Closed => Awaited::OwnAnswer,
        }
    }

    fn close_with(&mut self, last: &Message) {
        self.state = State::Closed;
        self.script.clear();
        self.outbox.replace_with(last);
    }

    fn handle(&mut self, message: Message) -> Result<Option<ClientEvent>, ControlError> {
        match message {
            Message::Disconnect(disconnect) => {
                self.state = State::Closed;
                self.script.clear();
                self.outbox.clear();
                Ok(Some(ClientEvent::Disconnected(disconnect)))
            }
            Message::Hello(hello) => self.on_hello(hello).map(Some),
            Message::Ack => {
                self.on_ack()?;
                Ok(None)
            }
            Message::Connected { if_name } => self.on_connected(if_name).map(Some),
            other => Err(PeerMisbehaved::WrongRole { message: other.message_type() }.into()),
        }
    }

    fn on_hello(&mut self, hello: Hello) -> Result<ClientEvent, ControlError> {
        if !matches!(self.state, State::AwaitHello) {
            return Err(PeerMisbehaved::SecondHello.into());
        }
        check_version(hello.min_version, hello.max_version)?;
        self.state = State::AwaitOffer(hello);
        Ok(ClientEvent::Hello(hello))
    }

    fn on_ack(&mut self) -> Result<(), PeerMisbehaved> {
        let unexpected = PeerMisbehaved::Unexpected { message: MessageType::Ack };
        if !matches!(self.state, State::AwaitAck(_)) {
            return Err(unexpected);
        }
        let Line { kind, outgoing } = self.script.pop_front().ok_or(unexpected)?;
        self.outbox.push_outgoing(outgoing);
        self.state = match kind {
            MessageType::Connect => State::AwaitConnected,
            other => State::AwaitAck(other),
        };
        Ok(())
    }

    fn on_connected(&mut self, if_name: Name) -> Result<ClientEvent, ControlError> {
        if !matches!(self.state, State::AwaitConnected) {
            return Err(PeerMisbehaved::Unexpected { message: MessageType::Connected }.into());
        }
        self.state = State::Up;
        Ok(ClientEvent::Connected { if_name })
    }

    fn init(&self) -> Message {
        Message::Init(Init {
            version: VERSION,
            id: self.identity.id,
            mode: self.identity.mode.to_wire(),
            secret: self.identity.secret.clone(),
            name: self.identity.name,
        })
    }
}

impl Line {
    fn new(message: &Message, fd: Option<OwnedFd>) -> Self {
        Self { kind: message.message_type(), outgoing: Outgoing::new(message, fd) }
    }
}

/// Everything after INIT: regions, rings from client to server, the other rings, CONNECT. VPP wants
/// each of the two in ascending order.
fn script(offer: Offer) -> VecDeque<Line> {
    let mut script = VecDeque::new();
    for (index, region) in (0..=u16::MAX).zip(offer.regions) {
        let message = Message::AddRegion(AddRegion { index, size: region.size });
        script.push_back(Line::new(&message, Some(region.fd)));
    }
    let mut rings = offer.rings;
    rings.sort_by_key(|ring| (ring.direction != Direction::C2s, ring.index));
    for ring in rings {
        let message = Message::AddRing(AddRing {
            direction: ring.direction,
            index: ring.index,
            region: ring.region,
            offset: ring.offset,
            log2_ring_size: ring.log2_ring_size,
            private_header_size: 0,
        });
        script.push_back(Line::new(&message, Some(ring.doorbell)));
    }
    let connect = Message::Connect { if_name: offer.if_name };
    script.push_back(Line::new(&connect, None));
    script
}

/// Whether a server that said `hello` takes `offer`.
fn fits(hello: &Hello, offer: &Offer) -> Result<(), PeerIncompatible> {
    let (wanted, max) = (offer.regions.len(), u32::from(hello.max_region) + 1);
    if wanted > max as usize {
        return Err(PeerIncompatible::Regions { wanted, max });
    }
    for (direction, last) in
        [(Direction::C2s, hello.max_c2s_ring), (Direction::S2c, hello.max_s2c_ring)]
    {
        let (wanted, max) = (offer.ring_count(direction), u32::from(last) + 1);
        if wanted > max as usize {
            return Err(PeerIncompatible::Rings { direction, wanted, max });
        }
    }
    let max = hello.max_log2_ring_size;
    match offer.rings.iter().map(|ring| ring.log2_ring_size).max() {
        Some(wanted) if wanted > max => Err(PeerIncompatible::RingSize { max, wanted }),
        _ => Ok(()),
    }
}
