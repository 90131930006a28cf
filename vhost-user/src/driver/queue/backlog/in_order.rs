//! Buffers of a device that keeps the order: they come and go in the order of their ids.
//!
//! Spec: VIRTIO 1.3 §2.7.9, §2.8.8.

use super::{Backlog, Filled, too_long};
use crate::driver::queue::buffers::Buffers;
use crate::driver::queue::chains::no_such_buffer;
use crate::driver::queue::layout::{Layout, Taken, Used};
use ringport::burst::Piece;
use ringport::error::QueueError;
use std::ops::Range;

#[derive(Debug)]
pub(in crate::driver::queue) struct InOrder {
    /// By id: bytes written, of those that were given back.
    lens: Box<[u32]>,
    /// The one that was given back first.
    oldest: u16,
    count: u16,
    /// What a buffer holds, in bytes.
    capacity: u32,
}

impl Backlog for InOrder {
    fn new(size: u16, capacity: u32) -> Self {
        Self { lens: vec![0; usize::from(size)].into(), oldest: 0, count: 0, capacity }
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.count.into()
    }

    #[inline(always)]
    fn size(&self) -> usize {
        self.lens.len()
    }

    #[inline(always)]
    fn get(&self, at: usize) -> Option<Filled> {
        let at = u16::try_from(at).ok().filter(|at| *at < self.count)?;
        let id = self.ahead(self.oldest, at);
        Some(Filled { id, len: self.lens.get(usize::from(id)).copied()? })
    }

    #[inline(always)]
    fn filled(&self) -> impl Iterator<Item = Filled> {
        let mut next = self.oldest;
        (0..self.count).map_while(move |_| {
            let id = next;
            next = self.ahead(id, 1);
            Some(Filled { id, len: self.lens.get(usize::from(id)).copied()? })
        })
    }

    /// A run ends with the ring.
    #[inline(always)]
    fn run(&self, buffers: &Buffers, run: Range<usize>) -> impl Iterator<Item = Piece> {
        let (start, end) = (run.start.min(self.len()), run.end.min(self.len()));
        // No loss: not more than there are.
        let first = self.ahead(self.oldest, u16::try_from(start).unwrap_or(0));
        let lens = self.lens.get(first.into()..).unwrap_or_default();
        let run = (first..).zip(lens).take(end.saturating_sub(start));
        run.map(|(id, len)| buffers.filled(id, *len))
    }

    #[inline(always)]
    fn read<L: Layout>(&mut self, ring: &mut L, wanted: u16) -> Result<(), QueueError> {
        // Each element stands for one buffer at least.
        let wanted = wanted.min(self.lent());
        let (size, capacity, mut next) = (self.size(), self.capacity, self.next());
        ring.take_used(wanted, |used| {
            match self.lens.get_mut(usize::from(next)) {
                Some(len) if used.id == u32::from(next) && used.len <= capacity => *len = used.len,
                _ => {
                    let taken = self.take_batch(used)?;
                    next = self.next();
                    return Ok(taken);
                }
            }
            self.count += 1;
            next = if usize::from(next) + 1 == size { 0 } else { next + 1 };
            Ok(Taken::ONE)
        })
    }

    /// Each is where it was a turn before, so there is little to be written.
    #[inline(always)]
    fn give_back<L: Layout>(&mut self, ring: &mut L, buffers: &Buffers, count: usize) {
        // No loss: not more than there are.
        let count = u16::try_from(count).unwrap_or(u16::MAX).min(self.count);
        let ids = (0..count).map(|at| self.ahead(self.oldest, at));
        ring.offer_in_turn(count, ids.map(|id| buffers.empty(id)));
        self.drop_oldest(count);
    }

    #[inline(always)]
    fn release(&mut self, count: usize) {
        self.drop_oldest(u16::try_from(count).unwrap_or(u16::MAX).min(self.count));
    }
}

impl InOrder {
    /// Adds all buffers up to the one that `used` names. Those passed over are full.
    #[inline(never)]
    fn take_batch(&mut self, used: Used) -> Result<Taken, QueueError> {
        let (size, capacity) = (self.size(), self.capacity);
        let id = u16::try_from(used.id).ok().filter(|id| usize::from(*id) < size);
        let id = id.ok_or_else(|| no_such_buffer(used.id, size))?;
        let next = self.next();
        let behind = usize::from(id) + if id < next { size } else { 0 };
        let before = behind - usize::from(next);
        if before >= usize::from(self.lent().min(used.chains_max)) {
            return Err(QueueError::NotInFlight { id });
        }
        if used.len > capacity {
            return Err(too_long(used.len, capacity));
        }
        for _ in 0..before {
            self.push(capacity);
        }
        self.push(used.len);
        // No loss: not more than the ring has.
        let chains = u16::try_from(before + 1).unwrap_or(u16::MAX);
        Ok(Taken { chains, entries: chains })
    }

    /// Adds the next buffer.
    fn push(&mut self, written: u32) {
        let next = usize::from(self.next());
        if let Some(len) = self.lens.get_mut(next) {
            *len = written;
            self.count += 1;
        }
    }

    #[inline(always)]
    fn drop_oldest(&mut self, count: u16) {
        self.oldest = self.ahead(self.oldest, count);
        self.count -= count;
    }

    /// The next that the device gives back.
    #[inline(always)]
    fn next(&self) -> u16 {
        self.ahead(self.oldest, self.count)
    }

    /// How many the device has. No loss: a ring has 2^15 at most.
    #[inline(always)]
    fn lent(&self) -> u16 {
        u16::try_from(self.lens.len()).unwrap_or(u16::MAX) - self.count
    }

    /// The id `by` behind `id`, which is at most a turn.
    #[inline(always)]
    fn ahead(&self, id: u16, by: u16) -> u16 {
        let size = u16::try_from(self.lens.len()).unwrap_or(u16::MAX);
        let at = id + by;
        if at >= size { at - size } else { at }
    }
}
