//! Many times, as what people ask of them.

use crate::show::time;
use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt;

/// A histogram of times in nanoseconds, exact to a thousandth, of fixed size.
#[derive(Debug)]
pub(crate) struct Times(Histogram<u64>);

/// What is said of many times, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Spread {
    pub(crate) min_ns: u64,
    pub(crate) mean_ns: u64,
    pub(crate) median_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) p999_ns: u64,
    pub(crate) max_ns: u64,
}

impl Times {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let histogram = Histogram::new_with_bounds(1, TIME_MAX, 3);
        Ok(Self(histogram.context("cannot make a histogram")?))
    }

    /// Notes one time; one beyond an hour counts as an hour.
    pub(crate) fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos);
    }

    /// `None` if there was no time at all.
    pub(crate) fn spread(&self) -> Option<Spread> {
        #[expect(clippy::cast_possible_truncation, reason = "a mean is not above the maximum")]
        #[expect(clippy::cast_sign_loss, reason = "nor below zero")]
        let mean_ns = self.0.mean() as u64;
        let at = |part: f64| self.0.value_at_quantile(part);
        (!self.0.is_empty()).then(|| Spread {
            min_ns: self.0.min(),
            mean_ns,
            median_ns: at(0.5),
            p99_ns: at(0.99),
            p999_ns: at(0.999),
            max_ns: self.0.max(),
        })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [min, mean, median, p99, max] =
            [self.min_ns, self.mean_ns, self.median_ns, self.p99_ns, self.max_ns].map(time);
        write!(f, "min {min}, mean {mean}, median {median}, p99 {p99}, max {max}")
    }
}

/// An hour.
const TIME_MAX: u64 = 3_600_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_of_a_thousand_times() {
        let mut times = Times::new().unwrap();
        assert_eq!(times.spread(), None);
        (1..=1000).for_each(|nanos| times.record(nanos));
        let spread = times.spread().unwrap();
        assert_eq!((spread.min_ns, spread.mean_ns, spread.max_ns), (1, 500, 1000));
        assert_eq!((spread.median_ns, spread.p99_ns, spread.p999_ns), (500, 990, 999));
        times.record(u64::MAX);
        assert!(times.spread().unwrap().max_ns >= TIME_MAX);
    }
}
