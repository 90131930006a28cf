//! Counters of one queue. They are plain words of the queue, read by copying them.

use crate::error::QueueError;

/// What a receive queue counted since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RxStats {
    /// Packets taken from the ring.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bursts asked for while the ring was empty.
    pub empty_bursts: u64,
    /// Times [`arm`](crate::burst::PacketRx::arm) found a doorbell that had been rung.
    pub wake_ups: u64,
    /// Descriptors outside their region.
    pub bad_bounds: u64,
    /// Descriptors naming a region that does not exist.
    pub bad_region: u64,
    /// Descriptors of length zero, or longer than the buffer.
    pub bad_length: u64,
    /// Chains without an end, or of descriptors that do not belong together; packets in buffers that
    /// are not there.
    pub bad_chain: u64,
    /// Impossible ring indices, and buffers given back that the peer did not have.
    pub bad_index: u64,
    /// Packet headers that ask for what their packet cannot have. They are taken as empty.
    pub bad_header: u64,
    /// Packets thrown away because the peer had the ring disabled.
    pub discarded: u64,
}

/// What a transmit queue counted since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TxStats {
    /// Packets published.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bursts that got fewer slots than asked for: the peer is behind.
    pub ring_full: u64,
    /// Doorbells rung.
    pub doorbells: u64,
    /// Bursts published without a doorbell, because the peer asked for none.
    pub doorbells_suppressed: u64,
    /// Free slots that the peer offered outside their region.
    pub bad_bounds: u64,
    /// Free slots naming a region that does not exist.
    pub bad_region: u64,
    /// Free slots of length zero, or too short for a packet.
    pub bad_length: u64,
    /// Chains of free slots without an end, or of descriptors that do not belong together.
    pub bad_chain: u64,
    /// Impossible ring indices, and buffers given back that the peer did not have.
    pub bad_index: u64,
    /// Packets that were not sent because their metadata asks for what they cannot have. Only the
    /// kernel, behind a [TAP](crate::tap), is spared these; other peers check for themselves.
    pub bad_header: u64,
    /// Packets that the kernel, behind a [TAP](crate::tap), did not take.
    pub refused: u64,
}

impl RxStats {
    /// The counters with their names.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 11] {
        [
            ("packets", self.packets),
            ("bytes", self.bytes),
            ("empty_bursts", self.empty_bursts),
            ("wake_ups", self.wake_ups),
            ("bad_bounds", self.bad_bounds),
            ("bad_region", self.bad_region),
            ("bad_length", self.bad_length),
            ("bad_chain", self.bad_chain),
            ("bad_index", self.bad_index),
            ("bad_header", self.bad_header),
            ("discarded", self.discarded),
        ]
    }

    /// Counts a fault under its cause.
    #[cold]
    pub fn count_fault(&mut self, error: QueueError) {
        match error {
            QueueError::OutOfBounds { .. } | QueueError::NotShared { .. } => self.bad_bounds += 1,
            QueueError::UnknownRegion { .. } => self.bad_region += 1,
            QueueError::EmptyDescriptor
            | QueueError::LengthExceedsBuffer { .. }
            | QueueError::OddTable { .. }
            | QueueError::TooShort { .. } => self.bad_length += 1,
            QueueError::ChainTooLong { .. }
            | QueueError::OddFlags { .. }
            | QueueError::MissingBuffers { .. } => self.bad_chain += 1,
            QueueError::IndexRunaway { .. }
            | QueueError::NoSuchDescriptor { .. }
            | QueueError::NotInFlight { .. } => self.bad_index += 1,
            QueueError::LinkDown | QueueError::MemoryLost => {}
        }
    }
}

impl TxStats {
    /// The counters with their names.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 12] {
        [
            ("packets", self.packets),
            ("bytes", self.bytes),
            ("ring_full", self.ring_full),
            ("doorbells", self.doorbells),
            ("doorbells_suppressed", self.doorbells_suppressed),
            ("bad_bounds", self.bad_bounds),
            ("bad_region", self.bad_region),
            ("bad_length", self.bad_length),
            ("bad_chain", self.bad_chain),
            ("bad_index", self.bad_index),
            ("bad_header", self.bad_header),
            ("refused", self.refused),
        ]
    }

    /// Counts a fault under its cause.
    #[cold]
    pub fn count_fault(&mut self, error: QueueError) {
        match error {
            QueueError::OutOfBounds { .. } | QueueError::NotShared { .. } => self.bad_bounds += 1,
            QueueError::UnknownRegion { .. } => self.bad_region += 1,
            QueueError::EmptyDescriptor
            | QueueError::LengthExceedsBuffer { .. }
            | QueueError::OddTable { .. }
            | QueueError::TooShort { .. } => self.bad_length += 1,
            QueueError::ChainTooLong { .. }
            | QueueError::OddFlags { .. }
            | QueueError::MissingBuffers { .. } => self.bad_chain += 1,
            QueueError::IndexRunaway { .. }
            | QueueError::NoSuchDescriptor { .. }
            | QueueError::NotInFlight { .. } => self.bad_index += 1,
            QueueError::LinkDown | QueueError::MemoryLost => {}
        }
    }
}
