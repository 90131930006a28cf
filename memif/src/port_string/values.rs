//! Values of port strings.

use crate::config::check_range;
use crate::control::{CacheLine, Mode, Role};
use crate::error::ConfigError;
use crate::queue::{BufferSpacing, RxMode};
use crate::wire::LOG2_RING_SIZE_MAX;
use ringport::shm::{Backing, MemoryPolicy};
use std::time::Duration;

/// Words that a key takes with what they mean, and how an error lists them.
pub(super) type Choices<T, const N: usize> = ([(&'static str, T); N], &'static str);

pub(super) const ROLES: Choices<Role, 2> =
    ([("server", Role::Server), ("client", Role::Client)], "server or client");
pub(super) const MODES: Choices<Mode, 2> =
    ([("ethernet", Mode::Ethernet), ("ip", Mode::Ip)], "ethernet or ip");
pub(super) const CACHE_LINES: Choices<CacheLine, 2> =
    ([("64", CacheLine::B64), ("128", CacheLine::B128)], "64 or 128");
pub(super) const RX_MODES: Choices<RxMode, 3> = (
    [
        ("polling", RxMode::Polling),
        ("interrupt", RxMode::Interrupt),
        ("adaptive", RxMode::Adaptive),
    ],
    "polling, interrupt or adaptive",
);
pub(super) const BACKINGS: Choices<Backing, 2> =
    ([("pages", Backing::Pages), ("hugepages", Backing::HugePages2M)], "pages or hugepages");
pub(super) const SPACINGS: Choices<BufferSpacing, 2> = (
    [("staggered", BufferSpacing::Staggered), ("packed", BufferSpacing::Packed)],
    "staggered or packed",
);
pub(super) const POLICIES: Choices<MemoryPolicy, 3> = (
    [
        ("guarded", MemoryPolicy::Guarded),
        ("sealed", MemoryPolicy::Sealed),
        ("trust", MemoryPolicy::Trust),
    ],
    "guarded, sealed or trust",
);

pub(super) fn choice<T: Copy, const N: usize>(
    key: &'static str,
    value: &str,
    (words, expected): &Choices<T, N>,
) -> Result<T, ConfigError> {
    words
        .iter()
        .find_map(|&(word, meaning)| (word == value).then_some(meaning))
        .ok_or_else(|| bad(key, value, expected))
}

pub(super) fn number<T: TryFrom<u64> + Copy + TryInto<u64>>(
    key: &'static str,
    value: &str,
    min: T,
    max: T,
) -> Result<T, ConfigError> {
    let parsed: u64 = value.parse().map_err(|_| bad(key, value, "a number"))?;
    let bound = |bound: T| bound.try_into().unwrap_or(u64::MAX);
    check_range(key, parsed, bound(min), bound(max))?;
    T::try_from(parsed).map_err(|_| bad(key, value, "a number"))
}

pub(super) fn octal(key: &'static str, value: &str) -> Result<u32, ConfigError> {
    u32::from_str_radix(value, 8)
        .ok()
        .filter(|&mode| mode <= 0o777)
        .ok_or_else(|| bad(key, value, "permissions, from 0 to 777 in octal"))
}

/// A ring size, as its base-2 logarithm.
pub(super) fn ring_size(key: &'static str, value: &str) -> Result<u8, ConfigError> {
    let size = number(key, value, 2u64, 1 << LOG2_RING_SIZE_MAX)?;
    if !size.is_power_of_two() {
        return Err(bad(key, value, "a power of two"));
    }
    u8::try_from(size.ilog2()).map_err(|_| bad(key, value, "a power of two"))
}

pub(super) fn duration(key: &'static str, value: &str) -> Result<Duration, ConfigError> {
    let parsed = if let Some(millis) = value.strip_suffix("ms") {
        millis.parse().map(Duration::from_millis)
    } else if let Some(seconds) = value.strip_suffix('s') {
        seconds.parse().map(Duration::from_secs)
    } else {
        return Err(bad(key, value, DURATION));
    };
    parsed.ok().filter(|time| !time.is_zero()).ok_or_else(|| bad(key, value, DURATION))
}

/// Two durations, the second not shorter.
pub(super) fn waits(key: &'static str, value: &str) -> Result<(Duration, Duration), ConfigError> {
    let expected = "never, or two times such as 100ms-3s";
    let (initial, max) = value.split_once('-').ok_or_else(|| bad(key, value, expected))?;
    let (initial, max) = (duration(key, initial)?, duration(key, max)?);
    if initial > max {
        return Err(bad(key, value, expected));
    }
    Ok((initial, max))
}

fn bad(key: &'static str, value: &str, expected: &'static str) -> ConfigError {
    ConfigError::BadValue { key, value: value.to_owned(), expected }
}

const DURATION: &str = "a time such as 500ms or 5s";
