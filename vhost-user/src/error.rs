//! What can go wrong, by whose fault it is.
//!
//! [`ConfigError`] is the caller's. [`DeviceError`] is why a device did not do what its front-end
//! asked, or why a device or a driver lost its peer; of the conversation, [`ControlError`] tells: [`PeerMisbehaved`] when the peer
//! broke the protocol, [`PeerIncompatible`] when it keeps to it but wants what we do not have,
//! [`ControlError::Failed`] when we could not do what it asked.

pub use crate::device::state::StateError;
pub use crate::fault::{PeerIncompatible, PeerMisbehaved};
pub use crate::stream::Part;
pub use crate::wire::{FrameError, WireError};

use crate::driver::queue::LayoutError;
use crate::memory::MemoryError;
use crate::virtqueue::RingError;
use crate::wire::Request;
use ringport::doorbell::DoorbellError;
use ringport::error::{CallError, QueueError};
use ringport::port_string::ItemError;
use ringport::shm::RegionError;
use ringport::socket::{AddressError, SocketError};
use std::io;
use std::time::Duration;
use thiserror::Error;

/// A configuration that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A socket address, or a socket given to us, cannot be used.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// An item of a port string, or a number in a configuration, cannot work.
    #[error(transparent)]
    Item(#[from] ItemError),
    /// A port string names another protocol.
    #[error("port string {given:?} does not start with \"vhost:\"")]
    NotVhost {
        /// What was given.
        given: String,
    },
}

