//! The rings of one connection, from control's side.

use super::config::ring_features;
use super::ring::{Ring, begin, doorbell};
use super::{DeviceConfig, Generation};
use crate::backend::{RingBase, RingOffer};
use crate::error::DeviceError;
use crate::inflight::{Found, InflightArea};
use crate::log::{DirtyLog, RingLog};
use crate::memory::GuestMemory;
use crate::virtqueue::{
    CommandQueue, KickMode, Prepared, RingAddresses, RingError, RingStart, RxQueue, TxQueue,
    command_ring, rx_ring, tx_ring,
};
use crate::wire::feature;
use ringport::doorbell::Doorbell;
use ringport::error::{CallError, QueueError};
use ringport::link::LinkState;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Every ring that exists: of pair `n` ring `2n` is what the driver receives from, and `2n + 1` what
/// it sends to. One more behind them may be for commands.
#[derive(Debug)]
pub(super) struct Rings {
    rings: Vec<Ring>,
    kicks: KickMode,
    features: u64,
    log: Option<DirtyLog>,
    inflight: Option<InflightArea>,
    /// Whether packets may flow on rings that the driver has enabled.
    link_up: bool,
}

/// The data sides of the rings.
#[derive(Debug)]
pub(super) struct Queues {
    pub(super) rx: Vec<RxQueue>,
    pub(super) tx: Vec<TxQueue>,
}

/// Rings and what is behind them.
pub(super) type Made = (Rings, Queues, Option<CommandQueue>);

impl Rings {
    /// Rings that do not run yet. `wake` is rung when a change has settled, or a ring broken.
    pub(super) fn new(
        config: &DeviceConfig,
        link: &Arc<LinkState>,
        wake: &Arc<Doorbell>,
    ) -> Result<Made, CallError> {
        let mut queues = Queues { rx: Vec::new(), tx: Vec::new() };
        let mut rings = Vec::new();
        let failed = CallError::io;
        for _ in 0..config.queue_pairs {
            let (tx, control) =
                tx_ring(Arc::clone(link), Arc::clone(wake)).map_err(failed("make a queue"))?;
            rings.push(Ring::new(control, true));
            queues.tx.push(tx);
            let (rx, control) =
                rx_ring(Arc::clone(link), Arc::clone(wake)).map_err(failed("make a queue"))?;
            rings.push(Ring::new(control, true));
            queues.rx.push(rx);
        }
        let mut commands = None;
        if config.control {
            let made = command_ring(Arc::clone(link), Arc::clone(wake));
            let (queue, control) = made.map_err(failed("make a queue"))?;
            rings.push(Ring::new(control, false));
            commands = Some(queue);
        }
        let rings = Self {
            rings,
            kicks: config.kicks,
            features: 0,
            log: None,
            inflight: None,
            link_up: true,
        };
        Ok((rings, queues, commands))
    }

    pub(super) fn set_features(&mut self, features: u64, rings_enabled: bool) {
        let changed = self.features ^ features;
        self.features = features;
        if changed & feature::LOG_ALL != 0 {
            self.relog();
        }
        if rings_enabled {
            self.rings.iter_mut().for_each(|ring| ring.set_enabled(true, self.link_up));
        }
    }

    /// Has all packets lost on both ways, or no longer: as if rings were disabled.
    pub(super) fn set_link(&mut self, up: bool) {
        self.link_up = up;
        for ring in &mut self.rings {
            ring.set_enabled(ring.enabled, up);
        }
    }

    /// Whether any ring runs.
    pub(super) fn any_running(&self) -> bool {
        self.rings.iter().any(|ring| ring.size.is_some())
    }

    pub(super) fn start(
        &mut self,
        offer: RingOffer,
        memory: Option<&Arc<GuestMemory>>,
    ) -> Result<(), DeviceError> {
        let (number, kicks, features) = (offer.index, self.kicks, ring_features(self.features));
        let (log, link_up) = (self.log_of(offer.addresses.log), self.link_up);
        let failed = |source| DeviceError::Ring { ring: number, source };
        let found = self.find_inflight(&offer).map_err(failed)?;
        let ring = self.ring(number);
        let (Some(ring), Some(memory)) = (ring, memory) else {
            return Err(DeviceError::NoMemory { ring: number });
        };
        let kick = doorbell(number, offer.kick)?;
        let call = doorbell(number, offer.call)?;
        let err = doorbell(number, offer.err)?;
        let addresses = RingAddresses {
            size: offer.size,
            descriptor: offer.addresses.descriptor_area,
            driver: offer.addresses.driver_area,
            device: offer.addresses.device_area,
        };
        let base = begin(offer.base, memory, &addresses, found.as_ref()).map_err(failed)?;
        let inflight = found.map(|found| found.start(base, offer.size)).transpose();
        let inflight = inflight.map_err(|error| failed(error.into()))?;
        // Nobody polls the ring of commands.
        let kicks = if ring.has_packets { kicks } else { KickMode::Adaptive };
        let start = RingStart {
            addresses,
            base,
            features,
            // Nobody would kick.
            kicks: if kick.is_some() { kicks } else { KickMode::Polling },
            kick: kick.map(Arc::new),
            call: call.map(Arc::new),
            enabled: offer.enabled && (link_up || !ring.has_packets),
            log,
            inflight,
        };
        ring.control.start(Arc::clone(memory), start).map_err(failed)?;
        ring.log = offer.addresses.log;
        ring.size = Some(offer.size);
        ring.enabled = offer.enabled;
        ring.fault = None;
        ring.err = err;
        Ok(())
    }

    /// Has all rings note what they write to in this log from now on, once that was agreed on.
    pub(super) fn set_log(&mut self, log: Option<DirtyLog>) {
        self.log = log;
        self.relog();
    }

