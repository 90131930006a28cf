//! Numbers for people.

use std::time::Duration;

/// `12,345,678`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time, in microseconds or, when it is long, milliseconds.
pub(crate) fn time(nanos: u64) -> String {
    match nanos {
        0..1_000_000 => format!("{:.2} us", nanos as f64 / 1e3),
        _ => format!("{:.2} ms", nanos as f64 / 1e6),
    }
}

/// How many of something a second.
pub(crate) fn per_second(number: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { number as f64 / time.as_secs_f64() }
}

/// Rates, in columns.
pub(crate) fn rates(packets_per_second: f64, bits_per_second: f64) -> String {
    let (mpps, gbps) = (packets_per_second / 1e6, bits_per_second / 1e9);
    format!("{mpps:7.3} Mpps {gbps:7.3} Gb/s")
}

/// `1 ring`, `2 rings`.
pub(crate) fn plural(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_three() {
        let shown = [0, 999, 1000, 12_345_678].map(count);
        assert_eq!(shown, ["0", "999", "1,000", "12,345,678"]);
    }
}
