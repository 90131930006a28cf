//! The loop that every driver runs in its `poll`.

use super::Reactor;
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

/// Rounds past the time given: enough to finish what is ready, not enough for a flood of peers to
/// keep the caller.
const LATE_TURNS_MAX: u32 = 64;

/// Runs `driver` until there is an event, or `timeout` has passed; `None` waits for ever.
///
/// # Errors
/// When waiting itself fails.
pub fn poll<D: Driver>(
    driver: &mut D,
    timeout: Option<Duration>,
) -> Result<Option<D::Event>, CallError> {
    let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut late_turns = 0;
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
        if until.is_some_and(|until| Instant::now() >= until) {
            late_turns += 1;
            if ready.is_empty() {
                return Ok(None);
            }
            if late_turns > LATE_TURNS_MAX {
                // Whoever watches the descriptor must look again.
                driver.reactor().set_timer(Some(Instant::now()))?;
                return Ok(None);
            }
        }
        for token in ready {
            driver.on_ready(token);
        }
    }
}
