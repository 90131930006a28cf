//! Real peers for tests and benchmarks: other programs that speak the same protocols.
//!
//! A test that needs one starts with [`require_peer`]:
//!
//! ```no_run
//! use ringport_bench::peers::{require_peer, Testpmd, testpmd::{MemifArgs, Mode}};
//! # fn main() -> Result<(), ringport_bench::peers::PeerError> {
//! let Some(_peer) = require_peer("receives_from_dpdk", "dpdk-testpmd") else { return Ok(()) };
//! let memif = MemifArgs::client("/tmp/m.sock");
//! let peer = Testpmd::new().memif(memif).forward(Mode::TxOnly).start()?;
//! // ... receive ...
//! let totals = peer.stop()?;
//! assert!(totals.tx_packets > 0);
//! # Ok(()) }
//! ```
//!
//! | environment | effect |
//! |---|---|
//! | `RINGPORT_REQUIRE_PEERS=1` | a missing peer fails the test instead of skipping it |
//! | `RINGPORT_SKIP_LOG=FILE` | each skipped test appends a line to FILE |
//! | `RINGPORT_GUEST_KIT=DIR` | where what guests are made of is, instead of in the user's cache |
//! | `RINGPORT_VDPA_KIT=DIR` | the same for machines with vDPA devices |

mod command;
pub mod guest;
pub mod kit;
mod lock;
pub mod ovs;
pub mod testpmd;

pub use command::CommandGuard;
pub use guest::Guest;
pub use lock::PeerLock;
pub use ovs::Ovs;
pub use testpmd::Testpmd;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// Why a peer cannot be used, or did not do what it was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The program, a file or a socket cannot be used.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The peer ended before it was asked to.
    #[error("{name} ended ({status}); its log ends:\n{log}")]
    Ended {
        /// Name of the peer.
        name: String,
        /// How it ended.
        status: String,
        /// End of its output.
        log: String,
    },
    /// The peer did not print what was waited for.
    #[error("{name} did not print `{pattern}` within {deadline:?}; its log ends:\n{log}")]
    Silent {
        /// Name of the peer.
        name: String,
        /// What was waited for.
        pattern: String,
        /// How long.
        deadline: Duration,
        /// End of its output.
        log: String,
    },
    /// The peer said something that cannot be understood.
    #[error("{name} said something unexpected: {what}")]
    Unexpected {
        /// Name of the peer.
        name: String,
        /// What it said.
        what: String,
    },
}

impl PeerError {
    pub(crate) fn io(what: impl Display, source: io::Error) -> Self {
        Self::Io { what: what.to_string(), source }
    }
}

/// A peer program that may be started, and the lock that keeps other tests from running theirs.
#[derive(Debug)]
pub struct Peer {
    /// Where the program is.
    pub program: PathBuf,
    _lock: PeerLock,
}

/// Finds the program `name` for `test`, and waits until no other test runs a peer. `None`: it
/// cannot be had here, and the test must return; it was reported as skipped.
///
/// # Panics
/// When it cannot be had and `RINGPORT_REQUIRE_PEERS=1`.
#[must_use]
pub fn require_peer(test: &str, name: &str) -> Option<Peer> {
    require(test, name, find_peer(name))
}

/// As [`require_peer`], for peers that need `megabytes` of free hugepages.
///
/// # Panics
/// As [`require_peer`].
#[must_use]
pub fn require_peer_with_hugepages(test: &str, name: &str, megabytes: u64) -> Option<Peer> {
    let free = free_hugepages_mb();
    let found = find_peer(name).and_then(|program| {
        let short = format!("{free} MB of hugepages are free, {megabytes} are needed");
        if free >= megabytes { Ok(program) } else { Err(short) }
    });
    require(test, name, found)
}

/// As [`require_peer`], for Open vSwitch with DPDK, which [`Ovs::start`] starts.
///
/// # Panics
/// As [`require_peer`].
#[must_use]
pub fn require_ovs(test: &str) -> Option<Peer> {
    let name = "Open vSwitch with DPDK";
    require(test, name, ovs::missing().map_or_else(|| Ok(PathBuf::from(name)), Err))
}

