//! Receive queues: what the driver sends.

use super::descriptor::Access;
use super::held::HeldPacket;
use super::ledger::Withdraw;
use super::line::{Direction, Engine, Line, Side};
use super::receiver::receiver;
use super::seat::{AnyEngine, Mail, Mailbox, Seat};
use super::{RingError, RingStart, packed, split};
use crate::backend::RingBase;
use crate::memory::GuestMemory;
use ringport::burst::{PacketRx, ReleaseRx, Released, RxBatch, RxBurst};
use ringport::error::QueueError;
use ringport::ring_view::RingView;
use ringport::shm::Regions;
use ringport::stats::RxStats;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// A receive queue: delivers what the driver sent. It lives as long as the link, whether or not
/// there is a ring behind it; without one it is empty. What a driver sends on a ring that it has
/// disabled is thrown away as the queue is polled.
///
/// A driver that breaks its ring loses that ring only: see
/// [`RingControl::fault`](super::RingControl::fault).
#[derive(Debug)]
pub struct RxQueue {
    line: Line<Rx>,
    /// Has no entries, but for a packet of our own.
    own: RxBatch,
    nobody: Nobody,
    /// Unless it is the ring's own.
    holding_limit: Option<usize>,
}

/// The direction.
#[derive(Debug)]
pub(super) struct Rx;

/// What of a receiving engine depends on the ring's layout.
pub(super) trait RxSide: Side<RxStats> + ReleaseRx {
    /// Fills `batch` with the packets that are there, at most `max`.
    fn fill(&mut self, batch: &mut RxBatch, max: usize) -> Result<(), QueueError>;

    /// Makes room for packets that are held. The first time, returns what control must know of.
    fn open(&mut self) -> Option<Arc<dyn Withdraw>>;

    /// Holds the packets of `batch`, and ends the burst. Afterwards no more than `limit` descriptors
    /// are kept back.
    fn hold(&mut self, batch: &mut RxBatch, limit: Option<usize>, into: &mut Vec<HeldPacket>);
}

/// Takes back what a burst without a ring holds.
#[derive(Debug)]
pub(super) struct Nobody;

impl RxQueue {
    pub(super) fn new(seat: Arc<Seat>, mail: Mailbox) -> Self {
        let own = RxBatch::new(Arc::new(Regions::new(Vec::new())), 0);
        Self { line: Line::new(seat, mail), own, nobody: Nobody, holding_limit: None }
    }

