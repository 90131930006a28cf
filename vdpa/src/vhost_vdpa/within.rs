//! Calls that have a time of their own.

use super::failed;
use crate::device::DeviceError;
use std::sync::mpsc;
use std::thread::Builder;
use std::time::Duration;

/// For each thing that a device is told. Drivers that talk to firmware take a second, those of tests none.
pub(super) const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 10 });

/// Does `work` in a thread, and waits for it. After its time it goes on alone: what it owns is given back
/// when it ends.
pub(super) fn within<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, DeviceError> {
    wait(PATIENCE, what, work)
}

fn wait<T: Send + 'static>(
    patience: Duration,
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, DeviceError> {
    let (done, wait) = mpsc::sync_channel(1);
    // Nobody is there to hear of it after its time.
    let thread = move || done.send(work()).unwrap_or_default();
    let spawned = Builder::new().name(format!("vdpa {what}")).spawn(thread);
    spawned.map_err(failed("start a thread"))?;
    wait.recv_timeout(patience).map_err(|_| late(what, patience))
}

/// The error of what did not happen in its time.
pub(crate) fn late(what: &'static str, patience: Duration) -> DeviceError {
    DeviceError::Late { what, seconds: patience.as_secs() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn work_in_its_time_returns_what_it_did() {
        assert_eq!(within("add", || 1 + 1).unwrap(), 2);
    }

    #[test]
    fn work_that_does_not_end_is_late_and_gives_back_what_it_owns_when_it_does() {
        let (end, ended) = mpsc::channel::<()>();
        let owned = Arc::new(());
        let theirs = Arc::clone(&owned);
        let result = wait(Duration::from_millis(50), "stop", move || {
            let _ = ended.recv();
            theirs
        });
        let error = result.unwrap_err();
        assert_eq!(error.to_string(), "the device did not stop within 0 s");
        assert_eq!(Arc::strong_count(&owned), 2);
        drop(end);
        let deadline = std::time::Instant::now() + PATIENCE;
        while Arc::strong_count(&owned) > 1 {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
    }
}
