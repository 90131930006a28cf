//! What devices and drivers report.

use crate::device::Filter;
use crate::error::{CommandError, DeviceError};
use crate::virtqueue::{RxQueue, TxQueue};
use crate::wire::{ProtocolFeatures, feature};
use ringport::error::QueueError;
use ringport::scm::PeerCredentials;
use std::fmt;

/// Something happened to a device or a driver; `R` and `T` are its queues.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<R = RxQueue, T = TxQueue> {
    /// Packets may flow. Of a device, the first pair of rings runs; of a driver, all of them do.
    LinkUp(Box<Link<R, T>>),
    /// The peer is gone; the queues report it for ever. A later [`Event::LinkUp`] brings new ones.
    LinkDown(DownReason),
    /// An attempt to connect failed, or a connection ended before there was a link.
    Refused(DownReason),
    /// Of a device: a request of the front-end was refused; the connection goes on.
    RequestRefused(DeviceError),
    /// Of a device: so many pairs run now, counted from the first; others have no packets and take
    /// none. Of a driver: the device has enabled so many, as it was
    /// [asked](crate::Driver::set_queue_pairs).
    PairsEnabled(u16),
    /// Of a device: the driver broke a ring. Its queue is empty until the driver starts the ring
    /// again; the other queues go on.
    RingBroken {
        /// Number of the ring: twice the pair, and one more for what the driver sends.
        ring: u16,
        /// How.
        error: QueueError,
    },
    /// Of a device: the driver's interface is to be announced at this address. The next burst of
    /// the first receive queue has a RARP packet that does.
    Announce([u8; 6]),
    /// The longest packet of the other side, without its Ethernet header, in bytes: of a device,
    /// what its driver has; of a driver, what its device says since now.
    Mtu(u16),
    /// Of a driver: the device says that its link, the one to the network, has come up (`true`) or
    /// gone down. While it is down packets are lost on the other side. The link to the device stays.
    Carrier(bool),
    /// Of a driver: the device asks it to announce itself to the network, with the packets that its
    /// protocols have for that (gratuitous ARP, unsolicited neighbour advertisements).
    AnnounceWanted,
    /// Of a device: the driver said on the control queue what it wants to receive. This is all of it.
    FilterChanged(Box<Filter>),
    /// Of a device: the driver said on the control queue that it uses so many pairs, from the first
    /// on: to send elsewhere is in vain.
    PairsWanted(u16),
    /// Of a device: the driver said on the control queue that it has announced itself.
    Announced,
    /// Of a driver: what became of the last [command](crate::Driver::command).
    CommandDone(Result<(), CommandError>),
    /// The second socket, on which a device says that its configuration changed, has ended. The link
    /// goes on without.
    ChannelEnded(DownReason),
}

/// The queues of one link, and with whom.
#[derive(Debug)]
#[non_exhaustive]
pub struct Link<R = RxQueue, T = TxQueue> {
    /// What the peer sends arrives here. A device has as many as its configuration has pairs,
    /// whether or not the driver uses them; a driver as many as were agreed on.
    pub rx: Vec<R>,
    /// What the peer receives leaves here. As many as there are in `rx`.
    pub tx: Vec<T>,
    /// The peer's process when it connected or listened, as the kernel tells.
    pub peer: PeerCredentials,
    /// What was agreed on.
    pub parameters: LinkParameters,
}

/// What device and driver agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkParameters {
    /// Virtio features acknowledged.
    pub features: u64,
    /// Protocol features acknowledged.
    pub protocol_features: ProtocolFeatures,
    /// Whether rings are packed.
    pub packed: bool,
    /// Entries of the first pair's rings: of what we receive from, and of what we send to.
    pub ring_sizes: [u16; 2],
    /// The network address that the device gives its driver, if any.
    pub mac: Option<[u8; 6]>,
    /// The longest packet that the device tells its driver of, without its Ethernet header, in
    /// bytes, if any.
    pub mtu: Option<u16>,
    /// Whether the device's link to the network was up when this one began; so it is where the device
    /// does not say. Later changes are [`Event::Carrier`].
    pub carrier: bool,
    /// Pairs of queues that the device has, more or less than are used; `None` where it does not say.
    pub queue_pairs_max: Option<u16>,
    /// Bytes of a packet that a buffer holds; `None` for a device, whose driver has the buffers.
    pub buffer_size: Option<u32>,
}

