//! One connection to a device: what it is told, and the queues that come of it.

use super::channel::Channel;
use super::control::Control;
use super::kept::Kept;
use super::queue::{RxQueue, TxQueue};
use super::{DownReason, DriverConfig, Event, Link, LinkParameters};
use crate::endpoint::{self, Connection, Events, Step};
use crate::error::DeviceError;
use crate::frontend::{self, FrontendMachine, Told};
use crate::wire::feature;
use ringport::doorbell::Doorbell;
use ringport::error::{CallError, QueueError};
use ringport::link::LinkState;
use ringport::pool::Pool;
use ringport::reactor::{Interest, Reactor};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

/// What connections are made with.
#[derive(Debug)]
pub(super) struct Setup {
    config: DriverConfig,
    kept: Kept,
    /// Where packets lie, if not in memory of each link's own.
    pool: Option<Arc<Pool>>,
}

impl Setup {
    pub(super) fn new(config: DriverConfig) -> Self {
        Self { config, kept: Kept::default(), pool: None }
    }

    pub(super) fn on_pool(config: DriverConfig, pool: Arc<Pool>) -> Self {
        Self { pool: Some(pool), ..Self::new(config) }
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) config: DriverConfig,
    kept: Kept,
    pub(super) pool: Option<Arc<Pool>>,
    pub(super) connection: Connection<FrontendMachine>,
    pub(super) link: Arc<LinkState>,
    /// Rung by the device when it finds a ring broken.
    pub(super) given_up: Doorbell,
    /// What comes and goes.
    pub(super) side: Reactor,
    /// Where the device says that its configuration changed.
    pub(super) channel: Option<Channel>,
    /// It did, and was not read since.
    pub(super) changed: bool,
    /// To be enabled as soon as the device has answered what it was asked before.
    pub(super) pairs_wanted: Option<u16>,
    /// What the driver was told.
    pub(super) told: Option<Told>,
    /// The control queue, if the device has one.
    pub(super) control: Option<Control>,
    /// Until all rings run.
    pub(super) queues: Option<Queues>,
    pub(super) up: Option<Instant>,
}

/// In the set of what comes and goes.
pub(super) const CHANNEL: u64 = 0;
pub(super) const CONTROL: u64 = 1;

/// The data sides of the rings.
#[derive(Debug)]
pub(super) struct Queues {
    pub(super) rx: Vec<RxQueue>,
    pub(super) tx: Vec<TxQueue>,
}

impl endpoint::Session for Session {
    type Config = Setup;
    type Rx = RxQueue;
    type Tx = TxQueue;

    fn new(socket: OwnedFd, setup: &Setup) -> Result<Self, DeviceError> {
        let Setup { config, kept, pool } = setup;
        let machine = FrontendMachine::new(config.frontend(kept.features()), Instant::now());
        let mut connection = Connection::new(socket, machine)?;
        // The driver speaks first. What goes wrong with that the first read tells.
        let _ = connection.flush();
        Ok(Self {
            config: *config,
            kept: kept.clone(),
            pool: pool.clone(),
            connection,
            link: Arc::new(LinkState::new().map_err(CallError::io("eventfd"))?),
            given_up: Doorbell::create().map_err(CallError::io("eventfd"))?,
            side: Reactor::new()?,
            channel: None,
            changed: false,
            pairs_wanted: None,
            told: None,
            control: None,
            queues: None,
            up: None,
        })
    }

    fn on_socket(&mut self, events: &mut Events<Self>) -> Result<(), DownReason> {
        for _ in 0..ANSWERS_PER_TURN {
            match self.connection.step()? {
                Step::Idle => break,
                Step::Event(event) => self.on_event(event, events)?,
                // A machine of this side refuses nothing and goes on.
                Step::Handled | Step::Refused(_) => {}
            }
            self.connection.flush()?;
        }
        self.connection.flush()
    }

