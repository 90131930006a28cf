//! Chains of a device that keeps the order: a count says all, unless one has several buffers.

use super::{Chains, no_such_buffer};
use crate::driver::queue::layout::{Layout, Passed, Taken};
use ringport::error::QueueError;

#[derive(Debug)]
pub(in crate::driver::queue) struct InOrder {
    size: u16,
    /// The first free buffer.
    next: u16,
    free: u16,
    /// The first buffer that the device has.
    oldest: u16,
    /// By id of its first buffer: buffers more than one in a chain that the device has.
    more: Box<[u16]>,
    /// How many chains have several buffers.
    odd: u16,
}

impl Chains for InOrder {
    fn new(size: u16) -> Self {
        let more = vec![0; usize::from(size)].into();
        Self { size, next: 0, free: size, oldest: 0, more, odd: 0 }
    }

    #[inline(always)]
    fn free(&self) -> usize {
        self.free.into()
    }

    #[inline(always)]
    fn size(&self) -> usize {
        self.size.into()
    }

    #[inline(always)]
    fn id(&self, at: usize) -> u16 {
        // No loss: a burst is shorter than that.
        self.ahead(self.next, u16::try_from(at).unwrap_or(0))
    }

    #[inline(always)]
    fn lend(&mut self, _id: u16) {}

    fn extend(&mut self, head: u16, _last: u16, _id: u16) {
        if let Some(more) = self.more.get_mut(usize::from(head)) {
            self.odd += u16::from(*more == 0);
            *more += 1;
        }
    }

    #[inline(always)]
    fn remove(&mut self, count: usize) {
        let count = u16::try_from(count).unwrap_or(u16::MAX).min(self.free);
        self.next = self.ahead(self.next, count);
        self.free -= count;
    }

    #[inline(always)]
    fn reclaim<L: Layout>(&mut self, ring: &mut L, wanted: u16) -> Result<(), QueueError> {
        ring.take_in_order(wanted, |passed| match passed {
            Passed::Chains(count) => Ok(self.take_oldest(count)),
            Passed::Through(used) => self.take_through(used.id),
        })
    }
}

impl InOrder {
    /// Takes back as many chains, or all that there are.
    #[inline(always)]
    fn take_oldest(&mut self, count: u16) -> Taken {
        if self.odd > 0 {
            return self.take_odd(count);
        }
        let entries = count.min(self.lent());
        self.put(entries);
        Taken { chains: entries, entries }
    }

    /// Takes back all chains up to the one at `id`.
    #[inline(always)]
    fn take_through(&mut self, id: u32) -> Result<Taken, QueueError> {
        let size = self.size;
        let Some(id) = u16::try_from(id).ok().filter(|id| *id < size) else {
            return Err(no_such_buffer(id, size.into()));
        };
        let before = if id >= self.oldest { id - self.oldest } else { size - self.oldest + id };
        if before >= self.lent() {
            return Err(QueueError::NotInFlight { id });
        }
        if self.odd > 0 {
            return self.take_odd_through(id);
        }
        self.put(before + 1);
        Ok(Taken { chains: before + 1, entries: before + 1 })
    }

    #[inline(never)]
    fn take_odd(&mut self, count: u16) -> Taken {
        let mut taken = Taken { chains: 0, entries: 0 };
        while taken.chains < count && self.lent() > 0 {
            taken = Taken { chains: taken.chains + 1, entries: taken.entries + self.take_chain() };
        }
        taken
    }

    #[inline(never)]
    fn take_odd_through(&mut self, id: u16) -> Result<Taken, QueueError> {
        let mut taken = Taken { chains: 0, entries: 0 };
        while self.lent() > 0 {
            let head = self.oldest;
            taken = Taken { chains: taken.chains + 1, entries: taken.entries + self.take_chain() };
            if head == id {
                return Ok(taken);
            }
        }
        // In the middle of a chain.
        Err(QueueError::NotInFlight { id })
    }

    /// Takes back the oldest chain, and returns how many buffers it has.
    fn take_chain(&mut self) -> u16 {
        let more = self.more.get_mut(usize::from(self.oldest)).map_or(0, std::mem::take);
        self.odd -= u16::from(more > 0);
        let entries = (more + 1).min(self.lent());
        self.put(entries);
        entries
    }

    #[inline(always)]
    fn put(&mut self, entries: u16) {
        self.oldest = self.ahead(self.oldest, entries);
        self.free += entries;
    }

    /// Buffers that the device has.
    #[inline(always)]
    fn lent(&self) -> u16 {
        self.size - self.free
    }

    /// The id `entries` behind `id`, both at most the ring's size, which is 2^15 at most.
    #[inline(always)]
    fn ahead(&self, id: u16, entries: u16) -> u16 {
        let at = id + entries;
        if at >= self.size { at - self.size } else { at }
    }
}
