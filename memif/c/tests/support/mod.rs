//! What the tests share.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test takes what it needs")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

#[path = "../../../tests/support/inet.rs"]
pub mod inet;
pub mod library;
pub mod pair;
pub mod responder;
#[path = "../../../tests/support/station.rs"]
pub mod station;

pub use ringport_bench::interop::{Outcome, PATIENCE, wait_until};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ringport_memif::{RxQueue, TxQueue};
use std::os::fd::{BorrowedFd, RawFd};

/// Sends a frame, once the peer has room for it.
pub fn send(tx: &mut TxQueue, frame: &[u8]) -> Outcome {
    wait_until("room", || {
        let mut burst = tx.tx_burst(16)?;
        Ok(burst.push(frame).is_ok().then(|| burst.commit()))
    })?;
    Ok(())
}

/// The next packet.
pub fn receive(rx: &mut RxQueue) -> Outcome<Vec<u8>> {
    wait_until("a packet", || {
        Ok(rx.rx_burst(1)?.packets().next().map(|packet| packet.detach().to_vec()))
    })
}

/// Whether a descriptor becomes readable within `millis`.
#[expect(unsafe_code, reason = "a descriptor from C")]
pub fn readable(fd: RawFd, millis: u16) -> bool {
    assert!(fd >= 0);
    // SAFETY: the caller's port or queue has it open.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(millis)).unwrap() == 1
}
