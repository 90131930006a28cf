//! Buffers that come back in whatever order.

use super::{Backlog, Filled, too_long};
use crate::driver::queue::buffers::Buffers;
use crate::driver::queue::chains::no_such_buffer;
use crate::driver::queue::layout::{Layout, Taken, Used};
use ringport::burst::Piece;
use ringport::error::QueueError;
use std::ops::Range;

#[derive(Debug)]
pub(in crate::driver::queue) struct AnyOrder {
    /// `count` from the start on. As many as the ring has.
    filled: Box<[Filled]>,
    count: usize,
    /// By id: the device has it.
    lent: Box<[bool]>,
    /// What a buffer holds, in bytes.
    capacity: u32,
}

impl Backlog for AnyOrder {
    fn new(size: u16, capacity: u32) -> Self {
        let size = usize::from(size);
        let (filled, lent) = (vec![Filled::default(); size].into(), vec![true; size].into());
        Self { filled, count: 0, lent, capacity }
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.count
    }

    #[inline(always)]
    fn size(&self) -> usize {
        self.filled.len()
    }

    #[inline(always)]
    fn get(&self, at: usize) -> Option<Filled> {
        self.there().get(at).copied()
    }

    #[inline(always)]
    fn filled(&self) -> impl Iterator<Item = Filled> {
        self.there().iter().copied()
    }

    #[inline(always)]
    fn run(&self, buffers: &Buffers, run: Range<usize>) -> impl Iterator<Item = Piece> {
        let run = run.start..run.end.min(self.count);
        let filled = self.filled.get(run).unwrap_or_default();
        filled.iter().map(|filled| buffers.filled(filled.id, filled.len))
    }

    #[inline(always)]
    fn read<L: Layout>(&mut self, ring: &mut L, wanted: u16) -> Result<(), QueueError> {
        ring.take_used(wanted, |used| self.take(used))
    }

    #[inline(always)]
    fn give_back<L: Layout>(&mut self, ring: &mut L, buffers: &Buffers, count: usize) {
        ring.offer_again(self.filled().take(count).map(|filled| buffers.empty(filled.id)));
        self.release(count);
    }

    #[inline(always)]
    fn release(&mut self, count: usize) {
        let count = count.min(self.count);
        for filled in self.filled.iter().take(count) {
            if let Some(lent) = self.lent.get_mut(usize::from(filled.id)) {
                *lent = true;
            }
        }
        self.filled.copy_within(count..self.count, 0);
        self.count -= count;
    }
}

impl AnyOrder {
    #[inline(always)]
    fn there(&self) -> &[Filled] {
        self.filled.get(..self.count).unwrap_or_default()
    }

    /// Adds the buffer that `used` names.
    #[inline(always)]
    fn take(&mut self, Used { id, len, .. }: Used) -> Result<Taken, QueueError> {
        let (size, capacity) = (self.filled.len(), self.capacity);
        // No loss: a position in the table is checked, and there are at most 2^15.
        #[expect(clippy::cast_possible_truncation, reason = "less than the ring's size")]
        let short = id as u16;
        let Some(lent) = self.lent.get_mut(id as usize) else {
            return Err(no_such_buffer(id, size));
        };
        if !std::mem::replace(lent, false) {
            return Err(QueueError::NotInFlight { id: short });
        }
        if len > capacity {
            return Err(too_long(len, capacity));
        }
        let place = self.filled.get_mut(self.count);
        *place.ok_or(QueueError::NotInFlight { id: short })? = Filled { id: short, len };
        self.count += 1;
        Ok(Taken::ONE)
    }
}
