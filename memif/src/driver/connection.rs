//! One socket and its machine.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::control::{ClientEvent, ClientMachine, Incoming, Outgoing, ServerEvent, ServerMachine};
use crate::error::ControlError;
use crate::wire::{MESSAGE_LEN, Reason};
use ringport::reactor::Interest;
use ringport::scm::{self, PeerCredentials};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What both machines have in common.
pub(super) trait Machine {
    type Event;
    fn on_message(&mut self, incoming: Incoming<'_>) -> Result<Option<Self::Event>, ControlError>;
    fn take_outgoing(&mut self) -> Option<Outgoing>;
    fn wants_message(&self) -> bool;
    fn disconnect(&mut self, text: Reason);
}

macro_rules! machine {
    ($machine:ty, $event:ty) => {
        impl Machine for $machine {
            type Event = $event;
            fn on_message(
                &mut self,
                incoming: Incoming<'_>,
            ) -> Result<Option<$event>, ControlError> {
                <$machine>::on_message(self, incoming)
            }
            fn take_outgoing(&mut self) -> Option<Outgoing> {
                <$machine>::take_outgoing(self)
            }
            fn wants_message(&self) -> bool {
                <$machine>::wants_message(self)
            }
            fn disconnect(&mut self, text: Reason) {
                <$machine>::disconnect(self, text);
            }
        }
    };
}

machine!(ServerMachine, ServerEvent);
machine!(ClientMachine, ClientEvent);

#[derive(Debug)]
pub(super) struct Connection<M> {
    pub(super) machine: M,
    pub(super) credentials: PeerCredentials,
    socket: OwnedFd,
    /// What the socket had no room for.
    unsent: Option<Outgoing>,
}

/// What one read brought.
#[derive(Debug)]
pub(super) enum Step<E> {
    /// Something to react to.
    Event(E),
    /// A message that the machine dealt with.
    Handled,
    /// Nothing there, or not the time to look.
    Idle,
}

impl<M: Machine> Connection<M> {
    pub(super) fn new(socket: OwnedFd, machine: M) -> Result<Self, ControlError> {
        let credentials = scm::peer_credentials(socket.as_fd())
            .map_err(ControlError::io("read the peer's credentials"))?;
        Ok(Self { machine, credentials, socket, unsent: None })
    }

    /// Reads one message and lets the machine have it.
    pub(super) fn step(&mut self) -> Result<Step<M::Event>, ControlError> {
        if !self.machine.wants_message() || self.unsent.is_some() {
            return Ok(Step::Idle);
        }
        let mut bytes = [0; MESSAGE_LEN];
        let Some(received) = receive(self.socket.as_fd(), &mut bytes)? else {
            return Ok(Step::Idle);
        };
        if received.eof {
            return Err(ControlError::Disconnected);
        }
        let incoming = Incoming {
            bytes: bytes.get(..received.len).unwrap_or_default(),
            fds: received.fds,
            truncated: received.truncated,
            fds_truncated: received.fds_truncated,
        };
        Ok(self.machine.on_message(incoming)?.map_or(Step::Handled, Step::Event))
    }

    /// Sends what waits, as far as the socket has room. A peer that is gone is noticed by the next
    /// read, which may first bring what it had to say.
    pub(super) fn flush(&mut self) -> Result<(), ControlError> {
        while let Some(outgoing) = self.unsent.take().or_else(|| self.machine.take_outgoing()) {
            match send(self.socket.as_fd(), &outgoing) {
                Ok(()) => {}
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => {
                        self.unsent = Some(outgoing);
                        return Ok(());
                    }
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {}
                    _ => {
                        return Err(ControlError::Io { operation: "send", source: error });
                    }
                },
            }
        }
        Ok(())
    }

    /// Says goodbye as far as the socket has room. `reason` counts unless the machine has failed
    /// already and has its own.
    ///
    /// What the peer sent meanwhile is read first: closing a socket with unread data resets the
    /// connection, which would cost the peer our reason and made old VPP servers abort.
    pub(super) fn farewell(mut self, reason: Reason) {
        self.machine.disconnect(reason);
        self.unsent = None;
        let _ = self.flush();
        let mut bytes = [0; MESSAGE_LEN];
        for _ in 0..DRAIN_MAX {
            match receive(self.socket.as_fd(), &mut bytes) {
                Ok(Some(received)) if !received.eof => {}
                _ => break,
            }
        }
    }

    pub(super) fn interest(&self) -> Interest {
        if self.unsent.is_some() {
            Interest::Write
        } else if self.machine.wants_message() {
            Interest::Read
        } else {
            Interest::Nothing
        }
    }
}

impl<M> AsFd for Connection<M> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Most messages read and dropped when a connection is closed.
const DRAIN_MAX: usize = 1024;

/// Reads one message; `None` when none waits. A reset is reported once and then hides what the peer
/// sent before it closed, hence the second look.
fn receive(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8; MESSAGE_LEN],
) -> Result<Option<scm::Received>, ControlError> {
    let mut reset = false;
    loop {
        match scm::recv(socket, bytes) {
            Ok(received) => return Ok(Some(received)),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => return Ok(None),
                ErrorKind::Interrupted => {}
                ErrorKind::ConnectionReset if !reset => reset = true,
                ErrorKind::ConnectionReset => return Err(ControlError::Disconnected),
                _ => {
                    return Err(ControlError::Io { operation: "receive", source: error });
                }
            },
        }
    }
}

fn send(socket: BorrowedFd<'_>, outgoing: &Outgoing) -> io::Result<()> {
    let fd = outgoing.fd.as_ref().map(OwnedFd::as_fd);
    loop {
        match scm::send(socket, &outgoing.bytes, fd.as_slice()) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            sent => return sent.map(|_| ()),
        }
    }
}