/// As [`require_peer`], for Linux guests in QEMU, which [`Guest::start`] starts.
///
/// # Panics
/// As [`require_peer`].
#[must_use]
pub fn require_guest(test: &str) -> Option<Peer> {
    require_kit(test, &guest::KIT)
}

/// As [`require_peer`], for virtual machines: the program is the directory of the kit that they are
/// started from.
///
/// # Panics
/// As [`require_peer`].
#[must_use]
pub fn require_kit(test: &str, kit: &kit::Kit) -> Option<Peer> {
    require(test, kit.step, kit.find())
}

fn require(test: &str, name: &str, found: Result<PathBuf, String>) -> Option<Peer> {
    let locked = found.and_then(|program| {
        let lock = PeerLock::acquire().map_err(|error| format!("no lock: {error}"))?;
        Ok(Peer { program, _lock: lock })
    });
    match locked {
        Ok(peer) => Some(peer),
        Err(why) => {
            skip(test, &format!("{name}: {why}"));
            None
        }
    }
}

/// Reports that `test` is skipped because of `why`.
///
/// # Panics
/// When `RINGPORT_REQUIRE_PEERS=1`: then nothing may be skipped.
#[expect(clippy::panic, reason = "tests ask for exactly this")]
pub fn skip(test: &str, why: &str) {
    let line = format!("SKIPPED: {test}: {why}");
    if std::env::var_os("RINGPORT_REQUIRE_PEERS").is_some_and(|value| value == "1") {
        panic!("{line} (RINGPORT_REQUIRE_PEERS=1)");
    }
    report(&line);
}

/// Where the user's environment says that a program is that no package has: `variable` is its path, or
/// with `within` that of the directory it is in. Not set: `test` is reported as skipped, whatever
/// `RINGPORT_REQUIRE_PEERS` says. It has no lock: take a [`PeerLock`] for those that poll a core.
///
/// # Panics
/// When the variable is set and the program is not there.
#[must_use]
pub fn peer_by_path(test: &str, variable: &str, within: &str) -> Option<PathBuf> {
    let Some(path) = std::env::var_os(variable).map(PathBuf::from) else {
        report(&format!("SKIPPED: {test}: {variable} is not set"));
        return None;
    };
    let program = if within.is_empty() { path.clone() } else { path.join(within) };
    assert!(program.is_file(), "{variable} is set, but {} is not there", program.display());
    Some(path)
}

#[expect(clippy::print_stderr, reason = "who runs tests reads it there")]
fn report(line: &str) {
    eprintln!("{line}");
    if let Some(path) = std::env::var_os("RINGPORT_SKIP_LOG")
        && let Err(error) = append_line(Path::new(&path), line)
    {
        eprintln!("{}: {error}", Path::new(&path).display());
    }
}

fn append_line(path: &Path, line: &str) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())
}

fn find_peer(name: &str) -> Result<PathBuf, String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("not root".into());
    }
    find_program(name).ok_or_else(|| "not installed".into())
}

/// Looks a program up in `PATH`.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Free hugepages of the default size, in megabytes; zero when no hugetlbfs is mounted.
#[must_use]
pub fn free_hugepages_mb() -> u64 {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    if !mounts.lines().any(|line| line.split(' ').nth(2) == Some("hugetlbfs")) {
        return 0;
    }
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    field("HugePages_Free:").unwrap_or(0) * field("Hugepagesize:").unwrap_or(0) / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_peer_is_reported_and_logged() {
        assert_eq!(find_program("no-such-program-anywhere"), None);
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("skips");
        append_line(&log, "SKIPPED: a: b").unwrap();
        append_line(&log, "SKIPPED: c: d").unwrap();
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "SKIPPED: a: b\nSKIPPED: c: d\n");
    }
}
