//! Whether a file may have changed.

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// Becomes readable when a file may have been written, replaced or added. It watches the directory: a file
/// that is put in another's place, or a link on its way, is another file.
#[derive(Debug)]
pub struct Changes(Inotify);

impl Changes {
    /// Watches for `path`, which need not be there; its directory must.
    ///
    /// # Errors
    /// The directory is not there, or the system has run out of watches.
    pub fn of(path: &Path) -> io::Result<Self> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let flags =
            AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR;
        inotify.add_watch(parent.unwrap_or_else(|| Path::new(".")), flags)?;
        Ok(Self(inotify))
    }

    /// Forgets what has happened, before the file is looked at. Returns whether anything had.
    ///
    /// # Errors
    /// The system refuses.
    pub fn clear(&self) -> io::Result<bool> {
        let mut any = false;
        loop {
            match self.0.read_events() {
                Ok(events) => any |= !events.is_empty(),
                Err(Errno::EAGAIN) => return Ok(any),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn file_that_is_written_or_replaced_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        let changes = Changes::of(&path).unwrap();
        assert!(!changes.clear().unwrap());
        fs::write(&path, "a").unwrap();
        assert!(changes.clear().unwrap());
        fs::read(&path).unwrap();
        assert!(!changes.clear().unwrap());
        fs::write(dir.path().join("new"), "b").unwrap();
        changes.clear().unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
        assert!(changes.clear().unwrap());
    }

    #[test]
    fn directory_that_is_not_there_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Changes::of(&dir.path().join("absent/list")).is_err());
    }
}
