//! How long frames are, and how fast they go.

use super::frame::{IP_LEN_MAX, len_min, link_len};
use anyhow::{Context, ensure};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Lengths of frames, one after the other, again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sizes(Vec<usize>);

impl Sizes {
    /// The lengths, if all can be sent on such a port.
    pub(super) fn on(&self, ethernet: bool) -> anyhow::Result<&[usize]> {
        let (min, max) = (len_min(ethernet), link_len(ethernet) + IP_LEN_MAX);
        for &len in &self.0 {
            ensure!((min..=max).contains(&len), "frames have {min} to {max} bytes here, not {len}");
        }
        Ok(&self.0)
    }
}

impl FromStr for Sizes {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut sizes = Vec::new();
        for part in text.split(',') {
            if part == "imix" {
                sizes.extend(IMIX);
                continue;
            }
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.parse::<u16>().map(usize::from).context(EXPECTED);
            let (first, last) = (number(first)?, number(last)?);
            ensure!(first <= last, EXPECTED);
            sizes.extend(first..=last);
            ensure!(sizes.len() <= SIZES_MAX, "more than {SIZES_MAX} lengths");
        }
        Ok(Self(sizes))
    }
}

const EXPECTED: &str = "expected lengths such as 64, 64-1514, 60,1514 or imix";
const SIZES_MAX: usize = 1 << 16;

/// Seven short frames, four of middle length and a long one, spread out; without their checksums.
const IMIX: [usize; 12] = [60, 590, 60, 60, 590, 60, 60, 590, 60, 60, 590, 1514];

/// Packets a second: `250`, `14.88M`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rate(f64);

impl FromStr for Rate {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        const EXPECTED: &str = "expected packets a second, such as 250, 10k, 14.88M or 1G";
        let units = [('k', 1e3), ('M', 1e6), ('G', 1e9)];
        let found = units.iter().find_map(|&(unit, value)| Some((text.strip_suffix(unit)?, value)));
        let (number, unit) = found.unwrap_or((text, 1.0));
        let rate = number.parse::<f64>().ok().map(|number| number * unit);
        let rate = rate.filter(|rate| (0.001..=1e12).contains(rate)).context(EXPECTED)?;
        Ok(Self(rate))
    }
}

/// A token bucket: as much as the rate allows, and after a pause no more than it holds.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: f64,
    tokens: f64,
    filled: Instant,
}

/// What was missed for longer than that, in seconds, is not made up for.
const DEPTH: f64 = 0.01;

impl Bucket {
    pub(super) fn new(Rate(rate): Rate, now: Instant) -> Self {
        Self { rate, tokens: 1.0, filled: now }
    }

    /// How many packets may go now.
    pub(super) fn allows(&mut self, now: Instant) -> usize {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = (self.tokens + passed * self.rate).min((self.rate * DEPTH).max(1.0));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative")]
        let whole = self.tokens as usize;
        whole
    }

    pub(super) fn spend(&mut self, packets: usize) {
        self.tokens -= packets as f64;
    }

    /// Time until the next packet may go.
    pub(super) fn left(&self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.filled);
        let wait = Duration::try_from_secs_f64((1.0 - self.tokens) / self.rate);
        wait.unwrap_or_default().saturating_sub(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_ranges_and_the_mix() {
        let sizes = |text: &str| text.parse::<Sizes>().map(|sizes| sizes.0);
        assert_eq!(sizes("64").unwrap(), [64]);
        assert_eq!(sizes("64-66,1514").unwrap(), [64, 65, 66, 1514]);
        assert_eq!(sizes("imix").unwrap().iter().sum::<usize>(), 7 * 60 + 4 * 590 + 1514);
        for bad in ["", "a", "64-", "66-64", "70000", "0-65535,1"] {
            assert!(sizes(bad).is_err(), "{bad}");
        }
        assert!("60".parse::<Sizes>().unwrap().on(true).is_ok());
        assert!("59".parse::<Sizes>().unwrap().on(true).is_err());
        assert!("46".parse::<Sizes>().unwrap().on(false).is_ok());
        assert!("45".parse::<Sizes>().unwrap().on(false).is_err());
    }

    #[test]
    fn rates_have_units() {
        let rate = |text: &str| text.parse::<Rate>().map(|rate| rate.0);
        assert_eq!(rate("250").unwrap(), 250.0);
        assert_eq!(rate("10k").unwrap(), 10_000.0);
        assert_eq!(rate("14.88M").unwrap(), 14_880_000.0);
        for bad in ["", "0", "-1", "inf", "nan", "fast", "1K"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bucket_keeps_the_rate_over_pauses_that_it_can_make_up_for() {
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        let mut bucket = Bucket::new(Rate(1e6), start);
        assert_eq!(bucket.allows(start), 1);
        bucket.spend(1);
        assert_eq!(bucket.left(start), Duration::from_micros(1));
        // 100 us late: 100 packets.
        assert_eq!(bucket.allows(at(101)), 101);
        bucket.spend(101);
        // A second late: a hundredth of a second is made up for.
        assert_eq!(bucket.allows(at(1_000_000)), 10_000);
        // A slow one may always send one.
        let mut slow = Bucket::new(Rate(2.0), start);
        slow.spend(1);
        assert_eq!(slow.allows(at(499_000)), 0);
        assert_eq!(slow.left(at(499_000)), Duration::from_millis(1));
        assert_eq!(slow.allows(at(5_000_000)), 1);
    }
}
