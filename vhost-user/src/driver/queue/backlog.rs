//! Buffers of a receive ring: which the device has, and which it gave back and we have not released.

use super::chains::no_such_buffer;
use super::layout::{Taken, Used};
use ringport::error::QueueError;

/// A buffer that the device gave back.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Filled {
    pub(super) id: u16,
    /// Bytes written; not more than it holds.
    pub(super) len: u32,
}

/// Buffers that the device gave back, oldest first.
#[derive(Debug)]
pub(super) struct Backlog {
    /// `count` from the start on. As many as the ring has.
    filled: Box<[Filled]>,
    count: usize,
    /// By id: the device has it. Without entries with IN_ORDER.
    lent: Box<[bool]>,
    /// With IN_ORDER: the next that the device gives back.
    next: u16,
    /// What a buffer holds, in bytes.
    capacity: u32,
}

impl Backlog {
    /// Buffers of a ring of `size`, all of which the device has.
    pub(super) fn new(size: u16, capacity: u32, in_order: bool) -> Self {
        let (all, tracked) = (usize::from(size), if in_order { 0 } else { usize::from(size) });
        let (filled, lent) = (vec![Filled::default(); all].into(), vec![true; tracked].into());
        Self { filled, count: 0, lent, next: 0, capacity }
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// How many buffers there are.
    #[inline(always)]
    pub(super) fn size(&self) -> usize {
        self.filled.len()
    }

    /// What the device gave back.
    #[inline(always)]
    pub(super) fn filled(&self) -> &[Filled] {
        self.filled.get(..self.count).unwrap_or_default()
    }

    /// Adds the buffer that `used` names.
    ///
    /// # Errors
    /// The device does not have it, or wrote more than it holds.
    #[inline(always)]
    pub(super) fn take(&mut self, Used { id, len, .. }: Used) -> Result<Taken, QueueError> {
        let size = self.filled.len();
        // No loss: a position in the table is checked, and there are at most 2^15.
        #[expect(clippy::cast_possible_truncation, reason = "less than the ring's size")]
        let short = id as u16;
        let Some(lent) = self.lent.get_mut(id as usize) else {
            return Err(no_such_buffer(id, size));
        };
        if !std::mem::replace(lent, false) {
            return Err(QueueError::NotInFlight { id: short });
        }
        self.push(short, len)?;
        Ok(Taken::ONE)
    }

    /// Adds all buffers up to the one that `used` names, with IN_ORDER. Those passed over are full.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    ///
    /// Spec: VIRTIO 1.3 §2.7.9, §2.8.8.
    #[inline(always)]
    pub(super) fn take_through(&mut self, used: Used) -> Result<Taken, QueueError> {
        let next = self.next;
        if used.id != u32::from(next) || self.count == self.filled.len() {
            return self.take_batch(used);
        }
        self.push(next, used.len)?;
        self.advance();
        Ok(Taken::ONE)
    }

    #[inline(never)]
    fn take_batch(&mut self, used: Used) -> Result<Taken, QueueError> {
        let size = self.filled.len();
        let id = u16::try_from(used.id).ok().filter(|id| usize::from(*id) < size);
        let id = id.ok_or_else(|| no_such_buffer(used.id, size))?;
        let behind = usize::from(id) + if id < self.next { size } else { 0 };
        let before = behind - usize::from(self.next);
        if before >= (size - self.count).min(used.chains_max.into()) {
            return Err(QueueError::NotInFlight { id });
        }
        for _ in 0..before {
            self.push(self.next, self.capacity)?;
            self.advance();
        }
        self.push(id, used.len)?;
        self.advance();
        // No loss: not more than the ring has.
        let chains = u16::try_from(before + 1).unwrap_or(u16::MAX);
        Ok(Taken { chains, entries: chains })
    }

    /// The first `count` go back to the device.
    #[inline(always)]
    pub(super) fn release(&mut self, count: usize) {
        let count = count.min(self.count);
        let tracked = if self.lent.is_empty() { 0 } else { count };
        for filled in self.filled.iter().take(tracked) {
            if let Some(lent) = self.lent.get_mut(usize::from(filled.id)) {
                *lent = true;
            }
        }
        self.filled.copy_within(count..self.count, 0);
        self.count -= count;
    }

    #[inline(always)]
    fn push(&mut self, id: u16, len: u32) -> Result<(), QueueError> {
        let capacity = self.capacity;
        if len > capacity {
            return Err(QueueError::LengthExceedsBuffer { len, capacity });
        }
        let place = self.filled.get_mut(self.count);
        *place.ok_or(QueueError::NotInFlight { id })? = Filled { id, len };
        self.count += 1;
        Ok(())
    }

    #[inline(always)]
    fn advance(&mut self) {
        let next = usize::from(self.next) + 1;
        self.next = if next == self.filled.len() { 0 } else { self.next + 1 };
    }
}
