//! No descriptors and no memory left, at every point of a link's beginning: each limit is told as a
//! reason, and when it is gone all is as ever. One test, as it changes the limits of the process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod device_support;

use device_support::Place;
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
    let port = |options: &str| format!("vhost:{},{options}", place.path.display());
    let (child_listens, ours, theirs) = (ours.contains("connect"), port(ours), port(theirs));
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
    let (device, driver) = ("role=device", "role=driver,socket=connect,reconnect=1ms-5ms");
    let files = ["Too many open files", "more than this process may open"];
    let at_device = ["accept failed", "eventfd failed", "lost on their way"];
    check(device, driver, &Descriptors, &files, &at_device);
    check(driver, device, &Descriptors, &files, &["make memory", "doorbell"]);
    let memory = ["Cannot allocate memory"];
    check(device, driver, &AddressSpace, &memory, &["map the memory"]);
    check(driver, device, &AddressSpace, &memory, &["map the memory"]);
    check(driver, device, &FileSize, &["File too large"], &["size the memory"]);
}
