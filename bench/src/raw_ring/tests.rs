use super::*;
use crate::shared::Board;
use std::time::{Duration, Instant};

/// Runs both sides on threads until `packets` have arrived.
fn run(shape: Shape, method: Method, packets: u64) {
    let ring = RawRing::create(shape).unwrap();
    let (tx_board, rx_board) = (Board::create().unwrap(), Board::create().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| send(&ring, method, &tx_board));
        scope.spawn(|| receive(&ring, method, &rx_board));
        let end = Instant::now() + Duration::from_secs(20);
        while rx_board.counts().packets < packets && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        tx_board.request_stop();
        rx_board.request_stop();
    });
    let counts = rx_board.counts();
    assert!(counts.packets >= packets && counts.errors == 0, "{shape:?} {method:?}: {counts:?}");
    assert!(ring.received_slots() >= packets);
}

const METHOD: Method = Method {
    burst: 32,
    kernel: Kernel::Library,
    fetch_ahead_tx: 4,
    fetch_ahead_rx: 4,
    demote: true,
};

#[test]
fn frames_arrive_in_sequence_with_every_kernel() {
    for kernel in Kernel::ALL.into_iter().filter(|&kernel| is_supported(kernel)) {
        run(Shape::memif(64), Method { kernel, ..METHOD }, 10_000);
    }
}

#[test]
fn chained_frames_arrive_in_sequence() {
    assert_eq!(Shape::memif(9000).slots_per_frame(), 5);
    run(Shape::memif(9000), METHOD, 2_000);
}

#[test]
fn one_frame_goes_round_through_two_rings() {
    let shape = Shape::memif(64);
    let (there, back) = (RawRing::create(shape).unwrap(), RawRing::create(shape).unwrap());
    let (ping, pong) = (Board::create().unwrap(), Board::create().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| ping_frames(&there, &back, &ping));
        scope.spawn(|| pong_frames(&there, &back, &pong));
        let end = Instant::now() + Duration::from_secs(20);
        while ping.counts().packets < 3_000 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        ping.request_stop();
        pong.request_stop();
    });
    assert!(ping.counts().packets >= 3_000 && ping.counts().errors == 0, "{:?}", ping.counts());
}
