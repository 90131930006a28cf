//! One connection to a front-end, and the device behind it.

use super::config::RelayConfig;
use super::memory::{Memory, Use};
use super::ring::Ring;
use crate::device::VdpaDevice;
use ringport::doorbell::Doorbell;
use ringport::error::{CallError, QueueError};
use ringport::link::LinkState;
use ringport::reactor::{Interest, Reactor};
use ringport_vhost_user::DeviceError;
use ringport_vhost_user::backend::{BackendConfig, BackendMachine, RingBase};
use ringport_vhost_user::device::DownReason;
use ringport_vhost_user::endpoint::{self, Channel, Connection, Event, Events, HalfMessage, Step};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// There are no queues here.
#[derive(Debug, Clone, Copy)]
pub enum Nothing {}

/// What conversations are begun with: the device stays from one to the next.
#[derive(Debug)]
pub(super) struct Setup {
    config: RelayConfig,
    backend: BackendConfig,
    device: SharedDevice,
    /// The device's own.
    pub(super) gone: OwnedFd,
}

/// The device, which one session at a time uses.
#[derive(Debug, Clone)]
pub(super) struct SharedDevice {
    device: Arc<Mutex<Option<Box<dyn VdpaDevice>>>>,
    /// Why a session gave it up.
    kept: Arc<Mutex<Option<crate::DeviceError>>>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: Connection<BackendMachine>,
    pub(super) device: SharedDevice,
    pub(super) memory: Memory,
    /// By number; those that the front-end has started.
    pub(super) rings: Vec<Option<Ring>>,
    /// By number; a ring may be enabled before it is started.
    pub(super) enabled: Vec<bool>,
    pub(super) features: u64,
    pub(super) status: u8,
    /// The device works on the rings, which are there.
    pub(super) runs: bool,
    pub(super) in_use: Use,
    /// By number: where rings were when the device stopped.
    pub(super) stopped_at: Vec<Option<RingBase>>,
    pub(super) channel: Channel,
    /// The configuration changed, and there was no channel on which to say so.
    pub(super) unsaid: bool,
    /// What comes and goes.
    pub(super) side: Reactor,
    half: HalfMessage,
    link: Arc<LinkState>,
    /// Nobody rings it: no queue is here.
    wake: Doorbell,
    /// Since when the link is up.
    pub(super) up: Option<Instant>,
}

/// In the set of what comes and goes.
pub(super) const CHANNEL: u64 = 0;
const CONFIG: u64 = 1;
const GONE: u64 = 2;

/// Most reads of one turn, of which a message takes two.
const READS_PER_TURN: usize = 4;

impl Setup {
    pub(super) fn new(
        config: RelayConfig,
        device: Box<dyn VdpaDevice>,
    ) -> Result<Self, DeviceError> {
        let backend = config.backend(device.capabilities())?;
        let gone = device.gone().try_clone_to_owned().map_err(CallError::io("keep an eventfd"))?;
        let (device, kept) = (Arc::new(Mutex::new(Some(device))), Arc::default());
        let device = SharedDevice { device, kept };
        Ok(Self { config, backend, device, gone })
    }

    pub(super) fn kick_thread(&self) -> Option<String> {
        self.device.lock().as_ref()?.kick_thread().map(str::to_owned)
    }

    pub(super) fn take_device(&self) -> Option<Box<dyn VdpaDevice>> {
        self.device.lock().take()
    }

    /// Why a session gave the device up, once.
    pub(super) fn take_kept(&self) -> Option<crate::DeviceError> {
        self.device.kept.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl SharedDevice {
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Box<dyn VdpaDevice>>> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl endpoint::Session for Session {
    type Config = Setup;
    type Rx = Nothing;
    type Tx = Nothing;

    fn new(socket: OwnedFd, setup: &Setup) -> Result<Self, DeviceError> {
        let link = Arc::new(LinkState::new().map_err(CallError::io("eventfd"))?);
        let side = Reactor::new()?;
        if let Some(device) = &*setup.device.lock() {
            side.add(device.config_changed(), CONFIG, Interest::Read)?;
            side.add(device.gone(), GONE, Interest::Read)?;
        }
        let rings = usize::from(setup.backend.ring_count());
        Ok(Self {
            connection: Connection::new(socket, BackendMachine::new(setup.backend))?,
            device: setup.device.clone(),
            memory: Memory::new(setup.config.policy, Arc::clone(&link))?,
            rings: (0..rings).map(|_| None).collect(),
            enabled: vec![false; rings],
            features: 0,
            status: 0,
            runs: false,
            in_use: Use::default(),
            stopped_at: vec![None; rings],
            channel: Channel::new(0),
            unsaid: false,
            side,
            half: HalfMessage::new(setup.config.answer_timeout),
            link,
            wake: Doorbell::create().map_err(CallError::io("eventfd"))?,
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
        }
        self.half.note(&self.connection.machine);
        self.connection.flush()
    }

    fn on_wake(&mut self, _: &mut Events<Self>) -> Result<(), DownReason> {
        Ok(())
    }

    fn on_side(&mut self, events: &mut Events<Self>) -> Result<(), DownReason> {
        // The wait itself does not fail, and waits for nothing.
        for token in self.side.wait(Some(Instant::now())).unwrap_or_default() {
            let done = match token {
                CHANNEL => self.channel.go_on(&self.side, CHANNEL),
                CONFIG => self.pass_on_config_change(),
                _ => return Err(self.gone()),
            };
            if let Err(reason) = done
                && !self.connection.has_hung_up()
            {
                events.push_back(Event::ChannelEnded(reason));
            }
        }
        self.connection.flush()
    }

    /// The front-end took memory back.
    fn fault(&self) -> Option<QueueError> {
        self.link.fault()
    }

    fn on_time(&mut self, now: Instant, _: &mut Events<Self>) -> Result<(), DownReason> {
        self.half.check(&self.connection.machine, now)?;
        self.connection.flush()
    }

    fn deadline(&self) -> Option<Instant> {
        self.half.deadline()
    }

    fn interest(&self) -> Interest {
        self.connection.interest()
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
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

    /// The device is reset before its rings, memory and eventfds go: a front-end that comes next finds
    /// nothing of this one.
    fn end(&mut self) {
        self.halt();
        self.rings.iter_mut().for_each(|ring| *ring = None);
        if let Some(device) = &mut *self.device.lock() {
            self.memory.release(&mut **device);
        }
        if let Some(kept) = self.memory.kept() {
            *self.device.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        }
        self.link.close();
    }
}

impl Session {
    fn pass_on_config_change(&mut self) -> Result<(), DownReason> {
        if let Some(device) = &*self.device.lock() {
            // Eight bytes of a counter; there is nothing to learn from it.
            let _ = nix::unistd::read(device.config_changed(), &mut [0; 8]);
        }
        self.unsaid = !self.channel.is_open();
        self.channel.tell_changed(&self.side, CHANNEL)
    }

    /// Why a connection ends whose device is being removed, or was given up.
    fn gone(&self) -> DownReason {
        let why = self.memory.kept().unwrap_or(crate::DeviceError::Gone);
        DownReason::Protocol(super::error::behind(why))
    }
}
