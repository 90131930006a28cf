//! Bursts that stay open from one call to the next.
#![expect(unsafe_code, reason = "a queue and the burst that borrows from it live in one object")]

use crate::error::Failure;
use ringport::burst::{RxBurst, TxBurst};
use ringport::error::QueueError;
use ringport_memif::{RxQueue, TxQueue};
use std::mem::MaybeUninit;
use std::ptr::NonNull;

/// A queue with bursts.
pub(crate) trait Queue: 'static {
    /// A burst, which borrows from its queue.
    type Burst<'q>;

    /// Opens a burst of at most `max`.
    fn burst(&mut self, max: usize) -> Result<Self::Burst<'_>, QueueError>;
}

impl Queue for RxQueue {
    type Burst<'q> = RxBurst<'q>;

    #[inline]
    fn burst(&mut self, max: usize) -> Result<RxBurst<'_>, QueueError> {
        self.rx_burst(max)
    }
}

impl Queue for TxQueue {
    type Burst<'q> = TxBurst<'q>;

    #[inline]
    fn burst(&mut self, max: usize) -> Result<TxBurst<'_>, QueueError> {
        self.tx_burst(max)
    }
}

/// A queue, and the burst that is open on it. While one is, the queue is not touched.
pub(crate) struct Leased<Q: Queue> {
    /// Borrows from `queue`. Of what a function is passed the compiler may assume that borrows in it
    /// last until the function returns, but one that drops this object frees the queue: hence not as
    /// the type that it is, of which alone that is assumed. Always initialized.
    burst: Option<MaybeUninit<Q::Burst<'static>>>,
    /// From a box, ours alone. A pointer, since moving a box would end what is borrowed from it.
    queue: NonNull<Q>,
}

// SAFETY: the burst holds nothing but borrows of its queue, which is `Send` and goes with it.
unsafe impl Send for Leased<RxQueue> {}
// SAFETY: as above.
unsafe impl Send for Leased<TxQueue> {}

impl<Q: Queue> Leased<Q> {
    pub(crate) fn new(queue: Q) -> Self {
        Self { burst: None, queue: NonNull::from(Box::leak(Box::new(queue))) }
    }

    /// The queue, when no burst is open.
    #[inline]
    pub(crate) fn queue(&mut self) -> Result<&mut Q, Failure> {
        if self.burst.is_some() {
            return Err(Failure::BurstIsOpen);
        }
        // SAFETY: `new` allocated the queue and `drop` frees it; no burst borrows from it, and whoever
        // gets this borrow holds `self` for as long.
        Ok(unsafe { self.queue.as_mut() })
    }

    /// Opens a burst, which stays until [`end`](Self::end), and shows it to `look`.
    #[inline]
    pub(crate) fn open<R>(
        &mut self,
        max: usize,
        look: impl for<'q> FnOnce(&Q::Burst<'q>) -> R,
    ) -> Result<R, Failure> {
        if self.burst.is_some() {
            return Err(Failure::BurstIsOpen);
        }
        let queue = self.queue.as_ptr();
        // SAFETY: as in `queue`, but that the borrow lasts as long as the burst. That is dropped before
        // the queue is touched again (see above) or freed (`drop`), and leaves this object only to a
        // function that cannot keep it (`end`).
        let burst = unsafe { &mut *queue }.burst(max)?;
        let burst = self.burst.insert(MaybeUninit::new(burst));
        // SAFETY: it was made just now.
        Ok(look(unsafe { burst.assume_init_ref() }))
    }

    /// Has `finish` end the burst that is open; `None` when there is none.
    #[inline]
    pub(crate) fn end<R>(&mut self, finish: impl for<'q> FnOnce(Q::Burst<'q>) -> R) -> Option<R> {
        // SAFETY: one that is there is initialized, and it was taken out.
        self.burst.take().map(|burst| finish(unsafe { burst.assume_init() }))
    }
}

impl<Q: Queue> Drop for Leased<Q> {
    fn drop(&mut self) {
        self.end(|burst| drop(burst));
        // SAFETY: `new` made it from a box, nothing borrows from it any more, and this is the end.
        drop(unsafe { Box::from_raw(self.queue.as_ptr()) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts bursts that have ended.
    struct Counter(u32);

    struct Count<'q>(&'q mut u32);

    impl Drop for Count<'_> {
        fn drop(&mut self) {
            *self.0 = self.0.saturating_add(1);
        }
    }

    impl Queue for Counter {
        type Burst<'q> = Count<'q>;

        fn burst(&mut self, _: usize) -> Result<Count<'_>, QueueError> {
            Ok(Count(&mut self.0))
        }
    }

    /// As a handle that is given up: the whole object is passed on, and ends where it arrives.
    fn end(leased: Leased<Counter>) {
        drop(leased);
    }

    #[test]
    fn queue_is_free_between_bursts_and_ends_with_one_open() {
        let mut leased = Leased::new(Counter(0));
        for ended in 0..2 {
            assert_eq!(leased.queue().map_or(9, |queue| queue.0), ended);
            assert_eq!(leased.open(1, |burst| *burst.0).ok(), Some(ended));
            assert!(leased.queue().is_err() && leased.open(1, |_| ()).is_err());
            assert!(
                leased.end(|burst| drop(burst)).is_some()
                    && leased.end(|burst| drop(burst)).is_none()
            );
        }
        assert!(leased.open(1, |_| ()).is_ok());
        end(leased);
    }
}
