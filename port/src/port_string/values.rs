//! Values of port strings.

use super::ItemError;
use crate::shm::MemoryPolicy;
use std::time::Duration;

/// Words that a key takes with what they mean, and how an error lists them.
pub type Choices<T, const N: usize> = ([(&'static str, T); N], &'static str);

/// What to do about memory that a peer could take back.
pub const POLICIES: Choices<MemoryPolicy, 3> = (
    [
        ("guarded", MemoryPolicy::Guarded),
        ("sealed", MemoryPolicy::Sealed),
        ("trust", MemoryPolicy::Trust),
    ],
    "guarded, sealed or trust",
);

/// One of the words that a key takes.
///
/// # Errors
/// [`ItemError::BadValue`].
pub fn choice<T: Copy, const N: usize>(
    key: &'static str,
    value: &str,
    (words, expected): &Choices<T, N>,
) -> Result<T, ItemError> {
    words
        .iter()
        .find_map(|&(word, meaning)| (word == value).then_some(meaning))
        .ok_or_else(|| ItemError::bad(key, value, expected))
}

/// A number from `min` to `max`.
///
/// # Errors
/// [`ItemError::BadValue`] and [`ItemError::OutOfRange`].
pub fn number<T: TryFrom<u64> + Copy + TryInto<u64>>(
    key: &'static str,
    value: &str,
    min: T,
    max: T,
) -> Result<T, ItemError> {
    let bad = || ItemError::bad(key, value, "a number");
    let parsed: u64 = value.parse().map_err(|_| bad())?;
    let bound = |bound: T| bound.try_into().unwrap_or(u64::MAX);
    check_range(key, parsed, bound(min), bound(max))?;
    T::try_from(parsed).map_err(|_| bad())
}

/// Checks that a number is from `min` to `max`.
///
/// # Errors
/// [`ItemError::OutOfRange`].
pub fn check_range<T: Copy + Into<u64>>(
    key: &'static str,
    value: T,
    min: T,
    max: T,
) -> Result<(), ItemError> {
    let (value, min, max) = (value.into(), min.into(), max.into());
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(ItemError::OutOfRange { key, value, min, max })
}

/// Permission bits.
///
/// # Errors
/// [`ItemError::BadValue`].
pub fn octal(key: &'static str, value: &str) -> Result<u32, ItemError> {
    u32::from_str_radix(value, 8)
        .ok()
        .filter(|&mode| mode <= 0o777)
        .ok_or_else(|| ItemError::bad(key, value, "permissions, from 0 to 777 in octal"))
}

/// A time that is not zero.
///
/// # Errors
/// [`ItemError::BadValue`].
pub fn duration(key: &'static str, value: &str) -> Result<Duration, ItemError> {
    let bad = || ItemError::bad(key, value, "a time such as 500ms or 5s");
    let parsed = if let Some(millis) = value.strip_suffix("ms") {
        millis.parse().map(Duration::from_millis)
    } else if let Some(seconds) = value.strip_suffix('s') {
        seconds.parse().map(Duration::from_secs)
    } else {
        return Err(bad());
    };
    parsed.ok().filter(|time| !time.is_zero()).ok_or_else(bad)
}

/// Two times, the second not shorter.
///
/// # Errors
/// [`ItemError::BadValue`].
pub fn waits(key: &'static str, value: &str) -> Result<(Duration, Duration), ItemError> {
    let bad = || ItemError::bad(key, value, "never, or two times such as 100ms-3s");
    let (initial, max) = value.split_once('-').ok_or_else(bad)?;
    let (initial, max) = (duration(key, initial)?, duration(key, max)?);
    if initial > max {
        return Err(bad());
    }
    Ok((initial, max))
}

/// The Ethernet address of one interface: six bytes of one or two hexadecimal digits, separated by
/// colons; not a group's, and not zero.
///
/// # Errors
/// [`ItemError::BadValue`].
pub fn mac(key: &'static str, value: &str) -> Result<[u8; 6], ItemError> {
    let bad =
        || ItemError::bad(key, value, "an address of one interface such as 02:00:00:00:00:01");
    let mut bytes = [0; 6];
    let mut parts = value.split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|part| matches!(part.len(), 1 | 2)).ok_or_else(bad)?;
        // `from_str_radix` takes a sign.
        if !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(bad());
        }
        *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
    }
    let [first, ..] = bytes;
    if parts.next().is_some() || first & 1 == 1 || bytes == [0; 6] {
        return Err(bad());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_six_bytes_of_one_or_two_digits() {
        assert_eq!(mac("mac", "2:0:0A:ff:00:1"), Ok([2, 0, 10, 255, 0, 1]));
        for bad in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:01:02",
            "002:00:00:00:00:01",
            "02:00:00:00:00:+1",
            "02:00:00:00:00:0g",
            "03:00:00:00:00:01",
            "00:00:00:00:00:00",
        ] {
            assert!(mac("mac", bad).is_err(), "{bad}");
        }
    }
}
