//! The second socket, as far as this end has it: what the driver was told of the configuration.

use super::{Connection, DownReason, Step};
use crate::backend::ChannelMachine;
use crate::error::DeviceError;
use ringport::reactor::{Interest, Reactor};
use ringport::socket::{SocketKind, check_socket};
use std::os::fd::{AsFd, OwnedFd};

/// Where the driver is told that its configuration changed, if the front-end gave such a place.
#[derive(Debug)]
pub struct Channel {
    open: Option<Open>,
    /// The status that the driver was told last, or that it was told to read.
    known: u16,
}

#[derive(Debug)]
struct Open {
    connection: Connection<ChannelMachine>,
    interest: Interest,
}

/// Most reads of one turn.
const READS_PER_TURN: usize = 4;

impl Channel {
    /// None yet, for a driver that is to read `known`.
    pub fn new(known: u16) -> Self {
        Self { open: None, known }
    }

    /// Uses a socket from now on, and the one before no more.
    ///
    /// # Errors
    /// It is no stream socket, or cannot be watched.
    pub fn replace(
        &mut self,
        socket: OwnedFd,
        side: &Reactor,
        token: u64,
    ) -> Result<(), DeviceError> {
        check_socket(socket.as_fd(), SocketKind::Stream)?;
        let connection = Connection::new(socket, ChannelMachine::default())?;
        side.add(connection.as_fd(), token, Interest::Read)?;
        self.close(side);
        self.open = Some(Open { connection, interest: Interest::Read });
        Ok(())
    }

    /// Whether there is a socket.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The driver has read the status.
    pub fn set_known(&mut self, status: u16) {
        self.known = status;
    }

    /// Has the driver read its configuration, if the status is another one than it knows.
    ///
    /// # Errors
    /// The channel has ended.
    pub fn tell(&mut self, status: u16, side: &Reactor, token: u64) -> Result<(), DownReason> {
        let Some(open) = self.open.as_mut().filter(|_| self.known != status) else {
            return Ok(());
        };
        self.known = status;
        open.connection.machine.config_changed();
        self.go_on(side, token)
    }

    /// Has the driver read its configuration, whatever it knows of the status.
    ///
    /// # Errors
    /// The channel has ended.
    pub fn tell_changed(&mut self, side: &Reactor, token: u64) -> Result<(), DownReason> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.connection.machine.config_changed();
        self.go_on(side, token)
    }

    /// Reads and writes as far as that goes.
    ///
    /// # Errors
    /// The channel has ended.
    pub fn go_on(&mut self, side: &Reactor, token: u64) -> Result<(), DownReason> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let done = open.run();
        match done {
            Ok(()) => {
                let wanted = open.connection.interest();
                if wanted != open.interest {
                    open.interest = wanted;
                    side.modify(open.connection.as_fd(), token, wanted);
                }
            }
            Err(_) => self.close(side),
        }
        done
    }

    fn close(&mut self, side: &Reactor) {
        if let Some(open) = self.open.take() {
            side.remove(open.connection.as_fd());
        }
    }
}

impl Open {
    fn run(&mut self) -> Result<(), DownReason> {
        self.connection.flush()?;
        for _ in 0..READS_PER_TURN {
            if matches!(self.connection.step()?, Step::Idle) {
                break;
            }
        }
        Ok(())
    }
}
