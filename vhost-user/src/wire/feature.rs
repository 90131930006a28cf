//! Feature bits: those of virtio and its network device, and the protocol's own.
//!
//! Spec: VIRTIO 1.3 §5.1.3, §6.

use std::fmt;
use std::ops::BitOr;

/// Virtio-net feature: the driver may leave checksums to the device.
pub const CSUM: u64 = 1 << 0;

/// Virtio-net feature: the device may leave checksums to the driver.
pub const GUEST_CSUM: u64 = 1 << 1;

/// Virtio-net feature: the device says how long packets may be.
pub const MTU: u64 = 1 << 3;

/// Virtio-net feature: the device has an address.
pub const MAC: u64 = 1 << 5;

/// Virtio-net feature: the driver takes TCP over IPv4 to be segmented.
pub const GUEST_TSO4: u64 = 1 << 7;

/// Virtio-net feature: the driver takes TCP over IPv6 to be segmented.
pub const GUEST_TSO6: u64 = 1 << 8;

/// Virtio-net feature: the driver takes segments with ECN bits.
pub const GUEST_ECN: u64 = 1 << 9;

/// Virtio-net feature: the device takes TCP over IPv4 to be segmented.
pub const HOST_TSO4: u64 = 1 << 11;

/// Virtio-net feature: the device takes TCP over IPv6 to be segmented.
pub const HOST_TSO6: u64 = 1 << 12;

/// Virtio-net feature: the device takes segments with ECN bits.
pub const HOST_ECN: u64 = 1 << 13;

/// Virtio-net feature: a packet may take several receive buffers.
pub const MRG_RXBUF: u64 = 1 << 15;

/// Virtio-net feature: the configuration space says whether the link is up.
pub const STATUS: u64 = 1 << 16;

/// Virtio-net feature: there is a control queue. The front-end keeps it.
pub const CTRL_VQ: u64 = 1 << 17;

/// Virtio-net feature: the control queue says which packets the driver wants.
pub const CTRL_RX: u64 = 1 << 18;
/// Virtio-net feature: the control queue says which VLANs the driver wants.
pub const CTRL_VLAN: u64 = 1 << 19;
/// Virtio-net feature: the driver announces itself after migration.
pub const GUEST_ANNOUNCE: u64 = 1 << 21;

/// Virtio-net feature: more than one pair of queues.
pub const MQ: u64 = 1 << 22;

/// Virtio-net feature: the control queue changes the device's address.
pub const CTRL_MAC_ADDR: u64 = 1 << 23;
/// Virtio feature: writes to the front-end's memory go to the dirty log.
pub const LOG_ALL: u64 = 1 << 26;

/// Virtio feature: descriptors may be in tables outside the ring.
pub const INDIRECT_DESC: u64 = 1 << 28;

/// Virtio feature: either side names the index that it wants to hear of.
pub const EVENT_IDX: u64 = 1 << 29;

/// Virtio feature that only lives on this socket: GET_PROTOCOL_FEATURES is understood, and rings
/// begin disabled.
pub const PROTOCOL_FEATURES: u64 = 1 << 30;

/// Virtio feature: the device follows virtio 1.0 or later.
pub const VERSION_1: u64 = 1 << 32;

/// Virtio feature: rings have the packed layout.
pub const RING_PACKED: u64 = 1 << 34;

/// Virtio feature: buffers are used in the order in which they were made available.
pub const IN_ORDER: u64 = 1 << 35;

