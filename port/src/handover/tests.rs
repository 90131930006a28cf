use super::*;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// With and without `membarrier`.
fn both() -> Vec<Handover> {
    let available = membarrier::is_available();
    [true, false].into_iter().filter(|how| available || !how).map(Handover::new).collect()
}

#[test]
fn change_settles_at_once_when_no_burst_is_open() {
    for handover in both() {
        assert!(!handover.enter());
        assert!(!handover.leave(7));
        handover.announce();
        assert!(handover.is_settled());
        assert_eq!(handover.position(), 7);
    }
}

#[test]
fn change_under_an_open_burst_settles_when_it_ends() {
    for handover in both() {
        assert!(!handover.enter());
        handover.announce();
        assert!(!handover.is_settled());
        assert!(handover.leave(9), "control is to be woken");
        assert!(handover.is_settled());
        assert!(handover.enter(), "and the next burst picks the change up");
        handover.picked_up();
        assert!(handover.is_settled(), "also while that burst is open");
        assert!(!handover.leave_unmoved());
        assert_eq!(handover.position(), 9);
    }
}

#[test]
fn change_whose_barrier_failed_settles_only_when_picked_up() {
    let handover = Handover::new(false);
    handover.announce();
    handover.control.change.store(UNFENCED, Ordering::Relaxed);
    assert!(!handover.is_settled());
    assert!(handover.enter());
    handover.picked_up();
    assert!(handover.is_settled());
}

fn lock(mutex: &Mutex<usize>) -> MutexGuard<'_, usize> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Control replaces which of many words the data thread may read, and poisons the old one once the
/// change has settled.
#[test]
fn data_thread_never_uses_what_was_withdrawn() {
    const POISON: usize = 1;
    let changes = if cfg!(miri) { 20 } else { 20_000 };
    for handover in both() {
        let words: Arc<Vec<_>> = Arc::new((0..=changes).map(|_| AtomicUsize::new(0)).collect());
        let (handover, mail) = (Arc::new(handover), Arc::new(Mutex::new(0)));
        let done = Arc::new(AtomicUsize::new(0));
        let data = std::thread::spawn({
            let (handover, mail) = (Arc::clone(&handover), Arc::clone(&mail));
            let (words, done) = (Arc::clone(&words), Arc::clone(&done));
            move || {
                let mut current = 0;
                while done.load(Ordering::Relaxed) == 0 {
                    if handover.enter() {
                        let mail = lock(&mail);
                        handover.picked_up();
                        current = *mail;
                    }
                    for _ in 0..3 {
                        assert_ne!(words[current].load(Ordering::Relaxed), POISON, "{current}");
                    }
                    let _ = handover.leave(0);
                }
            }
        });
        let deadline = Instant::now() + Duration::from_secs(60);
        for change in 1..=changes {
            *lock(&mail) = change;
            handover.announce();
            while !handover.is_settled() {
                assert!(Instant::now() < deadline, "does not settle");
                std::thread::yield_now();
            }
            words[change - 1].store(POISON, Ordering::Relaxed);
        }
        done.store(1, Ordering::Relaxed);
        data.join().unwrap();
    }
}
