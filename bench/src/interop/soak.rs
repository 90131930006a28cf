//! Long counts, with descriptors, mappings and memory flat at the end.

use super::Outcome;
use super::census::{Census, resident_kb};
use std::time::{Duration, Instant};

/// Rounds after which memory is first measured: allocators and tables have their size by then.
const WARM_UP: u64 = 20;

/// Memory that a run may take and keep, in kilobytes.
const GROWTH_MAX_KB: u64 = 4096;

/// Counts rounds until there are enough or the time is over, and checks that nothing grows.
#[derive(Debug)]
pub struct Soak {
    name: &'static str,
    wanted: u64,
    time: Duration,
    start: Instant,
    rounds: u64,
    baseline: Option<(Census, u64)>,
    /// What to say besides.
    pub notes: String,
}

impl Soak {
    /// Up to `wanted` rounds in a `share`th of the time that `RINGPORT_SOAK_MINUTES` gives.
    #[must_use]
    pub fn new(name: &'static str, wanted: u64, share: u32) -> Self {
        let minutes = std::env::var("RINGPORT_SOAK_MINUTES").ok();
        let minutes: f64 = minutes.and_then(|text| text.parse().ok()).unwrap_or(30.0);
        let time = Duration::from_secs_f64(minutes * 60.0) / share;
        let (start, notes) = (Instant::now(), String::new());
        Self { name, wanted, time, start, rounds: 0, baseline: None, notes }
    }

    /// Whether there is another round.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.rounds < self.wanted && (self.rounds <= WARM_UP || self.start.elapsed() < self.time)
    }

    /// Rounds so far.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// Ends a round; nothing of it may be left.
    ///
    /// # Errors
    /// What is left of it.
    pub fn round(&mut self) -> Outcome {
        self.rounds += 1;
        if self.rounds == WARM_UP {
            self.baseline = Some((Census::take(), resident_kb()));
        }
        if let Some((census, _)) = &self.baseline {
            census.compare().map_err(|error| format!("round {}: {error}", self.rounds))?;
        }
        Ok(())
    }

    /// Prints the line for `SOAK.md`.
    ///
    /// # Panics
    /// When memory grew, or there were too few rounds to tell.
    #[expect(clippy::print_stdout, reason = "what a soak is for")]
    pub fn report(self) {
        assert!(self.baseline.is_some(), "{} rounds are too few", self.rounds);
        let Some((census, before)) = self.baseline else { return };
        let after = resident_kb();
        let seconds = self.start.elapsed().as_secs();
        println!(
            "| {} | {} of {} | {seconds} s | {census} | {before} kB, {after} kB | {} |",
            self.name, self.rounds, self.wanted, self.notes
        );
        assert!(after <= before + GROWTH_MAX_KB, "memory grew from {before} to {after} kB");
    }
}