/// Virtio features by the names that the specification gives them, the least bit first; others by their
/// bit.
#[must_use]
pub fn names(features: u64) -> Vec<String> {
    const NAMES: [(u64, &str); 25] = [
        (CSUM, "CSUM"),
        (GUEST_CSUM, "GUEST_CSUM"),
        (MTU, "MTU"),
        (MAC, "MAC"),
        (GUEST_TSO4, "GUEST_TSO4"),
        (GUEST_TSO6, "GUEST_TSO6"),
        (GUEST_ECN, "GUEST_ECN"),
        (HOST_TSO4, "HOST_TSO4"),
        (HOST_TSO6, "HOST_TSO6"),
        (HOST_ECN, "HOST_ECN"),
        (MRG_RXBUF, "MRG_RXBUF"),
        (STATUS, "STATUS"),
        (CTRL_VQ, "CTRL_VQ"),
        (CTRL_RX, "CTRL_RX"),
        (CTRL_VLAN, "CTRL_VLAN"),
        (GUEST_ANNOUNCE, "GUEST_ANNOUNCE"),
        (MQ, "MQ"),
        (CTRL_MAC_ADDR, "CTRL_MAC_ADDR"),
        (LOG_ALL, "LOG_ALL"),
        (INDIRECT_DESC, "INDIRECT_DESC"),
        (EVENT_IDX, "EVENT_IDX"),
        (PROTOCOL_FEATURES, "PROTOCOL_FEATURES"),
        (VERSION_1, "VERSION_1"),
        (RING_PACKED, "RING_PACKED"),
        (IN_ORDER, "IN_ORDER"),
    ];
    let name = |bit: u64| NAMES.iter().find(|(known, _)| *known == bit);
    (0..64)
        .filter(|at| features >> at & 1 == 1)
        .map(|at| name(1 << at).map_or_else(|| format!("bit {at}"), |(_, name)| (*name).into()))
        .collect()
}

/// A set of protocol features.
///
/// Spec: vhost-user "Protocol features".
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ProtocolFeatures(u64);

impl ProtocolFeatures {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// More than one queue pair.
    pub const MQ: Self = Self(1 << 0);
    /// The dirty log comes as a file descriptor.
    pub const LOG_SHMFD: Self = Self(1 << 1);
    /// SEND_RARP.
    pub const RARP: Self = Self(1 << 2);
    /// Any request can ask for an answer.
    pub const REPLY_ACK: Self = Self(1 << 3);
    /// NET_SET_MTU.
    pub const NET_MTU: Self = Self(1 << 4);
    /// A second socket for our own requests.
    pub const BACKEND_REQ: Self = Self(1 << 5);
    /// GET_CONFIG and SET_CONFIG.
    pub const CONFIG: Self = Self(1 << 9);
    /// File descriptors on the second socket.
    pub const BACKEND_SEND_FD: Self = Self(1 << 10);
    /// Doorbells that the guest reaches without a system call.
    pub const HOST_NOTIFIER: Self = Self(1 << 11);
    /// GET_INFLIGHT_FD and SET_INFLIGHT_FD.
    pub const INFLIGHT_SHMFD: Self = Self(1 << 12);
    /// RESET_DEVICE.
    pub const RESET_DEVICE: Self = Self(1 << 13);
    /// GET_MAX_MEM_SLOTS, ADD_MEM_REG and REM_MEM_REG.
    pub const CONFIGURE_MEM_SLOTS: Self = Self(1 << 15);
    /// SET_STATUS and GET_STATUS.
    pub const STATUS: Self = Self(1 << 16);
    /// SET_DEVICE_STATE_FD and CHECK_DEVICE_STATE.
    pub const DEVICE_STATE: Self = Self(1 << 19);

    /// Everything that a machine here can serve. What needs more than the machine (a dirty log,
    /// memory for chains in flight, a state to save) is for the device to offer or not.
    pub const ALL: Self = Self(
        Self::MQ.0
            | Self::LOG_SHMFD.0
            | Self::RARP.0
            | Self::REPLY_ACK.0
            | Self::NET_MTU.0
            | Self::BACKEND_REQ.0
            | Self::CONFIG.0
            | Self::BACKEND_SEND_FD.0
            | Self::INFLIGHT_SHMFD.0
            | Self::RESET_DEVICE.0
            | Self::CONFIGURE_MEM_SLOTS.0
            | Self::STATUS.0
            | Self::DEVICE_STATE.0,
    );

    /// Takes the bits as they travel.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits as they travel.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether all of `other` are among these.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for ProtocolFeatures {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for ProtocolFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProtocolFeatures({:#x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_have_names_and_unknown_ones_their_bit() {
        assert_eq!(names(MRG_RXBUF | IN_ORDER | 1 << 60), ["MRG_RXBUF", "IN_ORDER", "bit 60"]);
        assert!(names(0).is_empty());
    }
}
