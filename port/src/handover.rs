//! What one data thread and one control thread share about one queue that changes while it runs.
//!
//! The data thread works in bursts, and says with plain stores when one begins and ends. Control puts
//! a change where the data thread finds it, announces it, and looks whether a burst is open:
//!
//! | data | control |
//! |---|---|
//! | [`enter`](Handover::enter): busy, *fence*, is there a change? | [`announce`](Handover::announce): there is a change, *barrier* |
//! | if so, takes it: [`picked_up`](Handover::picked_up) | [`is_settled`](Handover::is_settled): busy? |
//! | [`leave`](Handover::leave): not busy, *fence*, is there a change? then wake control | if so, sleeps until woken |
//!
//! Of the two sides at least one sees the other's store. So a change has *settled*, whether or not
//! anybody ever polls the queue, once no burst is open that began before it: the data thread touches
//! nothing before it has picked the change up. Nobody waits for anybody, so both may be the same thread.
//!
//! The barrier is `membarrier`, which has the kernel put a fence into every thread of the process;
//! the fence of the data side is then one that only the compiler sees. Where the system call is
//! refused, both are fences of the CPU.
//!
//! What is handed over lies in a mutex of the caller's, which the data thread locks only when there
//! is a change. `./ci.sh loom` checks these functions.

use crate::sync::{AtomicU32, Ordering, fence};
use crossbeam::utils::CachePadded;

mod membarrier;
#[cfg(all(test, not(loom)))]
mod tests;

const NOTHING: u32 = 0;
const CHANGED: u32 = 1;
/// There is a change, but the barrier failed: only picking it up counts.
const UNFENCED: u32 = 2;

/// The words that the two sides share.
#[derive(Debug)]
pub struct Handover {
    /// On a line that the data side writes.
    data: CachePadded<Data>,
    /// On a line that changes only when there is a change.
    control: CachePadded<Control>,
}

#[derive(Debug)]
struct Data {
    busy: AtomicU32,
    position: AtomicU32,
}

#[derive(Debug)]
struct Control {
    change: AtomicU32,
    /// Whether the barrier is `membarrier`.
    expedited: bool,
}

impl Default for Handover {
    fn default() -> Self {
        Self::new(membarrier::is_available())
    }
}

impl Handover {
    fn new(expedited: bool) -> Self {
        let (busy, position) = (AtomicU32::new(0), AtomicU32::new(0));
        let change = AtomicU32::new(NOTHING);
        Self {
            data: CachePadded::new(Data { busy, position }),
            control: CachePadded::new(Control { change, expedited }),
        }
    }

    /// Data side: begins a burst, and says whether there is a change, which must be picked up before
    /// anything is touched that it may be about.
    #[must_use]
    #[inline(always)]
    pub fn enter(&self) -> bool {
        self.data.busy.store(1, Ordering::Relaxed);
        self.fence();
        self.control.change.load(Ordering::Relaxed) != NOTHING
    }

    /// Data side, within a burst, with the caller's mutex locked: what is there is being taken. When
    /// it has been, wake control, which may have found the burst open.
    pub fn picked_up(&self) {
        // What was done with the old before is over for control when it sees this.
        self.control.change.store(NOTHING, Ordering::Release);
    }

    /// Data side: ends a burst after which the queue is at `position`. Returns whether control must
    /// be woken.
    #[must_use]
    #[inline(always)]
    pub fn leave(&self, position: u32) -> bool {
        self.set_position(position);
        self.leave_unmoved()
    }

    /// As [`leave`](Self::leave), at the position of the last burst.
    #[must_use]
    #[inline(always)]
    pub fn leave_unmoved(&self) -> bool {
        self.data.busy.store(0, Ordering::Release);
        self.fence();
        self.control.change.load(Ordering::Relaxed) != NOTHING
    }

    /// Data side, within a burst: where the queue is.
    #[inline(always)]
    pub fn set_position(&self, position: u32) {
        self.data.position.store(position, Ordering::Relaxed);
    }

    /// Where the queue was when its last burst ended: not before the last change has settled.
    #[must_use]
    pub fn position(&self) -> u32 {
        self.data.position.load(Ordering::Relaxed)
    }

    /// Control side: there is a change, which lies in the caller's mutex.
    pub fn announce(&self) {
        self.control.change.store(CHANGED, Ordering::Relaxed);
        if !self.control.expedited {
            // Pairs with the fences of the data side.
            fence(Ordering::SeqCst);
        } else if !membarrier::run() {
            self.control.change.store(UNFENCED, Ordering::Relaxed);
        }
    }

    /// Control side: whether the last change has taken effect.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        match self.control.change.load(Ordering::Acquire) {
            NOTHING => true,
            CHANGED => self.data.busy.load(Ordering::Acquire) == 0,
            _ => false,
        }
    }

    #[inline(always)]
    fn fence(&self) {
        if self.control.expedited {
            std::sync::atomic::compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
    }
}
