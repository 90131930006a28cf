//! Noticing that a device is being removed.
//!
//! The kernel waits with the removal until the file is closed, and neither the file nor an event of the
//! kernel says so. But it removes the node in `/dev` first. One thread watches for that, for all devices of
//! this process; it ends with the last of them.
//!
//! Where the node is a copy (`mknod` of a container's runtime), it is not removed, and nothing is noticed.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::fs::{Metadata, canonicalize, metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::Builder;

/// The thread's, while there is one.
static WATCHER: Mutex<Weak<Watcher>> = Mutex::new(Weak::new());

/// What may remove a node, or put another one in its place.
const EVENTS: AddWatchFlags = AddWatchFlags::IN_DELETE
    .union(AddWatchFlags::IN_MOVE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// Watches for one device.
#[derive(Debug)]
pub(super) struct Watch {
    gone: Arc<EventFd>,
    watcher: Arc<Watcher>,
}

/// All that is watched. Ends the thread when it goes.
#[derive(Debug)]
struct Watcher(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    inotify: Inotify,
    end: EventFd,
    nodes: Mutex<Vec<Node>>,
}

/// A node that is to stay.
#[derive(Debug)]
struct Node {
    path: PathBuf,
    /// File system and inode.
    identity: (u64, u64),
    gone: Arc<EventFd>,
}

impl Watch {
    /// Watches the node at `path`, or where that leads.
    ///
    /// # Errors
    /// There is no such file, or it cannot be watched (`fs.inotify.max_user_instances`).
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let path = canonicalize(path)?;
        let watcher = Watcher::shared()?;
        let gone = Arc::new(eventfd()?);
        let directory = path.parent().ok_or(io::ErrorKind::NotFound)?;
        watcher.0.inotify.add_watch(directory, EVENTS)?;
        // Not before: from here on nothing is missed.
        let identity = identity(&metadata(&path)?);
        watcher.0.nodes().push(Node { path, identity, gone: Arc::clone(&gone) });
        Ok(Self { gone, watcher })
    }

    /// Readable once the node is gone.
    pub(super) fn gone(&self) -> BorrowedFd<'_> {
        self.gone.as_fd()
    }

    /// Makes it so.
    pub(super) fn tell(&self) {
        let _ = self.gone.write(1);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watcher.0.nodes().retain(|node| !Arc::ptr_eq(&node.gone, &self.gone));
    }
}

impl Watcher {
    /// The one of this process, with its thread.
    fn shared() -> io::Result<Arc<Self>> {
        let mut place = WATCHER.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watcher) = place.upgrade() {
            return Ok(watcher);
        }
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let shared = Arc::new(Shared { inotify, end: eventfd()?, nodes: Mutex::default() });
        let watcher = Arc::new(Self(Arc::clone(&shared)));
        Builder::new().name("vdpa watch".to_owned()).spawn(move || shared.run())?;
        *place = Arc::downgrade(&watcher);
        Ok(watcher)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.0.end.write(1);
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let mut fds = [self.inotify.as_fd(), self.end.as_fd()]
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return,
            }
            if fds[1].any() == Some(true) {
                return;
            }
            // Which events they are does not matter: some may have been lost.
            let _ = self.inotify.read_events();
            self.look();
        }
    }

    /// Tells of the nodes that are no longer there.
    fn look(&self) {
        for node in self.nodes().iter().filter(|node| !node.is_there()) {
            let _ = node.gone.write(1);
        }
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    fn is_there(&self) -> bool {
        match metadata(&self.path) {
            Ok(found) => identity(&found) == self.identity,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// An eventfd that nobody waits for in a read or write.
pub(crate) fn eventfd() -> io::Result<EventFd> {
    Ok(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::Duration;

    fn is_told(watch: &Watch, patience: Duration) -> bool {
        let mut fds = [PollFd::new(watch.gone(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::try_from(patience).unwrap()).unwrap() == 1
    }

    fn node(name: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        fs::write(&path, "").unwrap();
        (directory, path)
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn removal_of_the_node_is_told_and_that_of_its_neighbour_is_not() {
        let (directory, path) = node("vhost-vdpa-0");
        let neighbour = directory.path().join("vhost-vdpa-1");
        fs::write(&neighbour, "").unwrap();
        let (watch, other) = (Watch::new(&path).unwrap(), Watch::new(&neighbour).unwrap());
        fs::remove_file(&neighbour).unwrap();
        assert!(is_told(&other, LONG));
        assert!(!is_told(&watch, Duration::ZERO));
        fs::remove_file(&path).unwrap();
        assert!(is_told(&watch, LONG));
    }

    #[test]
    fn node_is_watched_where_a_link_leads() {
        let (directory, path) = node("vhost-vdpa-0");
        let elsewhere = tempfile::tempdir().unwrap();
        let link = elsewhere.path().join("vf0");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let watch = Watch::new(&link).unwrap();
        fs::remove_file(&link).unwrap();
        fs::write(directory.path().join("new"), "").unwrap();
        fs::rename(directory.path().join("new"), &path).unwrap();
        assert!(is_told(&watch, LONG), "another file is in its place");
    }

    #[test]
    fn node_that_is_not_there_is_not_found() {
        let error = Watch::new(Path::new("/nowhere/vhost-vdpa-0")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn giving_up_is_told_as_well() {
        let (_directory, path) = node("vhost-vdpa-0");
        let watch = Watch::new(&path).unwrap();
        assert!(!is_told(&watch, Duration::ZERO));
        watch.tell();
        assert!(is_told(&watch, Duration::ZERO));
    }
}
