//! What the front-end has said about one ring.

use super::pending::RingChange;
use super::{PeerMisbehaved, RingAddresses, RingBase, RingOffer};
use crate::error::ControlError;
use crate::wire::Request;
use std::os::fd::OwnedFd;

/// One ring. Started and enabled are independent; descriptors of a running ring are with the data
/// side.
#[derive(Debug)]
pub(super) struct Ring {
    pub(super) index: u16,
    /// 0 until the front-end says.
    pub(super) size: u16,
    pub(super) addresses: Option<RingAddresses>,
    /// As it travels; `None` until the front-end says.
    pub(super) base: Option<u32>,
    pub(super) call: Option<OwnedFd>,
    pub(super) err: Option<OwnedFd>,
    pub(super) running: bool,
    pub(super) enabled: bool,
}

impl Ring {
    pub(super) fn new(index: u16) -> Self {
        Self {
            index,
            size: 0,
            addresses: None,
            base: None,
            call: None,
            err: None,
            running: false,
            enabled: false,
        }
    }

    /// Everything about a ring that is to start. What was said of it stays until it has: a front-end
    /// that is refused may try again with nothing but the kick.
    pub(super) fn offer(
        &self,
        packed: bool,
        kick: Option<OwnedFd>,
    ) -> Result<RingOffer, ControlError> {
        let incomplete = |missing| PeerMisbehaved::RingIncomplete { index: self.index, missing };
        if self.size == 0 {
            return Err(incomplete(Request::SetVringNum).into());
        }
        let addresses = self.addresses.ok_or_else(|| incomplete(Request::SetVringAddr))?;
        let word = self.base.unwrap_or_else(|| RingBase::start(packed));
        let base = RingBase::from_wire(packed, word, self.size)
            .ok_or(PeerMisbehaved::RingBase { index: self.index, base: word })?;
        Ok(RingOffer {
            index: self.index,
            size: self.size,
            addresses,
            base,
            kick,
            call: duplicate(self.call.as_ref())?,
            err: duplicate(self.err.as_ref())?,
            enabled: self.enabled,
        })
    }

    pub(super) fn check_stopped(&self, request: Request) -> Result<(), PeerMisbehaved> {
        if self.running {
            return Err(PeerMisbehaved::RingRunning { request, index: self.index });
        }
        Ok(())
    }

    pub(super) fn apply(&mut self, change: RingChange) {
        match change {
            RingChange::Started => {
                self.running = true;
                (self.call, self.err) = (None, None);
            }
            RingChange::Enabled(enabled) => self.enabled = enabled,
            RingChange::Log(log) => {
                if let Some(addresses) = &mut self.addresses {
                    addresses.log = log;
                }
            }
        }
    }
}

fn duplicate(fd: Option<&OwnedFd>) -> Result<Option<OwnedFd>, ControlError> {
    fd.map(OwnedFd::try_clone).transpose().map_err(|error| ControlError::Descriptor {
        request: Request::SetVringKick,
        errno: error.raw_os_error().unwrap_or_default(),
    })
}
