//! What a front-end asks for, and how it is done with the device.

use super::config::device_features;
use super::error::{RelayError, behind};
use super::memory::{Memory, Use};
use super::ring::{Ring, call_of, kick_of, ring_once};
use super::session::{CHANNEL, Session};
use crate::device::{RingSetup, Setup, VdpaDevice};
use ringport_vhost_user::DeviceError;
use ringport_vhost_user::backend::{self, Failed, ResetKind, RingOffer};
use ringport_vhost_user::device::{DownReason, Link, LinkParameters};
use ringport_vhost_user::endpoint::{Event, Events};
use ringport_vhost_user::wire::{ConfigSpan, ProtocolFeatures, feature};
use std::os::fd::OwnedFd;
use std::time::Instant;

/// The driver is ready.
///
/// Spec: VIRTIO 1.3 §2.1 (`DRIVER_OK`).
const DRIVER_OK: u8 = 4;
/// The driver has given up.
const FAILED: u8 = 128;
/// Rings of the pair that is relayed.
const PAIR: usize = 2;
/// Where the largest packet is said in a network device's configuration, in bytes.
///
/// Spec: VIRTIO 1.3 §5.1.4.
const MTU_AT: u32 = 10;

/// How an event goes on.
enum Next {
    /// It is done.
    Done,
    /// It is done, and the device may be ready to begin with that.
    MayStart,
    /// It was answered.
    Answered,
}

impl Session {
    pub(super) fn on_event(
        &mut self,
        event: backend::Event,
        events: &mut Events<Self>,
    ) -> Result<(), DownReason> {
        let runs = self.runs;
        let answered = match self.attempt(event, events) {
            Ok(Next::Answered) => Ok(()),
            Ok(Next::Done) => self.connection.machine.answer_ack(Ok(())),
            Ok(Next::MayStart) => {
                self.start_when_ready().map_err(|error| self.give_up(error))?;
                self.connection.machine.answer_ack(Ok(()))
            }
            Err(error) => {
                events.push_back(Event::RequestRefused(error));
                self.connection.machine.answer_ack(Err(Failed))
            }
        };
        answered.map_err(|error| DownReason::Protocol(error.into()))?;
        self.report(runs, events);
        Ok(())
    }

    /// The device does not begin, and the front-end may not have asked to be told: it is told all the same, and
    /// the conversation ends, as half of it would be about a device that runs.
    fn give_up(&mut self, error: DeviceError) -> DownReason {
        if self.connection.machine.answer_ack(Err(Failed)).is_ok() {
            let _ = self.connection.flush();
        }
        DownReason::Protocol(error)
    }

    fn attempt(
        &mut self,
        event: backend::Event,
        events: &mut Events<Self>,
    ) -> Result<Next, DeviceError> {
        use backend::Event as E;
        match event {
            E::Features { features, rings_enabled } => {
                self.features = features;
                if rings_enabled {
                    self.enabled.fill(true);
                    return Ok(Next::MayStart);
                }
            }
            E::MemoryTable(offers) => {
                self.with_memory(|memory, device, used| memory.replace(&offers, device, used))?;
            }
            E::AddRegion(offer) => {
                self.with_memory(|memory, device, used| memory.add(&offer, device, used))?;
            }
            E::RemoveRegion(gone) => {
                self.with_memory(|memory, device, used| memory.remove(&gone, device, used))?;
            }
            E::RingStarted(offer) => {
                self.begin_ring(offer)?;
                return Ok(Next::MayStart);
            }
            E::RingStopped { index } => return self.stop_ring(index),
            E::RingEnabled { index, enabled } => {
                self.enable(index, enabled);
                return Ok(Next::MayStart);
            }
            E::RingKick { index, kick } => self.set_kick(index, kick)?,
            E::RingCall { index, call } => self.set_call(index, call)?,
            // Rings of hardware do not break with a word.
            E::RingErr { .. } => {}
            E::ConfigRead(span) => return self.read_config(span, events),
            E::Mtu(mtu) => self.check_mtu(mtu)?,
            E::Status(status) => {
                self.set_status(status);
                return Ok(Next::MayStart);
            }
            E::Reset(kind) => self.reset(kind),
            E::BackendChannel(socket) => self.use_channel(socket)?,
            _ => return Err(RelayError::NotOffered.into()),
        }
        Ok(Next::Done)
    }

