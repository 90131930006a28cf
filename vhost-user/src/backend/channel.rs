//! The back-end's end of the second socket, on which it asks.

use crate::error::ControlError;
use crate::fault::PeerMisbehaved;
use crate::stream::{Expect, Incoming, Intake, Outgoing};
use crate::wire::{ChannelMessage, ChannelRequest};

/// Tells a front-end that the configuration space changed, without input or output.
///
/// Changes that come faster than the socket takes them are one. No answer is asked for, as there is
/// nothing to be done about it; one that comes all the same is dropped. Anything else that is heard
/// ends this socket, and nothing but this socket.
///
/// Spec: vhost-user "Back-end message types", VHOST_USER_BACKEND_CONFIG_CHANGE_MSG.
#[derive(Debug)]
pub struct ChannelMachine {
    /// There is a change of which nothing was said.
    changed: bool,
    /// How often a change was told of and not acknowledged.
    unanswered: u64,
    intake: Intake,
    closed: bool,
}

impl Default for ChannelMachine {
    fn default() -> Self {
        let intake = Intake::new(Expect::Replies);
        Self { changed: false, unanswered: 0, intake, closed: false }
    }
}

impl ChannelMachine {
    /// Has the front-end told that the configuration space is another one now.
    pub fn config_changed(&mut self) {
        self.changed = true;
    }

    /// The next message to send.
    pub fn take_outgoing(&mut self) -> Option<Outgoing> {
        if self.closed || !std::mem::take(&mut self.changed) {
            return None;
        }
        self.unanswered = self.unanswered.saturating_add(1);
        Some(Outgoing { bytes: ChannelMessage::ConfigChange.encode(false), fds: Vec::new() })
    }

    /// How many bytes can be taken now; 0 after the end only.
    #[must_use]
    pub fn wanted(&self) -> usize {
        if self.closed { 0 } else { self.intake.wanted() }
    }

    /// Takes what one read of the socket delivered.
    ///
    /// # Errors
    /// Each ends this socket: [`ControlError::PeerMisbehaved`] for what is no acknowledgement of
    /// ours; [`ControlError::Overfed`].
    pub fn on_bytes(&mut self, incoming: Incoming<'_>) -> Result<(), ControlError> {
        if self.closed {
            return Ok(());
        }
        let taken = self.take(incoming);
        self.closed = taken.is_err();
        taken
    }

    /// Whether nothing is said or heard any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    fn take(&mut self, incoming: Incoming<'_>) -> Result<(), ControlError> {
        let (got, wanted) = (incoming.bytes.len(), self.wanted());
        if got > wanted {
            return Err(ControlError::Overfed { got, wanted });
        }
        let Some(frame) = self.intake.take(incoming)? else { return Ok(()) };
        if !frame.fds.is_empty() {
            return Err(PeerMisbehaved::ChannelFds { got: frame.fds.len() }.into());
        }
        let request = frame.header.request;
        let is_ours = request == ChannelRequest::ConfigChange as u32;
        if !is_ours || frame.payload.len() != ACK_LEN || self.unanswered == 0 {
            return Err(PeerMisbehaved::Unasked { request }.into());
        }
        self.unanswered = self.unanswered.saturating_sub(1);
        Ok(())
    }
}

/// Bytes of an acknowledgement, without its header.
const ACK_LEN: usize = 8;
