//! Peers that nobody packages: used when the environment says where they are.

use ringport_bench::peers::{PeerLock, peer_by_path};
use std::path::PathBuf;

/// A peer that was built by the user, and the lock that all tests with peers hold.
pub struct OptionalPeer {
    pub dir: PathBuf,
    _lock: PeerLock,
}

/// Where `variable` says that `program` is, as [`peer_by_path`] has it.
pub fn optional_peer(test: &str, variable: &str, program: &str) -> Option<OptionalPeer> {
    let dir = peer_by_path(test, variable, program)?;
    Some(OptionalPeer { dir, _lock: PeerLock::acquire().unwrap() })
}
