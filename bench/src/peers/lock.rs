//! One polling peer at a time.

use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::io;

/// Held while a test or a benchmark runs peers that poll: two of them would share the cores and
/// spoil each other's timing. Works across threads and processes. Released on drop.
#[derive(Debug)]
pub struct PeerLock {
    _file: Flock<File>,
}

impl PeerLock {
    /// Waits for the lock.
    ///
    /// # Errors
    /// When the lock file in the temporary directory cannot be made or locked.
    pub fn acquire() -> io::Result<Self> {
        let path = std::env::temp_dir().join("ringport-peers.lock");
        let mut file = File::options().create(true).append(true).open(path)?;
        loop {
            match Flock::lock(file, FlockArg::LockExclusive) {
                Ok(locked) => return Ok(Self { _file: locked }),
                Err((back, nix::errno::Errno::EINTR)) => file = back,
                Err((_, errno)) => return Err(errno.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn only_one_holder_at_a_time() {
        let inside = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let _lock = PeerLock::acquire().unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
    }
}