    fn reset(&mut self, kind: ResetKind) {
        self.halt();
        self.rings.iter_mut().for_each(|ring| *ring = None);
        self.enabled.fill(false);
        self.stopped_at.fill(None);
        if kind == ResetKind::Device {
            self.status = 0;
        }
    }

    fn use_channel(&mut self, socket: OwnedFd) -> Result<(), DeviceError> {
        self.channel.replace(socket, &self.side, CHANNEL)?;
        if std::mem::take(&mut self.unsaid) {
            // It ends by itself, and the conversation does not.
            let _ = self.channel.tell_changed(&self.side, CHANNEL);
        }
        Ok(())
    }

    fn begin_ring(&mut self, offer: RingOffer) -> Result<(), DeviceError> {
        let (index, enabled) = (usize::from(offer.index), offer.enabled);
        let ring = Ring::new(offer)?;
        // Where it cannot be, it is refused now, and not with the last ring of the pair.
        self.setup_of(&ring)?;
        if let Some(place) = self.rings.get_mut(index) {
            *place = Some(ring);
        }
        if let Some(place) = self.enabled.get_mut(index) {
            *place = enabled;
        }
        Ok(())
    }

    /// The device stops with the first of its rings.
    fn stop_ring(&mut self, index: u16) -> Result<Next, DeviceError> {
        self.halt();
        let at = usize::from(index);
        let said = self.stopped_at.get_mut(at).and_then(Option::take);
        let ring = self.rings.get_mut(at).and_then(Option::take);
        let ring = ring.ok_or(RelayError::NoRing { ring: index })?;
        let base = ring.stopped_at(said, self.memory.guest());
        self.connection.machine.answer_vring_base(index, base)?;
        Ok(Next::Answered)
    }

    fn enable(&mut self, index: u16, enabled: bool) {
        if let Some(place) = self.enabled.get_mut(usize::from(index)) {
            *place = enabled;
        }
        if !enabled {
            self.halt();
        }
    }

    fn set_kick(&mut self, index: u16, kick: Option<OwnedFd>) -> Result<(), DeviceError> {
        let kick = kick_of(index, kick)?;
        self.while_running(|device| device.set_kick(index, &kick))?;
        if let Some(Some(ring)) = self.rings.get_mut(usize::from(index)) {
            ring.kick = kick;
        }
        Ok(())
    }

    fn set_call(&mut self, index: u16, call: Option<OwnedFd>) -> Result<(), DeviceError> {
        let call = call_of(index, call)?;
        self.while_running(|device| device.set_call(index, &call))?;
        if self.runs {
            // What the device called with in between may have reached neither.
            ring_once(index, &call)?;
        }
        if let Some(Some(ring)) = self.rings.get_mut(usize::from(index)) {
            ring.call = call;
        }
        Ok(())
    }

    fn read_config(
        &mut self,
        span: ConfigSpan,
        events: &mut Events<Self>,
    ) -> Result<Next, DeviceError> {
        let contents = self.with_device(|device| config(device, span));
        let machine = &mut self.connection.machine;
        match contents {
            Ok(contents) => machine.answer_config(Ok(contents))?,
            Err(error) => {
                events.push_back(Event::RequestRefused(error));
                machine.answer_config(Err(Failed))?;
            }
        }
        Ok(Next::Answered)
    }

    fn check_mtu(&self, wanted: u16) -> Result<(), DeviceError> {
        if self.features & feature::MTU == 0 {
            return Ok(());
        }
        let mut bytes = [0; 2];
        self.with_device(|device| device.read_config(MTU_AT, &mut bytes))?;
        let max = u16::from_le_bytes(bytes);
        if wanted > max {
            return Err(RelayError::Mtu { wanted, max }.into());
        }
        Ok(())
    }

    /// Zero is a reset by the driver, which does not stop the rings one by one.
    fn set_status(&mut self, status: u8) {
        self.status = status;
        if !self.driver_is_ready() {
            self.halt();
        }
    }

