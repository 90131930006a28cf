//! The loop that every driver runs in its `poll`.

use super::Reactor;
use super::budget::thread_time;
use crate::error::CallError;
use std::time::{Duration, Instant};

/// A driver as [`poll`] sees it.
pub trait Driver {
    /// What is reported.
    type Event;
    /// What is waited on.
    fn reactor(&self) -> &Reactor;
    /// The oldest event not yet reported.
    fn next_event(&mut self) -> Option<Self::Event>;
    /// Whether there is such an event.
    fn has_event(&self) -> bool;
    /// Deals with one descriptor that is ready.
    fn on_ready(&mut self, token: u64);
    /// Deals with every deadline that has come.
    fn on_time(&mut self, now: Instant);
    /// The next deadline.
    fn next_deadline(&self) -> Option<Instant>;
    /// Whether nothing can ever happen again.
    fn is_finished(&self) -> bool;

    /// Sets the timer for what comes next: at once when there is an event, so that whoever watches
    /// the descriptor polls.
    ///
    /// # Errors
    /// When the kernel refuses the timer.
    fn rearm(&self) -> Result<(), CallError> {
        let now = self.has_event().then(Instant::now);
        self.reactor().set_timer(now.or_else(|| self.next_deadline()))
    }
}

/// Runs `driver` until there is an event, or `timeout` has passed; `None` waits for ever.
///
/// What is ready when the time has passed, above all when none was given, has one turn. A caller
/// without time has other links to serve: such turns take no more than a share of the thread's time
/// in the long run, whatever peers send. What is left waits for the next call.
///
/// # Errors
/// When waiting itself fails.
pub fn poll<D: Driver>(
    driver: &mut D,
    timeout: Option<Duration>,
) -> Result<Option<D::Event>, CallError> {
    let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut is_over = false;
    loop {
        driver.on_time(Instant::now());
        if let Some(event) = driver.next_event() {
            driver.rearm()?;
            return Ok(Some(event));
        }
        driver.reactor().set_timer(driver.next_deadline())?;
        if driver.is_finished() {
            return Ok(None);
        }
        let ready = driver.reactor().wait(until)?;
        let now = Instant::now();
        let late = until.is_some_and(|until| now >= until);
        if !late {
            turn(driver, ready);
            continue;
        }
        if ready.is_empty() {
            return Ok(None);
        }
        if !driver.reactor().budget.allows(now) {
            // What is ready stays so.
            return Ok(None);
        }
        if is_over {
            // Whoever watches the descriptor must look again.
            driver.reactor().set_timer(Some(now))?;
            return Ok(None);
        }
        let before = thread_time();
        turn(driver, ready);
        driver.reactor().budget.count(thread_time().saturating_sub(before));
        is_over = true;
    }
}

fn turn(driver: &mut impl Driver, ready: Vec<u64>) {
    for token in ready {
        driver.on_ready(token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::Interest;
    use nix::sys::eventfd::EventFd;
    use std::os::fd::AsFd;

    /// Always has something to read, and never anything to report.
    struct Flooded {
        reactor: Reactor,
        rounds: u32,
        /// Processor time of each round.
        work: Duration,
    }

    impl Driver for Flooded {
        type Event = ();

        fn reactor(&self) -> &Reactor {
            &self.reactor
        }

        fn next_event(&mut self) -> Option<()> {
            None
        }

        fn has_event(&self) -> bool {
            false
        }

        fn on_ready(&mut self, _token: u64) {
            self.rounds += 1;
            let before = thread_time();
            while thread_time() - before < self.work {}
        }

        fn on_time(&mut self, _now: Instant) {}

        fn next_deadline(&self) -> Option<Instant> {
            None
        }

        fn is_finished(&self) -> bool {
            false
        }
    }

    #[test]
    fn flood_keeps_a_poll_that_has_no_time_for_one_round() {
        let rung = EventFd::from_value(1).unwrap();
        let mut flooded =
            Flooded { reactor: Reactor::new().unwrap(), rounds: 0, work: Duration::ZERO };
        flooded.reactor.add(rung.as_fd(), 0, Interest::Read).unwrap();
        for rounds in 1..=3 {
            assert!(poll(&mut flooded, Some(Duration::ZERO)).unwrap().is_none());
            assert_eq!(flooded.rounds, rounds);
        }
        let before = Instant::now();
        assert!(poll(&mut flooded, Some(Duration::from_millis(20))).unwrap().is_none());
        assert!(before.elapsed() >= Duration::from_millis(20) && flooded.rounds > 4);
    }

    #[test]
    fn flood_that_has_used_its_time_up_waits() {
        let rung = EventFd::from_value(1).unwrap();
        let work = Duration::from_millis(1);
        let mut flooded = Flooded { reactor: Reactor::new().unwrap(), rounds: 0, work };
        flooded.reactor.add(rung.as_fd(), 0, Interest::Read).unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(400) {
            assert!(poll(&mut flooded, Some(Duration::ZERO)).unwrap().is_none());
        }
        // An eighth of the time, what was saved before, and the round that it was overdrawn by; more
        // time may have passed than this thread had.
        let most = start.elapsed().as_millis() / 8 + 4;
        assert!(u128::from(flooded.rounds) <= most, "{} rounds", flooded.rounds);
        assert!(flooded.rounds >= 2);
        // A caller with time to give is served at once.
        let before = flooded.rounds;
        assert!(poll(&mut flooded, Some(Duration::from_millis(20))).unwrap().is_none());
        assert!(flooded.rounds > before);
    }
}
