//! What the data side has to do.

use super::RingBase;
use crate::wire::{ConfigSpan, DeviceState, LogArea, MemoryRegion};
use std::os::fd::OwnedFd;

/// What the data side has to do before anything more is read. Each event is answered once: with
/// [`answer_ack`](super::BackendMachine::answer_ack) unless it names another method.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The virtio features in use changed; while rings run, at most LOG_ALL.
    Features {
        /// Those acknowledged.
        features: u64,
        /// Every ring is enabled from now on, because bit 30 was not acknowledged.
        rings_enabled: bool,
    },
    /// This is all memory that there is. Rings that run keep their addresses and need translating
    /// anew; if one does not lie in the new memory, or a region cannot be mapped, fail, and keep the
    /// old memory.
    MemoryTable(Vec<RegionOffer>),
    /// One more region.
    AddRegion(RegionOffer),
    /// A region goes away: use it no more, then answer.
    RemoveRegion(MemoryRegion),
    /// A ring starts. The driver may have written to it before, and need not kick: look once.
    RingStarted(RingOffer),
    /// A ring stops: write to it no more, then answer with
    /// [`answer_vring_base`](super::BackendMachine::answer_vring_base).
    RingStopped {
        /// The ring.
        index: u16,
    },
    /// A running ring is enabled or disabled. A disabled one supplies nothing: packets that the
    /// driver sends are discarded.
    RingEnabled {
        /// The ring.
        index: u16,
        /// Which of the two.
        enabled: bool,
    },
    /// A running ring has another eventfd from the driver; `None` means that it is to be polled.
    RingKick {
        /// The ring.
        index: u16,
        /// The eventfd. Not yet checked to be one.
        kick: Option<OwnedFd>,
    },
    /// A running ring has another eventfd to the driver. Write it once: a call may have been lost.
    RingCall {
        /// The ring.
        index: u16,
        /// The eventfd, or none. Not yet checked to be one.
        call: Option<OwnedFd>,
    },
    /// A running ring has another eventfd for the case that it breaks.
    RingErr {
        /// The ring.
        index: u16,
        /// The eventfd, or none. Not yet checked to be one.
        err: Option<OwnedFd>,
    },
    /// A running ring's writes to its device area go to the dirty log, or no longer do.
    RingLog {
        /// The ring.
        index: u16,
        /// Guest address of the device area; `None` when it is not logged.
        log: Option<u64>,
    },
    /// Memory for the dirty log.
    LogBase {
        /// The file. Not yet checked to be memory, or to be of that size.
        fd: OwnedFd,
        /// Where the log lies in it.
        area: LogArea,
    },
    /// Eventfd to write after writes to the dirty log.
    LogFd(OwnedFd),
    /// Socket for our own requests; replaces an earlier one.
    BackendChannel(OwnedFd),
    /// Read the configuration space; answer with
    /// [`answer_config`](super::BackendMachine::answer_config).
    ConfigRead(ConfigSpan),
    /// Write the configuration space.
    ConfigWrite(ConfigSpan, Vec<u8>),
    /// Make memory that remembers chains in flight; answer with
    /// [`answer_inflight`](super::BackendMachine::answer_inflight).
    InflightWanted {
        /// Rings that it is for.
        queues: u16,
        /// Descriptors of the largest ring.
        queue_size: u16,
    },
    /// Memory that was made so before, and what it remembers. The front-end can have written
    /// anything to it.
    Inflight(InflightMemory),
    /// Announce this address to the network.
    Rarp([u8; 6]),
    /// Largest packet of the guest, without its Ethernet header, in bytes.
    Mtu(u16),
    /// The virtio device status; 0 when the driver resets the device. Rings are stopped one by one.
    Status(u8),
    /// Every ring stops and is disabled.
    Reset(ResetKind),
    /// Save or load the device's state through a pipe; answer with
    /// [`answer_device_state`](super::BackendMachine::answer_device_state).
    DeviceState(DeviceState, OwnedFd),
    /// Whether that state was moved without an error.
    CheckDeviceState,
}

/// Which request asked for a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetKind {
    /// RESET_OWNER, deprecated: rings only.
    Owner,
    /// RESET_DEVICE: the device's own state as well.
    Device,
}

/// The answer that the data side could not do what an event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed;

/// One piece of the front-end's memory. Neither its size nor its offset overflow, and no two
/// overlap.
#[derive(Debug)]
pub struct RegionOffer {
    /// Where it lies.
    pub region: MemoryRegion,
    /// The file. Not yet checked to be memory, or to be of that size.
    pub fd: OwnedFd,
}

/// Everything about a ring that starts.
#[derive(Debug)]
pub struct RingOffer {
    /// Number of the ring.
    pub index: u16,
    /// Number of descriptors; a power of two unless packed.
    pub size: u16,
    /// Where its parts lie. Not yet checked to lie in memory, or to be aligned.
    pub addresses: RingAddresses,
    /// Where it begins; tells split from packed.
    pub base: RingBase,
    /// Eventfd from the driver; `None` means that the ring is polled. Not yet checked to be one.
    pub kick: Option<OwnedFd>,
    /// Eventfd to the driver, if any. Not yet checked to be one.
    pub call: Option<OwnedFd>,
    /// Eventfd for the case that the ring breaks, if any. Not yet checked to be one.
    pub err: Option<OwnedFd>,
    /// Whether packets may flow.
    pub enabled: bool,
}

/// Where the parts of a ring lie, as addresses in the front-end's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingAddresses {
    /// Descriptors; the whole ring when packed.
    pub descriptor_area: u64,
    /// The available ring; the driver's event suppression when packed.
    #[doc(alias = "avail")]
    pub driver_area: u64,
    /// The used ring; the device's event suppression when packed.
    #[doc(alias = "used")]
    pub device_area: u64,
    /// Guest address under which writes to the device area are logged.
    pub log: Option<u64>,
}

/// Memory that remembers chains in flight.
#[derive(Debug)]
pub struct InflightMemory {
    /// The file. Not yet checked to be memory, or to be of that size.
    pub fd: OwnedFd,
    /// Length, in bytes.
    pub size: u64,
    /// Start in the file, in bytes.
    pub offset: u64,
    /// Rings that it is for.
    pub queues: u16,
    /// Descriptors of the largest ring.
    pub queue_size: u16,
}
