//! One connection to a front-end: what it asks for, and how it is done.

use super::log::Log;
use super::memory::{Generation, SharedMemory};
use super::rings::{Queues, Rings};
use super::{DeviceConfig, DownReason, Event, Link, LinkParameters, inflight, space};
use crate::backend::{self, BackendMachine, Failed, ResetKind};
use crate::endpoint::{self, Connection, Events, Step};
use crate::error::{ControlError, DeviceError};
use crate::virtqueue::{RxQueue, TxQueue};
use crate::wire::feature;
use ringport::doorbell::Doorbell;
use ringport::error::{CallError, QueueError};
use ringport::link::LinkState;
use ringport::reactor::Interest;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

/// One connection.
#[derive(Debug)]
pub(super) struct Session {
    config: DeviceConfig,
    connection: Connection<BackendMachine>,
    memory: SharedMemory,
    rings: Rings,
    log: Log,
    link: Arc<LinkState>,
    /// Rung by queues when a change has settled, or a ring broken.
    wake: Arc<Doorbell>,
    /// Until the link is up.
    queues: Option<Queues>,
    /// What the front-end is told once every burst is over that began before.
    waiting: Option<Answer>,
    pairs_enabled: u16,
    /// For requests of our own, of which there are none yet; the front-end expects it to be kept.
    channel: Option<OwnedFd>,
    /// Since when the link is up.
    up: Option<Instant>,
}

/// An answer that waits for bursts to end.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Done,
    Base(u16),
}

/// How an event goes on.
enum Next {
    /// It is done once all bursts are over that began before.
    WhenSettled(Answer),
    /// It was answered.
    Answered,
}

impl endpoint::Session for Session {
    type Config = DeviceConfig;
    type Rx = RxQueue;
    type Tx = TxQueue;

    fn new(socket: OwnedFd, config: &DeviceConfig) -> Result<Self, DeviceError> {
        let link = Arc::new(LinkState::new().map_err(CallError::io("eventfd"))?);
        let wake = Arc::new(Doorbell::create().map_err(CallError::io("eventfd"))?);
        let (rings, queues) = Rings::new(config.queue_pairs, config.kicks, &link, &wake)?;
        Ok(Self {
            config: *config,
            connection: Connection::new(socket, BackendMachine::new(config.backend()))?,
            memory: SharedMemory::new(config.policy, Arc::clone(&link))?,
            rings,
            log: Log::default(),
            link,
            wake,
            queues: Some(queues),
            waiting: None,
            pairs_enabled: 0,
            channel: None,
            up: None,
        })
    }

    fn on_socket(&mut self, events: &mut Events<Self>) -> Result<(), DownReason> {
        for _ in 0..MESSAGES_PER_TURN {
            match self.connection.step()? {
                Step::Idle => break,
                Step::Handled => {}
                Step::Refused(error) => events.push_back(Event::RequestRefused(error.into())),
                Step::Event(event) => self.on_event(event, events)?,
            }
            self.answer_if_settled(events)?;
        }
        self.connection.flush()
    }

    /// A queue has left a burst, or found its ring broken.
    fn on_wake(&mut self, events: &mut Events<Self>) -> Result<(), DownReason> {
        // It was rung: there is nothing to learn from it.
        let _ = self.wake.drain();
        for (ring, error) in self.rings.take_faults() {
            events.push_back(Event::RingBroken { ring, error });
        }
        self.rings.drop_returned();
        self.answer_if_settled(events)?;
        self.connection.flush()
    }

    /// The front-end took memory back.
    fn fault(&self) -> Option<QueueError> {
        self.link.fault()
    }

    fn on_time(&mut self, now: Instant) -> Result<(), DownReason> {
        let result = self.connection.machine.on_deadline(now);
        result.map_err(|error| DownReason::Protocol(error.into()))
    }

    fn deadline(&self) -> Option<Instant> {
        self.connection.machine.deadline()
    }

    fn interest(&self) -> Interest {
        self.connection.interest()
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    fn wake_fd(&self) -> BorrowedFd<'_> {
        (*self.wake).as_fd()
    }

    fn link_fd(&self) -> BorrowedFd<'_> {
        self.link.wake_fd()
    }

    fn up(&self) -> Option<Instant> {
        self.up
    }

    fn end(&mut self) {
        // While it is not down: packets that are held are copied out, and their buffers go back.
        self.rings.stop_all();
        self.rings.drop_returned();
        self.link.close();
    }
}

impl Session {
    fn on_event(
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
            }
            E::MemoryTable(offers) => self.change_memory(self.memory.replaced(&offers)?)?,
            E::AddRegion(offer) => self.change_memory(self.memory.with(&offer)?)?,
            E::RemoveRegion(gone) => self.change_memory(self.memory.without(&gone)?)?,
            E::RingStarted(offer) => self.rings.start(offer, self.memory.current())?,
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
                let packed = self.connection.machine.features() & feature::RING_PACKED != 0;
                let memory = inflight::make(packed, queues, queue_size);
                let answer = memory.map_err(|error| {
                    events.push_back(Event::RequestRefused(error));
                    Failed
                });
                self.connection.machine.answer_inflight(answer)?;
                return Ok(Next::Answered);
            }
            E::Inflight(said) => {
                let area = inflight::take(&self.memory, &said)?;
                self.rings.set_inflight(Some(area));
            }
            E::Reset(kind) => {
                self.rings.stop_all();
                if kind == ResetKind::Device {
                    self.rings.set_inflight(None);
                }
            }
            E::BackendChannel(channel) => self.channel = Some(channel),
            E::ConfigRead(span) => {
                let contents = space::read(&self.config, span);
                self.connection.machine.answer_config(Ok(contents))?;
                return Ok(Next::Answered);
            }
            E::Rarp(address) => {
                self.rings.announce(address)?;
                events.push_back(Event::Announce(address));
            }
            E::Mtu(mtu) => events.push_back(Event::Mtu(mtu)),
            E::Status(_) => {}
            // Not offered, or nothing that a driver may write.
            other => return self.refuse(&other),
        }
        Ok(Next::WhenSettled(Answer::Done))
    }

    /// Answers what the device does not have, in the way that the question wants.
    fn refuse(&mut self, event: &backend::Event) -> Result<Next, DeviceError> {
        use backend::Event as E;
        let machine = &mut self.connection.machine;
        match event {
            E::DeviceState(..) => machine.answer_device_state(Err(Failed))?,
            _ => machine.answer_ack(Err(Failed))?,
        }
        Ok(Next::Answered)
    }

    fn change_memory(&mut self, next: Generation) -> Result<(), DeviceError> {
        self.rings.move_to(&next)?;
        self.memory.become_current(next);
        Ok(())
    }

    /// Gives the answer that waits, if no burst is open any more that began before the change.
    fn answer_if_settled(&mut self, events: &mut Events<Self>) -> Result<(), DownReason> {
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

/// Most reads of one turn, so that a front-end that never stops cannot keep the caller.
const MESSAGES_PER_TURN: usize = 64;
