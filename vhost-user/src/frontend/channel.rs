//! The front-end's end of the second socket, on which the back-end asks.

use crate::error::ControlError;
use crate::fault::{PeerIncompatible, PeerMisbehaved};
use crate::stream::{Expect, Incoming, Intake, Outgoing};
use crate::wire::{ChannelRequest, encode_channel_ack};
use std::collections::VecDeque;

/// Hears what a back-end asks, without input or output.
///
/// Only CONFIG_CHANGE is served. Every other request is refused, in words where the back-end asked
/// for an answer, and changes nothing. A back-end that does not read its answers is not heard while
/// four of them wait. A stream that cannot be followed, and descriptors in it, end this socket, and
/// nothing but this socket.
///
/// Spec: vhost-user "Back-end message types".
#[derive(Debug)]
pub struct ChannelMachine {
    /// Whether requests may ask for an answer.
    acks: bool,
    intake: Intake,
    outbox: VecDeque<Outgoing>,
    closed: bool,
}

/// The configuration space changed: read it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigChanged;

/// Most answers that wait to be sent.
const ANSWERS_MAX: usize = 4;

impl ChannelMachine {
    /// A socket of which nothing was heard. `acks` says whether
    /// [`REPLY_ACK`](crate::wire::ProtocolFeatures::REPLY_ACK) was agreed on.
    #[must_use]
    pub fn new(acks: bool) -> Self {
        let intake = Intake::new(Expect::Requests);
        Self { acks, intake, outbox: VecDeque::new(), closed: false }
    }

    /// How many bytes can be taken now; 0 while answers wait to be sent, and after the end.
    #[must_use]
    pub fn wanted(&self) -> usize {
        let ready = !self.closed && self.outbox.len() < ANSWERS_MAX;
        if ready { self.intake.wanted() } else { 0 }
    }

    /// Takes what one read of the socket delivered.
    ///
    /// # Errors
    /// [`ControlError::PeerIncompatible`] for a request that is not served, after which it goes on.
    /// Each other ends this socket: [`ControlError::PeerMisbehaved`], and [`ControlError::Overfed`].
    pub fn on_bytes(
        &mut self,
        incoming: Incoming<'_>,
    ) -> Result<Option<ConfigChanged>, ControlError> {
        if self.closed {
            return Ok(None);
        }
        let taken = self.take(incoming);
        self.closed =
            matches!(&taken, Err(why) if !matches!(why, ControlError::PeerIncompatible(_)));
        taken
    }

    /// The next answer to send.
    pub fn take_outgoing(&mut self) -> Option<Outgoing> {
        self.outbox.pop_front()
    }

    /// Whether nothing is heard any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    fn take(&mut self, incoming: Incoming<'_>) -> Result<Option<ConfigChanged>, ControlError> {
        let (got, wanted) = (incoming.bytes.len(), self.wanted());
        if got > wanted {
            return Err(ControlError::Overfed { got, wanted });
        }
        let Some(frame) = self.intake.take(incoming)? else { return Ok(None) };
        let number = frame.header.request;
        let changed = ChannelRequest::from_wire(number) == Some(ChannelRequest::ConfigChange)
            && frame.payload.is_empty();
        if changed && !frame.fds.is_empty() {
            return Err(PeerMisbehaved::ChannelFds { got: frame.fds.len() }.into());
        }
        if frame.header.need_reply && self.acks {
            let bytes = encode_channel_ack(number, changed);
            self.outbox.push_back(Outgoing { bytes, fds: Vec::new() });
        }
        if changed {
            return Ok(Some(ConfigChanged));
        }
        Err(PeerIncompatible::ChannelRequest { number }.into())
    }
}
