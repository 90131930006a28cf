//! Transmit queues: fill the driver's receive buffers.

use super::descriptor::Access;
use super::line::{Direction, Engine, Line, Side};
use super::seat::{AnyEngine, Mailbox, Seat};
use super::sender::sender;
use super::{RingError, RingStart, packed, split};
use crate::backend::RingBase;
use crate::memory::GuestMemory;
use ringport::burst::{BURST_MAX, CommitTx, Committed, PacketTx, TxBatch, TxBurst};
use ringport::error::QueueError;
use ringport::offload::Accepts;
use ringport::ring_view::RingView;
use ringport::shm::Regions;
use ringport::stats::TxStats;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// A transmit queue: puts packets into the driver's receive buffers. It lives as long as the link,
/// whether or not there is a ring behind it; without one, or while the driver has it disabled, no
/// slot is free.
///
/// A driver that breaks its ring loses that ring only: see
/// [`RingControl::fault`](super::RingControl::fault).
#[derive(Debug)]
pub struct TxQueue {
    line: Line<Tx>,
    /// Has no slots.
    none: TxBatch,
    nobody: Nobody,
}

/// The direction.
#[derive(Debug)]
pub(super) struct Tx;

/// What of a sending engine depends on the ring's layout.
pub(super) trait TxSide: Side<TxStats> + CommitTx {
    /// Reserves the receive buffers that are there, at most `max`.
    fn reserve(&mut self, batch: &mut TxBatch, max: usize) -> Result<(), QueueError>;
}

/// Takes what is written to no slots.
#[derive(Debug)]
struct Nobody;

impl TxQueue {
    pub(super) fn new(seat: Arc<Seat>, mail: Mailbox) -> Self {
        // What packets ask for, and how long they are, is for a ring to judge: they find no room.
        let any = Accepts { checksum: true, tcp4: true, tcp6: true, ecn: true };
        let none = TxBatch::new(Arc::new(Regions::new(Vec::new())), 0, BURST_MAX);
        let none = none.with_offloads(any);
        Self { line: Line::new(seat, mail), none, nobody: Nobody }
    }

    /// Reserves up to `max` of the driver's receive buffers. One that is in several pieces makes as
    /// many slots. Never blocks, allocates, or makes a system call, but when control changed the
    /// ring. A full ring is an empty burst.
    ///
    /// A packet takes the whole of the buffers that it is written to: one, or several when the
    /// driver agreed to that.
    ///
    /// # Errors
    /// [`QueueError`]: the link went down. Repeated for ever.
    #[inline]
    pub fn tx_burst(&mut self, max: usize) -> Result<TxBurst<'_>, QueueError> {
        self.line.enter()?;
        if let Some(engine) = &mut self.line.running
            && let Err(error) = engine.side.reserve(&mut engine.batch, max)
        {
            self.line.fail(error);
        }
        match self.line.running {
            Some(ref mut engine) => {
                let Engine { batch, side } = &mut **engine;
                Ok(TxBurst::new(batch, side))
            }
            None => {
                self.line.leave();
                Ok(TxBurst::new(&mut self.none, &mut self.nobody))
            }
        }
    }

    /// Asks the driver for a kick when it has provided more buffers, and returns whether there are
    /// some already: when `true`, do not sleep. Takes earlier kicks, some system calls.
    ///
    /// # Errors
    /// As [`tx_burst`](Self::tx_burst).
    pub fn arm(&mut self) -> Result<bool, QueueError> {
        self.line.arm().map(|(free, _)| free)
    }

    /// The counters now, over all rings that were behind the queue.
    #[must_use]
    pub fn stats(&self) -> TxStats {
        *self.line.stats()
    }
}

impl AsFd for TxQueue {
    /// For the caller's epoll, mio or tokio: readable once the driver kicked, and when control
    /// changed something. It stays the same for the queue's life.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.line.seat.bells.as_fd()
    }
}

impl PacketTx for TxQueue {
    fn tx_burst(&mut self, max: usize) -> Result<TxBurst<'_>, QueueError> {
        Self::tx_burst(self, max)
    }

    fn arm(&mut self) -> Result<bool, QueueError> {
        Self::arm(self)
    }

    fn doorbell(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }

    fn stats(&self) -> TxStats {
        self.stats()
    }

    fn ring_view(&self) -> Option<RingView> {
        self.line.view()
    }
}

impl CommitTx for Nobody {
    fn commit(&mut self, _: Committed<'_>) {}
}

/// Builds what sends on the ring that `start` describes.
pub(super) fn build(
    memory: Arc<GuestMemory>,
    start: &RingStart,
    seat: Arc<Seat>,
) -> Result<AnyEngine, RingError> {
    let (features, access) = (&start.features, Access::Write);
    Ok(AnyEngine::Tx(match start.base {
        RingBase::Split { avail } => {
            sender(split::Ring::new(memory, start, avail, access, seat)?, features)
        }
        RingBase::Packed { used, .. } => {
            sender(packed::Ring::new(memory, start, used, access, seat)?, features)
        }
    }))
}

impl Direction for Tx {
    type Batch = TxBatch;
    type Side = dyn TxSide;
    type Stats = TxStats;

    const DISCARDS: bool = false;

    fn pack(engine: Box<Engine<Self>>) -> AnyEngine {
        AnyEngine::Tx(engine)
    }

    fn unpack(engine: AnyEngine) -> Option<Box<Engine<Self>>> {
        match engine {
            AnyEngine::Tx(engine) => Some(engine),
            AnyEngine::Rx(_) | AnyEngine::Command(_) => None,
        }
    }

    fn count_fault(stats: &mut TxStats, error: QueueError) {
        stats.count_fault(error);
    }
}