    /// Has a ring note writes to its device area under this guest address, or not at all.
    pub(super) fn set_log_address(&mut self, number: u16, address: Option<u64>) {
        let log = self.log_of(address);
        if let Some(ring) = self.ring(number) {
            ring.log = address;
            ring.control.set_log(log);
        }
    }

    /// Rings that start from now on keep in this memory how far they are.
    pub(super) fn set_inflight(&mut self, area: Option<InflightArea>) {
        self.inflight = area;
    }

    pub(super) fn stop(&mut self, number: u16) {
        if let Some(ring) = self.ring(number) {
            ring.stop();
        }
    }

    pub(super) fn stop_all(&mut self) {
        for ring in &mut self.rings {
            ring.stop();
            ring.enabled = false;
        }
    }

    pub(super) fn set_enabled(&mut self, number: u16, enabled: bool) {
        let link_up = self.link_up;
        if let Some(ring) = self.ring(number) {
            ring.set_enabled(enabled, link_up);
        }
    }

    /// Announces an address with the next burst of the first receive queue.
    pub(super) fn announce(&mut self, address: [u8; 6]) -> Result<(), CallError> {
        let first = self.ring(1).map(|ring| ring.control.announce(address));
        first.unwrap_or(Ok(())).map_err(CallError::io("make an announcement"))
    }

    pub(super) fn set_kick(&mut self, number: u16, fd: Option<OwnedFd>) -> Result<(), DeviceError> {
        let kick = doorbell(number, fd)?.map(Arc::new);
        let Some(ring) = self.ring(number) else { return Ok(()) };
        let changed = ring.control.set_kick(kick);
        changed.map_err(|source| DeviceError::Ring { ring: number, source })
    }

    pub(super) fn set_call(&mut self, number: u16, fd: Option<OwnedFd>) -> Result<(), DeviceError> {
        let call = doorbell(number, fd)?.map(Arc::new);
        if let Some(ring) = self.ring(number) {
            ring.control.set_call(call);
        }
        Ok(())
    }

    pub(super) fn set_err(&mut self, number: u16, fd: Option<OwnedFd>) -> Result<(), DeviceError> {
        let err = doorbell(number, fd)?;
        if let Some(ring) = self.ring(number) {
            ring.err = err;
        }
        Ok(())
    }

    /// Has every ring that runs go on in another memory, or none of them.
    pub(super) fn move_to(&mut self, next: &Generation) -> Result<(), DeviceError> {
        let memory = next.memory();
        let prepared = self.rings.iter().zip(0u16..).map(|(ring, number)| {
            let ready = ring.control.retranslated(memory);
            ready.map_err(|source| DeviceError::Ring { ring: number, source })
        });
        let prepared: Vec<Prepared> = prepared.collect::<Result<_, _>>()?;
        for (ring, prepared) in self.rings.iter_mut().zip(prepared) {
            ring.control.apply(prepared);
        }
        Ok(())
    }

    /// Whether no burst is open any more that began before the last change.
    pub(super) fn is_settled(&mut self) -> bool {
        self.rings.iter_mut().all(|ring| ring.control.is_settled())
    }

    /// Lets go of memory and doorbells that queues have given back.
    pub(super) fn drop_returned(&mut self) {
        for ring in &mut self.rings {
            // Asking does so; whether a change has settled is of interest to whoever waits for it.
            ring.control.is_settled();
        }
    }

    /// Where a ring stopped. Its last change has settled.
    pub(super) fn base(&self, number: u16) -> Option<RingBase> {
        self.rings.get(usize::from(number)).and_then(|ring| ring.control.base())
    }

    /// Rings that broke since this was asked last. Whoever wants to know of it is told.
    pub(super) fn take_faults(&mut self) -> Vec<(u16, QueueError)> {
        let rings = self.rings.iter_mut().zip(0..);
        rings.filter_map(|(ring, number)| ring.new_fault().map(|error| (number, error))).collect()
    }

    /// How many pairs run and are enabled, from the first on.
    pub(super) fn pairs_enabled(&self) -> u16 {
        let pairs = self.rings.chunks_exact(2).take_while(|pair| pair.iter().all(Ring::is_active));
        u16::try_from(pairs.count()).unwrap_or(u16::MAX)
    }

    /// Entries of the rings of the first pair: what the driver sends to, and what it receives from.
    pub(super) fn first_sizes(&self) -> [u16; 2] {
        let size = |number: usize| self.rings.get(number).and_then(|ring| ring.size).unwrap_or(0);
        [size(1), size(0)]
    }

    fn relog(&mut self) {
        let logs: Vec<_> = self.rings.iter().map(|ring| self.log_of(ring.log)).collect();
        for (ring, log) in self.rings.iter_mut().zip(logs) {
            ring.control.set_log(log);
        }
    }

    /// Where a ring notes what it writes to, whose device area is logged under this address.
    fn log_of(&self, device_area: Option<u64>) -> Option<RingLog> {
        let log = self.log.clone().filter(|_| self.features & feature::LOG_ALL != 0)?;
        Some(RingLog { log, device_area })
    }

    /// What the memory for chains in flight says of a ring.
    fn find_inflight(&self, offer: &RingOffer) -> Result<Option<Found>, RingError> {
        let packed = matches!(offer.base, RingBase::Packed { .. });
        let found = self.inflight.as_ref().map(|area| area.find(offer.index, packed));
        Ok(found.transpose()?.flatten())
    }

    fn ring(&mut self, number: u16) -> Option<&mut Ring> {
        self.rings.get_mut(usize::from(number))
    }
}
