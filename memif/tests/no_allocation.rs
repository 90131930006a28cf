//! A burst never allocates, in either role and direction.
#![allow(clippy::unwrap_used, reason = "a test")]

use ringport_bench::interop::allocations::{Counting, allocations};
use ringport_memif::{Port, RxQueue, TxQueue};
use std::time::Duration;

#[global_allocator]
static COUNTING: Counting = Counting;

/// Sends 32 packets of one slot and one of several, and receives them.
fn round(tx: &mut TxQueue, rx: &mut RxQueue, frame: &[u8], long: &[u8], to: &mut [u8]) -> usize {
    let mut burst = tx.tx_burst(64).unwrap();
    for _ in 0..32 {
        burst.push(frame).unwrap();
    }
    burst.push(long).unwrap();
    assert_eq!(burst.commit(), 33);
    let burst = rx.rx_burst(64).unwrap();
    burst.packets().map(|packet| packet.copy_to(to)).sum()
}

#[test]
fn bursts_do_not_allocate() {
    let dir = tempfile::tempdir().unwrap();
    let address = dir.path().join("memif.sock");
    let open = |role| Port::open(&format!("memif:{},role={role},id=0", address.display())).unwrap();
    let (mut server, mut client) = (open("server"), open("client"));
    let patience = Duration::from_secs(10);
    let connecting = std::thread::spawn(move || (client.wait_link_up(patience).unwrap(), client));
    let mut ours = server.wait_link_up(patience).unwrap();
    let (mut theirs, _client) = connecting.join().unwrap();
    let (frame, long, mut to) = ([7; 64], vec![8; 9000], vec![0; 9000]);

    let before = allocations();
    let _ = std::hint::black_box(vec![1; 10]);
    assert_eq!(allocations(), before + 1, "the allocator counts");

    let pairs = [(&mut theirs.tx[0], &mut ours.rx[0]), (&mut ours.tx[0], &mut theirs.rx[0])];
    for (tx, rx) in pairs {
        let before = allocations();
        for _ in 0..1000 {
            assert_eq!(round(tx, rx, &frame, &long, &mut to), 32 * 64 + 9000);
        }
        assert_eq!(allocations(), before);
    }
}
