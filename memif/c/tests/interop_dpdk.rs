//! The C example behind DPDK's net_memif (verified with testpmd 22.11.11), which forwards between it and a
//! port of ours, in every pair of roles.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use ringport_bench::interop::Killed;
use ringport_bench::peers::testpmd::{MemifArgs, MemifRole, Mode};
use ringport_bench::peers::{Testpmd, require_peer_with_hugepages};
use ringport_memif::Port;
use std::path::Path;
use support::library::Library;
use support::responder::{ADDRESS, PAYLOADS, interrupt, pings, start, station};
use support::{Outcome, PATIENCE};

/// Hugepages that a testpmd takes, in megabytes.
const HUGEPAGES: u64 = 256;

/// testpmd's part of a link.
fn theirs(role: MemifRole, socket: &Path) -> MemifArgs {
    MemifArgs::new(role, socket).id(0)
}

/// The other side's port string.
fn ours(role: MemifRole, socket: &Path) -> String {
    let role = match role {
        MemifRole::Client => "server",
        MemifRole::Server => "client,reconnect=10ms-50ms",
    };
    format!("memif:{},role={role}", socket.display())
}

fn pings_pass(library: &Library, near: MemifRole, far: MemifRole) -> Outcome {
    let dir = tempfile::tempdir()?;
    let (a, b) = (dir.path().join("a.sock"), dir.path().join("b.sock"));
    // Servers first, whoever they are.
    let mut port = Port::open(&ours(near, &a))?;
    let mut responder = start(library, &[&ours(far, &b), &ADDRESS.to_string()])?;
    if far == MemifRole::Client {
        support::wait_until("the example's socket", || Ok(b.exists().then_some(())))?;
    }
    let testpmd = Testpmd::new().memif(theirs(near, &a)).memif(theirs(far, &b));
    let mut testpmd = Killed(testpmd.forward(Mode::Io).interactive().start()?);
    let mut peer = station(&mut port)?;
    responder.wait_for_line("link up: ", PATIENCE)?;
    testpmd.start_when_up(2)?;
    // Of one slot: a copying client of DPDK's joins others with what follows.
    pings(&mut peer, &PAYLOADS[..4])?;
    let log = interrupt(responder)?;
    assert!(log.contains("queue 0: received ") && !log.contains("sent 0"), "{log}");
    Ok(())
}

#[test]
fn pings_pass_testpmd_to_the_c_example_and_back_in_every_pair_of_roles() {
    let test = "pings_pass_testpmd_to_the_c_example_and_back_in_every_pair_of_roles";
    let Some(library) = Library::install(test) else { return };
    let Some(_peer) = require_peer_with_hugepages(test, "dpdk-testpmd", HUGEPAGES) else { return };
    for near in [MemifRole::Client, MemifRole::Server] {
        for far in [MemifRole::Client, MemifRole::Server] {
            let outcome = pings_pass(&library, near, far);
            assert!(
                outcome.is_ok(),
                "testpmd {near:?} of ours, {far:?} of the example: {outcome:?}"
            );
        }
    }
}
