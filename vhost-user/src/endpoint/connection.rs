//! One socket and its machine.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::{DownReason, Machine};
use crate::error::{ControlError, DeviceError};
use crate::stream::{Incoming, Outgoing};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use ringport::error::CallError;
use ringport::reactor::Interest;
use ringport::scm::{self, PeerCredentials};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

/// A socket, the machine that knows what is said on it, and what is still to be sent.
#[derive(Debug)]
pub struct Connection<M> {
    /// The machine.
    pub machine: M,
    /// Who the peer was when it connected or listened.
    pub credentials: PeerCredentials,
    socket: OwnedFd,
    unsent: Option<Unsent>,
}

/// A message of which the socket has taken a part, or nothing.
#[derive(Debug)]
struct Unsent {
    message: Outgoing,
    sent: usize,
}

/// What one read brought.
#[derive(Debug)]
pub enum Step<E> {
    /// Something to do, and to answer.
    Event(E),
    /// A request was refused, and the conversation goes on.
    Refused(ControlError),
    /// Bytes that the machine dealt with.
    Handled,
    /// Nothing there, or not the time to look.
    Idle,
}

impl<M: Machine> Connection<M> {
    /// A conversation that begins.
    ///
    /// # Errors
    /// The system does not tell who the peer is.
    pub fn new(socket: OwnedFd, machine: M) -> Result<Self, CallError> {
        let credentials = scm::peer_credentials(socket.as_fd())
            .map_err(CallError::io("read the peer's credentials"))?;
        Ok(Self { machine, credentials, socket, unsent: None })
    }

    /// Reads what the machine wants, and lets it have it.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn step(&mut self) -> Result<Step<M::Event>, DownReason> {
        let wanted = self.machine.wanted();
        if wanted == 0 || self.unsent.is_some() {
            return if self.has_hung_up() { Err(DownReason::PeerClosed) } else { Ok(Step::Idle) };
        }
        let mut buffer = [0; READ_MAX];
        let Some(into) = buffer.get_mut(..wanted.min(READ_MAX)) else {
            return Ok(Step::Idle);
        };
        let received = match scm::recv(self.socket.as_fd(), into) {
            Ok(received) => received,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Step::Idle),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                return Err(DownReason::PeerClosed);
            }
            Err(error) => return Err(failed("receive", error)),
        };
        if received.eof {
            return Err(DownReason::PeerClosed);
        }
        let incoming = Incoming {
            bytes: buffer.get(..received.len).unwrap_or_default(),
            fds: received.fds,
            fds_truncated: received.fds_truncated,
        };
        match self.machine.on_bytes(incoming, Instant::now()) {
            Ok(None) => Ok(Step::Handled),
            Ok(Some(event)) => Ok(Step::Event(event)),
            Err(error) if self.machine.is_closed() => Err(DownReason::Protocol(error.into())),
            Err(error) => Ok(Step::Refused(error)),
        }
    }

    /// Sends what waits, as far as the socket has room. A peer that is gone is noticed by the next
    /// read.
    ///
    /// # Errors
    /// The socket failed.
    pub fn flush(&mut self) -> Result<(), DownReason> {
        while let Some(mut unsent) = self.next_unsent() {
            match unsent.send(self.socket.as_fd()) {
                Ok(true) => {}
                Ok(false) => {
                    self.unsent = Some(unsent);
                    return Ok(());
                }
                Err(error) => match error.kind() {
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {}
                    _ => return Err(failed("send", error)),
                },
            }
        }
        Ok(())
    }

    /// What to wait for.
    pub fn interest(&self) -> Interest {
        if self.unsent.is_some() {
            Interest::Write
        } else if self.machine.wanted() > 0 {
            Interest::Read
        } else {
            Interest::Nothing
        }
    }

    /// Whether the peer is gone for good: it is reported even while nothing is read.
    pub fn has_hung_up(&self) -> bool {
        let mut set = [PollFd::new(self.socket.as_fd(), PollFlags::empty())];
        let ready = nix::poll::poll(&mut set, PollTimeout::ZERO);
        let seen = |set: &PollFd<'_>| set.revents().is_some_and(|seen| !seen.is_empty());
        ready.is_ok_and(|ready| ready > 0) && set.iter().any(seen)
    }

    fn next_unsent(&mut self) -> Option<Unsent> {
        match self.unsent.take() {
            Some(unsent) => Some(unsent),
            None => Some(Unsent { message: self.machine.take_outgoing()?, sent: 0 }),
        }
    }
}

impl<M> AsFd for Connection<M> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Unsent {
    /// Whether all of it was sent.
    fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        while let Some(rest) = self.message.bytes.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let fds: Vec<_> = self.message.fds.iter().map(OwnedFd::as_fd).collect();
            match scm::send(socket, rest, &fds) {
                Ok(count) => {
                    self.sent = self.sent.saturating_add(count);
                    // They went with the first byte.
                    self.message.fds.clear();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// Bytes of the longest read; longer messages are read in several.
const READ_MAX: usize = 512;

fn failed(operation: &'static str, source: io::Error) -> DownReason {
    DownReason::Protocol(DeviceError::Call(CallError { operation, source }))
}
