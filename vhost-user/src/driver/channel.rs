//! The second socket, on which a device says that its configuration changed.

use super::DownReason;
use crate::endpoint::{Connection, Step};
use crate::error::DeviceError;
use crate::frontend::{Agreed, ChannelMachine};
use crate::wire::{ProtocolFeatures, feature};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use ringport::error::CallError;
use ringport::reactor::{Interest, Reactor};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Our end of it.
#[derive(Debug)]
pub(super) struct Channel {
    connection: Connection<ChannelMachine>,
    interest: Interest,
}

/// Most reads of one turn, so that a device that never stops cannot keep the caller.
const READS_PER_TURN: usize = 4;

/// Whether a device that was agreed on has something to say there.
pub(super) fn tells_changes(agreed: &Agreed) -> bool {
    let protocol = ProtocolFeatures::BACKEND_REQ | ProtocolFeatures::CONFIG;
    let changes = feature::STATUS | feature::MTU;
    agreed.protocol_features.contains(protocol) && agreed.features & changes != 0
}

impl Channel {
    /// Makes both ends; the second is the device's.
    pub(super) fn open(agreed: &Agreed) -> Result<(Self, OwnedFd), DeviceError> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags)
            .map_err(CallError::errno("socketpair"))?;
        let acks = agreed.protocol_features.contains(ProtocolFeatures::REPLY_ACK);
        let connection = Connection::new(ours, ChannelMachine::new(acks))?;
        Ok((Self { connection, interest: Interest::Read }, theirs))
    }

    /// Reads and answers as far as that goes. Returns whether the configuration changed.
    pub(super) fn go_on(&mut self, side: &Reactor, token: u64) -> Result<bool, DownReason> {
        let mut changed = false;
        self.connection.flush()?;
        for _ in 0..READS_PER_TURN {
            match self.connection.step()? {
                Step::Idle => break,
                Step::Event(_) => changed = true,
                // What is refused was answered, if it was to be.
                Step::Handled | Step::Refused(_) => {}
            }
            self.connection.flush()?;
        }
        let wanted = self.connection.interest();
        if wanted != self.interest {
            self.interest = wanted;
            side.modify(self.as_fd(), token, wanted);
        }
        Ok(changed)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}
