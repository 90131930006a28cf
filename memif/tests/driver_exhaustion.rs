//! No descriptors and no memory left, at every point of a link's beginning: each limit is told as a
//! reason, and when it is gone all is as ever. One test, as it changes the limits of the process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod driver_support;

use driver_support::Place;
use ringport_bench::interop::exhaustion::{
    AddressSpace, Descriptors, Ends, FileSize, Resources, exhaust,
};
use ringport_bench::interop::kills::live;

/// Not a test: what this program does when it is started as a peer.
#[test]
#[ignore = "the peer process of the other"]
fn child_peer() {
    live().unwrap();
}

/// Lets one end lack something, and checks that each reason has one of `words`, and that all of
/// `steps` were among them.
#[track_caller]
fn check(ours: &str, theirs: &str, what: &dyn Resources, words: &[&str], steps: &[&str]) {
    let place = Place::new();
    let port = |options: &str| format!("memif:{},{options}", place.path.display());
    let (child_listens, ours, theirs) = (theirs.contains("server"), port(ours), port(theirs));
    let ends = Ends { ours: &ours, theirs: &theirs, child_listens };
    let reasons = exhaust(&ends, what).unwrap();
    for reason in &reasons {
        assert!(words.iter().any(|words| reason.contains(words)), "{reasons:#?}");
    }
    for step in steps {
        assert!(reasons.iter().any(|reason| reason.contains(step)), "{step}: {reasons:#?}");
    }
}

#[test]
fn process_without_descriptors_or_memory_says_so_and_goes_on() {
    let (server, client) = ("role=server", "role=client,reconnect=1ms-5ms");
    let files = ["Too many open files", "more than the receiver may open"];
    let at_server = ["accept failed", "lost on their way", "eventfd failed"];
    check(server, client, &Descriptors, &files, &at_server);
    // Memory is made as well; what its one descriptor lacks depends on what else is open just then.
    let at_client = ["file descriptors", "duplicate"];
    check(client, server, &Descriptors, &files, &at_client);
    let memory = ["Cannot allocate memory"];
    check(server, client, &AddressSpace, &memory, &["map the memory"]);
    check(client, server, &AddressSpace, &memory, &["map the memory"]);
    check(client, server, &FileSize, &["File too large"], &["size the memory"]);
}
