//! Which core each of two processes runs on.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::Pid;
use std::fs;
use std::time::Duration;

/// Where two busy processes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Each on a core of its own.
    Pinned([usize; 2]),
    /// Both on the only one: neither may keep it to itself.
    Shared,
}

impl Placement {
    /// Looks at what this process may use.
    pub(crate) fn choose() -> Self {
        // Knows of affinity and of a container's CPU quota.
        let parallel = std::thread::available_parallelism().map_or(1, usize::from);
        let allowed = sched_getaffinity(Pid::from_raw(0)).map(|set| members(&set));
        match allowed.as_deref() {
            Ok([first, rest @ ..]) if parallel > 1 && !rest.is_empty() => {
                let siblings = siblings(*first);
                let apart = rest.iter().find(|core| !siblings.contains(core));
                Self::Pinned([*first, *apart.unwrap_or(&rest[0])])
            }
            _ => Self::Shared,
        }
    }
}

/// Keeps this thread, and those that it starts, on `core`. Best effort: a sandbox may forbid it.
pub(crate) fn pin(core: usize) {
    let mut set = CpuSet::new();
    if set.set(core).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
}

/// How long this process has run on any core.
pub(crate) fn time_used() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else {
        return Duration::ZERO;
    };
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(micros.unsigned_abs())
}

fn members(set: &CpuSet) -> Vec<usize> {
    (0..CpuSet::count()).filter(|&core| set.is_set(core).unwrap_or(false)).collect()
}

/// Hardware threads of the physical core that `core` belongs to; none where the system does not say.
fn siblings(core: usize) -> Vec<usize> {
    let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
    fs::read_to_string(path).map(|list| parse_list(list.trim())).unwrap_or_default()
}

/// Reads the kernel's lists: `0,4-7`.
fn parse_list(list: &str) -> Vec<usize> {
    list.split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse().ok()?..=last.parse().ok()?)
        })
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_the_kernel() {
        assert_eq!(parse_list("0,4-6"), [0, 4, 5, 6]);
        assert_eq!(parse_list("3"), [3]);
        assert!(parse_list("").is_empty());
    }
}
