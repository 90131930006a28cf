//! A queue with what controls it.

use crate::backend::RingBase;
use crate::memory::GuestMemory;
use crate::virtqueue::{
    KickMode, RingAddresses, RingControl, RingFeatures, RingStart, RxQueue, TxQueue, rx_ring,
    tx_ring,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ringport::doorbell::Doorbell;
use ringport::error::QueueError;
use ringport::link::LinkState;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::sync::Arc;

/// What a ring shares with others.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) kick: Arc<Doorbell>,
    pub(crate) call: Option<Arc<Doorbell>>,
    pub(crate) link: Arc<LinkState>,
    /// Wakes control.
    pub(crate) wake: Arc<Doorbell>,
}

/// A queue on a ring that has begun.
#[derive(Debug)]
pub(crate) struct Ring<Q> {
    pub(crate) queue: Q,
    pub(crate) control: RingControl,
    pub(crate) memory: Arc<GuestMemory>,
    pub(crate) start: RingStart,
}

impl Ends {
    pub(crate) fn new() -> Self {
        let bell = || Arc::new(Doorbell::create().unwrap());
        let link = Arc::new(LinkState::new().unwrap());
        Self { kick: bell(), call: Some(bell()), link, wake: bell() }
    }

    pub(crate) fn start(
        &self,
        addresses: RingAddresses,
        base: RingBase,
        features: RingFeatures,
        kicks: KickMode,
    ) -> RingStart {
        let (kick, call) = (Some(Arc::clone(&self.kick)), self.call.clone());
        RingStart {
            addresses,
            base,
            features,
            kicks,
            kick,
            call,
            enabled: true,
            log: None,
            inflight: None,
        }
    }

    /// Control was told: at once, or soon where the kernel has no asynchronous input and output.
    #[track_caller]
    pub(crate) fn assert_told(&self) {
        let mut wake = [PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut wake, PollTimeout::from(20_000_u16)).unwrap(), 1);
        assert!(self.wake.drain().unwrap());
    }
}

impl<Q> Ring<Q> {
    fn of((queue, control): (Q, RingControl), memory: &Arc<GuestMemory>, start: RingStart) -> Self {
        Self { queue, control, memory: Arc::clone(memory), start }
    }

    fn post(&mut self) {
        self.control.start(Arc::clone(&self.memory), self.start.clone()).unwrap();
    }
}

impl Ring<RxQueue> {
    pub(crate) fn rx(ends: &Ends, memory: &Arc<GuestMemory>, start: RingStart) -> Self {
        let made = rx_ring(Arc::clone(&ends.link), Arc::clone(&ends.wake));
        let mut ring = Self::of(made.unwrap(), memory, start);
        ring.restart();
        ends.assert_told();
        ring
    }

    /// Starts the ring, again or for the first time, and has the queue begin.
    pub(crate) fn restart(&mut self) {
        self.post();
        self.queue.rx_burst(0).unwrap();
    }

    /// How the driver broke the ring, which must have been found by the next burst.
    pub(crate) fn error(&mut self) -> QueueError {
        assert!(self.queue.rx_burst(8).unwrap().is_empty());
        self.control.fault().expect("the ring is not broken")
    }
}

impl Ring<TxQueue> {
    pub(crate) fn tx(ends: &Ends, memory: &Arc<GuestMemory>, start: RingStart) -> Self {
        let made = tx_ring(Arc::clone(&ends.link), Arc::clone(&ends.wake));
        let mut ring = Self::of(made.unwrap(), memory, start);
        ring.restart();
        ends.assert_told();
        ring
    }

    /// Starts the ring, again or for the first time, and has the queue begin.
    pub(crate) fn restart(&mut self) {
        self.post();
        drop(self.queue.tx_burst(0).unwrap());
    }

    /// How the driver broke the ring, which must have been found by the next burst.
    pub(crate) fn error(&mut self) -> QueueError {
        assert_eq!(self.queue.tx_burst(8).unwrap().free(), 0);
        self.control.fault().expect("the ring is not broken")
    }
}

impl<Q> Ring<Q> {
    pub(crate) fn into_parts(self) -> (Q, RingControl) {
        (self.queue, self.control)
    }

    /// Stops the ring, and returns its base as it travels.
    pub(crate) fn stop(mut self) -> u32 {
        self.control.stop();
        assert!(self.control.is_settled());
        self.control.base().unwrap().to_wire()
    }
}

impl<Q> Deref for Ring<Q> {
    type Target = Q;

    fn deref(&self) -> &Q {
        &self.queue
    }
}

impl<Q> DerefMut for Ring<Q> {
    fn deref_mut(&mut self) -> &mut Q {
        &mut self.queue
    }
}
