//! What a port reports.

use super::DownReason;
use ringport_vhost_user::driver::{RxQueue, TxQueue};

/// Something happened to a port.
#[derive(Debug)]
#[non_exhaustive]
pub enum PortEvent {
    /// Packets may flow.
    LinkUp(Box<PortLink>),
    /// The device is closed; the queues report it for ever. A later [`PortEvent::LinkUp`] brings new ones.
    LinkDown(DownReason),
    /// The device cannot be opened, or is none for this port. The port tries again, if it is to reconnect.
    Refused(DownReason),
    /// The device says that its link, the one to the network, has come up (`true`) or gone down. While it
    /// is down packets are lost on the other side. The queues stay.
    Carrier(bool),
    /// The device says that its longest packet, without its Ethernet header, has so many bytes now.
    Mtu(u16),
}

/// The queues of one link.
#[derive(Debug)]
#[non_exhaustive]
pub struct PortLink {
    /// What the device receives arrives here. One queue.
    pub rx: Vec<RxQueue>,
    /// What is sent leaves here. As many as there are in `rx`.
    pub tx: Vec<TxQueue>,
    /// What was agreed on.
    pub parameters: LinkParameters,
}

/// What was agreed on with a device, and what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkParameters {
    /// How people call the device that was opened: its node, or its PCI address.
    pub device: String,
    /// Virtio features agreed on.
    pub features: u64,
    /// Whether rings are packed.
    pub packed: bool,
    /// Entries of the rings: of what we receive from, and of what we send to.
    pub ring_sizes: [u16; 2],
    /// The device's network address, if it has one: mostly it receives what is sent to that and to groups,
    /// and nothing else.
    pub mac: Option<[u8; 6]>,
    /// The longest packet that the device tells of, without its Ethernet header, in bytes, if any.
    pub mtu: Option<u16>,
    /// Whether the device's link to the network was up when this one began; so it is where the device does
    /// not say. Later changes are [`PortEvent::Carrier`].
    pub carrier: bool,
    /// Bytes of a packet that a buffer holds.
    pub buffer_size: u32,
}
