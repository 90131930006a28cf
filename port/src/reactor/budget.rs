//! How much of its caller's time a control side may take.

use nix::time::{ClockId, clock_gettime};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One part in so many of all time.
const SHARE: u32 = 8;

/// What may be taken at once, after a quiet time: more than a handshake.
const CREDIT_MAX: Duration = Duration::from_millis(2);

/// The most that is held against it: a turn that took longer was no flood.
const DEBT_MAX: Duration = Duration::from_millis(20);

/// Processor time for turns of a caller that has none to give: it has other links to serve. Peers that
/// talk without end share an eighth of it; what they say beyond that waits.
#[derive(Debug)]
pub(super) struct Budget(Mutex<Account>);

#[derive(Debug)]
struct Account {
    credit: Duration,
    debt: Duration,
    /// When they were so.
    at: Instant,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(Account { credit: CREDIT_MAX, debt: Duration::ZERO, at: now }))
    }

    /// Whether there may be a turn.
    pub(super) fn allows(&self, now: Instant) -> bool {
        let mut account = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let earned = now.saturating_duration_since(account.at) / SHARE;
        account.at = now;
        account.credit = (account.credit + earned.saturating_sub(account.debt)).min(CREDIT_MAX);
        account.debt = account.debt.saturating_sub(earned);
        account.debt.is_zero()
    }

    /// Counts what a turn took.
    pub(super) fn count(&self, time: Duration) {
        let mut account = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let beyond = time.saturating_sub(account.credit);
        account.credit = account.credit.saturating_sub(time);
        account.debt = (account.debt + beyond).min(DEBT_MAX);
    }
}

/// Processor time of this thread; nothing where the kernel does not tell, which then is no limit.
pub(super) fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_take_what_was_saved_and_then_an_eighth_of_the_time() {
        let start = Instant::now();
        let budget = Budget::new(start);
        let mut spent = Duration::ZERO;
        // A flood for a second, of turns of 100 us.
        for at in 0..10_000 {
            if budget.allows(start + Duration::from_micros(100 * at)) {
                budget.count(Duration::from_micros(100));
                spent += Duration::from_micros(100);
            }
        }
        let (least, most) = (Duration::from_millis(120), Duration::from_millis(128));
        assert!((least..most).contains(&spent), "{spent:?}");
    }

    #[test]
    fn one_long_turn_is_held_against_it_only_so_long() {
        let start = Instant::now();
        let budget = Budget::new(start);
        assert!(budget.allows(start));
        budget.count(Duration::from_secs(10));
        assert!(!budget.allows(start + (DEBT_MAX - Duration::from_millis(1)) * SHARE));
        assert!(budget.allows(start + DEBT_MAX * SHARE));
    }

    #[test]
    fn what_is_not_taken_is_not_saved_for_ever() {
        let start = Instant::now();
        let budget = Budget::new(start);
        let later = start + Duration::from_secs(3600);
        assert!(budget.allows(later));
        budget.count(CREDIT_MAX + Duration::from_micros(1));
        assert!(!budget.allows(later));
    }
}
