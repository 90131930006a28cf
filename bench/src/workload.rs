//! Small workloads in one thread: what one packet costs without another core in the way.
//!
//! The functions named `step_...` are what is measured; everything around them is preparation.
//! They are never inlined, so that tools find them by name.

use crate::frames::{FrameCheck, FramePool, POOL_FRAMES};
use crate::loopback::{Loopback, LoopbackError};
use ringport::burst::{ForwardError, Forwarded, forward};
use ringport::error::QueueError;
use ringport_memif::wire::{AddRing, Message};
use ringport_memif::{Direction, RxQueue, TxQueue};
use std::hint::black_box;

/// Packets in a burst.
pub const BURST: usize = 32;

/// Sends a burst. Returns how many packets.
///
/// # Errors
/// When the link is down.
#[inline(never)]
pub fn step_tx(tx: &mut TxQueue, pool: &FramePool, next: &mut usize) -> Result<usize, QueueError> {
    let mut burst = tx.tx_burst(BURST)?;
    while burst.push(pool.frame(*next)).is_ok() {
        *next += 1;
    }
    Ok(burst.commit())
}

/// Receives a burst, copies each packet out, and checks it. Returns how many packets.
///
/// # Errors
/// When the link is down.
#[inline(never)]
pub fn step_rx(
    rx: &mut RxQueue,
    buffer: &mut [u8],
    check: &mut FrameCheck,
) -> Result<usize, QueueError> {
    let burst = rx.rx_burst(BURST)?;
    for packet in burst.packets() {
        packet.copy_to(buffer);
        check.check(packet.len(), buffer);
    }
    Ok(burst.len())
}

/// Forwards a burst from one link to another.
///
/// # Errors
/// When a link is down.
#[inline(never)]
pub fn step_forward(rx: &mut RxQueue, tx: &mut TxQueue) -> Result<Forwarded, ForwardError> {
    forward(rx, tx, BURST)
}

/// Encodes and decodes one control message. Returns whether it survived.
#[inline(never)]
#[must_use]
pub fn step_codec(message: &Message) -> bool {
    let bytes = black_box(message).encode();
    Message::decode(black_box(&bytes)).is_ok_and(|decoded| decoded == *message)
}

/// A control message with numbers in all fields.
#[must_use]
pub fn message() -> Message {
    Message::AddRing(AddRing {
        direction: Direction::S2c,
        index: 3,
        region: 1,
        offset: 0x1_0080,
        log2_ring_size: 10,
        private_header_size: 0,
    })
}

/// One direction of a link: a sender, a receiver and what goes between them.
#[derive(Debug)]
pub struct OneWay {
    link: Loopback,
    direction: Direction,
    pool: FramePool,
    next: usize,
    buffer: Vec<u8>,
    check: FrameCheck,
}

impl OneWay {
    /// A link with frames of `frame_len` bytes.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(direction: Direction, frame_len: usize) -> Result<Self, LoopbackError> {
        Ok(Self {
            link: Loopback::connect("")?,
            direction,
            pool: FramePool::new(frame_len, POOL_FRAMES),
            next: 0,
            buffer: vec![0; frame_len],
            check: FrameCheck::new(frame_len, Some(POOL_FRAMES)),
        })
    }

    /// The sending and the receiving queue.
    fn queues(link: &mut Loopback, direction: Direction) -> (&mut TxQueue, &mut RxQueue) {
        match direction {
            Direction::C2s => (&mut link.client.tx[0], &mut link.server.rx[0]),
            Direction::S2c => (&mut link.server.tx[0], &mut link.client.rx[0]),
        }
    }

    /// Sends a burst and receives it.
    ///
    /// # Errors
    /// When the link is down.
    pub fn turn(&mut self) -> Result<usize, QueueError> {
        let (tx, rx) = Self::queues(&mut self.link, self.direction);
        step_tx(tx, &self.pool, &mut self.next)?;
        step_rx(rx, &mut self.buffer, &mut self.check)
    }

    /// Packets that arrived damaged or out of sequence.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.check.errors
    }
}

/// A link in, a link out, and a forwarder between them.
#[derive(Debug)]
pub struct Through {
    into: OneWay,
    out: OneWay,
}

impl Through {
    /// A forwarder for frames of `frame_len` bytes: server of one link, client of the other.
    ///
    /// # Errors
    /// When a link cannot be made.
    pub fn new(frame_len: usize) -> Result<Self, LoopbackError> {
        let into = OneWay::new(Direction::C2s, frame_len)?;
        Ok(Self { into, out: OneWay::new(Direction::C2s, frame_len)? })
    }

    /// Sends a burst, forwards it, receives it.
    ///
    /// # Errors
    /// When a link is down.
    pub fn turn(&mut self) -> Result<usize, QueueError> {
        let Self { into, out } = self;
        let (tx, forwarder_rx) = OneWay::queues(&mut into.link, into.direction);
        step_tx(tx, &into.pool, &mut into.next)?;
        let (forwarder_tx, rx) = OneWay::queues(&mut out.link, out.direction);
        step_forward(forwarder_rx, forwarder_tx)?;
        step_rx(rx, &mut out.buffer, &mut out.check)
    }

    /// Packets that arrived damaged or out of sequence.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.out.errors()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_of_every_workload_arrives_in_sequence() {
        for direction in [Direction::C2s, Direction::S2c] {
            for frame_len in [64, 1518, 9000] {
                let mut way = OneWay::new(direction, frame_len).unwrap();
                let received: usize = (0..300).map(|_| way.turn().unwrap()).sum();
                let slots = frame_len.div_ceil(2048);
                assert!(received >= 300 * (BURST / slots), "{frame_len}: {received}");
                assert_eq!(way.errors(), 0, "{direction} {frame_len}");
            }
        }
        let mut through = Through::new(64).unwrap();
        let received: usize = (0..300).map(|_| through.turn().unwrap()).sum();
        assert_eq!((received, through.errors()), (300 * BURST, 0));
        assert!(step_codec(&message()));
    }
}
