//! What the front-end has said about one ring.

use super::pending::RingChange;
use super::{PeerMisbehaved, RingAddresses, RingBase, RingOffer};
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

    /// Everything about a ring that starts now.
    pub(super) fn offer(
        &mut self,
        packed: bool,
        kick: Option<OwnedFd>,
    ) -> Result<RingOffer, PeerMisbehaved> {
        let incomplete = |missing| PeerMisbehaved::RingIncomplete { index: self.index, missing };
        if self.size == 0 {
            return Err(incomplete(Request::SetVringNum));
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
            call: self.call.take(),
            err: self.err.take(),
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
            RingChange::Started => self.running = true,
            RingChange::Enabled(enabled) => self.enabled = enabled,
            RingChange::Log(log) => {
                if let Some(addresses) = &mut self.addresses {
                    addresses.log = log;
                }
            }
        }
    }
}
