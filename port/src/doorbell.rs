//! Eventfds that a hostile peer cannot use to stop our threads.
//!
//! A peer shares not just the counter but the open file itself, `O_NONBLOCK` included: it can fill
//! the counter and clear the flag, and the next `write` sleeps until the peer pleases. Hence:
//! * [`Doorbell::ring`] has the kernel signal the eventfd itself, as the completion of an
//!   asynchronous read that is over at once (Linux AIO). That never waits, and a full counter stays
//!   full. Where AIO is refused (seccomp, `fs.aio-max-nr`) or the kernel is older than 5.8, a helper
//!   thread of this doorbell writes to it instead.
//! * [`Doorbell::drain`] reads with `RWF_NOWAIT`, which overrides the flag. Where the kernel has no
//!   such read for eventfds (before 5.8), it asks with `poll` first; a peer that empties the
//!   counter, with the flag cleared, exactly between the two stops the thread there until it rings.
//!
//! # Threads and processes
//! The first ring of a thread makes an AIO context (tens of microseconds), or takes one that an
//! ended thread has left; contexts are kept for the life of the process, so there are never more of
//! them than there were threads ringing at a time. A forked child makes its own; a helper thread
//! does not exist in a forked child, and a doorbell that needed one stays silent there.
#![expect(unsafe_code, reason = "system calls that nix does not wrap: io_submit and preadv2")]

mod aio;
mod helper;
mod set;

pub use set::DoorbellSet;

use crate::scm;
use helper::Helper;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::ffi::c_long;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use thiserror::Error;

/// Most reads of one [`Doorbell::drain`] of a semaphore, each of which takes one ring.
const SEMAPHORE_READS_MAX: usize = 64;

