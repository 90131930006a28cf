//! Things done every so often.

use std::time::{Duration, Instant};

/// A time that comes again and again, or never.
#[derive(Debug)]
pub(crate) struct Timer {
    every: Option<Duration>,
    since: Instant,
}

impl Timer {
    /// Comes `every` so often from now on; `None`: never.
    pub(crate) fn new(every: Option<Duration>) -> Self {
        Self { every, since: Instant::now() }
    }

    /// Time until it comes; `None` if it never does.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.every.map(|every| every.saturating_sub(self.since.elapsed()))
    }

    /// When it has come: the time since it came last. Then it starts again.
    pub(crate) fn come(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.since);
        self.every.is_some_and(|every| passed >= every).then(|| {
            self.since = now;
            passed
        })
    }
}

/// The sooner of two times.
pub(crate) fn sooner(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timer_comes_after_its_time_and_starts_again() {
        let mut timer = Timer::new(Some(Duration::from_millis(2)));
        std::thread::sleep(Duration::from_millis(3));
        assert_eq!(timer.left(), Some(Duration::ZERO));
        assert!(timer.come() >= Some(Duration::from_millis(3)));
        assert!(timer.left() > Some(Duration::ZERO));
        let mut never = Timer::new(None);
        assert_eq!((never.left(), never.come()), (None, None));
    }

    #[test]
    fn no_time_is_later_than_any() {
        let (short, long) = (Duration::from_secs(1), Duration::from_secs(2));
        assert_eq!(sooner(Some(long), Some(short)), Some(short));
        assert_eq!(sooner(None, Some(long)), Some(long));
        assert_eq!(sooner(None, None), None);
    }
}
