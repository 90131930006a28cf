//! memif carries no offloads: packets that ask for them are finished on the way to it.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../../port/tests/support/mod.rs"]
mod support;

use ringport::burst::forward;
use ringport::offload::{Checksum, Offload};
use ringport_bench::loopback::Loopback;
use ringport_memif::{RxQueue, TxQueue};
use support::wire::{self, Tcp};
use support::{Packet, Rx};

/// Forwards `packets` to `tx` and returns what arrives at `rx`, which is emptied whenever nothing
/// moves any more.
#[track_caller]
fn through(packets: Vec<Packet>, tx: &mut TxQueue, rx: &mut RxQueue) -> Vec<Vec<u8>> {
    let count = packets.len();
    let mut from = Rx::new(700, packets);
    let (mut arrived, mut moved) = (Vec::new(), 0);
    while from.waiting() > 0 {
        let done = forward(&mut from, tx, 64).unwrap();
        assert_eq!(done.dropped, 0);
        moved += done.packets;
        let burst = rx.rx_burst(256).unwrap();
        assert!(done.packets > 0 || !burst.is_empty(), "stalled behind {moved} packets");
        arrived.extend(burst.packets().map(|packet| packet.detach().to_vec()));
    }
    assert_eq!(moved, count);
    loop {
        let burst = rx.rx_burst(256).unwrap();
        if burst.is_empty() {
            return arrived;
        }
        arrived.extend(burst.packets().map(|packet| packet.detach().to_vec()));
    }
}

#[test]
fn packets_are_cut_and_completed_in_order_whatever_the_buffers() {
    for options in ["", ",buffer-size=256", ",ring-size=64", ",buffer-size=512,ring-size=256"] {
        let mut link = Loopback::connect(options).unwrap();
        let v4 = Tcp::new(false, 40_000, 1448);
        let v6 = Tcp { vlans: vec![[0x81, 0, 0, 7]], ..Tcp::new(true, 30_001, 1428) };
        let udp = (
            wire::bytes(1400),
            Offload { checksum: Checksum::Partial { start: 34, offset: 6 }, ..Offload::default() },
        );
        let plain = (wire::bytes(333), Offload::default());
        let packets: Vec<_> =
            (0..20).flat_map(|_| [plain.clone(), v4.packet(), udp.clone(), v6.packet()]).collect();
        for (tx, rx) in [
            (&mut link.client.tx[0], &mut link.server.rx[0]),
            (&mut link.server.tx[0], &mut link.client.rx[0]),
        ] {
            let arrived = through(packets.clone(), tx, rx);
            let mut rest = arrived.as_slice();
            for _ in 0..20 {
                rest = check_round(rest, &[&v4, &v6], &plain.0, &udp.0);
            }
            assert!(rest.is_empty());
        }
    }
}

/// Checks one of each packet, and returns what comes behind.
#[track_caller]
fn check_round<'a>(
    packets: &'a [Vec<u8>],
    [v4, v6]: &[&Tcp; 2],
    plain: &[u8],
    udp: &[u8],
) -> &'a [Vec<u8>] {
    let (first, packets) = packets.split_at(1);
    assert_eq!(first[0], plain);
    let (segments, packets) = packets.split_at(40_000usize.div_ceil(1448));
    v4.check(segments);
    let (sum, packets) = packets.split_at(1);
    assert_eq!(sum[0][40..42], wire::checksum(&udp[34..]).to_be_bytes());
    assert_eq!((&sum[0][..40], &sum[0][42..]), (&udp[..40], &udp[42..]));
    let (segments, packets) = packets.split_at(30_001usize.div_ceil(1428));
    v6.check(segments);
    packets
}

#[test]
fn packet_whose_segments_exceed_the_ring_is_dropped_and_the_next_one_is_not() {
    let mut link = Loopback::connect(",buffer-size=256,ring-size=64").unwrap();
    let (long, good) = (Tcp::new(false, 20_000, 1000), Tcp::new(false, 8_000, 1000));
    let mut from = Rx::new(1 << 20, [long.packet(), good.packet()]);
    let done = forward(&mut from, &mut link.client.tx[0], 64).unwrap();
    assert_eq!((done.packets, done.sent), (1, 8));
    assert_eq!((done.dropped, done.malformed), (1, 0));
    let burst = link.server.rx[0].rx_burst(64).unwrap();
    let packets: Vec<_> = burst.packets().map(|packet| packet.detach().to_vec()).collect();
    good.check(&packets);
}
