//! What engines need to know of a ring, whatever its layout.

use super::notes::Notes;
use super::seat::Seat;
use super::{BURST_DESCRIPTORS, CHAIN_MAX, Called, KickMode, RingStart};
use crate::memory::GuestMemory;
use crate::virtqueue::descriptor::{Access, Descriptor, WRITE};
use ringport::burst::Piece;
use ringport::doorbell::Doorbell;
use ringport::error::QueueError;
use ringport::ring_view::RingView;
use std::fmt::Debug;
use std::sync::Arc;

/// A ring in the driver's memory, as far as it may change under an engine.
pub(super) trait Ring: Debug + Send {
    fn ground(&self) -> &Ground;
    fn ground_mut(&mut self) -> &mut Ground;

    /// For people who look.
    fn view(&self) -> RingView;

    /// Our position, as the layout has it in a base.
    fn position(&self) -> u32;

    /// Goes on at the position of a ring of the same size.
    fn set_position(&mut self, position: u32);

    /// Tells the driver whether it is to kick, from the next chain on.
    fn tell(&self);

    /// Asks for a kick, and returns whether there is work already.
    ///
    /// # Errors
    /// The driver broke the ring.
    fn arm(&mut self) -> Result<bool, QueueError>;
}

/// A ring as those see it who move packets. Chains are used in the order in which they come.
pub(super) trait Layout: Ring + Clone + 'static {
    /// What a chain is given back with.
    type Chain: Debug + Copy + Default + Send;
    /// Where a chain may begin, at our position or behind it.
    type Place: Copy;

    /// Entries.
    fn size(&self) -> u16;

    /// How many of the `wanted` next chains may be looked at. They need not all be there.
    fn look(&mut self, wanted: usize) -> Result<usize, QueueError>;

    /// The next chains, as long as they are there and are one descriptor in one region, for this
    /// `access`. As many as [`look`](Self::look) allows may be taken. Sets `ended` when there is
    /// nothing behind them.
    fn plain(&self, access: Access, ended: &mut bool)
    -> impl Iterator<Item = (Self::Chain, Piece)>;

    /// Where the chain behind `plain` ones of one descriptor begins.
    fn place(&self, plain: usize) -> Self::Place;

    /// Whether there is a chain.
    fn has(&self, at: Self::Place) -> bool;

    /// Where the chain behind this one begins, if the ring is long enough for it to be there.
    fn behind(&self, at: Self::Place, chain: Self::Chain) -> Option<Self::Place>;

    /// Appends the buffers of the chain at `at` to what was `walked` before. Returns the chain, and
    /// how many bytes they have or what is wrong with them: buffers of length zero are passed over.
    ///
    /// # Errors
    /// Nobody knows what the chain is to be given back with.
    fn walk(
        &self,
        at: Self::Place,
        walked: &mut Walked,
    ) -> Result<(Self::Chain, Result<u32, QueueError>), QueueError>;

    /// Gives back the next chains, each with how many bytes were written to it, all at once, and
    /// calls the driver if it wants that.
    fn give_back(&mut self, used: impl Iterator<Item = (Self::Chain, u32)>) -> Called;

    /// As [`give_back`](Self::give_back), with nothing written, for a driver that knows that they
    /// come in order: the last one speaks for all.
    fn give_back_run(&mut self, chains: &[Self::Chain]) -> Called;

    /// Goes on behind the next chains, which a copy of the ring gives back.
    fn pass(&mut self, chains: &[Self::Chain]);

    /// There was work: no kicks are needed for a while.
    fn disarm(&mut self);

    /// Ends the burst.
    #[inline(always)]
    fn leave(&self) {
        self.ground().seat.leave(self.position());
    }
}

/// What rings of either layout have.
#[derive(Debug, Clone)]
pub(super) struct Ground {
    pub(super) memory: Arc<GuestMemory>,
    pub(super) walker: Walker,
    pub(super) kicks: KickMode,
    /// We asked for a kick and have taken nothing since.
    pub(super) armed: bool,
    pub(super) call: Option<Arc<Doorbell>>,
    pub(super) notes: Notes,
    pub(super) seat: Arc<Seat>,
}

impl Ground {
    pub(super) fn new(
        memory: Arc<GuestMemory>,
        start: &RingStart,
        access: Access,
        seat: Arc<Seat>,
    ) -> Self {
        let limit = start.addresses.size.min(CHAIN_MAX);
        Self {
            memory,
            walker: Walker { limit, indirect: start.features.indirect, access },
            kicks: start.kicks,
            armed: start.kicks == KickMode::Interrupt,
            call: start.call.clone(),
            notes: Notes::new(start.log.clone(), start.inflight.clone()),
            seat,
        }
    }

    /// Calls the driver if `wanted`, which is asked only if there is a way to.
    #[inline(always)]
    pub(super) fn call(&self, wanted: impl FnOnce() -> bool) -> Called {
        let Some(call) = &self.call else { return Called::Never };
        if !wanted() {
            return Called::Suppressed;
        }
        if call.ring().is_err() {
            // The driver would sleep for ever, and so would those of other rings.
            self.seat.link.fail(QueueError::LinkDown);
            return Called::Never;
        }
        Called::Yes
    }
}

/// What a burst found in the chains that it followed.
#[derive(Debug)]
pub(super) struct Walked {
    /// Their buffers.
    pub(super) pieces: Vec<Piece>,
    /// Descriptors that were read.
    pub(super) descriptors: usize,
    /// Of the last chain, those in the ring itself.
    pub(super) in_ring: u16,
    /// Of a chain with both, how many pieces are to be read; `None` before one that is to be written.
    pub(super) readable: Option<usize>,
}

impl Walked {
    /// Room for `pieces`.
    pub(super) fn new(pieces: usize) -> Self {
        Self { pieces: Vec::with_capacity(pieces), descriptors: 0, in_ring: 0, readable: None }
    }

    /// Begins a burst.
    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        self.descriptors = 0;
        self.readable = None;
    }

    /// Whether the burst has to be content with what it has.
    pub(super) fn is_enough(&self) -> bool {
        self.descriptors >= BURST_DESCRIPTORS
    }
}

/// What chains may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walker {
    /// Most descriptors of a chain, those in a table of its own included.
    pub(super) limit: u16,
    /// Whether tables of indirect descriptors were negotiated.
    pub(super) indirect: bool,
    pub(super) access: Access,
}

impl Walker {
    /// Appends one buffer, behind `bytes` others, and returns how many bytes there are now.
    pub(super) fn take(
        &self,
        Descriptor { address, len, flags, .. }: Descriptor,
        bytes: u32,
        memory: &GuestMemory,
        walked: &mut Walked,
    ) -> Result<u32, QueueError> {
        if self.access == Access::Both && flags & WRITE != 0 {
            walked.readable = walked.readable.or(Some(walked.pieces.len()));
        } else if flags & WRITE != self.access.flag() || walked.readable.is_some() {
            return Err(QueueError::OddFlags { flags });
        }
        let total = bytes.checked_add(len);
        let total = total.ok_or(QueueError::LengthExceedsBuffer { len, capacity: !bytes })?;
        memory
            .pieces(address, len, &mut walked.pieces)
            .ok_or(QueueError::NotShared { address, len })?;
        Ok(total)
    }
}
