//! Telling threads to end, and waiting until they are told.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

/// Becomes readable once, and stays so. Clones are the same.
#[derive(Debug, Clone)]
pub struct Stop(Arc<EventFd>);

impl Stop {
    /// Nothing is to end yet.
    ///
    /// # Errors
    /// The system has run out of descriptors.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self(Arc::new(EventFd::from_flags(flags)?)))
    }

    /// Tells whoever waits.
    pub fn tell(&self) {
        // A counter that is full has told.
        let _ = self.0.write(1);
    }

    /// Waits for so long; whether it was told.
    pub(super) fn told_within(&self, time: Duration) -> bool {
        ready([self.as_fd()], timeout(time)).unwrap_or_else(|_| {
            std::thread::sleep(time);
            [false]
        })[0]
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Which of these can be read, or have failed; none, when the time is over or a signal came.
pub(super) fn ready<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    timeout: PollTimeout,
) -> io::Result<[bool; N]> {
    let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    match poll(&mut fds, timeout) {
        Ok(_) => Ok(fds.map(|fd| fd.any().unwrap_or(true))),
        Err(Errno::EINTR) => Ok([false; N]),
        Err(errno) => Err(errno.into()),
    }
}

/// In the system's form, rounded up, so that nobody spins for the last part of a millisecond.
pub(super) fn timeout(time: Duration) -> PollTimeout {
    PollTimeout::try_from(time.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
}
