//! Offloads in software, through the public API: ports without a protocol on both sides.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod hostile;
mod segments;
mod slots;
mod vectors;

use ringport::burst::{Forwarded, PacketRx, forward};
use ringport::software::BadOffload;
use support::{Packet, Rx, TxSetup};

/// The plain packets that `packet` stands for, by way of a transmit queue without offloads. That
/// which a reader finishes for itself must be the same.
#[track_caller]
fn finish(packet: &Packet) -> Result<Vec<Vec<u8>>, BadOffload> {
    let mut own = Vec::new();
    for piece_len in [1 << 20, 33] {
        let mut rx = Rx::new(piece_len, [packet.clone()]);
        let finished = rx.rx_burst(1).unwrap().packets().next().unwrap().finished().map(|plain| {
            let announced = plain.len();
            let packets: Vec<_> = plain.map(|bytes| bytes.to_vec()).collect();
            assert_eq!(packets.len(), announced);
            packets
        });
        own.push(finished);
        // What was not released is delivered again.
        let mut rx = Rx::new(piece_len, [packet.clone()]);
        let mut tx = TxSetup::new(256, 4096).tx();
        let done = forward(&mut rx, &mut tx, 1).unwrap();
        assert_eq!(rx.waiting(), 0);
        let sent = tx.take_plain();
        let expected = match &own[0] {
            Ok(packets) => {
                let sent = packets.len();
                Forwarded { packets: 1, finished: 1, sent, ..Forwarded::default() }
            }
            Err(_) => Forwarded { dropped: 1, malformed: 1, ..Forwarded::default() },
        };
        assert_eq!(done, expected);
        assert_eq!(own[0].as_deref().unwrap_or_default(), sent, "forwarded and finished");
    }
    let again = own.pop().unwrap();
    assert_eq!(own[0], again, "in one piece and in many");
    again
}
