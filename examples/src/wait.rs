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
    wait(&mut set, timeout)?;
    Ok(std::array::from_fn(|at| is_ready(&set[at])))
}

/// As [`readable`], with `first` beside the others: whether that one is, and which of `fds` are.
pub(crate) fn readable_beside<const N: usize>(
    first: BorrowedFd<'_>,
    fds: [BorrowedFd<'_>; N],
    doorbells: &[BorrowedFd<'_>],
    timeout: Option<Duration>,
) -> anyhow::Result<(bool, [bool; N])> {
    let all = std::iter::once(&first).chain(&fds).chain(doorbells);
    let mut set: Vec<_> = all.map(|&fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    wait(&mut set, timeout)?;
    Ok((is_ready(&set[0]), std::array::from_fn(|at| is_ready(&set[at + 1]))))
}

/// Sleeps until `fd` can be written to without waiting, or is broken, which writing will tell: then
/// returns true. Or until `unless` is readable, or for `timeout`.
pub(crate) fn writable(
    fd: BorrowedFd<'_>,
    unless: Option<BorrowedFd<'_>>,
    timeout: Option<Duration>,
) -> anyhow::Result<bool> {
    loop {
        let mut set = vec![PollFd::new(fd, PollFlags::POLLOUT)];
        set.extend(unless.map(|unless| PollFd::new(unless, PollFlags::POLLIN)));
        wait(&mut set, timeout)?;
        let unless = set.get(1).is_some_and(is_ready);
        let ready = is_ready(&set[0]);
        if ready || unless || timeout.is_some() {
            return Ok(ready && !unless);
        }
    }
}

/// A signal ends the wait early.
fn wait(set: &mut [PollFd<'_>], timeout: Option<Duration>) -> anyhow::Result<()> {
    match ppoll(set, timeout.map(TimeSpec::from_duration), None) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(anyhow::Error::new(errno).context("cannot wait for descriptors")),
    }
}

fn is_ready(fd: &PollFd<'_>) -> bool {
    fd.any().unwrap_or(true)
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
