//! One plugin at a time.
//!
//! Making an interface takes several requests, and VPP does others' in between: two plugins could
//! choose the same number of a socket, or one remove the bridge domain, empty at last, that another
//! is about to put its interface on. So whoever changes anything holds a lock on the directory of
//! the API's socket: it is the same one for all that talk to this VPP, and ends with its holder.

use super::VppError;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long to wait before trying again.
const PAUSE: Duration = Duration::from_millis(1);

/// The lock; it ends when dropped.
#[derive(Debug)]
pub struct Lock {
    _directory: Flock<File>,
}

impl Lock {
    /// Waits until nobody else holds the lock of the VPP whose API is at `api`.
    ///
    /// # Errors
    /// [`VppError::Connect`] when there is no such directory; [`VppError::Locked`] when others hold
    /// it for too long.
    pub fn take(api: &Path, timeout: Duration) -> Result<Self, VppError> {
        let directory = api.parent().unwrap_or_else(|| Path::new("/"));
        let mut file = File::open(directory)
            .map_err(|source| VppError::Connect { path: api.to_owned(), source })?;
        let deadline = Instant::now() + timeout;
        loop {
            file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => return Ok(Self { _directory: held }),
                Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => file,
                Err((_, errno)) => return Err(VppError::Io(errno.into())),
            };
            if Instant::now() > deadline {
                return Err(locked(directory.to_owned(), timeout));
            }
            std::thread::sleep(PAUSE);
        }
    }
}

const fn locked(path: PathBuf, waited: Duration) -> VppError {
    VppError::Locked { path, waited }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_holder_waits_for_the_first_and_not_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let api = directory.path().join("api.sock");
        let first = Lock::take(&api, Duration::ZERO).unwrap();
        let error = Lock::take(&api, Duration::from_millis(20)).unwrap_err();
        assert!(matches!(error, VppError::Locked { .. }), "{error}");
        drop(first);
        Lock::take(&api, Duration::ZERO).unwrap();
    }

    #[test]
    fn absent_directory_is_an_api_that_cannot_be_reached() {
        let error = Lock::take(Path::new("/nonexistent/api.sock"), Duration::ZERO).unwrap_err();
        assert!(matches!(error, VppError::Connect { .. }), "{error}");
    }
}
