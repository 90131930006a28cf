//! What the driver has to do, and what it gives.

use super::Told;
use crate::wire::{LogArea, MemoryRegion, ProtocolFeatures};
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
    /// The configuration space was read again.
    ConfigRead(Told),
    /// So many pairs are enabled now, from the first on.
    PairsEnabled(u16),
    /// Pages that the back-end writes to are noted from now on, or not any more.
    Logging(bool),
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
    /// Index of the ring for commands, if there is to be one: the one behind all pairs that the
    /// back-end has. The driver may offer it.
    pub control_ring: Option<u8>,
    /// What the configuration space said when it was read last.
    pub told: Told,
}

/// What a back-end is to work on.
#[derive(Debug)]
pub struct Offer {
    /// All memory that rings and packets lie in: 1 to 8 regions.
    pub memory: Vec<MemoryOffer>,
    /// The rings, two for each pair that was agreed on: what the driver receives from, and what it
    /// sends to. They begin at their start.
    pub rings: Vec<RingSetup>,
    /// The ring for commands, where there is to be one.
    pub control: Option<ControlOffer>,
    /// The back-end's end of a second socket, on which it says that the configuration changed. It is
    /// passed on where [`BACKEND_REQ`](ProtocolFeatures::BACKEND_REQ) was agreed on.
    pub channel: Option<OwnedFd>,
}

/// Memory for the dirty log, one bit for each 4 KiB of guest memory.
#[derive(Debug)]
pub struct LogOffer {
    /// Where it lies in the file.
    pub area: LogArea,
    /// The file.
    pub fd: OwnedFd,
    /// For each ring of the pairs, the guest address under which writes to its device area are noted.
    pub device_areas: Vec<u64>,
}

/// A ring for commands.
#[derive(Debug)]
pub struct ControlOffer {
    /// Memory of its own.
    pub memory: MemoryOffer,
    /// The ring.
    pub ring: RingSetup,
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
