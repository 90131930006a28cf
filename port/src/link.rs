//! The state that a link's control side shares with its queues.
//!
//! A queue reads it once a burst (one relaxed load of a line that changes only when the link does).
//! The control side, the queues and the SIGBUS guard may each bring the link down; the first reason
//! stays.

use crate::doorbell::Doorbell;
use crate::error::QueueError;
use crossbeam::utils::CachePadded;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// What a link's status word says. The numbers are stored in an atomic that a signal handler may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum LinkStatus {
    /// Packets may flow.
    Up = 0,
    /// Closed by the control side; queues hand out what they already hold, then report it.
    Down = 1,
    /// A queue found the peer breaking the ring contract.
    Faulted = 2,
    /// An access to the peer's memory failed and was caught by the SIGBUS guard.
    MemoryLost = 3,
}

/// Status of one link, shared (in an [`Arc`]) by its control side and its queues.
#[derive(Debug)]
pub struct LinkState {
    /// On a line of its own: queues read it once a burst.
    status: CachePadded<AtomicU32>,
    fault: OnceLock<QueueError>,
    wake: EventFd,
    /// Doorbells that threads of ours may sleep on.
    sleepers: Mutex<Vec<Arc<Doorbell>>>,
}

impl LinkState {
    /// Creates the state of a link that is up.
    ///
    /// # Errors
    /// When no eventfd can be created (file descriptor limit).
    pub fn new() -> std::io::Result<Self> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        Ok(Self {
            status: CachePadded::new(AtomicU32::new(LinkStatus::Up as u32)),
            fault: OnceLock::new(),
            wake: EventFd::from_flags(flags)?,
            sleepers: Mutex::default(),
        })
    }

    /// Whether packets may flow. One relaxed load.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.status.load(Ordering::Relaxed) == LinkStatus::Up as u32
    }

    /// The status now.
    #[must_use]
    pub fn status(&self) -> LinkStatus {
        match self.status.load(Ordering::Acquire) {
            0 => LinkStatus::Up,
            1 => LinkStatus::Down,
            2 => LinkStatus::Faulted,
            _ => LinkStatus::MemoryLost,
        }
    }

    /// Has the doorbell of a receive queue of ours rung when the link ends, so that a thread which
    /// sleeps on it learns of that.
    pub fn wake_at_end(&self, doorbell: Arc<Doorbell>) {
        self.lock_sleepers().push(doorbell);
    }

    /// Closes the link from the control side, and wakes the threads that sleep on its queues. A link
    /// that is already down keeps its reason.
    pub fn close(&self) {
        let _ = self.leave_up(LinkStatus::Down);
        self.wake_sleepers();
    }

    /// Records that a queue found `error` and wakes the control side. The first reason stays.
    /// Returns the reason that stands.
    #[cold]
    pub fn fail(&self, error: QueueError) -> QueueError {
        let standing = *self.fault.get_or_init(|| error);
        let _ = self.leave_up(LinkStatus::Faulted);
        // The counter of a private, non-blocking eventfd: an error can only mean that it is full,
        // in which case the control side has a wake-up waiting already.
        let _ = self.wake.write(1);
        self.wake_sleepers();
        standing
    }

    /// What a queue must report once the link is not up. Wakes the control side when it is the
    /// first to notice lost memory.
    #[cold]
    pub fn reason(&self) -> QueueError {
        match self.status() {
            LinkStatus::MemoryLost => self.fail(QueueError::MemoryLost),
            LinkStatus::Faulted => self.fault.get().copied().unwrap_or(QueueError::LinkDown),
            LinkStatus::Up | LinkStatus::Down => QueueError::LinkDown,
        }
    }

    /// The fault that a queue recorded, for the control side.
    #[must_use]
    pub fn fault(&self) -> Option<QueueError> {
        if self.status() == LinkStatus::MemoryLost {
            return Some(self.reason());
        }
        self.fault.get().copied()
    }

    /// Readable once a queue has recorded a fault: for the control side's poll set.
    #[must_use]
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// The word that the SIGBUS guard sets to [`LinkStatus::MemoryLost`].
    #[must_use]
    pub(crate) fn status_word(&self) -> &AtomicU32 {
        &self.status
    }

    /// Rings each doorbell once: whoever sleeps later finds the link down before it does.
    fn wake_sleepers(&self) {
        for doorbell in std::mem::take(&mut *self.lock_sleepers()) {
            // Refused only where no thread can be started: then the sleeper has its own timeout.
            let _ = doorbell.ring();
        }
    }

    fn lock_sleepers(&self) -> MutexGuard<'_, Vec<Arc<Doorbell>>> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave_up(&self, to: LinkStatus) -> Result<u32, u32> {
        let up = LinkStatus::Up as u32;
        self.status.compare_exchange(up, to as u32, Ordering::AcqRel, Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_fault_stays_and_wakes_control() {
        let link = LinkState::new().unwrap();
        assert!(link.is_up());
        link.fail(QueueError::EmptyDescriptor);
        link.close();
        assert_eq!(link.fail(QueueError::ChainTooLong { limit: 4 }), QueueError::EmptyDescriptor);
        assert_eq!(link.reason(), QueueError::EmptyDescriptor);
        assert_eq!(link.status(), LinkStatus::Faulted);
        let mut fds = [nix::poll::PollFd::new(link.wake_fd(), nix::poll::PollFlags::POLLIN)];
        assert_eq!(nix::poll::poll(&mut fds, nix::poll::PollTimeout::ZERO).unwrap(), 1);
    }

    #[test]
    fn end_of_the_link_wakes_whoever_sleeps_on_a_doorbell() {
        for end in [
            |link: &LinkState| link.close(),
            |link: &LinkState| {
                link.fail(QueueError::EmptyDescriptor);
            },
        ] {
            let link = LinkState::new().unwrap();
            let doorbell = Arc::new(Doorbell::create().unwrap());
            link.wake_at_end(Arc::clone(&doorbell));
            assert!(!doorbell.drain().unwrap());
            end(&link);
            assert!(doorbell.drain().unwrap());
            link.close();
            assert!(!doorbell.drain().unwrap(), "once");
        }
    }

    #[test]
    fn closed_link_reports_link_down() {
        let link = LinkState::new().unwrap();
        link.close();
        assert!(!link.is_up());
        assert_eq!(link.reason(), QueueError::LinkDown);
        assert_eq!(link.fault(), None);
    }
}
