//! What this process holds: nothing may stay behind when a link is gone.

use super::Outcome;
use std::fmt;

/// Open descriptors and shared mappings of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    /// Open descriptors.
    pub fds: usize,
    /// What is mapped, shared, under which name.
    pub mappings: Vec<String>,
}

impl Census {
    /// Counts now.
    #[must_use]
    pub fn take() -> Self {
        let fds = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        // The fourth letter of the permissions tells shared from private.
        let shared = |line: &&str| line.split(' ').nth(1).is_some_and(|p| p.ends_with('s'));
        let name = |line: &str| -> String { line.split_whitespace().skip(5).collect() };
        // The one context with which doorbells are rung, made for the first of them, stays.
        let names = maps.lines().filter(shared).map(name).filter(|name| !name.contains("[aio]"));
        let mut mappings: Vec<_> = names.collect();
        // Where each is mapped may change.
        mappings.sort_unstable();
        Self { fds, mappings }
    }

    /// Fails when there is more, or less, than when `self` was taken.
    ///
    /// # Errors
    /// What there was, and what there is.
    pub fn compare(&self) -> Outcome {
        let now = Self::take();
        if now == *self { Ok(()) } else { Err(format!("before: {self}; after: {now}").into()) }
    }
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} descriptors, shared mappings {:?}", self.fds, self.mappings)
    }
}

/// Memory of this process that is in RAM, in kilobytes.
#[must_use]
pub fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}