    /// Has the device begin, once driver and rings are ready.
    fn start_when_ready(&mut self) -> Result<(), DeviceError> {
        let (rings, enabled) = (self.rings.iter().take(PAIR), self.enabled.iter().take(PAIR));
        let all = rings.clone().all(Option::is_some) && enabled.clone().all(|enabled| *enabled);
        if self.runs || !all || !self.driver_is_ready() {
            return Ok(());
        }
        let setups =
            rings.flatten().map(|ring| self.setup_of(ring)).collect::<Result<Vec<_>, _>>()?;
        let areas =
            setups.iter().flat_map(|it| [it.descriptor_area, it.driver_area, it.device_area]);
        let in_use = Use { rings: areas.collect() };
        self.with_device(|device| {
            let features = device_features(self.features, device.capabilities());
            device.start(&Setup { features, rings: setups })
        })?;
        (self.runs, self.in_use) = (true, in_use);
        self.stopped_at.fill(None);
        Ok(())
    }

    /// Whether the driver says that it is, if it says anything of that.
    fn driver_is_ready(&self) -> bool {
        let agreed = self.connection.machine.protocol_features();
        !agreed.contains(ProtocolFeatures::STATUS)
            || self.status & (DRIVER_OK | FAILED) == DRIVER_OK
    }

    /// The device works on no ring any more.
    pub(super) fn halt(&mut self) {
        if !std::mem::take(&mut self.runs) {
            return;
        }
        self.in_use = Use::default();
        let Some(device) = &mut *self.device.lock() else { return };
        let stopped = device.stop().into_iter();
        for ((place, ring), base) in self.stopped_at.iter_mut().zip(&mut self.rings).zip(stopped) {
            *place = base;
            if let (Some(ring), Some(base)) = (ring, base) {
                ring.go_on_from(base);
            }
        }
    }

    fn setup_of(&self, ring: &Ring) -> Result<RingSetup, DeviceError> {
        let device = self.device.lock();
        let device = device.as_ref().ok_or(RelayError::NoDevice)?;
        Ok(ring.setup(self.memory.guest(), device.capabilities().starts_midway)?)
    }

    fn with_memory(
        &mut self,
        change: impl FnOnce(&mut Memory, &mut dyn VdpaDevice, &Use) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        let mut device = self.device.lock();
        let device = device.as_mut().ok_or(RelayError::NoDevice)?;
        change(&mut self.memory, &mut **device, &self.in_use)
    }

    fn with_device<T>(
        &self,
        ask: impl FnOnce(&mut dyn VdpaDevice) -> Result<T, crate::DeviceError>,
    ) -> Result<T, DeviceError> {
        let mut device = self.device.lock();
        let device = device.as_mut().ok_or(RelayError::NoDevice)?;
        ask(&mut **device).map_err(behind)
    }

    fn while_running(
        &self,
        change: impl FnOnce(&mut dyn VdpaDevice) -> Result<(), crate::DeviceError>,
    ) -> Result<(), DeviceError> {
        if self.runs { self.with_device(change) } else { Ok(()) }
    }

    /// Reports that the link is up, or that the pair stopped or goes on.
    fn report(&mut self, ran: bool, events: &mut Events<Self>) {
        if ran == self.runs {
            return;
        }
        if self.runs && self.up.is_none() {
            self.up = Some(Instant::now());
            let machine = &self.connection.machine;
            let size = |at: usize| {
                let ring = self.rings.get(at).and_then(Option::as_ref);
                ring.map_or(0, Ring::size)
            };
            let agreed = machine.protocol_features();
            let parameters = LinkParameters::new(self.features, agreed, [size(1), size(0)]);
            let link = Link::without_queues(self.connection.credentials, parameters);
            events.push_back(Event::LinkUp(Box::new(link)));
        } else {
            events.push_back(Event::PairsEnabled(u16::from(self.runs)));
        }
    }
}

/// What a front-end reads of the configuration: zeros behind its end.
fn config(device: &mut dyn VdpaDevice, span: ConfigSpan) -> Result<Vec<u8>, crate::DeviceError> {
    let mut contents = vec![0; span.size as usize];
    let len = device.capabilities().config_len.saturating_sub(span.offset);
    let there = contents.len().min(len as usize);
    if there > 0 {
        device.read_config(span.offset, &mut contents[..there])?;
    }
    Ok(contents)
}
