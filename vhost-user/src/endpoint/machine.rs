//! What the machines behind a socket have in common.

use crate::backend::{self, BackendMachine};
use crate::error::ControlError;
use crate::frontend::{self, FrontendMachine};
use crate::stream::{Incoming, Outgoing};
use std::time::Instant;

/// Bytes in, bytes and events out: what all machines have in common.
pub trait Machine {
    /// What there is to do.
    type Event;

    /// How many bytes can be taken now.
    fn wanted(&self) -> usize;
    /// Takes what one read delivered.
    ///
    /// # Errors
    /// What is wrong with it; the conversation goes on unless the machine is closed.
    fn on_bytes(
        &mut self,
        incoming: Incoming<'_>,
        now: Instant,
    ) -> Result<Option<Self::Event>, ControlError>;
    /// The next message to send.
    fn take_outgoing(&mut self) -> Option<Outgoing>;
    /// Whether the conversation is over.
    fn is_closed(&self) -> bool;
}

/// Writes the parts that all of them have by the same name.
macro_rules! machine {
    ($type:ty, $event:ty, |$machine:ident, $incoming:ident, $now:ident| $heard:expr) => {
        impl Machine for $type {
            type Event = $event;

            fn wanted(&self) -> usize {
                Self::wanted(self)
            }

            fn on_bytes(
                &mut self,
                $incoming: Incoming<'_>,
                $now: Instant,
            ) -> Result<Option<$event>, ControlError> {
                let $machine = self;
                $heard
            }

            fn take_outgoing(&mut self) -> Option<Outgoing> {
                Self::take_outgoing(self)
            }

            fn is_closed(&self) -> bool {
                Self::is_closed(self)
            }
        }
    };
}

machine!(BackendMachine, backend::Event, |machine, incoming, now| machine.on_bytes(incoming, now));
machine!(FrontendMachine, frontend::Event, |machine, incoming, _now| machine.on_bytes(incoming));
machine!(backend::ChannelMachine, (), |machine, incoming, _now| {
    machine.on_bytes(incoming).map(|()| None)
});
machine!(frontend::ChannelMachine, frontend::ConfigChanged, |machine, incoming, _now| {
    machine.on_bytes(incoming)
});
