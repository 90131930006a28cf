//! What a front-end asks for, and how it is done.

use super::filter::Filter;
use super::memory::Generation;
use super::rings::Queues;
use super::session::{Answer, CHANNEL, Session};
use super::{DownReason, Event, Link, LinkParameters, inflight, space};
use crate::backend::{self, Failed, ResetKind};
use crate::endpoint::Events;
use crate::error::{ControlError, DeviceError};
use crate::wire::{ConfigSpan, feature};
use std::time::Instant;

/// How an event goes on.
enum Next {
    /// It is done once all bursts are over that began before.
    WhenSettled(Answer),
    /// It was answered.
    Answered,
}

impl Session {
    pub(super) fn on_event(
        &mut self,
        event: backend::Event,
        events: &mut Events<Self>,
    ) -> Result<(), DownReason> {
        match self.attempt(event, events) {
            Ok(Next::WhenSettled(answer)) => self.waiting = Some(answer),
            Ok(Next::Answered) => {}
            Err(error) => {
                let told = self.connection.machine.answer_ack(Err(Failed));
                if told.is_err() {
                    return Err(DownReason::Protocol(error));
                }
                events.push_back(Event::RequestRefused(error));
            }
        }
        Ok(())
    }

    fn attempt(
        &mut self,
        event: backend::Event,
        events: &mut Events<Self>,
    ) -> Result<Next, DeviceError> {
        use backend::Event as E;
        match event {
            E::Features { features, rings_enabled } => {
                self.rings.set_features(features, rings_enabled);
                let before = self.connection.machine.features();
                // The log comes and goes with each attempt to migrate.
                if (before ^ features) & !feature::LOG_ALL != 0 {
                    self.forget_driver(features);
                }
            }
            E::MemoryTable(offers) => self.change_memory(self.memory.replaced(&offers)?)?,
            E::AddRegion(offer) => self.change_memory(self.memory.with(&offer)?)?,
            E::RemoveRegion(gone) => self.change_memory(self.memory.without(&gone)?)?,
            E::RingStarted(offer) => {
                self.rings.start(offer, self.memory.current())?;
                self.tell_status(events);
            }
            E::RingStopped { index } => {
                self.rings.stop(index);
                return Ok(Next::WhenSettled(Answer::Base(index)));
            }
            E::RingEnabled { index, enabled } => self.rings.set_enabled(index, enabled),
            E::RingKick { index, kick } => self.rings.set_kick(index, kick)?,
            E::RingCall { index, call } => self.rings.set_call(index, call)?,
            E::RingErr { index, err } => self.rings.set_err(index, err)?,
            E::RingLog { index, log } => self.rings.set_log_address(index, log),
            E::LogBase { fd, area } => {
                let log = self.log.replaced(&self.memory, &fd, area)?;
                self.rings.set_log(log);
            }
            E::LogFd(fd) => {
                let log = self.log.with_bell(fd)?;
                self.rings.set_log(log);
            }
            E::InflightWanted { queues, queue_size } => {
                return self.make_inflight(queues, queue_size, events);
            }
            E::Inflight(said) => {
                let area = inflight::take(&self.memory, &said)?;
                self.rings.set_inflight(Some(area));
            }
            E::Reset(kind) => self.reset(kind),
            E::BackendChannel(channel) => {
                self.channel.replace(channel, &self.side, CHANNEL)?;
                self.tell_status(events);
            }
            E::ConfigRead(span) => return self.read_config(span),
            E::Rarp(address) => {
                self.rings.announce(address)?;
                events.push_back(Event::Announce(address));
            }
            E::Mtu(mtu) => events.push_back(Event::Mtu(mtu)),
            // Not the driver's word alone: QEMU says 0 whenever it stops, also to go on elsewhere.
            E::Status(_) => {}
            E::DeviceState(way, pipe) => {
                self.begin_transfer(way, pipe, events)?;
                return Ok(Next::Answered);
            }
            E::CheckDeviceState => {
                self.check_state(events)?;
                return Ok(Next::Answered);
            }
            // Nothing that a driver may write.
            _ => {
                self.connection.machine.answer_ack(Err(Failed))?;
                return Ok(Next::Answered);
            }
        }
        Ok(Next::WhenSettled(Answer::Done))
    }

