//! What the driver has to do, and what it gives.

use crate::wire::{MemoryRegion, ProtocolFeatures};
use std::os::fd::OwnedFd;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Features are agreed on: make memory and rings, and give them with
    /// [`offer`](super::FrontendMachine::offer).
    Negotiated(Agreed),
    /// Every ring runs.
    Running,
    /// Every ring has stopped: the back-end uses the memory no more. Send what is left, and close
    /// the socket.
    Stopped,
}

/// What front-end and back-end agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Agreed {
    /// Virtio features.
    pub features: u64,
    /// Protocol features.
    pub protocol_features: ProtocolFeatures,
    /// Pairs of rings, at least 1.
    pub queue_pairs: u16,
    /// The network address that the device gives, if any.
    pub mac: Option<[u8; 6]>,
    /// The longest packet that the device tells of, without its Ethernet header, if any.
    pub mtu: Option<u16>,
}

/// What a back-end is to work on.
#[derive(Debug)]
pub struct Offer {
    /// All memory that rings and packets lie in.
    pub memory: MemoryOffer,
    /// The rings, two for each pair that was agreed on: what the driver receives from, and what it
    /// sends to. They begin at their start.
    pub rings: Vec<RingSetup>,
}

/// Memory that the back-end maps.
#[derive(Debug)]
pub struct MemoryOffer {
    /// Where it lies.
    pub region: MemoryRegion,
    /// The file.
    pub fd: OwnedFd,
}

/// Everything about one ring.
#[derive(Debug)]
pub struct RingSetup {
    /// Number of descriptors; a power of two unless packed.
    pub size: u16,
    /// Front-end address of the descriptors; of the whole ring when packed.
    pub descriptor_area: u64,
    /// Front-end address of the available ring; of the driver's event suppression when packed.
    pub driver_area: u64,
    /// Front-end address of the used ring; of the device's event suppression when packed.
    pub device_area: u64,
    /// Eventfd to the device; `None` when it is to poll.
    pub kick: Option<OwnedFd>,
    /// Eventfd from the device; `None` when the driver polls.
    pub call: Option<OwnedFd>,
    /// Eventfd for the case that the device finds the ring broken.
    pub err: Option<OwnedFd>,
}