/// Why a device or a driver does not work, or a device did not do what its front-end asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// It is configured in a way that cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The operating system refused a call.
    #[error(transparent)]
    Call(#[from] CallError),
    /// What was said on the socket.
    #[error("{0}")]
    Control(ControlError),
    /// A memory region cannot be used.
    #[error("memory region at guest address {guest_address:#x}")]
    Region {
        /// Where the region begins.
        guest_address: u64,
        /// What is wrong with it.
        source: RegionError,
    },
    /// The regions make up no memory.
    #[error(transparent)]
    Memory(MemoryError),
    /// A ring starts, but no memory is shared: a virtual machine whose memory is private.
    #[error(
        "ring {ring} starts, but the front-end shares no memory: QEMU needs \
         -object memory-backend-memfd,id=mem,size=...,share=on -machine memory-backend=mem"
    )]
    NoMemory {
        /// The ring.
        ring: u16,
    },
    /// A ring cannot be used.
    #[error("ring {ring}")]
    Ring {
        /// The ring.
        ring: u16,
        /// What is wrong with it.
        source: RingError,
    },
    /// The dirty log's memory cannot be used.
    #[error("memory of the dirty log")]
    LogMemory(#[source] RegionError),
    /// The dirty log's eventfd is none.
    #[error("doorbell of the dirty log")]
    LogDoorbell(#[source] DoorbellError),
    /// Memory for chains in flight cannot be had, or that of the front-end cannot be used.
    #[error("memory for chains in flight")]
    InflightMemory(#[source] RegionError),
    /// A ring's eventfd is none.
    #[error("doorbell of ring {ring}")]
    Doorbell {
        /// The ring.
        ring: u16,
        /// What is wrong with it.
        source: DoorbellError,
    },
    /// A driver has no memory for its rings, or no doorbells.
    #[error("memory of the driver")]
    Layout(#[from] LayoutError),
    /// What is behind the conversation cannot do that, or is gone.
    #[error(transparent)]
    Behind(Box<dyn std::error::Error + Send + Sync>),
    /// The device's state was not moved.
    #[error("state of the device")]
    State(#[from] StateError),
    /// A message began, and did not come whole in time.
    #[error("{part} is not whole after {waited:?}")]
    Unfinished {
        /// What began.
        part: Part,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The peer has not said a single message, and another one waits for its place.
    #[error("peer said nothing for {waited:?}, and makes room for another")]
    Silent {
        /// How long a peer may be silent while others wait.
        waited: Duration,
    },
    /// Something did not happen in time.
    #[error("timeout after {waited:?}")]
    Timeout {
        /// How long it was waited for.
        waited: Duration,
    },
}

/// Why a command of a driver was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The device says no.
    #[error("the device refused the command")]
    Refused,
    /// The device answered with what is no answer.
    #[error("the device answered a command with {answer}, 0 and 1 mean something")]
    Answer {
        /// What it wrote; 255 when it wrote nothing.
        answer: u8,
    },
    /// The device did not answer in time. Its control queue is not used any more.
    #[error("no answer to a command after {waited:?}")]
    Late {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The device broke the ring of the control queue, which is not used any more.
    #[error("the device broke the control queue: {0}")]
    Broken(QueueError),
}

impl From<ControlError> for DeviceError {
    fn from(error: ControlError) -> Self {
        use PeerMisbehaved::RingIncomplete;
        match error {
            ControlError::PeerMisbehaved(RingIncomplete {
                index,
                missing: Request::SetMemTable,
            }) => Self::NoMemory { ring: index },
            other => Self::Control(other),
        }
    }
}

impl From<AddressError> for DeviceError {
    fn from(error: AddressError) -> Self {
        Self::Config(error.into())
    }
}

impl From<SocketError> for DeviceError {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::Call(call) => call.into(),
            SocketError::Address(address) => address.into(),
        }
    }
}

/// Why a request was refused, or a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The peer wants something that we do not have.
    #[error("peer is incompatible: {0}")]
    PeerIncompatible(PeerIncompatible),
    /// The peer broke the protocol.
    #[error("peer misbehaved: {0}")]
    PeerMisbehaved(PeerMisbehaved),
    /// We could not do what the peer asked, and there is no way to tell it.
    #[error("{request} failed here, and the peer does not wait for an answer")]
    Failed {
        /// What was asked.
        request: Request,
    },
    /// What the peer sent could not be duplicated, to be there when the request fails later.
    #[error("{request} failed here: {}", words(.errno))]
    Descriptor {
        /// What was asked.
        request: Request,
        /// What the kernel said.
        errno: i32,
    },
    /// An answer did not come in time: ours, or a back-end's.
    #[error("no answer to {request} after {waited:?}")]
    Timeout {
        /// What was asked.
        request: Request,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The back-end said no.
    #[error("back-end refused {request}, with {code}")]
    Refused {
        /// What it was asked.
        request: Request,
        /// The number that it gave; it has no agreed meaning.
        code: u64,
    },
    /// A method was called when it means nothing, such as an answer without a question.
    #[error("{call} called out of order")]
    OutOfOrder {
        /// The method.
        call: &'static str,
    },
    /// More bytes were passed than were asked for.
    #[error("{got} bytes passed, {wanted} wanted")]
    Overfed {
        /// Bytes passed.
        got: usize,
        /// Bytes asked for.
        wanted: usize,
    },
}

/// What an error number means.
fn words(errno: &i32) -> io::Error {
    io::Error::from_raw_os_error(*errno)
}

impl ControlError {
    /// Whether the peer asked for what we never offered: a link works without.
    pub(crate) fn is_about_unoffered(&self) -> bool {
        use PeerIncompatible::{NotOffered, UnknownRequest};
        matches!(self, Self::PeerIncompatible(UnknownRequest { .. } | NotOffered { .. }))
    }
}

impl From<PeerMisbehaved> for ControlError {
    fn from(why: PeerMisbehaved) -> Self {
        Self::PeerMisbehaved(why)
    }
}

impl From<PeerIncompatible> for ControlError {
    fn from(why: PeerIncompatible) -> Self {
        Self::PeerIncompatible(why)
    }
}

impl From<WireError> for ControlError {
    fn from(why: WireError) -> Self {
        Self::PeerMisbehaved(why.into())
    }
}
