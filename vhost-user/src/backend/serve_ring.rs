//! Requests about rings.

use super::event::{Event, RingAddresses};
use super::machine::BackendMachine;
use super::pending::{Change, Question, RingChange};
use super::ring::Ring;
use super::serve::Step;
use super::{PeerMisbehaved, RingBase};
use crate::error::ControlError;
use crate::wire::{Reply, Request, VringAddress, VringFd, VringState};
use std::os::fd::OwnedFd;

impl BackendMachine {
    pub(super) fn serve_vring_state(
        &mut self,
        request: Request,
        state: VringState,
    ) -> Result<Step, PeerMisbehaved> {
        let VringState { index, value } = state;
        match request {
            Request::SetVringNum => {
                self.ring(index)?.check_stopped(request)?;
                let size = self.check_size(value)?;
                self.ring(index)?.size = size;
                Ok(Step::Done)
            }
            Request::SetVringBase => {
                let ring = self.ring(index)?;
                ring.check_stopped(request)?;
                ring.base = Some(value);
                Ok(Step::Done)
            }
            Request::SetVringEnable => self.set_vring_enable(index, value),
            _ => self.get_vring_base(index),
        }
    }

    /// While a ring runs, only its log may change: QEMU says so when migration starts.
    pub(super) fn set_vring_addr(&mut self, said: &VringAddress) -> Result<Step, PeerMisbehaved> {
        let ring = self.ring(said.index)?;
        let wanted = RingAddresses {
            descriptor_area: said.descriptor_area,
            driver_area: said.driver_area,
            device_area: said.device_area,
            log: said.log.then_some(said.log_address),
        };
        let Some(current) = ring.addresses.filter(|_| ring.running) else {
            ring.check_stopped(Request::SetVringAddr)?;
            ring.addresses = Some(wanted);
            return Ok(Step::Done);
        };
        if current == wanted {
            return Ok(Step::Done);
        }
        if current != (RingAddresses { log: current.log, ..wanted }) {
            ring.check_stopped(Request::SetVringAddr)?;
        }
        let (index, log) = (ring.index, wanted.log);
        let change = Change::Ring(index, RingChange::Log(log));
        Ok(Step::then(Event::RingLog { index, log }, change))
    }

    pub(super) fn set_vring_fd(
        &mut self,
        request: Request,
        said: VringFd,
        fd: Option<OwnedFd>,
    ) -> Result<Step, ControlError> {
        let ring = self.ring(u32::from(said.index))?;
        let index = ring.index;
        match (request, ring.running) {
            (Request::SetVringKick, false) => return self.start_ring(index, fd),
            (Request::SetVringCall, false) => ring.call = fd,
            (Request::SetVringErr, false) => ring.err = fd,
            (running, _) => {
                let event = match running {
                    Request::SetVringKick => Event::RingKick { index, kick: fd },
                    Request::SetVringCall => Event::RingCall { index, call: fd },
                    _ => Event::RingErr { index, err: fd },
                };
                return Ok(Step::then(event, Change::Nothing));
            }
        }
        Ok(Step::Done)
    }

    /// A ring starts when its kick comes, not with the first kick.
    fn start_ring(&mut self, index: u16, kick: Option<OwnedFd>) -> Result<Step, ControlError> {
        let (packed, limits) = (self.is_packed(), self.size_limit());
        if self.memory.is_empty() {
            let missing = Request::SetMemTable;
            return Err(PeerMisbehaved::RingIncomplete { index, missing }.into());
        }
        let ring = self.ring(u32::from(index))?;
        // The layout, or the memory for chains in flight, may have changed since the size was set.
        if ring.size > 0 {
            check_size(u32::from(ring.size), limits, packed)?;
        }
        let offer = ring.offer(packed, kick)?;
        let change = Change::Ring(index, RingChange::Started);
        Ok(Step::then(Event::RingStarted(offer), change))
    }

    fn get_vring_base(&mut self, index: u32) -> Result<Step, PeerMisbehaved> {
        let start = RingBase::start(self.is_packed());
        let ring = self.ring(index)?;
        let stopping = ring.index;
        if ring.running {
            let event = Event::RingStopped { index: stopping };
            return Ok(Step::ask(event, Question::VringBase(stopping)));
        }
        let value = ring.base.unwrap_or(start);
        Ok(Step::Reply(Reply::VringState(VringState { index, value })))
    }

    /// Legal while a ring is stopped, and remembered.
    fn set_vring_enable(&mut self, index: u32, value: u32) -> Result<Step, PeerMisbehaved> {
        let ring = self.ring(index)?;
        let enabled = match value {
            0 => false,
            1 => true,
            _ => return Err(PeerMisbehaved::EnableValue { value }),
        };
        if ring.running && ring.enabled != enabled {
            let index = ring.index;
            let change = Change::Ring(index, RingChange::Enabled(enabled));
            return Ok(Step::then(Event::RingEnabled { index, enabled }, change));
        }
        ring.enabled = enabled;
        Ok(Step::Done)
    }

    /// The one place where an index from the front-end becomes a ring.
    fn ring(&mut self, index: u32) -> Result<&mut Ring, PeerMisbehaved> {
        let count = self.config.ring_count();
        let found = usize::try_from(index).ok().and_then(|index| self.rings.get_mut(index));
        found.ok_or(PeerMisbehaved::RingIndex { index, count })
    }

    fn check_size(&self, size: u32) -> Result<u16, PeerMisbehaved> {
        check_size(size, self.size_limit(), self.is_packed())
    }

    /// Most descriptors of a ring: what we take, and what the memory for chains in flight has room
    /// for.
    pub(super) fn size_limit(&self) -> u16 {
        let inflight = self.inflight_queue_size.unwrap_or(u16::MAX);
        self.config.ring_size_limit().min(inflight)
    }
}

fn check_size(size: u32, limit: u16, packed: bool) -> Result<u16, PeerMisbehaved> {
    let fits = size > 0 && (packed || size.is_power_of_two());
    let found = u16::try_from(size).ok().filter(|size| fits && *size <= limit);
    found.ok_or(PeerMisbehaved::RingSize { size, limit })
}
