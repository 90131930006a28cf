//! Peers that nobody packages: used when the environment says where they are.

use ringport_bench::peers::PeerLock;
use std::io::Write;
use std::path::PathBuf;

/// A peer that was built by the user, and the lock that all tests with peers hold.
pub struct OptionalPeer {
    pub dir: PathBuf,
    _lock: PeerLock,
}

/// Where `variable` says that `program` is. Not set: the test is skipped, loudly and on the record,
/// whatever `RINGPORT_REQUIRE_PEERS` says, as no package has it.
///
/// # Panics
/// When the variable is set and the program is not there.
pub fn optional_peer(test: &str, variable: &str, program: &str) -> Option<OptionalPeer> {
    let Some(dir) = std::env::var_os(variable).map(PathBuf::from) else {
        report(&format!("SKIPPED: {test}: {variable} is not set"));
        return None;
    };
    let path = dir.join(program);
    assert!(path.is_file(), "{variable} is set, but {} is not there", path.display());
    Some(OptionalPeer { dir, _lock: PeerLock::acquire().unwrap() })
}

fn report(line: &str) {
    eprintln!("{line}");
    if let Some(path) = std::env::var_os("RINGPORT_SKIP_LOG") {
        let file = std::fs::File::options().create(true).append(true).open(path);
        file.and_then(|mut file| writeln!(file, "{line}")).unwrap();
    }
}
