//! Ports of both protocols on one pool: packets move from ring to ring without a copy.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use ringport::burst::{PacketRx, PacketTx};
use ringport::pool::Pool;
use ringport::retry::Reconnect;
use ringport::shm::Backing;
use ringport_memif as memif;
use ringport_vhost_user as vhost;
use ringport_vhost_user::driver::SocketRole;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// Frames of several lengths, none like another.
fn frames(round: u8) -> Vec<Vec<u8>> {
    (0..8u8)
        .map(|n| (0..60 + 200 * u16::from(n)).map(|at| at.to_le_bytes()[0] ^ n ^ round).collect())
        .collect()
}

fn send(tx: &mut dyn PacketTx, frames: &[Vec<u8>]) {
    let mut burst = tx.tx_burst(frames.len()).unwrap();
    frames.iter().for_each(|frame| burst.push(frame).unwrap());
    assert_eq!(burst.commit(), frames.len());
}

fn receive(rx: &mut dyn PacketRx, count: usize) -> Vec<Vec<u8>> {
    let (mut all, end) = (Vec::new(), Instant::now() + PATIENCE);
    while all.len() < count {
        assert!(Instant::now() < end, "{} of {count} packets", all.len());
        let burst = rx.rx_burst(count - all.len()).unwrap();
        all.extend(burst.packets().map(|packet| packet.detach().to_vec()));
    }
    all
}

/// Moves `count` packets on, each by an exchange of buffers.
fn exchange(rx: &mut dyn PacketRx, tx: &mut dyn PacketTx, count: usize) {
    let (mut moved, end) = (0, Instant::now() + PATIENCE);
    while moved < count {
        assert!(Instant::now() < end, "{moved} of {count} packets");
        let mut burst = rx.rx_burst(64).unwrap();
        let mut out = tx.tx_burst(64).unwrap();
        let now = out.exchange(&mut burst);
        assert!(now > 0 || burst.is_empty() || out.free() == 0, "not exchanged");
        out.commit();
        burst.release(now);
        moved += now;
    }
}

/// Both ends of a link, from polls of both that give theirs once, and go on until both are there.
fn join<A, B>(mut one: impl FnMut() -> Option<A>, mut two: impl FnMut() -> Option<B>) -> (A, B) {
    let (mut a, mut b, end) = (None, None, Instant::now() + PATIENCE);
    loop {
        assert!(Instant::now() < end, "no link");
        a = one().or(a);
        b = two().or(b);
        match (a.take(), b.take()) {
            (Some(a), Some(b)) => return (a, b),
            some => (a, b) = some,
        }
    }
}

const SHORTLY: Option<Duration> = Some(Duration::from_millis(2));

fn memif_link(port: &mut memif::Port) -> Option<memif::Link> {
    match port.poll(SHORTLY).unwrap()?.kind {
        memif::EventKind::LinkUp(link) => Some(*link),
        _ => None,
    }
}

/// A memif client on the pool, and the server behind it.
fn memif_pair(socket: &str, pool: &Arc<Pool>) -> [(memif::Port, memif::Link); 2] {
    let mut server = memif::Port::open(&format!("memif:{socket},role=server")).unwrap();
    let client = format!("memif:{socket},role=client,ring-size=256");
    let mut client: memif::PortConfig = client.parse().unwrap();
    if let memif::config::RoleConfig::Client(config) = &mut client.role {
        config.memory.pool = Some(Arc::clone(pool));
    }
    let mut client = memif::Port::new(client).unwrap();
    let (ours, theirs) = join(|| memif_link(&mut client), || memif_link(&mut server));
    [(client, ours), (server, theirs)]
}

#[test]
fn packets_move_between_a_memif_client_and_a_vhost_user_driver_without_a_copy() {
    for packed in ["on", "off"] {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let pool = Pool::new(4 * 256, 2048, Backing::Pages).unwrap().with_headroom(64).unwrap();
        let pool = Arc::new(pool);
        let [(client, mut near), (server, mut far)] = memif_pair(&at("memif"), &pool);
        let device = format!("vhost:{},role=device,packed={packed}", at("vhost"));
        let mut device = vhost::Port::open(&device).unwrap();
        let config = vhost::DriverConfig { ring_size: 256, ..vhost::DriverConfig::default() };
        let role = SocketRole::Connect(Reconnect::default());
        let address = at("vhost").parse().unwrap();
        let mut driver =
            vhost::Driver::open_on_pool(&address, role, config, Arc::clone(&pool)).unwrap();
        let (mut here, mut there) = join(
            || match driver.poll(SHORTLY).unwrap() {
                Some(vhost::Event::LinkUp(link)) => Some(link),
                _ => None,
            },
            || match device.poll(SHORTLY).unwrap() {
                Some(vhost::Event::LinkUp(link)) => Some(link),
                _ => None,
            },
        );
        assert_eq!(here.parameters.buffer_size, Some(2048 - 64));
        assert_eq!(pool.free(), 0, "each slot of each ring has a buffer");
        for round in 0..100 {
            let frames = frames(round);
            send(&mut far.tx[0], &frames);
            exchange(&mut near.rx[0], &mut here.tx[0], frames.len());
            assert_eq!(receive(&mut there.rx[0], frames.len()), frames);
            send(&mut there.tx[0], &frames);
            exchange(&mut here.rx[0], &mut near.tx[0], frames.len());
            assert_eq!(receive(&mut far.rx[0], frames.len()), frames);
        }
        drop((near, here, client, driver, server, device));
        assert_eq!(pool.free(), 4 * 256, "each came back");
    }
}
