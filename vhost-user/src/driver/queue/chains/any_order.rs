//! Chains that come back in whatever order.

use super::{Chains, no_such_buffer};
use crate::driver::queue::layout::{Layout, Taken, Used};
use ringport::error::QueueError;

#[derive(Debug)]
pub(in crate::driver::queue) struct AnyOrder {
    /// Ids, a ring, of which `count` from `first` on are free.
    free: Box<[u16]>,
    first: usize,
    count: usize,
    /// By id of its first buffer: how many buffers are in a chain that the device has. Zero: none.
    lens: Box<[u16]>,
    /// By id: the next buffer of the chain.
    next: Box<[u16]>,
}

impl Chains for AnyOrder {
    fn new(size: u16) -> Self {
        let none = || vec![0; usize::from(size)].into();
        let (free, count) = ((0..size).collect(), usize::from(size));
        Self { free, first: 0, count, lens: none(), next: none() }
    }

    #[inline(always)]
    fn free(&self) -> usize {
        self.count
    }

    #[inline(always)]
    fn size(&self) -> usize {
        self.free.len()
    }

    #[inline(always)]
    fn id(&self, at: usize) -> u16 {
        self.free.get(self.place(at)).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn lend(&mut self, id: u16) {
        self.set_len(id, 1);
    }

    fn extend(&mut self, head: u16, last: u16, id: u16) {
        if let Some(next) = self.next.get_mut(usize::from(last)) {
            *next = id;
        }
        self.set_len(head, self.len(head) + 1);
    }

    #[inline(always)]
    fn remove(&mut self, count: usize) {
        self.first = self.place(count);
        self.count -= count.min(self.count);
    }

    #[inline(always)]
    fn reclaim<L: Layout>(&mut self, ring: &mut L, wanted: u16) -> Result<(), QueueError> {
        ring.take_used(wanted, |used| self.take_back(used))
    }
}

impl AnyOrder {
    #[inline(always)]
    fn take_back(&mut self, Used { id, .. }: Used) -> Result<Taken, QueueError> {
        let size = self.lens.len();
        let Some(id) = u16::try_from(id).ok().filter(|id| usize::from(*id) < size) else {
            return Err(no_such_buffer(id, size));
        };
        let entries = self.take_chain(id);
        if entries == 0 {
            return Err(QueueError::NotInFlight { id });
        }
        Ok(Taken { chains: 1, entries })
    }

    /// Frees the chain at `head`, and returns how many buffers it had: zero when there is none.
    #[inline(always)]
    fn take_chain(&mut self, head: u16) -> u16 {
        let len = self.len(head);
        if len == 0 {
            return 0;
        }
        self.set_len(head, 0);
        self.put(head);
        if len > 1 {
            self.put_rest(head, len);
        }
        len
    }

    #[inline(never)]
    fn put_rest(&mut self, mut id: u16, len: u16) {
        for _ in 1..len {
            id = self.next.get(usize::from(id)).copied().unwrap_or(0);
            self.put(id);
        }
    }

    /// Adds a free buffer. There are never more of them than the ring has.
    #[inline(always)]
    fn put(&mut self, id: u16) {
        let place = self.place(self.count);
        if let Some(free) = self.free.get_mut(place) {
            *free = id;
            self.count += 1;
        }
    }

    #[inline(always)]
    fn len(&self, head: u16) -> u16 {
        self.lens.get(usize::from(head)).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn set_len(&mut self, head: u16, len: u16) {
        if let Some(slot) = self.lens.get_mut(usize::from(head)) {
            *slot = len;
        }
    }

    /// Where free buffer number `at`, at most the ring's size, is.
    #[inline(always)]
    fn place(&self, at: usize) -> usize {
        let place = self.first + at;
        if place >= self.free.len() { place - self.free.len() } else { place }
    }
}
