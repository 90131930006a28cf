//! The rings of a virtio network device, from the driver's side.
//!
//! The driver owns the memory: [`DriverMemory`] is what it shares with a device for the time of one
//! link, and makes the queues over it; buffers may be those of a [`Pool`](ringport::pool::Pool)
//! instead. The device can write all of it at any time, so what the
//! driver needs to know is in private tables: where buffers are, which of them the device has, how
//! descriptors are chained. Of what the device gives back, id and length are read once, checked,
//! and used.
//!
//! | what the device does wrong | what happens |
//! |---|---|
//! | its used index runs away | the link ends |
//! | it gives back what it does not have: an id beyond the ring, one twice, one out of turn where it said it keeps the order | the link ends; but what was sent on a split ring in order is only counted, and it misleads itself |
//! | it claims to have written more than the buffer holds, or less than a header | the link ends |
//! | a packet's header names more buffers than were used, or none | the link ends |
//! | a packet's header makes no sense | counted, taken as empty |
//! | it changes descriptors and offered indices | it misleads itself |
//!
//! Good packets in front of a bad one are delivered first.
//!
//! A burst costs one load of the device's index (split; none while cached credit lasts), one element
//! read a packet (none of those that were sent on a split ring in order), and one store of our index.
//! Descriptors and headers are written only where they differ from what is there, so that their lines
//! stay in the caches of both sides. Packets in one buffer have a loop of their own.
//!
//! Spec: VIRTIO 1.3 §2.7, §2.8, §5.1.6.

mod backlog;
mod buffers;
mod chains;
pub(crate) mod control;
mod layout;
mod memory;
mod packed;
mod plan;
mod receiver;
mod rx;
mod sender;
mod split;
mod tx;

pub use memory::{DriverMemory, DriverMemoryConfig, LayoutError};
pub use rx::RxQueue;
pub use tx::TxQueue;

use crate::virtqueue::RingFeatures;
use ringport::doorbell::Doorbell;
use std::sync::Arc;

/// How a ring is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RingLayout {
    /// Three areas. A power of two entries, up to 32768.
    #[default]
    Split,
    /// One ring of descriptors (`VIRTIO_F_RING_PACKED`). Up to 32768 entries.
    Packed,
}

/// When a queue asks the device for calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CallMode {
    /// Never: the caller polls. Arming always says that there may be work.
    Polling,
    /// For all that the device gives back.
    Interrupt,
    /// Only between arming and the next burst that finds something.
    #[default]
    Adaptive,
}

/// What a queue is to be like.
#[derive(Debug, Clone, Default)]
pub struct QueueOptions {
    /// What was agreed on with the device.
    pub features: RingFeatures,
    /// When to ask for calls.
    pub calls: CallMode,
    /// Rings the device; `None` when it polls.
    pub kick: Option<Arc<Doorbell>>,
    /// Rung by the device; `None` when the queue is to be polled.
    pub call: Option<Arc<Doorbell>>,
}

#[cfg(test)]
mod tests;