/// Why a doorbell cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DoorbellError {
    /// The descriptor is not an eventfd.
    #[error("{found} is not an eventfd")]
    NotEventfd {
        /// What it is, in the kernel's words: `pipe:[4711]`, `socket:[4711]`, a path.
        found: Box<str>,
    },
    /// The descriptor cannot be told from other kinds: /proc is not mounted and the kernel refuses
    /// asynchronous I/O.
    #[error("cannot tell whether the doorbell is an eventfd")]
    Unidentified(#[source] io::Error),
    /// The counter cannot be read.
    #[error("cannot read the doorbell")]
    Read(#[source] io::Error),
    /// The kernel refuses asynchronous I/O, and the helper thread cannot be started either.
    #[error("cannot start the thread that rings the doorbell")]
    Helper(#[source] io::Error),
}

/// An eventfd that wakes the other side, or that the other side wakes us with.
#[derive(Debug)]
pub struct Doorbell {
    fd: Arc<OwnedFd>,
    /// Whether a read takes one ring rather than all (`EFD_SEMAPHORE`).
    semaphore: bool,
    /// Rings instead of AIO, once that was refused.
    helper: OnceLock<Helper>,
}

impl Doorbell {
    /// Makes a doorbell to share with a peer.
    ///
    /// # Errors
    /// When no eventfd can be made (limit of open files).
    pub fn create() -> io::Result<Self> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        Ok(Self::new(EventFd::from_flags(flags)?.into(), false))
    }

    /// Takes a doorbell received from a peer. Semaphores (`EFD_SEMAPHORE`) are tolerated.
    ///
    /// # Errors
    /// [`DoorbellError::NotEventfd`]; [`DoorbellError::Unidentified`] where nothing tells.
    pub fn from_peer(fd: OwnedFd) -> Result<Self, DoorbellError> {
        match scm::describe(fd.as_fd()) {
            Ok(name) if name.as_os_str() == "anon_inode:[eventfd]" => {}
            Ok(name) => return Err(not_eventfd(&name.to_string_lossy())),
            // No /proc: asynchronous I/O completes to eventfds only.
            Err(_) => match aio::accepts(fd.as_fd()) {
                Ok(true) => {}
                Ok(false) => return Err(not_eventfd("a descriptor")),
                Err(errno) => return Err(DoorbellError::Unidentified(errno.into())),
            },
        }
        let semaphore = is_semaphore(fd.as_fd());
        Ok(Self::new(fd, semaphore))
    }

    fn new(fd: OwnedFd, semaphore: bool) -> Self {
        Self { fd: Arc::new(fd), semaphore, helper: OnceLock::new() }
    }

    /// Another descriptor of the same eventfd, to send to a peer.
    ///
    /// # Errors
    /// When the limit of open files is reached.
    pub fn try_clone_fd(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// Wakes the other side. Never blocks, whatever the peer does to the eventfd. Rings that the
    /// other side has not taken yet may count as one.
    ///
    /// # Errors
    /// [`DoorbellError::Helper`]: neither way of ringing is to be had.
    pub fn ring(&self) -> Result<(), DoorbellError> {
        // Once refused, AIO is not asked again.
        if self.helper.get().is_none() && aio::signal(self.fd.as_fd()).is_ok() {
            return Ok(());
        }
        self.helper()?.ring();
        Ok(())
    }

    /// Takes all rings so far, and says whether there were any. Never blocks, but for what the
    /// module says about kernels before 5.8.
    ///
    /// Of a semaphore it takes 64 at most; the descriptor stays readable then.
    ///
    /// # Errors
    /// [`DoorbellError::Read`].
    pub fn drain(&self) -> Result<bool, DoorbellError> {
        let reads = if self.semaphore { SEMAPHORE_READS_MAX } else { 1 };
        for taken in 0..reads {
            match take(self.as_fd()) {
                Ok(()) => {}
                Err(Errno::EAGAIN) => return Ok(taken > 0),
                Err(errno) => return Err(DoorbellError::Read(errno.into())),
            }
        }
        Ok(true)
    }

    /// The helper thread, started when first needed.
    #[cold]
    fn helper(&self) -> Result<&Helper, DoorbellError> {
        if let Some(helper) = self.helper.get() {
            return Ok(helper);
        }
        let helper = Helper::start(Arc::clone(&self.fd)).map_err(DoorbellError::Helper)?;
        // Should another thread have been faster, its helper stays and this one ends.
        Ok(self.helper.get_or_init(|| helper))
    }
}

impl AsFd for Doorbell {
    /// Readable when rung: for the caller's own poll set. A peer can make it report an error
    /// condition besides (by filling the counter), which [`drain`](Doorbell::drain) clears as well.
    fn as_fd(&self) -> BorrowedFd<'_> {
        (*self.fd).as_fd()
    }
}

/// Takes the counter, or one of a semaphore; [`Errno::EAGAIN`] when it is zero.
fn take(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    loop {
        match read_nowait(fd) {
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => return poll_and_read(fd),
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

/// Reads with `RWF_NOWAIT`, which `read` on a blocking file has no equivalent for.
fn read_nowait(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut count = 0_u64;
    let data = libc::iovec { iov_base: (&raw mut count).cast(), iov_len: size_of_val(&count) };
    let (one, position): (c_long, c_long) = (1, -1);
    // By number, as not every C library has the function. The position -1 (in two halves) means the
    // file's own, which an eventfd has none of.
    // SAFETY: `data` describes `count`, which is writable and outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_preadv2,
            c_long::from(fd.as_raw_fd()),
            &raw const data,
            one,
            position,
            position,
            c_long::from(libc::RWF_NOWAIT),
        )
    };
    Errno::result(result).map(drop)
}

/// The substitute on old kernels, with the gap that the module's documentation describes.
fn poll_and_read(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    if !is_ready(fd, PollFlags::POLLIN)? {
        return Err(Errno::EAGAIN);
    }
    nix::unistd::read(fd, &mut [0; size_of::<u64>()]).map(drop)
}

/// Whether one of `events` holds for `fd` now.
fn is_ready(fd: BorrowedFd<'_>, events: PollFlags) -> Result<bool, Errno> {
    let mut set = [PollFd::new(fd, events)];
    loop {
        match nix::poll::poll(&mut set, PollTimeout::ZERO) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) => return Ok(set[0].revents().is_some_and(|seen| seen.intersects(events))),
        }
    }
}

/// Whether the eventfd is a semaphore, as far as the kernel says so (since 6.5).
fn is_semaphore(fd: BorrowedFd<'_>) -> bool {
    let path = format!("/proc/thread-self/fdinfo/{}", fd.as_raw_fd());
    let info = std::fs::read_to_string(path).unwrap_or_default();
    info.lines().any(|line| {
        line.strip_prefix("eventfd-semaphore:").is_some_and(|value| value.trim() == "1")
    })
}

#[cold]
fn not_eventfd(found: &str) -> DoorbellError {
    DoorbellError::NotEventfd { found: found.into() }
}

#[cfg(test)]
mod tests;
