//! One descriptor for doorbells that come and go.

use super::Doorbell;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// Doorbells of which any makes one descriptor readable, among them one of our own. The others may
/// be exchanged at any time, by any thread, also while one sleeps on the descriptor.
#[derive(Debug)]
pub struct DoorbellSet {
    epoll: Epoll,
    own: Arc<Doorbell>,
}

impl DoorbellSet {
    /// The set of our own doorbell.
    ///
    /// # Errors
    /// When no descriptors are to be had (limit of open files).
    pub fn new() -> io::Result<Self> {
        let set = Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            own: Arc::new(Doorbell::create()?),
        };
        set.add(&set.own)?;
        Ok(set)
    }

    /// Our own.
    #[must_use]
    pub fn own(&self) -> &Arc<Doorbell> {
        &self.own
    }

    /// Adds a doorbell. It must be removed before it is dropped: a peer that has it as well would
    /// go on to make the set readable.
    ///
    /// # Errors
    /// When the kernel has no room for it (`fs.epoll.max_user_watches`).
    pub fn add(&self, doorbell: &Doorbell) -> io::Result<()> {
        match self.epoll.add(doorbell, EpollEvent::new(EpollFlags::EPOLLIN, 0)) {
            Err(Errno::EEXIST) => Ok(()),
            added => Ok(added?),
        }
    }

    /// Removes a doorbell, if it is in the set.
    pub fn remove(&self, doorbell: &Doorbell) {
        // Fails only for one that is not in the set.
        let _ = self.epoll.delete(doorbell);
    }
}

impl AsFd for DoorbellSet {
    /// Readable while one of the doorbells is rung and not drained.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::PollFlags;

    fn is_readable(set: &DoorbellSet) -> bool {
        super::super::is_ready(set.as_fd(), PollFlags::POLLIN).unwrap()
    }

    #[test]
    fn set_is_readable_while_one_of_its_doorbells_is_rung() {
        let set = DoorbellSet::new().unwrap();
        let (first, second) = (Doorbell::create().unwrap(), Doorbell::create().unwrap());
        set.add(&first).unwrap();
        assert!(!is_readable(&set));
        for bell in [&first, set.own()] {
            bell.ring().unwrap();
            assert!(is_readable(&set));
            assert!(bell.drain().unwrap());
            assert!(!is_readable(&set));
        }
        first.ring().unwrap();
        set.remove(&first);
        set.remove(&second);
        assert!(!is_readable(&set), "removed");
        second.ring().unwrap();
        set.add(&second).unwrap();
        set.add(&second).unwrap();
        assert!(is_readable(&set), "rung before it was added");
    }

    #[test]
    fn removed_doorbell_that_the_peer_still_has_rings_no_more() {
        let set = DoorbellSet::new().unwrap();
        let peers = Doorbell::create().unwrap();
        let ours = Doorbell::from_peer(peers.try_clone_fd().unwrap()).unwrap();
        set.add(&ours).unwrap();
        set.remove(&ours);
        drop(ours);
        peers.ring().unwrap();
        assert!(!is_readable(&set));
    }
}
