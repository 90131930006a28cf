//! The guard of a running testpmd, on the real one.
#![allow(clippy::unwrap_used, reason = "a test")]

use ringport_bench::peers::testpmd::{MemifArgs, Mode, RunningTestpmd};
use ringport_bench::peers::{Testpmd, require_peer};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn generator_and_receiver_start_run_pause_and_stop() {
    let name = "generator_and_receiver_start_run_pause_and_stop";
    let Some(_peer) = require_peer(name, "dpdk-testpmd") else { return };
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("m.sock");
    let server = Testpmd::new().memif(MemifArgs::server(&socket)).memory(64).interactive();
    let mut server = server.start().unwrap();
    let started = server.command("start").unwrap();
    assert!(started.contains("rxonly packet forwarding"), "{started}");
    let client = Testpmd::new().memif(MemifArgs::client(&socket)).memory(64).core(1);
    let mut client = client.forward(Mode::TxOnly).record_core_cycles().start().unwrap();
    server.wait_link_up(0, DEADLINE).unwrap();
    wait_for_more(&mut server, 1000);
    client.pause().unwrap();
    let all = wait_for_silence(&mut server);
    client.resume().unwrap();
    wait_for_more(&mut server, all);
    // testpmd 22.11 can crash when its memif link goes down while it forwards.
    let stopped = server.command("stop").unwrap();
    assert!(stopped.contains("Accumulated forward statistics"), "{stopped}");
    let sent = client.stop().unwrap();
    assert!(sent.tx_packets >= 1000 && sent.cycles_per_packet.is_some(), "{sent:?}");
    let show = server.command("show port stats all").unwrap();
    assert!(show.contains("NIC statistics for port 0"), "{show}");
    let received = server.stop().unwrap();
    assert!(received.rx_packets >= 1000, "{received:?}");
}

fn wait_for_more(receiver: &mut RunningTestpmd, than: u64) {
    let end = Instant::now() + DEADLINE;
    while receiver.counters(0).unwrap().rx_packets <= than {
        assert!(Instant::now() < end, "no more than {than} packets:\n{}", receiver.log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until what was on its way has come and nothing follows; returns how many came in all.
fn wait_for_silence(receiver: &mut RunningTestpmd) -> u64 {
    let end = Instant::now() + DEADLINE;
    let mut before = receiver.counters(0).unwrap().rx_packets;
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let now = receiver.counters(0).unwrap().rx_packets;
        if now == before {
            return now;
        }
        assert!(Instant::now() < end, "a paused peer still sends: {before}, then {now}");
        before = now;
    }
}
