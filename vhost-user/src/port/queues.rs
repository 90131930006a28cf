//! Queues of a port whose role is known at run time only.

use super::PortEvent;
use crate::endpoint::Event;
use crate::{driver, virtqueue};
use ringport::burst::{PacketRx, PacketTx, RxBurst, TxBurst};
use ringport::error::QueueError;
use ringport::ring_view::RingView;
use ringport::stats::{RxStats, TxStats};
use std::os::fd::BorrowedFd;

/// A receive queue of a device or of a driver. Which of them is asked once a burst.
#[derive(Debug)]
pub enum AnyRxQueue {
    /// Of a device.
    Device(virtqueue::RxQueue),
    /// Of a driver.
    Driver(driver::RxQueue),
}

/// A transmit queue of a device or of a driver. Which of them is asked once a burst.
#[derive(Debug)]
pub enum AnyTxQueue {
    /// Of a device.
    Device(virtqueue::TxQueue),
    /// Of a driver.
    Driver(driver::TxQueue),
}

impl AnyRxQueue {
    pub(super) fn of_device(event: Event) -> PortEvent {
        event.map_queues(Self::Device, AnyTxQueue::Device)
    }

    pub(super) fn of_driver(event: driver::Event) -> PortEvent {
        event.map_queues(Self::Driver, AnyTxQueue::Driver)
    }
}

impl PacketRx for AnyRxQueue {
    fn rx_burst(&mut self, max: usize) -> Result<RxBurst<'_>, QueueError> {
        match self {
            Self::Device(queue) => queue.rx_burst(max),
            Self::Driver(queue) => queue.rx_burst(max),
        }
    }

    fn arm(&mut self) -> Result<bool, QueueError> {
        match self {
            Self::Device(queue) => queue.arm(),
            Self::Driver(queue) => queue.arm(),
        }
    }

    fn doorbell(&self) -> BorrowedFd<'_> {
        match self {
            Self::Device(queue) => queue.doorbell(),
            Self::Driver(queue) => queue.doorbell(),
        }
    }

    fn stats(&self) -> RxStats {
        match self {
            Self::Device(queue) => queue.stats(),
            Self::Driver(queue) => queue.stats(),
        }
    }

    fn ring_view(&self) -> Option<RingView> {
        match self {
            Self::Device(queue) => queue.ring_view(),
            Self::Driver(queue) => queue.ring_view(),
        }
    }
}

impl PacketTx for AnyTxQueue {
    fn tx_burst(&mut self, max: usize) -> Result<TxBurst<'_>, QueueError> {
        match self {
            Self::Device(queue) => queue.tx_burst(max),
            Self::Driver(queue) => queue.tx_burst(max),
        }
    }

    fn arm(&mut self) -> Result<bool, QueueError> {
        match self {
            Self::Device(queue) => queue.arm(),
            Self::Driver(queue) => queue.arm(),
        }
    }

    fn doorbell(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Device(queue) => queue.doorbell(),
            Self::Driver(queue) => queue.doorbell(),
        }
    }

    fn stats(&self) -> TxStats {
        match self {
            Self::Device(queue) => queue.stats(),
            Self::Driver(queue) => queue.stats(),
        }
    }

    fn ring_view(&self) -> Option<RingView> {
        match self {
            Self::Device(queue) => queue.ring_view(),
            Self::Driver(queue) => queue.ring_view(),
        }
    }
}
