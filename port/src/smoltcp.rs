//! A port as the device of a TCP/IP stack: [`smoltcp::phy::Device`] over any two queues.
//!
//! ```no_run
//! # fn link() -> (Box<dyn ringport::burst::PacketRx>, Box<dyn ringport::burst::PacketTx>) { todo!() }
//! use ringport::smoltcp::PortDevice;
//! use smoltcp::iface::{Config, Interface, SocketSet};
//! use smoltcp::phy::Medium;
//! use smoltcp::time::Instant;
//! use smoltcp::wire::EthernetAddress;
//!
//! # fn main() -> Result<(), ringport::error::QueueError> {
//! let (rx, tx) = link();
//! let mut device = PortDevice::new(rx, tx, Medium::Ethernet, 1500);
//! let address = EthernetAddress([2, 0, 0, 0, 0, 1]).into();
//! let mut interface = Interface::new(Config::new(address), &mut device, Instant::now());
//! let mut sockets = SocketSet::new(Vec::new());
//! loop {
//!     interface.poll(Instant::now(), &mut device, &mut sockets);
//!     if !device.arm()? {
//!         // Nothing waits: sleep on `device.doorbell()` for up to `interface.poll_delay(..)`.
//!     }
//! }
//! # }
//! ```
//!
//! Received frames are copied out of the ring before the stack sees them, as the peer can still write
//! there. The stack checks and makes all checksums: open the port without `offload=`.

use crate::burst::{BURST_MAX, PacketRx, PacketTx};
use crate::error::QueueError;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use std::os::fd::BorrowedFd;

/// Frames that are taken from the ring at a time.
const BURST: usize = 32;
/// Bytes of an Ethernet header, which smoltcp counts as part of the largest frame.
const ETHERNET_HEADER: usize = 14;

/// A port's receive and transmit queue as a device.
///
/// When the link goes down the device is silent; [`end`](Self::end) says why. Make another one of the
/// next link's queues.
#[derive(Debug)]
pub struct PortDevice<R, T> {
    rx: R,
    tx: Outgoing<T>,
    medium: Medium,
    mtu: usize,
    received: Received,
}

impl<R: PacketRx, T: PacketTx> PortDevice<R, T> {
    /// A device of two queues. `mtu` is the largest IP packet, in bytes.
    pub fn new(rx: R, tx: T, medium: Medium, mtu: usize) -> Self {
        let tx = Outgoing { queue: tx, frame: Vec::new(), dropped: 0, end: None };
        Self { rx, tx, medium, mtu, received: Received::default() }
    }

    /// Asks the peer to ring the [doorbell](Self::doorbell) for the next frame, and returns whether
    /// frames are waiting already: when `true`, poll the stack again instead of sleeping.
    ///
    /// # Errors
    /// [`QueueError`]: the link went down or the peer broke the contract.
    pub fn arm(&mut self) -> Result<bool, QueueError> {
        if let Some(end) = self.tx.end {
            return Err(end);
        }
        Ok(self.received.is_waiting() || self.rx.arm()?)
    }

    /// Readable once the peer rang after [`arm`](Self::arm), and when the link ends.
    pub fn doorbell(&self) -> BorrowedFd<'_> {
        self.rx.doorbell()
    }

    /// Why nothing comes and goes any more.
    pub fn end(&self) -> Option<QueueError> {
        self.tx.end
    }

    /// Frames that were lost because the ring had no room for so long a one.
    pub fn dropped(&self) -> u64 {
        self.tx.dropped
    }

    /// The queues. Frames that the stack has not taken yet are lost.
    pub fn into_queues(self) -> (R, T) {
        (self.rx, self.tx.queue)
    }

    /// The largest frame, in bytes.
    fn largest_frame(&self) -> usize {
        let header = if self.medium == Medium::Ethernet { ETHERNET_HEADER } else { 0 };
        self.mtu.saturating_add(header)
    }

    /// Copies frames out of the ring when none are left of those before.
    fn refill(&mut self) {
        if self.received.is_waiting() || self.tx.end.is_some() {
            return;
        }
        let largest = self.largest_frame();
        match self.rx.rx_burst(BURST) {
            Ok(burst) => {
                self.received.clear();
                // Longer ones cannot be for a stack with this MTU.
                let fitting = burst.packets().filter(|packet| packet.len() <= largest);
                fitting.for_each(|packet| self.received.push(&packet));
            }
            Err(end) => self.tx.end = Some(end),
        }
    }
}

