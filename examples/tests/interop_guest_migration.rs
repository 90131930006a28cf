//! Linux guests that migrate between two QEMUs, with a device of `ringport tap` behind each (verified with
//! kernel 6.12.117 and QEMU 10.0.2).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod guest;
mod host;
mod support;

use guest::{FEW, Wire};
use host::{ARP, Host, RARP, hosts};
use ringport_bench::peers::guest::{Nic, RunningGuest};
use ringport_bench::peers::{Guest, require_guest};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use support::{PATIENCE, Place, wait_for};

const MAC: [u8; 6] = [2, 0, 0, 0, 1, 0];
const PAGE: usize = 4096;

#[test]
fn guest_with_split_rings_migrates_under_traffic_with_every_byte_of_its_memory() {
    let test = "guest_with_split_rings_migrates_under_traffic_with_every_byte_of_its_memory";
    migrates(test, |nic| nic, ARP);
}

#[test]
fn guest_with_packed_rings_that_announces_nothing_migrates_and_its_device_announces_it() {
    let test =
        "guest_with_packed_rings_that_announces_nothing_migrates_and_its_device_announces_it";
    migrates(test, |nic| nic.packed().property("guest_announce=off"), RARP);
}

/// Has a guest with this device migrate; behind the new one it is announced by this protocol.
fn migrates(test: &str, of: fn(Nic) -> Nic, announced_by: u16) {
    let Some(_peer) = require_guest(test) else { return };
    let Some([host]) = hosts(test) else { return };
    let place = Place::new();
    let mut wires = ["t0", "t1"].map(|name| Wire::new(0, "offload=segmentation").bridged(name));
    bridge(&host, &mut wires);
    let [there, here] = &wires;
    let mut source = Guest::new().nic(of(there.nic())).start().unwrap();
    there.configure(&mut source);
    there.ping(&host, &mut source);
    let traffic = Traffic::start(&host, &mut source);
    let socket = place.path("migration");
    let target = Guest::new().nic(of(here.nic())).incoming(&socket);
    let mut target = target.start().unwrap();
    let rounds = migrate_in_rounds(&mut source, &socket);
    assert!(rounds >= ROUNDS, "{rounds} rounds");
    assert_same_memory(&source.memory().unwrap(), &target.memory().unwrap());
    drop(source);
    let mut announced = host.announcements("t1", MAC);
    target.resume().unwrap();
    assert_eq!(wait_for("the guest to be announced", &mut announced), announced_by);
    traffic.wait_more(FEW);
    traffic.end();
    here.ping(&host, &mut target);
    here.transfer(&host, &mut target, FEW);
}

/// Starts both devices, each at a port of a bridge that has the host's address.
fn bridge(host: &Host, wires: &mut [Wire; 2]) {
    host.ip("link add br0 type bridge");
    host.ip("address add 10.0.0.1/24 dev br0");
    host.ip("link set br0 up");
    wires.iter_mut().for_each(|wire| wire.start(host));
    for (name, join) in [("t0", "link set t0 master br0"), ("t1", "link set t1 master br0")] {
        wait_for("the interface", || host.has(name).then_some(()));
        host.ip(join);
    }
}

/// How often memory that has changed is sent again, at least.
const ROUNDS: u64 = 4;

/// Has the source send its memory, and again what changed meanwhile, until it has done that often enough;
/// then lets it stop and send the rest. Returns how often that was.
fn migrate_in_rounds(source: &mut RunningGuest, socket: &std::path::Path) -> u64 {
    let set = |source: &mut RunningGuest, bytes_a_second: u64, milliseconds: u64| {
        let both = json!({ "max-bandwidth": bytes_a_second, "downtime-limit": milliseconds });
        source.qmp("migrate-set-parameters", both).unwrap();
    };
    set(source, 32 << 20, 1);
    source.migrate(socket).unwrap();
    wait_for("rounds of the migration", || {
        let state = source.migration().unwrap();
        assert_ne!(state["status"], "completed", "nothing changed meanwhile: {state}");
        state["ram"]["dirty-sync-count"].as_u64().filter(|&rounds| rounds >= ROUNDS)
    });
    set(source, 1 << 30, 10_000);
    let state = source.wait_migrated().unwrap();
    state["ram"]["dirty-sync-count"].as_u64().unwrap()
}

