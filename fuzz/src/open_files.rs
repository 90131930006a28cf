//! Counts this process's open files, to see that a target leaves none.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// How long files may take to go: a doorbell that the kernel's asynchronous I/O refuses is rung by a
/// thread, which closes it when it ends.
const GONE: Duration = Duration::from_secs(5);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// Targets run one at a time, so that none counts the files of another.
static RUNNING: Mutex<()> = Mutex::new(());

/// Runs `target` while no other runs.
pub(crate) fn alone<T>(target: impl FnOnce() -> T) -> T {
    let _running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    target()
}

/// Runs `target` while no other runs, and checks that it closed what it opened.
pub(crate) fn all_closed_after(target: impl FnOnce()) {
    alone(|| check(target));
}

/// Runs `target`, and checks that it closed what it opened. For callers that run alone.
pub(crate) fn check(target: impl FnOnce()) {
    let before = count();
    target();
    let start = Instant::now();
    while count() > before && start.elapsed() < GONE {
        thread::sleep(PAUSE);
    }
    assert_eq!(count(), before, "file descriptors leaked, or closed twice");
}

/// Open files of the kinds that targets open. Ordinary files are the test harness's.
fn count() -> usize {
    let kinds = ["/memfd:", "anon_inode:", "pipe:", "socket:"];
    let ours = |link: &str| kinds.iter().any(|kind| link.starts_with(kind));
    let files = fs::read_dir("/proc/self/fd").expect("the list of open files");
    let links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    links.filter(|link| ours(&link.to_string_lossy())).count()
}
