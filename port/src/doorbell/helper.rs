//! Rings a doorbell from a thread that may be stopped, where AIO is not to be had.

use super::{is_ready, take};
use nix::poll::PollFlags;
use nix::sys::signal::SigSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};

/// Bytes of the helper's stack: it calls next to nothing.
const STACK: usize = 64 << 10;

/// The thread that rings one doorbell. At most one ring is outstanding; more are the same ring.
///
/// A peer that fills the counter and clears `O_NONBLOCK` between the helper's look at it and its
/// write stops this thread, and no other. Dropping the doorbell empties a full counter, which frees
/// it; a peer that fills it yet again at that moment keeps one sleeping thread.
#[derive(Debug)]
pub(super) struct Helper {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Debug)]
struct Shared {
    fd: Arc<OwnedFd>,
    rung: AtomicBool,
    ended: AtomicBool,
}

impl Helper {
    pub(super) fn start(fd: Arc<OwnedFd>) -> io::Result<Self> {
        let rung = AtomicBool::new(false);
        let shared = Arc::new(Shared { fd, rung, ended: AtomicBool::new(false) });
        let for_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("doorbell".into())
            .stack_size(STACK)
            .spawn(move || for_thread.run())?;
        Ok(Self { shared, thread: thread.thread().clone() })
    }

    /// Has the thread ring. Never blocks: a store, and a futex wake-up if the last ring is out.
    pub(super) fn ring(&self) {
        if !self.shared.rung.swap(true, Ordering::AcqRel) {
            self.thread.unpark();
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        self.thread.unpark();
        // Only a peer that means harm has a full counter, and only then may the thread be stuck.
        if !self.shared.has_room() {
            let _ = take(self.shared.fd.as_fd());
        }
    }
}

impl Shared {
    fn run(&self) {
        // The application's signal handlers expect its own threads. Failure would be harmless.
        let _ = SigSet::all().thread_block();
        loop {
            if self.rung.swap(false, Ordering::AcqRel) {
                self.write();
            } else if self.ended.load(Ordering::Acquire) {
                return;
            } else {
                thread::park();
            }
        }
    }

    /// Rings, unless the counter is full: the bell cannot be any louder then.
    fn write(&self) {
        if self.has_room() {
            let _ = nix::unistd::write(&*self.fd, &1_u64.to_ne_bytes());
        }
    }

    fn has_room(&self) -> bool {
        is_ready(self.fd.as_fd(), PollFlags::POLLOUT).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::eventfd::{EfdFlags, EventFd};
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn thread_stopped_in_its_write_is_freed_when_the_doorbell_is_dropped() {
        let full = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).unwrap();
        full.write(u64::MAX - 1).unwrap();
        let fd = Arc::new(OwnedFd::from(full));
        let rung = AtomicBool::new(false);
        let shared = Arc::new(Shared { fd, rung, ended: AtomicBool::new(false) });
        let (done, wait) = mpsc::channel();
        let fd = Arc::clone(&shared.fd);
        // What the helper does once it has lost the race against the peer.
        let stopped = thread::spawn(move || {
            let written = nix::unistd::write(&*fd, &1_u64.to_ne_bytes());
            done.send(written)
        });
        assert!(wait.recv_timeout(Duration::from_millis(50)).is_err(), "it should be stopped");
        drop(Helper { shared, thread: stopped.thread().clone() });
        assert_eq!(wait.recv_timeout(Duration::from_secs(10)).unwrap(), Ok(8));
    }
}
