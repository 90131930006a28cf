//! Values of the command line: Ethernet addresses, times.

use anyhow::Context;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;

/// Arguments that are right by themselves, and wrong together.
#[derive(Debug)]
pub(crate) struct Misuse(pub(crate) String);

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

/// An Ethernet address: `02:00:00:00:00:01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    pub(crate) const BROADCAST: Self = Self([0xff; 6]);

    /// A locally administered one that probably nobody else has.
    pub(crate) fn random() -> Self {
        let [.., a, b, c, d, e] = RandomState::new().hash_one(std::process::id()).to_be_bytes();
        Self([2, a, b, c, d, e])
    }

    /// Of one station, and not zero.
    #[must_use]
    pub fn is_unicast(self) -> bool {
        !self.is_group() && self.0 != [0; 6]
    }

    /// Of several stations.
    pub(crate) fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl FromStr for Mac {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| matches!(part.len(), 1 | 2));
            let part = part.filter(|part| part.chars().all(|c| c.is_ascii_hexdigit()));
            *byte = part.and_then(|part| u8::from_str_radix(part, 16).ok()).context(EXPECTED)?;
        }
        anyhow::ensure!(parts.next().is_none(), EXPECTED);
        Ok(Self(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

const EXPECTED: &str = "expected an Ethernet address such as 02:00:00:00:00:01";

/// A time of the command line: `250ms`, `20us`, or seconds, `1.5` or `1.5s`.
pub(crate) fn parse_time(text: &str) -> anyhow::Result<std::time::Duration> {
    let units = [("ms", 1e-3), ("us", 1e-6), ("s", 1.0)];
    let found = units.iter().find_map(|&(unit, value)| Some((text.strip_suffix(unit)?, value)));
    let (number, unit) = found.unwrap_or((text, 1.0));
    let seconds = number.parse::<f64>().ok().map(|number| number * unit);
    let seconds = seconds.filter(|seconds| (0.0..=TIME_MAX).contains(seconds));
    let seconds = seconds.context("expected a time such as 250ms, 1.5s or 10, at most a day")?;
    Ok(std::time::Duration::from_secs_f64(seconds))
}

/// A day, in seconds.
const TIME_MAX: f64 = 86_400.0;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn addresses_are_read_and_written_alike() {
        let mac: Mac = "02:0a:ff:0:1:2".parse().unwrap();
        assert_eq!(mac, Mac([2, 10, 255, 0, 1, 2]));
        assert_eq!(mac.to_string(), "02:0a:ff:00:01:02");
        for bad in ["", "02:00", "02:00:00:00:00:00:00", "02:00:00:00:00:zz", "2:0:0:0:0:+1"] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
        assert!(Mac::random().is_unicast());
        assert!(!Mac::BROADCAST.is_unicast() && !Mac([0; 6]).is_unicast());
    }

    #[test]
    fn times_have_units_and_an_end() {
        assert_eq!(parse_time("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(parse_time("20us").unwrap(), Duration::from_micros(20));
        assert_eq!(parse_time("1.5").unwrap(), Duration::from_millis(1500));
        assert_eq!(parse_time("2s").unwrap(), Duration::from_secs(2));
        for bad in ["", "s", "-1", "nan", "inf", "1e9", "1h"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