    fn make_inflight(
        &mut self,
        queues: u16,
        queue_size: u16,
        events: &mut Events<Self>,
    ) -> Result<Next, DeviceError> {
        let packed = self.connection.machine.features() & feature::RING_PACKED != 0;
        let memory = inflight::make(packed, queues, queue_size);
        let answer = memory.map_err(|error| {
            events.push_back(Event::RequestRefused(error));
            Failed
        });
        self.connection.machine.answer_inflight(answer)?;
        Ok(Next::Answered)
    }

    fn read_config(&mut self, span: ConfigSpan) -> Result<Next, DeviceError> {
        let contents = space::read(&self.config, self.status.word(), span);
        self.connection.machine.answer_config(Ok(contents))?;
        if space::has_status(span) {
            self.note_status_read();
        }
        Ok(Next::Answered)
    }

    fn reset(&mut self, kind: ResetKind) {
        self.rings.stop_all();
        if kind == ResetKind::Device {
            self.loaded = false;
            self.forget_driver(self.connection.machine.features());
            self.rings.set_inflight(None);
        }
    }

    /// Another driver begins, or the same one anew; unless it goes on with what the device before
    /// knew.
    fn forget_driver(&mut self, features: u64) {
        if std::mem::take(&mut self.loaded) || self.rings.any_running() {
            return;
        }
        self.filter = Filter::new(features, self.config.mac);
        self.pairs_wanted = None;
    }

    /// The driver knows the status now. Where there is no ring on which it says that it has announced
    /// itself, it is taken to do so.
    fn note_status_read(&mut self) {
        if self.commands.is_none() {
            self.status.want_announcement(false);
        }
        self.channel.set_known(self.status.word());
    }

    fn change_memory(&mut self, next: Generation) -> Result<(), DeviceError> {
        self.rings.move_to(&next)?;
        self.memory.become_current(next);
        Ok(())
    }

    /// Gives the answer that waits, if no burst is open any more that began before the change.
    pub(super) fn answer_if_settled(
        &mut self,
        events: &mut Events<Self>,
    ) -> Result<(), DownReason> {
        let Some(answer) = self.waiting else { return Ok(()) };
        if !self.rings.is_settled() {
            return Ok(());
        }
        self.waiting = None;
        let machine = &mut self.connection.machine;
        let answered = match answer {
            Answer::Done => machine.answer_ack(Ok(())),
            Answer::Base(ring) => match self.rings.base(ring) {
                Some(base) => machine.answer_vring_base(ring, base),
                // The machine asks for rings that run only, so it was there.
                None => Err(ControlError::OutOfOrder { call: "base" }),
            },
        };
        answered.map_err(|error| DownReason::Protocol(error.into()))?;
        self.report(events);
        Ok(())
    }

    /// Reports that the link is up, or that more or less pairs run than before.
    fn report(&mut self, events: &mut Events<Self>) {
        let enabled = self.rings.pairs_enabled();
        if enabled == self.pairs_enabled {
            return;
        }
        self.pairs_enabled = enabled;
        if let Some(Queues { rx, tx }) = self.queues.take_if(|_| enabled > 0) {
            let machine = &self.connection.machine;
            let parameters = LinkParameters {
                features: machine.features(),
                protocol_features: machine.protocol_features(),
                packed: machine.features() & feature::RING_PACKED != 0,
                ring_sizes: self.rings.first_sizes(),
                mac: self.config.mac,
                mtu: self.config.mtu,
                carrier: self.status.is_up(),
                queue_pairs_max: Some(self.config.queue_pairs),
                buffer_size: None,
            };
            let peer = self.connection.credentials;
            self.up = Some(Instant::now());
            events.push_back(Event::LinkUp(Box::new(Link { rx, tx, peer, parameters })));
        }
        if self.queues.is_none() {
            events.push_back(Event::PairsEnabled(enabled));
        }
    }
}
