//! A process at its limit of open files: one test, as it changes the limit for all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod driver_support;

use driver_support::*;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::{TimeVal, TimeValLike};
use ringport_memif::wire::Message;
use ringport_memif::{
    Client, ClientConfig, ControlError, InterfaceConfig, Listener, ListenerConfig,
};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Processor time of this thread, in microseconds.
fn processor_time() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    let micros = |time: TimeVal| time.num_microseconds();
    micros(usage.user_time()) + micros(usage.system_time())
}

#[test]
fn listener_waits_for_descriptors_without_spinning() {
    let place = Place::new();
    let mut server = Listener::bind(&place.address(), ListenerConfig::default()).unwrap();
    server.add_interface(InterfaceConfig::new(0)).unwrap();
    let peer = RawPeer::connect(&place.path);

    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let next = u64::try_from(doorbell().as_raw_fd()).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, next, hard).unwrap();
    let (id, error) = next_refusal(&mut server);
    assert!(id.is_none() && matches!(error, ControlError::Io { operation: "accept", .. }));
    // Which was said once.
    let before = processor_time();
    assert!(server.poll(Some(Duration::from_millis(300))).unwrap().is_none());
    let busy = processor_time() - before;
    assert!(busy < 100_000, "the listener spins: {busy} us of 300 ms");
    assert!(peer.try_receive().is_none());
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();

    assert!(matches!(peer.receive(&mut server), Some(Message::Hello(_))));
    let mut client = Client::connect(place.address(), ClientConfig::new(0)).unwrap();
    join(&mut server, &mut client);
}
