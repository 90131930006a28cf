//! One connection to a front-end: what it asks for, and how it is done.

use super::filter::Filter;
use super::log::Log;
use super::memory::SharedMemory;
use super::migrate::Migration;
use super::rings::{Queues, Rings};
use super::status::Status;
use super::{DeviceConfig, DownReason, Event};
use crate::backend::BackendMachine;
use crate::endpoint::{self, Channel, Connection, Events, HalfMessage, Step};
use crate::error::DeviceError;
use crate::virtqueue::{CommandQueue, RxQueue, TxQueue};
use crate::wire::ProtocolFeatures;
use ringport::doorbell::Doorbell;
use ringport::error::{CallError, QueueError};
use ringport::link::LinkState;
use ringport::reactor::{Interest, Reactor};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

/// What connections are made with.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) config: DeviceConfig,
    pub(super) status: Status,
}

impl Setup {
    pub(super) fn new(config: DeviceConfig) -> Self {
        Self { config, status: Status::default() }
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) config: DeviceConfig,
    pub(super) status: Status,
    pub(super) connection: Connection<BackendMachine>,
    pub(super) memory: SharedMemory,
    pub(super) rings: Rings,
    pub(super) log: Log,
    link: Arc<LinkState>,
    /// Rung by queues when a change has settled, or a ring broken.
    wake: Arc<Doorbell>,
    /// What comes and goes.
    pub(super) side: Reactor,
    /// Until the link is up.
    pub(super) queues: Option<Queues>,
    /// What the front-end is told once every burst is over that began before.
    pub(super) waiting: Option<Answer>,
    pub(super) pairs_enabled: u16,
    pub(super) channel: Channel,
    pub(super) commands: Option<CommandQueue>,
    /// What the driver wants, as it said.
    pub(super) filter: Filter,
    /// Pairs of queues that it uses, as it said.
    pub(super) pairs_wanted: Option<u16>,
    /// Both are those of the device before.
    pub(super) loaded: bool,
    pub(super) migration: Migration,
    half: HalfMessage,
    /// Since when the link is up.
    pub(super) up: Option<Instant>,
}

/// In the set of what comes and goes.
pub(super) const CHANNEL: u64 = 0;
const COMMANDS: u64 = 1;
pub(super) const STATE: u64 = 2;

/// An answer that waits for bursts to end.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Done,
    Base(u16),
}

impl endpoint::Session for Session {
    type Config = Setup;
    type Rx = RxQueue;
    type Tx = TxQueue;

    fn new(socket: OwnedFd, setup: &Setup) -> Result<Self, DeviceError> {
        let Setup { config, status } = setup;
        let link = Arc::new(LinkState::new().map_err(CallError::io("eventfd"))?);
        let wake = Arc::new(Doorbell::create().map_err(CallError::io("eventfd"))?);
        let (mut rings, queues, commands) = Rings::new(config, &link, &wake)?;
        let side = Reactor::new()?;
        if let Some(commands) = &commands {
            side.add(commands.as_fd(), COMMANDS, Interest::Read)?;
        }
        rings.set_link(status.is_up());
        Ok(Self {
            config: *config,
            status: status.clone(),
            connection: Connection::new(socket, BackendMachine::new(config.backend()))?,
            memory: SharedMemory::new(config.policy, Arc::clone(&link))?,
            rings,
            log: Log::default(),
            link,
            wake,
            side,
            commands,
            filter: Filter::new(0, config.mac),
            pairs_wanted: None,
            loaded: false,
            migration: Migration::default(),
            queues: Some(queues),
            waiting: None,
            pairs_enabled: 0,
            channel: Channel::new(status.word()),
            half: HalfMessage::new(config.answer_timeout),
            up: None,
        })
    }

    fn on_socket(&mut self, events: &mut Events<Self>) -> Result<(), DownReason> {
        for _ in 0..READS_PER_TURN {
            match self.connection.step()? {
                Step::Idle => break,
                Step::Handled => {}
                Step::Refused(error) => events.push_back(Event::RequestRefused(error.into())),
                Step::Event(event) => self.on_event(event, events)?,
            }
            self.answer_if_settled(events)?;
        }
        self.half.note(&self.connection.machine);
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

    /// Something that came and may go.
    fn on_side(&mut self, events: &mut Events<Self>) -> Result<(), DownReason> {
        // The wait itself does not fail, and waits for nothing.
        for token in self.side.wait(Some(Instant::now())).unwrap_or_default() {
            match token {
                CHANNEL => {
                    let done = self.channel.go_on(&self.side, CHANNEL);
                    self.note_channel(done, events);
                }
                COMMANDS => self.serve_commands(events),
                _ => {
                    let moved = self.go_on_with_state(events);
                    moved.map_err(|error| DownReason::Protocol(error.into()))?;
                }
            }
        }
        self.connection.flush()
    }

    /// The front-end took memory back.
    fn fault(&self) -> Option<QueueError> {
        self.link.fault()
    }

    fn on_time(&mut self, now: Instant, events: &mut Events<Self>) -> Result<(), DownReason> {
        self.half.check(&self.connection.machine, now)?;
        let moved = self.end_late_transfer(now, events);
        moved.map_err(|error| DownReason::Protocol(error.into()))?;
        self.connection.flush()?;
        let result = self.connection.machine.on_deadline(now);
        result.map_err(|error| DownReason::Protocol(error.into()))
    }

    fn deadline(&self) -> Option<Instant> {
        let half = self.half.deadline();
        let others = [self.connection.machine.deadline(), self.migration.deadline()];
        half.into_iter().chain(others.into_iter().flatten()).min()
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

    fn side_fd(&self) -> BorrowedFd<'_> {
        self.side.as_fd()
    }

    fn up(&self) -> Option<Instant> {
        self.up
    }

    fn is_silent(&self) -> bool {
        self.connection.machine.heard() == 0
    }

    fn end(&mut self) {
        // While it is not down: packets that are held are copied out, and their buffers go back.
        self.rings.stop_all();
        self.rings.drop_returned();
        self.link.close();
    }
}

impl Session {
    /// Packets are lost from now on, or no longer.
    pub(super) fn set_link(&mut self, up: bool, events: &mut Events<Self>) {
        self.rings.set_link(up);
        self.tell_status(events);
    }

    /// Has the driver read its configuration, if the status is another one than it knows. While no
    /// ring runs the front-end is told nothing.
    ///
    /// Spec: vhost-user "Suspended device state".
    pub(super) fn tell_status(&mut self, events: &mut Events<Self>) {
        let agreed = self.connection.machine.protocol_features();
        if agreed.contains(ProtocolFeatures::CONFIG) && self.rings.any_running() {
            let told = self.channel.tell(self.status.word(), &self.side, CHANNEL);
            self.note_channel(told, events);
        }
    }

    /// Reports the end of the second socket, unless the front-end is gone altogether.
    fn note_channel(&self, done: Result<(), DownReason>, events: &mut Events<Self>) {
        if let Err(reason) = done
            && !self.connection.has_hung_up()
        {
            events.push_back(Event::ChannelEnded(reason));
        }
    }
}

/// Most reads of one turn, of which a message takes two, so that a front-end that never stops cannot
/// keep the caller: some ten microseconds.
const READS_PER_TURN: usize = 4;
