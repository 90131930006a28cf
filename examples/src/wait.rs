//! Waiting for descriptors, and waiting without.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Sleeps until one of `fds` or `doorbells` is readable (or broken, which reading it will tell) or
/// `timeout` has passed; `None` waits for ever. Returns which of `fds` are.
pub(crate) fn readable<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    doorbells: &[BorrowedFd<'_>],
    timeout: Option<Duration>,
) -> anyhow::Result<[bool; N]> {
    let all = fds.iter().chain(doorbells);
    let mut set: Vec<_> = all.map(|&fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    match ppoll(&mut set, timeout.map(TimeSpec::from_duration), None) {
        Ok(_) => Ok(std::array::from_fn(|at| set[at].any().unwrap_or(true))),
        Err(Errno::EINTR) => Ok([false; N]),
        Err(errno) => Err(anyhow::Error::new(errno).context("cannot wait for descriptors")),
    }
}

/// What a loop does when it found nothing to do and must not sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relax {
    /// The other side has a core of its own.
    Spin,
    /// The other side may be waiting for this core.
    Yield,
}

impl Relax {
    pub(crate) fn relax(self) {
        match self {
            Self::Spin => std::hint::spin_loop(),
            Self::Yield => std::thread::yield_now(),
        }
    }
}
