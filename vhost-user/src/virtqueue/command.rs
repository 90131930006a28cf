//! Control queues: what a driver asks of the device itself.

use super::descriptor::Access;
use super::layout::{Ground, Layout, Ring, Walked};
use super::line::{Direction, Engine, Line, Side};
use super::seat::{AnyEngine, Mailbox, Seat};
use super::{RingError, RingStart, packed, split};
use crate::backend::RingBase;
use crate::memory::GuestMemory;
use crate::wire::COMMAND_MAX;
use ringport::burst::{CommitTx, Committed, Piece, Shape, TxBatch, TxBurst};
use ringport::error::QueueError;
use ringport::ring_view::RingView;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// A control queue. It lives as long as the link, whether or not there is a ring behind it.
///
/// A command is a chain: what the driver asks, and behind that at least one byte for the answer. What
/// is asked is copied out once. A chain that is none (a byte to be read behind one to be written, no
/// byte for the answer, memory that is not shared) is given back as it came; a command longer than
/// [`COMMAND_MAX`] is answered with no.
///
/// Spec: VIRTIO 1.3 §5.1.6.5.
#[derive(Debug)]
pub struct CommandQueue {
    line: Line<Commands>,
}

/// Counters of a control queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CommandStats {
    /// Commands that were done.
    pub done: u64,
    /// Commands that were answered with no.
    pub refused: u64,
    /// Chains that were no commands, and rings that were broken.
    pub malformed: u64,
}

/// The direction: both.
#[derive(Debug)]
pub(super) struct Commands;

/// What of it depends on the ring's layout.
pub(super) trait CommandSide: Side<CommandStats> {
    /// Takes at most `max` commands, and returns how many chains there were.
    fn serve(
        &mut self,
        batch: &mut TxBatch,
        max: usize,
        handle: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<usize, QueueError>;
}

const YES: u8 = 0;
const NO: u8 = 1;

impl CommandQueue {
    pub(super) fn new(seat: Arc<Seat>, mail: Mailbox) -> Self {
        Self { line: Line::new(seat, mail) }
    }

    /// Has `handle` deal with at most `max` commands, and answers each as it says. Returns whether
    /// there may be more: then the queue's descriptor is readable, else the driver is asked to kick.
    /// Never blocks.
    ///
    /// # Errors
    /// [`QueueError`]: the link went down. A ring that the driver broke is like none.
    pub fn serve(
        &mut self,
        max: usize,
        mut handle: impl FnMut(&[u8]) -> bool,
    ) -> Result<bool, QueueError> {
        self.line.enter()?;
        let served = match &mut self.line.running {
            Some(engine) => {
                let Engine { batch, side } = &mut **engine;
                let served = side.serve(batch, max, &mut handle);
                let position = side.ring().position();
                match served {
                    Ok(count) => {
                        self.line.seat.leave(position);
                        count
                    }
                    Err(error) => {
                        self.line.fail(error);
                        self.line.leave();
                        0
                    }
                }
            }
            None => {
                self.line.leave();
                0
            }
        };
        let more = served >= max || self.line.arm()?.0;
        if more && self.line.running.is_some() {
            self.line.seat.wake_data();
        }
        Ok(more)
    }

    /// The counters now, over all rings that were behind the queue.
    #[must_use]
    pub fn stats(&self) -> CommandStats {
        *self.line.stats()
    }
}

impl AsFd for CommandQueue {
    /// Readable once the driver kicked, and when control changed something.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.line.seat.bells.as_fd()
    }
}

#[derive(Debug)]
struct Commander<L> {
    ring: L,
    walked: Walked,
    /// What is asked.
    bytes: Vec<u8>,
    stats: CommandStats,
}

/// Builds what serves the ring that `start` describes.
pub(super) fn build(
    memory: Arc<GuestMemory>,
    start: &RingStart,
    seat: Arc<Seat>,
) -> Result<AnyEngine, RingError> {
    let access = Access::Both;
    Ok(AnyEngine::Command(match start.base {
        RingBase::Split { avail } => {
            commander(split::Ring::new(memory, start, avail, access, seat)?)
        }
        RingBase::Packed { used, .. } => {
            commander(packed::Ring::new(memory, start, used, access, seat)?)
        }
    }))
}

