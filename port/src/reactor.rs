//! An epoll set with one timer in it, and the loop that control sides run on it.

mod budget;
mod turn;

pub use turn::{Driver, poll};

use crate::error::CallError;
use budget::Budget;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Stands for the timer; its users look at their deadlines after every wait.
const TIMER: u64 = u64::MAX;

/// Most descriptors reported by one wait.
const BATCH: usize = 32;

/// An epoll set with one timer.
#[derive(Debug)]
pub struct Reactor {
    epoll: Epoll,
    timer: TimerFd,
    /// What the timer is set to. To set it is dear in a virtual machine, more than all else that a
    /// poll does in vain; while a peer stalls, each poll would do it again.
    set_to: Mutex<Option<Instant>>,
    budget: Budget,
}

/// What to wait for on a descriptor. Errors and hang-ups are always reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// For neither.
    Nothing,
    /// Something to read.
    Read,
    /// Room to write.
    Write,
}

impl Reactor {
    /// An empty set.
    ///
    /// # Errors
    /// When the limit of open files is reached.
    pub fn new() -> Result<Self, CallError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(CallError::errno("epoll_create"))?;
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)
            .map_err(CallError::errno("timerfd_create"))?;
        let budget = Budget::new(Instant::now());
        let reactor = Self { epoll, timer, set_to: Mutex::default(), budget };
        reactor.add(reactor.timer.as_fd(), TIMER, Interest::Read)?;
        Ok(reactor)
    }

    /// Adds a descriptor; `token` is what [`wait`](Self::wait) calls it by, and not `u64::MAX`.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> Result<(), CallError> {
        self.epoll
            .add(fd, EpollEvent::new(interest.flags(), token))
            .map_err(CallError::errno("epoll_ctl"))
    }

    /// Changes what is waited for on a descriptor in the set.
    pub fn modify(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) {
        let mut event = EpollEvent::new(interest.flags(), token);
        // The descriptor is in the set, so this cannot fail.
        let _ = self.epoll.modify(fd, &mut event);
    }

    /// Takes a descriptor out of the set.
    pub fn remove(&self, fd: BorrowedFd<'_>) {
        // As above. Closing alone would not do: the descriptor may have been duplicated.
        let _ = self.epoll.delete(fd);
    }

    /// Waits until something is ready or `until` has come; `None` waits for ever.
    /// Returns the tokens of what is ready, which may be none.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub fn wait(&self, until: Option<Instant>) -> Result<Vec<u64>, CallError> {
        let mut events = [EpollEvent::empty(); BATCH];
        let count = match self.epoll.wait(&mut events, timeout_until(until)) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(CallError::errno("epoll_wait")(errno)),
        };
        Ok(events
            .iter()
            .take(count)
            .map(EpollEvent::data)
            .filter(|&token| token != TIMER)
            .collect())
    }

    /// Makes the set readable at `when`, at once when that has passed, and not by time if `None`.
    ///
    /// # Errors
    /// When the kernel refuses the timer.
    pub fn set_timer(&self, when: Option<Instant>) -> Result<(), CallError> {
        let mut set_to = self.set_to.lock().unwrap_or_else(PoisonError::into_inner);
        // One that has expired stays so until it is set to something else: nobody reads it.
        if *set_to == when {
            return Ok(());
        }
        let set = match when {
            Some(when) => {
                let left = when.saturating_duration_since(Instant::now());
                let left = TimeSpec::from_duration(left.max(Duration::from_nanos(1)));
                self.timer.set(Expiration::OneShot(left), TimerSetTimeFlags::empty())
            }
            None => self.timer.unset(),
        };
        set.map_err(CallError::errno("timerfd_settime"))?;
        *set_to = when;
        Ok(())
    }
}

impl AsFd for Reactor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

impl Interest {
    fn flags(self) -> EpollFlags {
        match self {
            Self::Nothing => EpollFlags::empty(),
            Self::Read => EpollFlags::EPOLLIN,
            Self::Write => EpollFlags::EPOLLOUT,
        }
    }
}

fn timeout_until(until: Option<Instant>) -> EpollTimeout {
    let Some(until) = until else {
        return EpollTimeout::NONE;
    };
    let left = until.saturating_duration_since(Instant::now());
    // Rounded up, so that a wait does not end just before its time and spin.
    let millis = left.as_nanos().div_ceil(1_000_000);
    EpollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX)).unwrap_or(EpollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout};

    fn is_readable(reactor: &Reactor) -> bool {
        let mut set = [PollFd::new(reactor.as_fd(), PollFlags::POLLIN)];
        nix::poll::poll(&mut set, PollTimeout::ZERO).unwrap() == 1
    }

    #[test]
    fn timer_that_is_set_again_to_the_same_time_expires_and_stays_so_until_it_is_set_anew() {
        let reactor = Reactor::new().unwrap();
        let end = Instant::now() + Duration::from_millis(20);
        let soon = Some(end);
        for _ in 0..3 {
            reactor.set_timer(soon).unwrap();
            assert!(!is_readable(&reactor) || Instant::now() >= end);
        }
        while !is_readable(&reactor) {
            assert!(end.elapsed() < Duration::from_secs(20));
        }
        reactor.set_timer(soon).unwrap();
        assert!(is_readable(&reactor));
        reactor.set_timer(Some(Instant::now() + Duration::from_secs(60))).unwrap();
        assert!(!is_readable(&reactor));
        reactor.set_timer(Some(Instant::now())).unwrap();
        while !is_readable(&reactor) {}
        reactor.set_timer(None).unwrap();
        assert!(!is_readable(&reactor));
        reactor.set_timer(soon).unwrap();
        while !is_readable(&reactor) {}
    }
}
