//! Memory, rings and queues for a link.

use super::config::ring_features;
use super::queue::{DriverMemory, LayoutError, QueueOptions};
use super::session::{Queues, Session};
use crate::error::DeviceError;
use crate::frontend::{Agreed, MemoryOffer, Offer, RingSetup};
use crate::virtqueue::RingAddresses;
use ringport::doorbell::Doorbell;
use std::io;
use std::sync::Arc;

/// The doorbells of one ring.
pub(super) struct Bells {
    pub(super) kick: Arc<Doorbell>,
    pub(super) call: Arc<Doorbell>,
}

impl Session {
    /// Makes memory, rings and queues for a link.
    pub(super) fn prepare(&mut self, agreed: &Agreed) -> Result<Offer, DeviceError> {
        let config = self.config.memory(agreed);
        let mut memory = match &self.pool {
            Some(pool) => DriverMemory::on_pool(&config, pool, &self.link)?,
            None => DriverMemory::allocate(&config, &self.link)?,
        };
        let mut queues = Queues { rx: Vec::new(), tx: Vec::new() };
        let mut rings = Vec::new();
        for pair in 0..agreed.queue_pairs {
            let [rx, tx] = [Bells::new()?, Bells::new()?];
            rings.push(self.ring(&memory, rings.len(), &rx)?);
            rings.push(self.ring(&memory, rings.len(), &tx)?);
            queues.rx.push(memory.rx_queue(pair, &self.options(agreed, rx))?);
            queues.tx.push(memory.tx_queue(pair, &self.options(agreed, tx))?);
        }
        let shared = memory
            .regions()
            .into_iter()
            .map(|(region, fd)| fd.try_clone_to_owned().map(|fd| MemoryOffer { region, fd }));
        let memory = shared.collect::<Result<_, _>>().map_err(LayoutError::from)?;
        self.queues = Some(queues);
        let (control, channel) = (self.open_control(agreed)?, self.open_channel(agreed)?);
        Ok(Offer { memory, rings, control, channel })
    }

    /// Bytes of a packet that a buffer holds.
    pub(super) fn buffer_size(&self) -> u32 {
        self.pool.as_ref().map_or(self.config.buffer_size, |pool| pool.capacity())
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
        self.ring_at(addresses, bells)
    }

    /// The same of a ring at these addresses.
    pub(super) fn ring_at(
        &self,
        addresses: RingAddresses,
        bells: &Bells,
    ) -> Result<RingSetup, LayoutError> {
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
}

impl Bells {
    /// The kick has rung: there are devices that start a ring with its first kick, having said before
    /// that they need none (VPP does when it polls).
    ///
    /// Spec: vhost-user "Ring states".
    pub(super) fn new() -> Result<Self, LayoutError> {
        let bell = || Doorbell::create().map(Arc::new);
        let (kick, call) = (bell()?, bell()?);
        kick.ring().map_err(io::Error::other)?;
        Ok(Self { kick, call })
    }
}