fn commander<L: Layout + 'static>(ring: L) -> Box<Engine<Commands>> {
    let Ground { memory, walker, .. } = ring.ground();
    let batch = TxBatch::new(Arc::clone(memory.regions()), 1, 1);
    let walked = Walked::new(usize::from(walker.limit) + GuestMemory::REGIONS_MAX);
    let (bytes, stats) = (Vec::new(), CommandStats::default());
    Box::new(Engine { batch, side: Commander { ring, walked, bytes, stats } })
}

impl<L: Layout> CommandSide for Commander<L> {
    fn serve(
        &mut self,
        batch: &mut TxBatch,
        max: usize,
        handle: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<usize, QueueError> {
        let mut served = 0;
        while served < max && self.ring.look(1)? > 0 && self.ring.has(self.ring.place(0)) {
            self.walked.clear();
            let (chain, len) = self.ring.walk(self.ring.place(0), &mut self.walked)?;
            let written = match len.and_then(|_| self.take_answer(batch)) {
                Ok(()) => {
                    let done = self.copy_out() && handle(&self.bytes);
                    self.answer(batch, done)
                }
                Err(_) => {
                    self.stats.malformed += 1;
                    0
                }
            };
            self.ring.give_back(std::iter::once((chain, written)));
            served += 1;
        }
        if served > 0 {
            self.ring.disarm();
        }
        Ok(served)
    }
}

impl<L: Layout> Commander<L> {
    /// Reserves the first byte that is to be written.
    fn take_answer(&self, batch: &mut TxBatch) -> Result<(), QueueError> {
        let Walked { pieces, readable, .. } = &self.walked;
        let place = readable.and_then(|readable| pieces.get(readable));
        let place = place.ok_or(QueueError::TooShort { len: 0, header: 1 })?;
        batch.clear();
        let byte = Piece { shape: Shape::new(place.shape.region(), 1, false), ..*place };
        batch.reserve(std::iter::once(byte))
    }

    /// Copies what is asked; false when it is too long.
    fn copy_out(&mut self) -> bool {
        let Walked { pieces, readable, .. } = &self.walked;
        let pieces = pieces.get(..readable.unwrap_or(0)).unwrap_or_default();
        let regions = self.ring.ground().memory.regions();
        self.bytes.clear();
        for Piece { offset, shape, .. } in pieces {
            let (start, len) = (self.bytes.len(), shape.len() as usize);
            if len > COMMAND_MAX - start {
                return false;
            }
            self.bytes.resize(start + len, 0);
            if regions.read(shape.region(), *offset, &mut self.bytes[start..]).is_none() {
                return false;
            }
        }
        true
    }

    /// Writes the answer, and returns how many bytes that are.
    fn answer(&mut self, batch: &mut TxBatch, done: bool) -> u32 {
        *(if done { &mut self.stats.done } else { &mut self.stats.refused }) += 1;
        let mut note = Note(self.ring.ground());
        let mut burst = TxBurst::new(batch, &mut note);
        let written = burst.push(&[if done { YES } else { NO }]).is_ok();
        burst.commit();
        u32::from(written)
    }
}

/// Notes what was written in the dirty log.
struct Note<'g>(&'g Ground);

impl CommitTx for Note<'_> {
    fn commit(&mut self, committed: Committed<'_>) {
        self.0.notes.packets(&self.0.memory, &committed);
    }
}

impl<L: Layout> Side<CommandStats> for Commander<L> {
    fn ring(&mut self) -> &mut dyn Ring {
        &mut self.ring
    }

    fn stats(&self) -> &CommandStats {
        &self.stats
    }

    fn view(&self) -> RingView {
        self.ring.view()
    }

    fn stats_mut(&mut self) -> &mut CommandStats {
        &mut self.stats
    }
}

impl Direction for Commands {
    type Batch = TxBatch;
    type Side = dyn CommandSide;
    type Stats = CommandStats;

    const DISCARDS: bool = false;

    fn pack(engine: Box<Engine<Self>>) -> AnyEngine {
        AnyEngine::Command(engine)
    }

    fn unpack(engine: AnyEngine) -> Option<Box<Engine<Self>>> {
        match engine {
            AnyEngine::Command(engine) => Some(engine),
            AnyEngine::Rx(_) | AnyEngine::Tx(_) => None,
        }
    }

    fn count_fault(stats: &mut CommandStats, _error: QueueError) {
        stats.malformed += 1;
    }
}
