//! Ports without a protocol, to try what lies between a receive and a transmit queue.
#![allow(dead_code, clippy::unwrap_used, reason = "tests, each of which uses a part")]

pub(crate) mod wire;

use ringport::burst::*;
use ringport::error::QueueError;
use ringport::offload::{Accepts, Offload};
use ringport::shm::{Backing, OwnedMemory, Regions};
use ringport::stats::{RxStats, TxStats};
use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes of a port's memory.
const MEMORY: usize = 1 << 20;

/// Shared memory, and its file to read and write it by.
#[derive(Debug)]
struct Memory {
    regions: Arc<Regions>,
    file: File,
}

impl Memory {
    fn new() -> Self {
        let owned = OwnedMemory::create("synthetic", MEMORY, Backing::Pages).unwrap();
        let file = owned.fd().try_clone_to_owned().unwrap().into();
        Self { regions: Arc::new(Regions::new(vec![Arc::clone(owned.mapping())])), file }
    }

    fn read(&self, offset: u64, len: u32) -> Vec<u8> {
        let mut bytes = vec![0; len as usize];
        self.file.read_exact_at(&mut bytes, offset).unwrap();
        bytes
    }
}

/// A packet with metadata.
pub(crate) type Packet = (Vec<u8>, Offload);

/// A receive queue that delivers the packets that a test puts into it, in pieces of up to
/// `piece_len` bytes.
#[derive(Debug)]
pub(crate) struct Rx {
    memory: Memory,
    batch: RxBatch,
    side: RxSide,
    piece_len: usize,
}

#[derive(Debug, Default)]
struct RxSide {
    waiting: VecDeque<Packet>,
}

impl ReleaseRx for RxSide {
    fn release(&mut self, released: Released<'_>) {
        self.waiting.drain(..released.packets);
    }
}

impl Rx {
    pub(crate) fn new(piece_len: usize, packets: impl IntoIterator<Item = Packet>) -> Self {
        let memory = Memory::new();
        let batch = RxBatch::new(Arc::clone(&memory.regions), 4096).with_offloads();
        let side = RxSide { waiting: packets.into_iter().collect() };
        Self { memory, batch, side, piece_len }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.side.waiting.len()
    }
}

impl PacketRx for Rx {
    fn rx_burst(&mut self, max: usize) -> Result<RxBurst<'_>, QueueError> {
        let (mut offset, mut pieces, mut offloads) = (0, Vec::new(), Vec::new());
        for (bytes, offload) in self.side.waiting.iter().take(max) {
            if offset + bytes.len() as u64 > MEMORY as u64 {
                break;
            }
            offloads.push((pieces.len(), *offload));
            self.memory.file.write_all_at(bytes, offset).unwrap();
            let mut chunks = bytes.chunks(self.piece_len).peekable();
            while let Some(chunk) = chunks.next() {
                let len = u32::try_from(chunk.len()).unwrap();
                pieces.push(Piece::alone(offset, Shape::new(0, len, chunks.peek().is_some())));
                offset += u64::from(len);
            }
        }
        let (chain_max, piece_len_max) = (self.batch.capacity(), u32::MAX);
        let limits = FillLimits { packets_max: self.batch.capacity(), chain_max, piece_len_max };
        self.batch.fill(pieces.into_iter(), limits)?;
        offloads.into_iter().for_each(|(first, offload)| self.batch.set_offload(first, offload));
        Ok(RxBurst::new(&mut self.batch, &mut self.side))
    }

    fn arm(&mut self) -> Result<bool, QueueError> {
        Ok(!self.side.waiting.is_empty())
    }

    fn doorbell(&self) -> BorrowedFd<'_> {
        self.memory.file.as_fd()
    }

    fn stats(&self) -> RxStats {
        RxStats::default()
    }
}

/// A transmit queue with slots of `slot_len` bytes, of which `free` are free, that keeps what is
/// sent.
#[derive(Debug)]
pub(crate) struct Tx {
    batch: TxBatch,
    side: TxSide,
    pub(crate) free: usize,
}

#[derive(Debug)]
struct TxSide {
    memory: Memory,
    slot_len: u32,
    sent: Vec<Packet>,
    commits: usize,
}

/// What a [`Tx`] is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TxSetup {
    pub(crate) slot_len: u32,
    pub(crate) slots: usize,
    pub(crate) chain_max: usize,
    pub(crate) accepts: Option<Accepts>,
}

impl TxSetup {
    pub(crate) fn new(slot_len: u32, slots: usize) -> Self {
        Self { slot_len, slots, chain_max: slots, accepts: None }
    }

    pub(crate) fn accepting(self, accepts: Accepts) -> Self {
        Self { accepts: Some(accepts), ..self }
    }

    pub(crate) fn tx(self) -> Tx {
        let memory = Memory::new();
        let batch = TxBatch::new(Arc::clone(&memory.regions), self.slots, self.chain_max);
        let batch = match self.accepts {
            Some(accepts) => batch.with_offloads(accepts),
            None => batch,
        };
        let side = TxSide { memory, slot_len: self.slot_len, sent: Vec::new(), commits: 0 };
        Tx { batch, side, free: self.slots }
    }
}

impl Tx {
    /// What was sent since this was asked last.
    pub(crate) fn take_sent(&mut self) -> Vec<Packet> {
        std::mem::take(&mut self.side.sent)
    }

    /// The same, without metadata, of which there must be none.
    pub(crate) fn take_plain(&mut self) -> Vec<Vec<u8>> {
        let plain = |(bytes, offload)| {
            assert_eq!(offload, Offload::default());
            bytes
        };
        self.take_sent().into_iter().map(plain).collect()
    }
}

impl PacketTx for Tx {
    fn tx_burst(&mut self, max: usize) -> Result<TxBurst<'_>, QueueError> {
        let len = self.side.slot_len;
        let free = self.free.min(max) as u64;
        let slot = |at| Piece::alone(at * u64::from(len), Shape::new(0, len, false));
        self.batch.reserve((0..free).map(slot))?;
        Ok(TxBurst::new(&mut self.batch, &mut self.side))
    }

    fn stats(&self) -> TxStats {
        TxStats::default()
    }
}

impl CommitTx for TxSide {
    fn commit(&mut self, committed: Committed<'_>) {
        let (mut bytes, mut first) = (Vec::new(), 0);
        for (at, shape) in committed.shapes().enumerate() {
            bytes.extend(self.memory.read(at as u64 * u64::from(self.slot_len), shape.len()));
            if !shape.more() {
                let offload = committed.batch.offload(first);
                self.sent.push((std::mem::take(&mut bytes), offload));
                first = at + 1;
            }
        }
        assert!(bytes.is_empty(), "the last packet has no end");
        assert!(committed.packets <= committed.slots);
        self.commits += 1;
    }
}