    /// Leases up to `max` received packets, oldest first. Never blocks, allocates, or makes a
    /// system call, but for a call when packets had to be dropped, and when control changed the ring.
    /// An empty ring is an empty burst.
    ///
    /// # Errors
    /// [`QueueError`]: the link went down. Repeated for ever.
    #[inline]
    pub fn rx_burst(&mut self, max: usize) -> Result<RxBurst<'_>, QueueError> {
        self.line.enter()?;
        if self.line.announcement.is_some() {
            return Ok(self.announce(max));
        }
        self.fill(max);
        match self.line.running {
            Some(ref mut engine) => {
                let Engine { batch, side } = &mut **engine;
                Ok(RxBurst::new(batch, side))
            }
            None => {
                self.line.leave();
                self.own.clear();
                Ok(RxBurst::new(&mut self.own, &mut self.nobody))
            }
        }
    }

    /// Fills the batch of the ring that is there, unless that is broken.
    #[inline(always)]
    fn fill(&mut self, max: usize) {
        let filled = match &mut self.line.running {
            Some(engine) => engine.side.fill(&mut engine.batch, max),
            None => self.discard(max),
        };
        if let Err(error) = filled {
            self.line.fail(error);
        }
    }

    /// Takes up to `max` received packets, at most a burst, oldest first, appends them to `into`, and
    /// returns how many there were. They are read where the driver put them, without a copy, for as
    /// long as they are held; bursts go on meanwhile, and packets may be dropped in any order and on
    /// any thread.
    ///
    /// ```
    /// use ringport::error::QueueError;
    /// use ringport_vhost_user::RxQueue;
    /// use ringport_vhost_user::virtqueue::HeldPacket;
    /// use std::sync::mpsc::Sender;
    ///
    /// /// Hands what is there to one of two threads, by protocol.
    /// fn spread(rx: &mut RxQueue, threads: &[Sender<HeldPacket>; 2]) -> Result<(), QueueError> {
    ///     let mut packets = Vec::with_capacity(64);
    ///     while rx.hold(64, &mut packets)? > 0 {
    ///         for packet in packets.drain(..) {
    ///             let is_ipv6 = packet.read_at(12)? == Some([0x86, 0xdd]);
    ///             // When the thread is gone the packet is dropped, and its buffer goes back.
    ///             let _ = threads[usize::from(is_ipv6)].send(packet);
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// Buffers go back in the order in which they came, with the next call of any kind. Those that
    /// are held and those behind them are therefore limited: see
    /// [`set_holding_limit`](Self::set_holding_limit). When the ring is stopped or breaks, goes on in
    /// other memory, or the link or this queue ends, everything that is held is copied out. Whoever
    /// holds a packet need not know; it never keeps the driver or the front-end waiting.
    ///
    /// Makes no system calls but those of [`rx_burst`](Self::rx_burst). Allocates when more packets
    /// are held than ever before on this ring, for those in several pieces, and for what is copied
    /// out; bursts do so as well while packets are held, and may wait for a holder that reads just
    /// then. A packet longer than drivers send (65550 bytes) is thrown away and counted.
    ///
    /// # Errors
    /// As [`rx_burst`](Self::rx_burst).
    pub fn hold(&mut self, max: usize, into: &mut Vec<HeldPacket>) -> Result<usize, QueueError> {
        self.line.enter()?;
        let before = into.len();
        if self.line.announcement.is_some() {
            let link = Arc::clone(&self.line.seat.link);
            let burst = self.announce(max);
            into.extend(burst.packets().map(|packet| HeldPacket::copied(&packet, &link)));
            return Ok(burst.len());
        }
        self.fill(max);
        let Line { running, mail, .. } = &mut self.line;
        let Some(engine) = running else {
            self.line.leave();
            return Ok(0);
        };
        let Engine { batch, side } = &mut **engine;
        if batch.packets() == 0 {
            side.end();
            return Ok(0);
        }
        if let Some(ledger) = side.open() {
            Mail::lock(mail).held = Some(ledger);
        }
        side.hold(batch, self.holding_limit, into);
        Ok(into.len() - before)
    }

    /// How many packets may be kept back from the driver: those that are held, and those behind them
    /// that are not. What is held in the way of more is copied out, oldest first. A packet that takes
    /// several descriptors of the ring counts as many.
    ///
    /// It is a quarter of the ring unless set, and half of it at most, so that a driver which waits
    /// for buffers does not wait for a holder. With 0 every packet is copied out at once. It holds
    /// from the next call of [`hold`](Self::hold) on.
    pub fn set_holding_limit(&mut self, packets: usize) {
        self.holding_limit = Some(packets);
    }

    /// Delivers the announcement, and nothing else.
    #[cold]
    fn announce(&mut self, max: usize) -> RxBurst<'_> {
        self.line.leave();
        if max > 0
            && let Some(announcement) = self.line.announcement.take()
        {
            self.own = *announcement;
        } else {
            self.own.clear();
        }
        RxBurst::new(&mut self.own, &mut self.nobody)
    }

    /// Throws away what a driver sent on a ring that it disabled.
    #[cold]
    fn discard(&mut self, max: usize) -> Result<(), QueueError> {
        let Some(engine) = &mut self.line.disabled else { return Ok(()) };
        let Engine { batch, side } = &mut **engine;
        let RxStats { packets, bytes, .. } = *side.stats();
        side.fill(batch, max)?;
        drop(RxBurst::new(batch, side));
        let stats = side.stats_mut();
        stats.discarded += stats.packets - packets;
        (stats.packets, stats.bytes) = (packets, bytes);
        Ok(())
    }

    /// Asks the driver for a kick with the next packet, and returns whether packets are waiting
    /// already: when `true`, do not sleep. Takes earlier kicks, some system calls.
    ///
    /// # Errors
    /// As [`rx_burst`](Self::rx_burst).
    pub fn arm(&mut self) -> Result<bool, QueueError> {
        let (waiting, kicked) = self.line.arm()?;
        self.line.stats_mut().wake_ups += u64::from(kicked);
        Ok(waiting)
    }

    /// The counters now, over all rings that were behind the queue.
    #[must_use]
    pub fn stats(&self) -> RxStats {
        *self.line.stats()
    }
}

impl AsFd for RxQueue {
    /// For the caller's epoll, mio or tokio: readable once the driver kicked, and when control
    /// changed something. It stays the same for the queue's life.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.line.seat.bells.as_fd()
    }
}

impl PacketRx for RxQueue {
    fn rx_burst(&mut self, max: usize) -> Result<RxBurst<'_>, QueueError> {
        Self::rx_burst(self, max)
    }

    fn arm(&mut self) -> Result<bool, QueueError> {
        Self::arm(self)
    }

    fn doorbell(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn stats(&self) -> RxStats {
        self.stats()
    }

    fn ring_view(&self) -> Option<RingView> {
        self.line.view()
    }
}

impl ReleaseRx for Nobody {
    fn release(&mut self, _: Released<'_>) {}
}

/// Builds what receives from the ring that `start` describes.
pub(super) fn build(
    memory: Arc<GuestMemory>,
    start: &RingStart,
    seat: Arc<Seat>,
) -> Result<AnyEngine, RingError> {
    let (features, access) = (&start.features, Access::Read);
    Ok(AnyEngine::Rx(match start.base {
        RingBase::Split { avail } => {
            receiver(split::Ring::new(memory, start, avail, access, seat)?, features)
        }
        RingBase::Packed { used, .. } => {
            receiver(packed::Ring::new(memory, start, used, access, seat)?, features)
        }
    }))
}

impl Direction for Rx {
    type Batch = RxBatch;
    type Side = dyn RxSide;
    type Stats = RxStats;

    const DISCARDS: bool = true;

    fn pack(engine: Box<Engine<Self>>) -> AnyEngine {
        AnyEngine::Rx(engine)
    }

    fn unpack(engine: AnyEngine) -> Option<Box<Engine<Self>>> {
        match engine {
            AnyEngine::Rx(engine) => Some(engine),
            AnyEngine::Tx(_) | AnyEngine::Command(_) => None,
        }
    }

    fn count_fault(stats: &mut RxStats, error: QueueError) {
        stats.count_fault(error);
    }
}
