//! Which buffers of a transmit ring are free, and which chains the device has.

use super::layout::{Taken, Used};
use ringport::error::QueueError;

/// Free buffers come again in the order in which they became free. So with a device that keeps the
/// order, they are used in the order of their ids for ever: what IN_ORDER asks for.
///
/// Spec: VIRTIO 1.3 §2.7.13.1, §2.7.9.
#[derive(Debug)]
pub(super) struct Chains {
    /// Ids, a ring, of which `count` from `first` on are free.
    free: Box<[u16]>,
    first: usize,
    count: usize,
    /// By id of its first buffer: how many buffers are in a chain that the device has. Zero: none.
    lens: Box<[u16]>,
    /// By id: the next buffer of the chain.
    next: Box<[u16]>,
    /// With IN_ORDER: the oldest chain that the device has.
    oldest: u16,
}

impl Chains {
    /// Buffers of a ring of `size`, all of which are free.
    pub(super) fn new(size: u16) -> Self {
        let none = || vec![0; usize::from(size)].into();
        let (free, count) = ((0..size).collect(), usize::from(size));
        Self { free, first: 0, count, lens: none(), next: none(), oldest: 0 }
    }

    /// Free buffers.
    #[inline(always)]
    pub(super) fn free(&self) -> usize {
        self.count
    }

    /// How many buffers there are.
    pub(super) fn size(&self) -> usize {
        self.free.len()
    }

    /// The id of free buffer number `at`, which is less than their count.
    #[inline(always)]
    pub(super) fn id(&self, at: usize) -> u16 {
        self.free.get(self.place(at)).copied().unwrap_or(0)
    }

    /// Notes that free buffer number `at` becomes a chain.
    #[inline(always)]
    pub(super) fn lend(&mut self, id: u16) {
        self.set_len(id, 1);
    }

    /// Notes that buffer `id` goes on the chain at `head`, behind `last`.
    pub(super) fn extend(&mut self, head: u16, last: u16, id: u16) {
        if let Some(next) = self.next.get_mut(usize::from(last)) {
            *next = id;
        }
        self.set_len(head, self.len(head) + 1);
    }

    /// The first `count` free buffers are not free any more.
    #[inline(always)]
    pub(super) fn remove(&mut self, count: usize) {
        self.first = self.place(count);
        self.count -= count.min(self.count);
    }

    /// Takes back the chain that `used` names.
    ///
    /// # Errors
    /// The device does not have it.
    #[inline(always)]
    pub(super) fn take_back(&mut self, used: Used) -> Result<Taken, QueueError> {
        let id = self.check(used)?;
        let entries = self.take_chain(id);
        if entries == 0 {
            return Err(QueueError::NotInFlight { id });
        }
        Ok(Taken { chains: 1, entries })
    }

    /// Takes back all chains up to the one that `used` names, with IN_ORDER.
    ///
    /// # Errors
    /// The device does not have it.
    #[inline(always)]
    pub(super) fn take_back_through(&mut self, used: Used) -> Result<Taken, QueueError> {
        let id = self.check(used)?;
        let mut taken = Taken { chains: 0, entries: 0 };
        loop {
            let head = self.oldest;
            let entries = self.take_chain(head);
            if entries == 0 || taken.chains == used.chains_max {
                return Err(QueueError::NotInFlight { id });
            }
            taken = Taken { chains: taken.chains + 1, entries: taken.entries + entries };
            self.oldest = self.ahead(head, entries);
            if head == id {
                return Ok(taken);
            }
        }
    }

    fn check(&self, Used { id, .. }: Used) -> Result<u16, QueueError> {
        match u16::try_from(id) {
            Ok(id) if usize::from(id) < self.lens.len() => Ok(id),
            _ => Err(no_such_buffer(id, self.lens.len())),
        }
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

    /// The id `entries` behind `id`, both at most the ring's size.
    #[inline(always)]
    fn ahead(&self, id: u16, entries: u16) -> u16 {
        let at = usize::from(id) + usize::from(entries);
        let at = if at >= self.free.len() { at - self.free.len() } else { at };
        // No loss: it is less than the size.
        u16::try_from(at).unwrap_or(0)
    }
}

/// The device names a buffer beyond the ring.
#[cold]
pub(super) fn no_such_buffer(id: u32, size: usize) -> QueueError {
    QueueError::NoSuchDescriptor {
        index: u16::try_from(id).unwrap_or(u16::MAX),
        entries: u16::try_from(size).unwrap_or(u16::MAX),
    }
}