#[track_caller]
fn assert_same_memory(source: &[u8], target: &[u8]) {
    assert_eq!(source.len(), target.len());
    let pages = source.chunks(PAGE).zip(target.chunks(PAGE)).enumerate();
    let differ: Vec<_> =
        pages.filter(|(_, (a, b))| a != b).map(|(at, _)| format!("{:#x}", at * PAGE)).collect();
    let some = &differ[..differ.len().min(8)];
    assert!(differ.is_empty(), "{} pages differ, the first are at {some:?}", differ.len());
    assert!(source.iter().any(|&byte| byte != 0));
}

/// TCP that the guest echoes, TCP and datagrams that it throws away, and long pings from it.
struct Traffic {
    over: Arc<AtomicBool>,
    echoed: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Traffic {
    fn start(host: &Host, guest: &mut RunningGuest) -> Self {
        guest.run("nc -ll -p 7 -e cat >/dev/null 2>&1 &").unwrap();
        guest.run("nc -ll -p 9 -e sh -c 'cat >/dev/null' >/dev/null 2>&1 &").unwrap();
        guest.run("ping -A -s 1400 10.0.0.1 >/dev/null 2>&1 &").unwrap();
        let (over, echoed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let stream = host.run(|| wait_for("an echo", || TcpStream::connect("10.0.0.2:7").ok()));
        let (until, count) = (Arc::clone(&over), Arc::clone(&echoed));
        let echo = std::thread::spawn(move || echo(stream, &until, &count));
        let stream = host.run(|| wait_for("a sink", || TcpStream::connect("10.0.0.2:9").ok()));
        let until = Arc::clone(&over);
        let fill = std::thread::spawn(move || fill(stream, &until));
        let flood = host.flood_to([10, 0, 0, 2], 1, Arc::clone(&over));
        let traffic = Self { over, echoed, threads: vec![echo, fill, flood] };
        traffic.wait_more(FEW);
        traffic
    }

    /// Waits until so many bytes more have come back.
    #[track_caller]
    fn wait_more(&self, bytes: usize) {
        let before = self.echoed.load(Ordering::Relaxed);
        wait_for("more of the echo", || {
            (self.echoed.load(Ordering::Relaxed) >= before + bytes).then_some(())
        });
    }

    #[track_caller]
    fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// Sends and compares what comes back until it is `over`.
fn echo(mut stream: TcpStream, over: &AtomicBool, count: &AtomicUsize) {
    stream.set_read_timeout(Some(2 * PATIENCE)).unwrap();
    let (mut back, mut next) = ([0; 32 << 10], 0_u32);
    while !over.load(Ordering::Relaxed) {
        next += 1;
        let words = (next << 13..).flat_map(u32::to_ne_bytes);
        let sent: Vec<u8> = words.take(back.len()).collect();
        stream.write_all(&sent).unwrap();
        stream.read_exact(&mut back).unwrap();
        assert!(sent == back, "echo {next} is not what was sent");
        count.fetch_add(back.len(), Ordering::Relaxed);
    }
}

/// Sends what does not repeat until it is `over`: the guest's CPU only reads it, so most of the pages that it
/// comes to are changed by the device alone.
fn fill(mut stream: TcpStream, over: &AtomicBool) {
    stream.set_write_timeout(Some(2 * PATIENCE)).unwrap();
    let mut next = 0_u64;
    while !over.load(Ordering::Relaxed) {
        let block: Vec<u8> = (next..next + (8 << 10)).flat_map(u64::to_ne_bytes).collect();
        next += 8 << 10;
        stream.write_all(&block).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
}
