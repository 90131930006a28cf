//! When the side that connects tries again.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// What the side that connects does when it has no link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconnect {
    /// Nothing: one attempt, one link.
    Never,
    /// Tries again, waiting twice as long each time, less a random part of up to a half, so that many
    /// do not return to a restarted peer in step.
    Backoff {
        /// First wait.
        initial: Duration,
        /// Longest wait. A link that lasted longer than this starts again from `initial`.
        max: Duration,
    },
}

impl Default for Reconnect {
    /// From 100 ms to 3 s, which is VPP's own interval.
    fn default() -> Self {
        Self::Backoff { initial: Duration::from_millis(100), max: Duration::from_secs(3) }
    }
}

/// The next attempt, and how long to wait for the one after.
#[derive(Debug)]
pub struct Retry {
    policy: Reconnect,
    /// The next wait.
    wait: Duration,
    /// When; `None` while none is planned.
    pub at: Option<Instant>,
}

impl Retry {
    /// No attempt is planned.
    #[must_use]
    pub fn new(policy: Reconnect) -> Self {
        let wait = match policy {
            Reconnect::Never => Duration::ZERO,
            Reconnect::Backoff { initial, .. } => initial,
        };
        Self { policy, wait, at: None }
    }

    /// Forgets past failures, unless the link failed as fast as it came.
    pub fn link_lasted(&mut self, time: Duration) {
        if let Reconnect::Backoff { initial, max } = self.policy
            && time > max
        {
            self.wait = initial;
        }
    }

    /// Plans the next attempt, if there is to be one.
    pub fn schedule(&mut self, now: Instant) {
        if let Reconnect::Backoff { max, .. } = self.policy {
            self.at = now.checked_add(jitter(self.wait));
            self.wait = self.wait.saturating_mul(2).min(max);
        }
    }
}

/// A random time from half of `wait` to all of it.
fn jitter(wait: Duration) -> Duration {
    // The standard library's only source of randomness; far better than needed here.
    let random = RandomState::new().hash_one(0) % 1024;
    let part = u32::try_from(random).unwrap_or(0);
    wait / 2 + wait / 2 * part / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_over_after_a_lasting_link() {
        let (initial, max) = (Duration::from_millis(100), Duration::from_millis(350));
        let mut retry = Retry::new(Reconnect::Backoff { initial, max });
        let now = Instant::now();
        for longest in [100, 200, 350, 350].map(Duration::from_millis) {
            retry.schedule(now);
            let wait = retry.at.unwrap() - now;
            assert!(wait >= longest / 2 && wait <= longest, "{wait:?} of {longest:?}");
        }
        retry.link_lasted(Duration::from_millis(10));
        assert_eq!(retry.wait, max);
        retry.link_lasted(max * 2);
        assert_eq!(retry.wait, initial);
    }

    #[test]
    fn never_means_never() {
        let mut retry = Retry::new(Reconnect::Never);
        retry.schedule(Instant::now());
        assert_eq!(retry.at, None);
    }
}
