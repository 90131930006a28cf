//! A burst makes no system call while both sides poll, in either role and direction.
//!
//! The test traces a second process of itself, which sends and receives on links of its own.
#![cfg(all(target_arch = "x86_64", target_env = "gnu"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod driver_support;

use driver_support::{Place, join};
use ringport::burst::forward;
use ringport::pool::Pool;
use ringport::shm::Backing;
use ringport_bench::interop::calls::{Case, assert_system_calls};
use ringport_memif::config::RoleConfig;
use ringport_memif::{ClientConfig, Link, Port, PortConfig, RxQueue, TxQueue};
use std::sync::Arc;

const ROUNDS: usize = 500;
const LOG2_RING_SIZE: u8 = 6;

/// A packet of one slot, and one of several.
const SHORT: &[u8] = &[7; 64];
const LONG: &[u8] = &[8; 9000];

const CASES: [Case<[Pair; 3]>; 9] = [
    Case("slots to the server", |[plain, ..]| traffic(plain.c2s(), SHORT), 0),
    Case("doorbells to the server", |[plain, ..]| wake(plain.c2s()), 2 * ROUNDS),
    Case("chains to the server", |[plain, ..]| traffic(plain.c2s(), LONG), 0),
    Case("slots to the client", |[plain, ..]| traffic(plain.s2c(), SHORT), 0),
    Case("doorbells to the client", |[plain, ..]| wake(plain.s2c()), 2 * ROUNDS),
    Case("chains to the client", |[plain, ..]| traffic(plain.s2c(), LONG), 0),
    Case("forwarded by servers, copied", servers_forward, 0),
    Case("slots exchanged by clients", |pairs| clients_exchange(pairs, SHORT), 0),
    Case("chains exchanged by clients", |pairs| clients_exchange(pairs, LONG), 0),
];

/// Where packets go in, and where they come out.
type Way<'a> = (&'a mut TxQueue, &'a mut RxQueue);

/// Both ends of a link.
struct Pair {
    server: Link,
    client: Link,
    _ports: [Port; 2],
}

impl Pair {
    fn new(pool: Option<Arc<Pool>>) -> Self {
        let place = Place::new();
        let mut config = ClientConfig { log2_ring_size: LOG2_RING_SIZE, ..ClientConfig::new(0) };
        config.memory.pool = pool;
        let role = RoleConfig::Client(config);
        let mut server = Port::new(PortConfig::server(place.address(), 0)).unwrap();
        let mut client = Port::new(PortConfig { address: place.address(), role }).unwrap();
        let (ours, theirs) = join(&mut server, &mut client);
        Self { server: ours, client: theirs, _ports: [server, client] }
    }

    fn c2s(&mut self) -> Way<'_> {
        (&mut self.client.tx[0], &mut self.server.rx[0])
    }

    fn s2c(&mut self) -> Way<'_> {
        (&mut self.server.tx[0], &mut self.client.rx[0])
    }
}

/// A link as it comes, and two whose clients lend buffers of one pool.
fn scene() -> [Pair; 3] {
    let pool = Arc::new(Pool::new(4 << LOG2_RING_SIZE, 2048, Backing::Pages).unwrap());
    [None, Some(Arc::clone(&pool)), Some(pool)].map(Pair::new)
}

/// Sends copies of `frame` until the ring has no room for another; returns the bytes.
fn fill(tx: &mut TxQueue, frame: &[u8]) -> usize {
    let mut sent = 0;
    loop {
        let mut burst = tx.tx_burst(16).unwrap();
        while burst.push(frame).is_ok() {}
        match burst.commit() {
            0 => return sent * frame.len(),
            packets => sent += packets,
        }
    }
}

/// Receives until the ring is empty; returns the bytes.
fn empty(rx: &mut RxQueue) -> usize {
    let (mut bytes, mut to) = (0, [0; LONG.len()]);
    loop {
        let burst = rx.rx_burst(16).unwrap();
        if burst.is_empty() {
            return bytes;
        }
        bytes += burst.packets().map(|packet| packet.copy_to(&mut to)).sum::<usize>();
    }
}

fn traffic((tx, rx): Way<'_>, frame: &[u8]) {
    for _ in 0..ROUNDS {
        let sent = fill(tx, frame);
        assert!(sent > 0 && sent == empty(rx));
    }
}

/// The control: a receiver that would sleep, and must be rung for.
fn wake((tx, rx): Way<'_>) {
    for _ in 0..ROUNDS {
        assert!(!rx.arm().unwrap());
        assert_eq!(fill(tx, SHORT), empty(rx));
    }
}

fn servers_forward([_, left, right]: &mut [Pair; 3]) {
    for frame in [SHORT, LONG] {
        relay(left.c2s(), right.s2c(), frame, |rx, tx| forward(rx, tx, 16).unwrap().packets);
    }
}

fn clients_exchange([_, left, right]: &mut [Pair; 3], frame: &[u8]) {
    relay(left.s2c(), right.c2s(), frame, |rx, tx| {
        let mut burst = rx.rx_burst(16).unwrap();
        let mut out = tx.tx_burst(burst.slots()).unwrap();
        let moved = out.exchange(&mut burst);
        assert_eq!(out.commit(), moved);
        burst.release(moved);
        moved
    });
}

/// Sends over two links that `step` joins, and fills both.
fn relay(
    (first, rx): Way<'_>,
    (tx, last): Way<'_>,
    frame: &[u8],
    step: fn(&mut RxQueue, &mut TxQueue) -> usize,
) {
    for _ in 0..ROUNDS {
        let mut sent = fill(first, frame);
        while step(rx, tx) > 0 {}
        sent += fill(first, frame);
        assert_eq!(step(rx, tx), 0, "the other ring is full");
        let mut received = empty(last);
        while step(rx, tx) > 0 {}
        received += empty(last);
        assert!(sent > 0 && sent == received);
    }
}

#[test]
fn bursts_make_no_system_call() {
    assert_system_calls("bursts_make_no_system_call", scene, &CASES).unwrap();
}
