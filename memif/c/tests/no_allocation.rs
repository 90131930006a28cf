//! A burst of C's never allocates, in either form, role and direction, nor does an error.
#![expect(unsafe_code, reason = "calls with pointers")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::undocumented_unsafe_blocks,
    reason = "a test"
)]

mod support;

use ringport_bench::interop::allocations::{Counting, allocations};
use ringport_memif_c::*;
use std::ptr::{null, null_mut};
use support::pair::{Ends, Pair, close};

#[global_allocator]
static COUNTING: Counting = Counting;

/// Sends 32 packets of one slot and one of several, copied, and 32 in place, and receives all of them in
/// both ways.
fn round(from: &Ends, to: &Ends, frames: &[Packet], buffers: &mut [Packet]) -> u32 {
    let mut room = [Packet { data: null_mut(), len: 0, capacity: 0 }; 32];
    let mut pieces = [Piece { data: null(), len: 0, more: 0 }; 64];
    let (mut bytes, mut shown) = (0, 0);
    unsafe {
        assert_eq!(ringport_memif_tx_burst(from.tx, frames.as_ptr(), frames.len()), 33);
        assert_eq!(ringport_memif_tx_reserve(from.tx, room.as_mut_ptr(), 32), 32);
        for slot in &mut room {
            slot.data.cast::<u8>().write_bytes(1, 64);
            slot.len = 64;
        }
        assert_eq!(ringport_memif_tx_commit(from.tx, room.as_ptr(), 32), 32);
        let received = ringport_memif_rx_burst(to.rx, buffers.as_mut_ptr(), buffers.len());
        assert_eq!(received, 32);
        bytes += buffers[..32].iter().map(|packet| packet.len).sum::<u32>();
        let count = ringport_memif_rx_peek(to.rx, pieces.as_mut_ptr(), pieces.len());
        for piece in &pieces[..usize::try_from(count).unwrap()] {
            bytes += piece.len;
            shown += usize::from(piece.more == 0);
        }
        assert_eq!(ringport_memif_rx_release(to.rx, shown), 0);
        assert_eq!(ringport_memif_rx_release(to.rx, 1), RINGPORT_MEMIF_E_ORDER);
    }
    bytes
}

#[test]
fn bursts_do_not_allocate() {
    let mut pair = Pair::join("");
    let (mut frame, mut long, mut memory) = ([7_u8; 64], vec![8_u8; 9000], vec![0_u8; 32 * 9000]);
    let packet = |data: &mut [u8]| {
        let len = u32::try_from(data.len()).unwrap();
        Packet { data: data.as_mut_ptr().cast(), len, capacity: len }
    };
    let mut frames = [packet(&mut frame); 33];
    frames[32] = packet(&mut long);
    let mut buffers: Vec<Packet> = memory.chunks_mut(9000).map(packet).collect();

    let before = allocations();
    let _ = std::hint::black_box(vec![1; 10]);
    assert_eq!(allocations(), before + 1, "the allocator counts");

    for (from, to) in [(&pair.client, &pair.server), (&pair.server, &pair.client)] {
        let before = allocations();
        for _ in 0..1000 {
            assert_eq!(round(from, to, &frames, &mut buffers), 64 * 64 + 9000);
        }
        assert_eq!(allocations(), before);
    }
    close(std::mem::replace(&mut pair.client.port, null_mut()), "");
    let before = allocations();
    for _ in 0..10 {
        let sent = unsafe { ringport_memif_tx_burst(pair.client.tx, frames.as_ptr(), 1) };
        assert_eq!(sent, RINGPORT_MEMIF_E_LINK_DOWN);
    }
    assert_eq!(allocations(), before);
}
