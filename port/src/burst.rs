//! Leased bursts and the traits of a packet port.
//!
//! ```text
//! let burst = rx.rx_burst(64)?;          // leases packets, oldest first; never blocks
//! let mut out = tx.tx_burst(burst.slots())?;   // reserves free slots
//! for packet in burst.packets() {
//!     if out.push_packet(&packet).is_err() { break }   // one copy, ring to ring
//! }
//! let sent = out.commit();               // publishes: one store, at most one doorbell
//! burst.release(sent);                   // returns these slots; the rest comes again
//! ```
//!
//! Bursts are concrete types. A protocol fills them once a burst (one dynamic call through
//! [`PacketRx`] or [`PacketTx`], or none through its own queue types) and takes them back when they
//! are released or committed; in between nothing depends on the protocol. So a port that was named
//! at run time costs nothing per packet, and any port forwards to any other with one copy.
//!
//! Both directions are named from our side: a receive queue delivers what the peer sent.

mod forward;
mod rx;
mod tx;

pub use forward::{ForwardError, Forwarded, forward};
pub use rx::{
    FillLimits, HeldMemory, Piece, ReleaseRx, Released, RxBatch, RxBurst, RxPacket, RxPackets,
    Shape,
};
pub use tx::{CommitTx, Committed, PacketWriter, PushError, TxBatch, TxBurst, WrittenRange};

use crate::error::QueueError;
use crate::ring_view::RingView;
use crate::stats::{RxStats, TxStats};
use std::fmt::Debug;
use std::os::fd::BorrowedFd;

/// Slots that a burst holds unless its queue was configured for longer chains.
pub const BURST_MAX: usize = 256;

/// A queue that delivers packets. Queues are `Send`: each may live on a thread of its own.
pub trait PacketRx: Send + Debug {
    /// Leases up to `max` received packets, oldest first. Never blocks, allocates, or makes a
    /// system call. An empty ring is an empty burst.
    ///
    /// # Errors
    /// [`QueueError`]: the link went down or the peer broke the contract. Repeated for ever.
    fn rx_burst(&mut self, max: usize) -> Result<RxBurst<'_>, QueueError>;

    /// Asks the peer to ring the doorbell for the next packet, and returns whether packets are
    /// waiting already: when `true`, do not sleep. Drains the doorbell, one system call. Packets that
    /// were left in the ring count as waiting: a forwarder whose other side is full must pause.
    ///
    /// # Errors
    /// As [`rx_burst`](Self::rx_burst).
    fn arm(&mut self) -> Result<bool, QueueError>;

    /// The doorbell, for the caller's poll set: readable once the peer rang after [`arm`](Self::arm),
    /// and when the link ends. It stays the same for the queue's life.
    fn doorbell(&self) -> BorrowedFd<'_>;

    /// The counters now.
    fn stats(&self) -> RxStats;

    /// What the ring's shared words say now, where there is a ring.
    fn ring_view(&self) -> Option<RingView> {
        None
    }
}

/// A queue that takes packets. Queues are `Send`: each may live on a thread of its own.
pub trait PacketTx: Send + Debug {
    /// Reserves up to `max` free slots; where the peer provides buffers, up to `max` of those, which
    /// may have several slots each. Never blocks, allocates, or makes a system call. A full ring is an
    /// empty burst; a packet that fits no slot is chained over several.
    ///
    /// # Errors
    /// [`QueueError`]: the link went down or the peer broke the contract. Repeated for ever.
    fn tx_burst(&mut self, max: usize) -> Result<TxBurst<'_>, QueueError>;

    /// Asks the peer to ring the doorbell when there are more free slots, and returns whether there
    /// may be some already: when `true`, do not sleep. Always so where no doorbell rings for free
    /// slots: then try again after a pause.
    ///
    /// # Errors
    /// As [`tx_burst`](Self::tx_burst).
    fn arm(&mut self) -> Result<bool, QueueError> {
        Ok(true)
    }

    /// The doorbell for free slots, if there is one, for the caller's poll set: as
    /// [`PacketRx::doorbell`].
    fn doorbell(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// The counters now.
    fn stats(&self) -> TxStats;

    /// What the ring's shared words say now, where there is a ring.
    fn ring_view(&self) -> Option<RingView> {
        None
    }
}

impl<R: PacketRx + ?Sized> PacketRx for Box<R> {
    fn rx_burst(&mut self, max: usize) -> Result<RxBurst<'_>, QueueError> {
        (**self).rx_burst(max)
    }

    fn arm(&mut self) -> Result<bool, QueueError> {
        (**self).arm()
    }

    fn doorbell(&self) -> BorrowedFd<'_> {
        (**self).doorbell()
    }

    fn stats(&self) -> RxStats {
        (**self).stats()
    }

    fn ring_view(&self) -> Option<RingView> {
        (**self).ring_view()
    }
}

impl<T: PacketTx + ?Sized> PacketTx for Box<T> {
    fn tx_burst(&mut self, max: usize) -> Result<TxBurst<'_>, QueueError> {
        (**self).tx_burst(max)
    }

    fn arm(&mut self) -> Result<bool, QueueError> {
        (**self).arm()
    }

    fn doorbell(&self) -> Option<BorrowedFd<'_>> {
        (**self).doorbell()
    }

    fn stats(&self) -> TxStats {
        (**self).stats()
    }

    fn ring_view(&self) -> Option<RingView> {
        (**self).ring_view()
    }
}