impl<R: PacketRx, T: PacketTx> Device for PortDevice<R, T> {
    type RxToken<'a>
        = Frame<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Slot<'a, T>
    where
        Self: 'a;

    fn receive(&mut self, _now: Instant) -> Option<(Frame<'_>, Slot<'_, T>)> {
        self.refill();
        // An answer must have a place to go.
        if !self.received.is_waiting() || !self.tx.has_room() {
            return None;
        }
        Some((Frame(self.received.pop()?), Slot(&mut self.tx)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Slot<'_, T>> {
        self.tx.has_room().then_some(Slot(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        // All checksums are the stack's.
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = self.medium;
        capabilities.max_transmission_unit = self.largest_frame();
        capabilities.max_burst_size = Some(BURST);
        capabilities
    }
}

/// Frames that were copied out of the ring, one behind the other.
#[derive(Debug, Default)]
struct Received {
    bytes: Vec<u8>,
    /// Where each frame ends in `bytes`.
    ends: Vec<usize>,
    /// Frames that the stack has had.
    taken: usize,
}

impl Received {
    fn is_waiting(&self) -> bool {
        self.taken < self.ends.len()
    }

    /// Keeps the memory.
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.taken = 0;
    }

    fn push(&mut self, packet: &crate::burst::RxPacket<'_>) {
        let start = self.bytes.len();
        self.bytes.resize(start + packet.len(), 0);
        let room = self.bytes.get_mut(start..).unwrap_or_default();
        packet.copy_to(room);
        self.ends.push(self.bytes.len());
    }

    fn pop(&mut self) -> Option<&[u8]> {
        let end = *self.ends.get(self.taken)?;
        let start = self.taken.checked_sub(1).and_then(|it| self.ends.get(it)).copied();
        self.taken += 1;
        self.bytes.get(start.unwrap_or(0)..end)
    }
}

/// The transmit queue, and what the stack writes into.
#[derive(Debug)]
struct Outgoing<T> {
    queue: T,
    frame: Vec<u8>,
    dropped: u64,
    end: Option<QueueError>,
}

impl<T: PacketTx> Outgoing<T> {
    fn has_room(&mut self) -> bool {
        if self.end.is_some() {
            return false;
        }
        match self.queue.tx_burst(1) {
            Ok(burst) => burst.free() > 0,
            Err(end) => {
                self.end = Some(end);
                false
            }
        }
    }

    /// Sends the frame that was written. One that needs more slots than are free is dropped, as a
    /// network card would; the stack sends it again where that matters.
    fn send(&mut self) {
        match self.queue.tx_burst(BURST_MAX) {
            Ok(mut burst) => match burst.push(&self.frame) {
                Ok(()) => drop(burst.commit()),
                Err(_) => self.dropped += 1,
            },
            Err(end) => self.end = Some(end),
        }
    }
}

/// A received frame.
#[derive(Debug)]
pub struct Frame<'a>(&'a [u8]);

impl RxToken for Frame<'_> {
    fn consume<O, F: FnOnce(&[u8]) -> O>(self, f: F) -> O {
        f(self.0)
    }
}

/// Room for a frame.
#[derive(Debug)]
pub struct Slot<'a, T>(&'a mut Outgoing<T>);

impl<T: PacketTx> TxToken for Slot<'_, T> {
    fn consume<O, F: FnOnce(&mut [u8]) -> O>(self, len: usize, f: F) -> O {
        let Self(outgoing) = self;
        outgoing.frame.clear();
        outgoing.frame.resize(len, 0);
        let result = f(&mut outgoing.frame);
        outgoing.send();
        result
    }
}
