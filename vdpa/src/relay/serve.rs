//! What a front-end asks for, and how it is done with the device.

use super::config::device_features;
use super::error::{RelayError, behind};
use super::ring::{Ring, call_of, kick_of};
use super::session::{CHANNEL, Session};
use crate::device::{RingSetup, Setup, VdpaDevice};
use ringport_vhost_user::DeviceError;
use ringport_vhost_user::backend::{self, Failed, RingOffer};
use ringport_vhost_user::device::{DownReason, Link, LinkParameters};
use ringport_vhost_user::endpoint::{Event, Events};
use ringport_vhost_user::wire::{ConfigSpan, ProtocolFeatures, feature};
use std::os::fd::OwnedFd;
use std::time::Instant;

/// The driver is ready.
///
/// Spec: VIRTIO 1.3 §2.1 (`DRIVER_OK`).
const DRIVER_OK: u8 = 4;
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
        let done = self.attempt(event).and_then(|next| match next {
            Next::MayStart => self.start_when_ready().map(|()| next),
            _ => Ok(next),
        });
        let machine = &mut self.connection.machine;
        let answered = match done {
            Ok(Next::Answered) => Ok(()),
            Ok(Next::Done | Next::MayStart) => machine.answer_ack(Ok(())),
            Err(error) => {
                events.push_back(Event::RequestRefused(error));
                machine.answer_ack(Err(Failed))
            }
        };
        answered.map_err(|error| DownReason::Protocol(error.into()))?;
        self.report(runs, events);
        Ok(())
    }

    fn attempt(&mut self, event: backend::Event) -> Result<Next, DeviceError> {
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
                let runs = self.runs;
                self.with_memory(|memory, device| memory.replace(&offers, device, runs))?;
            }
            E::AddRegion(offer) => self.with_memory(|memory, device| memory.add(&offer, device))?,
            E::RemoveRegion(gone) => {
                self.check_unused(gone.guest_address, gone.size)?;
                self.with_memory(|memory, device| memory.remove(&gone, device))?;
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
            E::ConfigRead(span) => return self.read_config(span),
            E::Mtu(mtu) => self.check_mtu(mtu)?,
            E::Status(status) => {
                self.set_status(status);
                return Ok(Next::MayStart);
            }
            E::Reset(_) => {
                self.halt();
                self.rings.iter_mut().for_each(|ring| *ring = None);
                self.enabled.fill(false);
            }
            E::BackendChannel(socket) => self.channel.replace(socket, &self.side, CHANNEL)?,
            _ => return Err(RelayError::NotOffered.into()),
        }
        Ok(Next::Done)
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
        if let Some(Some(ring)) = self.rings.get_mut(usize::from(index)) {
            ring.call = call;
        }
        Ok(())
    }

    fn read_config(&mut self, span: ConfigSpan) -> Result<Next, DeviceError> {
        let contents = self.with_device(|device| config(device, span))?;
        self.connection.machine.answer_config(Ok(contents))?;
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
        if status & DRIVER_OK == 0 {
            self.halt();
        }
    }

    /// Whether no ring lies in memory that is to go while the device runs.
    fn check_unused(&self, guest: u64, size: u64) -> Result<(), DeviceError> {
        if !self.runs {
            return Ok(());
        }
        for ring in self.rings.iter().flatten() {
            let RingSetup { descriptor_area, driver_area, device_area, .. } =
                ring.setup(self.memory.guest(), true)?;
            let inside = |area: u64| area.checked_sub(guest).is_some_and(|into| into < size);
            if [descriptor_area, driver_area, device_area].into_iter().any(inside) {
                return Err(RelayError::InUse { guest }.into());
            }
        }
        Ok(())
    }

    /// Has the device begin, once driver and rings are ready.
    fn start_when_ready(&mut self) -> Result<(), DeviceError> {
        let (rings, enabled) = (self.rings.iter().take(PAIR), self.enabled.iter().take(PAIR));
        let all = rings.clone().all(Option::is_some) && enabled.clone().all(|enabled| *enabled);
        let speaks_of_status =
            self.connection.machine.protocol_features().contains(ProtocolFeatures::STATUS);
        let driver_ok = !speaks_of_status || self.status & DRIVER_OK != 0;
        if self.runs || !all || !driver_ok {
            return Ok(());
        }
        let setups = rings.flatten().map(|ring| self.setup_of(ring)).collect::<Result<_, _>>()?;
        self.with_device(|device| {
            let features = device_features(self.features, device.capabilities());
            device.start(&Setup { features, rings: setups })
        })?;
        self.runs = true;
        self.stopped_at.fill(None);
        Ok(())
    }

    /// The device works on no ring any more.
    pub(super) fn halt(&mut self) {
        if !std::mem::take(&mut self.runs) {
            return;
        }
        let Some(device) = &mut *self.device.lock() else { return };
        for (place, base) in self.stopped_at.iter_mut().zip(device.stop()) {
            *place = base;
        }
    }

    fn setup_of(&self, ring: &Ring) -> Result<RingSetup, DeviceError> {
        let device = self.device.lock();
        let device = device.as_ref().ok_or(RelayError::NoDevice)?;
        Ok(ring.setup(self.memory.guest(), device.capabilities().restores_base)?)
    }

    fn with_memory(
        &mut self,
        change: impl FnOnce(&mut super::memory::Memory, &mut dyn VdpaDevice) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        let mut device = self.device.lock();
        let device = device.as_mut().ok_or(RelayError::NoDevice)?;
        change(&mut self.memory, &mut **device)
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
