//! Requests about the connection and its memory, and the way to all others.

use super::event::{Event, RegionOffer, ResetKind};
use super::machine::BackendMachine;
use super::memory::MemoryTable;
use super::pending::{Change, Question};
use super::ring::Ring;
use super::{PeerIncompatible, PeerMisbehaved};
use crate::error::ControlError;
use crate::wire::{MemoryRegion, Message, ProtocolFeatures, Reply, Request, feature};
use std::os::fd::OwnedFd;

/// What comes of a request.
pub(super) enum Step {
    /// It is done; say so if asked.
    Done,
    /// It has an answer of its own.
    Reply(Reply),
    /// The data side has to do something first.
    Ask(Box<Event>, Question),
}

impl Step {
    pub(super) fn ask(event: Event, question: Question) -> Self {
        Self::Ask(Box::new(event), question)
    }

    /// Asks the data side to do something; `change` follows.
    pub(super) fn then(event: Event, change: Change) -> Self {
        Self::ask(event, Question::Done(change))
    }
}

impl BackendMachine {
    pub(super) fn serve(
        &mut self,
        request: Request,
        payload: &[u8],
        fds: Vec<OwnedFd>,
    ) -> Result<Step, ControlError> {
        if !self.config.offers(request) {
            return Err(PeerIncompatible::NotOffered { request }.into());
        }
        let message = Message::decode(request, payload)?;
        check_fd_count(&message, fds.len())?;
        if let Message::MemTable(regions) = message {
            return Ok(self.set_mem_table(regions, fds)?);
        }
        let fd = fds.into_iter().next();
        Ok(match message {
            Message::Plain(request) => self.serve_plain(request, fd)?,
            Message::Number(request, number) => self.serve_number(request, number)?,
            Message::MemRegion(_, region) => self.change_memory(region, fd, request)?,
            Message::VringState(request, state) => self.serve_vring_state(request, state)?,
            Message::VringAddress(address) => self.set_vring_addr(&address)?,
            Message::VringFd(request, ring) => self.set_vring_fd(request, ring, fd)?,
            message => self.serve_device(message, fd)?,
        })
    }

    fn serve_plain(&mut self, request: Request, fd: Option<OwnedFd>) -> Result<Step, ControlError> {
        let number = |number| Ok(Step::Reply(Reply::Number(number)));
        match (request, fd) {
            (Request::GetFeatures, _) => number(self.config.offered_features()),
            (Request::GetProtocolFeatures, _) => number(self.config.protocol_features.bits()),
            (Request::GetQueueNum, _) => number(u64::from(self.config.queue_pairs)),
            (Request::GetMaxMemSlots, _) => number(u64::from(self.config.limits.regions)),
            (Request::GetStatus, _) => number(u64::from(self.status)),
            (Request::SetOwner, _) => Ok(Step::Done),
            (Request::ResetOwner, _) => Ok(self.reset(ResetKind::Owner)),
            (Request::ResetDevice, _) => Ok(self.reset(ResetKind::Device)),
            (Request::CheckDeviceState, _) => {
                Ok(Step::then(Event::CheckDeviceState, Change::Nothing))
            }
            (Request::SetLogFd, Some(fd)) => Ok(Step::then(Event::LogFd(fd), Change::Nothing)),
            (Request::SetBackendReqFd, Some(fd)) => {
                Ok(Step::then(Event::BackendChannel(fd), Change::Nothing))
            }
            _ => Err(PeerIncompatible::NotOffered { request }.into()),
        }
    }

    fn serve_number(&mut self, request: Request, number: u64) -> Result<Step, ControlError> {
        match request {
            Request::SetFeatures => self.set_features(number),
            Request::SetProtocolFeatures => Ok(self.set_protocol_features(number)?),
            _ => Ok(self.serve_device_number(request, number)?),
        }
    }

    /// QEMU repeats this for each queue pair, while others run, and toggles LOG_ALL in migration.
    fn set_features(&mut self, features: u64) -> Result<Step, ControlError> {
        let bits = features & !self.config.offered_features();
        if bits != 0 {
            return Err(PeerMisbehaved::FeaturesNotOffered { bits }.into());
        }
        let bits = self.config.required_features & !features;
        if bits != 0 {
            return Err(PeerIncompatible::FeaturesMissing { bits }.into());
        }
        if self.features == Some(features) {
            return Ok(Step::Done);
        }
        let bits = (self.features() ^ features) & !feature::LOG_ALL;
        if self.any_running() && bits != 0 {
            return Err(PeerMisbehaved::FeaturesWhileRunning { bits }.into());
        }
        let rings_enabled = features & feature::PROTOCOL_FEATURES == 0;
        Ok(Step::then(Event::Features { features, rings_enabled }, Change::Features(features)))
    }

    fn set_protocol_features(&mut self, bits: u64) -> Result<Step, PeerMisbehaved> {
        let wanted = ProtocolFeatures::from_bits(bits);
        let unknown = wanted.without(self.config.protocol_features);
        if !unknown.is_empty() {
            return Err(PeerMisbehaved::ProtocolFeaturesNotOffered { bits: unknown.bits() });
        }
        self.protocol_features = wanted;
        Ok(Step::Done)
    }

    /// Forgets what was said about rings; memory and features stay.
    fn reset(&mut self, kind: ResetKind) -> Step {
        let enabled = self.is_always_enabled();
        for ring in &mut self.rings {
            *ring = Ring { enabled, ..Ring::new(ring.index) };
        }
        if kind == ResetKind::Device {
            self.inflight_queue_size = None;
            self.status = 0;
        }
        Step::then(Event::Reset(kind), Change::Nothing)
    }

    fn set_mem_table(
        &self,
        regions: Vec<MemoryRegion>,
        fds: Vec<OwnedFd>,
    ) -> Result<Step, PeerMisbehaved> {
        let memory = MemoryTable::new(&regions, &self.config.limits)?;
        let offers = regions.into_iter().zip(fds).map(|(region, fd)| RegionOffer { region, fd });
        Ok(Step::then(Event::MemoryTable(offers.collect()), Change::Memory(memory)))
    }

    fn change_memory(
        &self,
        region: MemoryRegion,
        fd: Option<OwnedFd>,
        request: Request,
    ) -> Result<Step, PeerMisbehaved> {
        let memory = self.memory.clone();
        match (request, fd) {
            (Request::AddMemReg, Some(fd)) => {
                let memory = memory.with(region, &self.config.limits)?;
                let event = Event::AddRegion(RegionOffer { region, fd });
                Ok(Step::then(event, Change::Memory(memory)))
            }
            _ => {
                let memory = memory.without(&region)?;
                Ok(Step::then(Event::RemoveRegion(region), Change::Memory(memory)))
            }
        }
    }
}

fn check_fd_count(message: &Message, got: usize) -> Result<(), PeerMisbehaved> {
    let (request, expected) = (message.request(), message.fd_count());
    if expected.contains(&got) {
        return Ok(());
    }
    let (min, max) = expected.into_inner();
    Err(PeerMisbehaved::FdCount { request, got, min, max })
}