    /// The device has found a ring broken. There is no way to start it again that keeps the others.
    fn on_wake(&mut self, _events: &mut Events<Self>) -> Result<(), DownReason> {
        if self.given_up.drain().is_ok_and(|rung| !rung) {
            return Ok(());
        }
        Err(DownReason::RingGivenUp)
    }

    /// Something that came and may go.
    fn on_side(&mut self, events: &mut Events<Self>) -> Result<(), DownReason> {
        // The wait itself does not fail, and waits for nothing.
        for token in self.side.wait(Some(Instant::now())).unwrap_or_default() {
            match token {
                CHANNEL => self.hear_channel(events),
                _ => self.hear_control(events),
            }
        }
        self.ask_next()
    }

    /// The device broke a ring, or took memory back.
    fn fault(&self) -> Option<QueueError> {
        self.link.fault()
    }

    fn on_time(&mut self, now: Instant, events: &mut Events<Self>) -> Result<(), DownReason> {
        self.end_command(now, events);
        let result = self.connection.machine.on_deadline(now);
        result.map_err(|error| DownReason::Protocol(error.into()))
    }

    fn deadline(&self) -> Option<Instant> {
        let command = self.control.as_ref().and_then(Control::deadline);
        self.connection.machine.deadline().into_iter().chain(command).min()
    }

    fn interest(&self) -> Interest {
        self.connection.interest()
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    fn wake_fd(&self) -> BorrowedFd<'_> {
        self.given_up.as_fd()
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
        self.link.close();
    }
}

impl Session {
    /// Has the device stop all rings. Without rings that run there is nothing to wait for.
    pub(super) fn stop(&mut self) -> Result<(), DownReason> {
        self.link.close();
        if self.connection.machine.stop(Instant::now()).is_err() {
            return Err(DownReason::Closed);
        }
        self.connection.flush()
    }

    fn on_event(
        &mut self,
        event: frontend::Event,
        events: &mut Events<Self>,
    ) -> Result<(), DownReason> {
        match event {
            frontend::Event::Negotiated(agreed) => {
                let offer = self.prepare(&agreed).map_err(DownReason::Protocol)?;
                let offered = self.connection.machine.offer(offer, Instant::now());
                offered.map_err(|error| DownReason::Protocol(error.into()))
            }
            frontend::Event::Running => {
                self.report(events);
                self.ask_next()
            }
            frontend::Event::ConfigRead(told) => {
                self.compare(told, events);
                self.ask_next()
            }
            frontend::Event::PairsEnabled(pairs) => {
                events.push_back(Event::PairsEnabled(pairs));
                self.ask_next()
            }
            // A driver's own memory does not migrate.
            frontend::Event::Logging(_) => Ok(()),
            frontend::Event::Stopped => {
                self.connection.flush()?;
                Err(DownReason::Closed)
            }
        }
    }

    fn report(&mut self, events: &mut Events<Self>) {
        let Some(Queues { rx, tx }) = self.queues.take() else { return };
        let agreed = *self.connection.machine.agreed();
        if self.config.keep_features {
            self.kept.keep(agreed.features);
        }
        self.told = Some(agreed.told);
        let parameters = LinkParameters {
            features: agreed.features,
            protocol_features: agreed.protocol_features,
            packed: agreed.features & feature::RING_PACKED != 0,
            ring_sizes: [self.config.ring_size; 2],
            mac: agreed.told.mac,
            mtu: agreed.told.mtu,
            carrier: agreed.told.carrier,
            queue_pairs_max: agreed.told.queue_pairs,
            buffer_size: Some(self.buffer_size()),
        };
        let peer = self.connection.credentials;
        self.up = Some(Instant::now());
        events.push_back(Event::LinkUp(Box::new(Link { rx, tx, peer, parameters })));
        if agreed.told.announce {
            events.push_back(Event::AnnounceWanted);
        }
    }
}

/// Most answers read in one turn, so that other ports in the same loop have theirs.
const ANSWERS_PER_TURN: usize = 64;