impl LinkParameters {
    /// With these features agreed on, rings of these sizes (what the driver sends on, and what it
    /// receives from), and nothing known besides.
    #[must_use]
    pub fn new(features: u64, protocol_features: ProtocolFeatures, ring_sizes: [u16; 2]) -> Self {
        Self {
            features,
            protocol_features,
            packed: features & feature::RING_PACKED != 0,
            ring_sizes,
            mac: None,
            mtu: None,
            carrier: true,
            queue_pairs_max: None,
            buffer_size: None,
        }
    }
}

/// Why a link went down.
#[derive(Debug)]
#[non_exhaustive]
pub enum DownReason {
    /// The peer closed the connection, or died.
    PeerClosed,
    /// The peer broke a ring of a driver, or took back memory that it had shared.
    Fault(QueueError),
    /// The device says that a ring of ours is broken, and goes on without.
    RingGivenUp,
    /// We closed it.
    Closed,
    /// The conversation failed: the peer broke the protocol, lacks what we insist on, refused
    /// something, or the system refused a call.
    Protocol(DeviceError),
}

impl<R, T> Event<R, T> {
    /// The same with queues of another type.
    pub(crate) fn map_queues<R2, T2>(self, rx: fn(R) -> R2, tx: fn(T) -> T2) -> Event<R2, T2> {
        match self {
            Self::LinkUp(link) => Event::LinkUp(Box::new(link.map_queues(rx, tx))),
            Self::LinkDown(reason) => Event::LinkDown(reason),
            Self::Refused(reason) => Event::Refused(reason),
            Self::RequestRefused(error) => Event::RequestRefused(error),
            Self::PairsEnabled(pairs) => Event::PairsEnabled(pairs),
            Self::RingBroken { ring, error } => Event::RingBroken { ring, error },
            Self::Announce(address) => Event::Announce(address),
            Self::Mtu(mtu) => Event::Mtu(mtu),
            Self::Carrier(up) => Event::Carrier(up),
            Self::AnnounceWanted => Event::AnnounceWanted,
            Self::FilterChanged(filter) => Event::FilterChanged(filter),
            Self::PairsWanted(pairs) => Event::PairsWanted(pairs),
            Self::Announced => Event::Announced,
            Self::CommandDone(done) => Event::CommandDone(done),
            Self::ChannelEnded(reason) => Event::ChannelEnded(reason),
        }
    }
}

impl<R, T> Link<R, T> {
    /// A link whose packets nobody here sees.
    #[must_use]
    pub fn without_queues(peer: PeerCredentials, parameters: LinkParameters) -> Self {
        Self { rx: Vec::new(), tx: Vec::new(), peer, parameters }
    }

    fn map_queues<R2, T2>(self, rx: fn(R) -> R2, tx: fn(T) -> T2) -> Link<R2, T2> {
        let Self { rx: receivers, tx: senders, peer, parameters } = self;
        let (rx, tx) = (receivers.into_iter().map(rx), senders.into_iter().map(tx));
        Link { rx: rx.collect(), tx: tx.collect(), peer, parameters }
    }
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerClosed => f.write_str("peer closed the connection"),
            Self::Fault(error) => write!(f, "fault: {error}"),
            Self::RingGivenUp => f.write_str("device says that a ring is broken"),
            Self::Closed => f.write_str("closed"),
            Self::Protocol(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for DownReason {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Its own words are ours already.
            Self::Protocol(error) => error.source(),
            Self::PeerClosed | Self::Fault(_) | Self::RingGivenUp | Self::Closed => None,
        }
    }
}
