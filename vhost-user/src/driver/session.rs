//! One connection to a device: what it is told, and the queues that come of it.

use super::config::ring_features;
use super::queue::{DriverMemory, LayoutError, QueueOptions, RxQueue, TxQueue};
use super::{DownReason, DriverConfig, Event, Link, LinkParameters};
use crate::endpoint::{self, Connection, Events, Step};
use crate::error::DeviceError;
use crate::frontend::{self, Agreed, FrontendMachine, MemoryOffer, Offer, RingSetup};
use crate::virtqueue::RingAddresses;
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
    config: DriverConfig,
    connection: Connection<FrontendMachine>,
    link: Arc<LinkState>,
    /// Rung by the device when it finds a ring broken.
    given_up: Doorbell,
    /// Until all rings run.
    queues: Option<Queues>,
    up: Option<Instant>,
}

/// The data sides of the rings.
#[derive(Debug)]
struct Queues {
    rx: Vec<RxQueue>,
    tx: Vec<TxQueue>,
}

/// The doorbells of one ring.
struct Bells {
    kick: Arc<Doorbell>,
    call: Arc<Doorbell>,
}

impl endpoint::Session for Session {
    type Config = DriverConfig;
    type Rx = RxQueue;
    type Tx = TxQueue;

    fn new(socket: OwnedFd, config: &DriverConfig) -> Result<Self, DeviceError> {
        let machine = FrontendMachine::new(config.frontend(), Instant::now());
        let mut connection = Connection::new(socket, machine)?;
        // The driver speaks first. What goes wrong with that the first read tells.
        let _ = connection.flush();
        Ok(Self {
            config: *config,
            connection,
            link: Arc::new(LinkState::new().map_err(CallError::io("eventfd"))?),
            given_up: Doorbell::create().map_err(CallError::io("eventfd"))?,
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

    /// The device broke a ring, or took memory back.
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
        self.given_up.as_fd()
    }

    fn link_fd(&self) -> BorrowedFd<'_> {
        self.link.wake_fd()
    }

    fn up(&self) -> Option<Instant> {
        self.up
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
                Ok(())
            }
            frontend::Event::Stopped => {
                self.connection.flush()?;
                Err(DownReason::Closed)
            }
        }
    }

    /// Makes memory, rings and queues for a link.
    fn prepare(&mut self, agreed: &Agreed) -> Result<Offer, DeviceError> {
        let mut memory = DriverMemory::allocate(&self.config.memory(agreed), &self.link)?;
        let mut queues = Queues { rx: Vec::new(), tx: Vec::new() };
        let mut rings = Vec::new();
        for pair in 0..agreed.queue_pairs {
            let [rx, tx] = [Bells::new()?, Bells::new()?];
            rings.push(self.ring(&memory, rings.len(), &rx)?);
            rings.push(self.ring(&memory, rings.len(), &tx)?);
            queues.rx.push(memory.rx_queue(pair, &self.options(agreed, rx))?);
            queues.tx.push(memory.tx_queue(pair, &self.options(agreed, tx))?);
        }
        let fd = memory.fd().try_clone_to_owned().map_err(LayoutError::from)?;
        self.queues = Some(queues);
        Ok(Offer { memory: MemoryOffer { region: memory.region(), fd }, rings })
    }

    /// What the device is told of a ring.
    fn ring(
        &self,
        memory: &DriverMemory,
        ring: usize,
        bells: &Bells,
    ) -> Result<RingSetup, LayoutError> {
        let rings = memory.rings();
        let addresses = memory.addresses(ring).ok_or(LayoutError::NoSuchRing { ring, rings })?;
        let RingAddresses { size, descriptor, driver, device } = addresses;
        Ok(RingSetup {
            size,
            descriptor_area: descriptor,
            driver_area: driver,
            device_area: device,
            kick: Some(bells.kick.try_clone_fd()?),
            call: Some(bells.call.try_clone_fd()?),
            err: Some(self.given_up.try_clone_fd()?),
        })
    }

    fn options(&self, agreed: &Agreed, bells: Bells) -> QueueOptions {
        QueueOptions {
            features: ring_features(agreed.features),
            calls: self.config.calls,
            kick: Some(bells.kick),
            call: Some(bells.call),
        }
    }

    fn report(&mut self, events: &mut Events<Self>) {
        let Some(Queues { rx, tx }) = self.queues.take() else { return };
        let agreed = self.connection.machine.agreed();
        let parameters = LinkParameters {
            features: agreed.features,
            protocol_features: agreed.protocol_features,
            packed: agreed.features & feature::RING_PACKED != 0,
            ring_sizes: [self.config.ring_size; 2],
            mac: agreed.mac,
            mtu: agreed.mtu,
            buffer_size: Some(self.config.buffer_size),
        };
        let peer = self.connection.credentials;
        self.up = Some(Instant::now());
        events.push_back(Event::LinkUp(Box::new(Link { rx, tx, peer, parameters })));
    }
}

impl Bells {
    fn new() -> Result<Self, LayoutError> {
        let bell = || Doorbell::create().map(Arc::new);
        Ok(Self { kick: bell()?, call: bell()? })
    }
}

/// Most answers read in one turn, so that other ports in the same loop have theirs.
const ANSWERS_PER_TURN: usize = 64;
