//! What a packet asks of, or promises to, the next hop: checksums, segmentation, VLAN.
//!
//! memif carries none of it; vhost-user carries checksum and segmentation in its packet header.
//! The fields say the same as the virtio-net header (VIRTIO 1.3 §5.1.6), so that such ports pass
//! them on unchanged; for other ports it is done [in software](crate::software).

/// Offload metadata of one packet. The default asks for nothing and promises nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offload {
    /// State of the packet's transport checksum.
    pub checksum: Checksum,
    /// Whether the packet is to be cut into segments.
    pub segmentation: Segmentation,
    /// VLAN tag control information that is not in the packet, if any.
    pub vlan: Option<u16>,
}

/// State of a packet's transport checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksum {
    /// Nothing known: the checksum in the packet may be right or wrong.
    #[default]
    Unknown,
    /// The sender vouches for the packet: it need not be verified.
    Verified,
    /// The checksum is not computed yet. Sum the bytes from `start` to the end of the packet and
    /// store the result `offset` bytes behind `start`.
    Partial {
        /// Where the summed bytes begin, in bytes from the start of the packet.
        start: u16,
        /// Where the sum goes, in bytes from `start`.
        offset: u16,
    },
}

/// How a packet that is longer than the MTU is to be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Segmentation {
    /// Not at all.
    #[default]
    None,
    /// TCP over IPv4.
    Tcp4 {
        /// Bytes of all headers.
        header_len: u16,
        /// Payload bytes of each segment.
        segment_size: u16,
        /// Whether the ECN bits of TCP are in use.
        ecn: bool,
    },
    /// TCP over IPv6.
    Tcp6 {
        /// Bytes of all headers.
        header_len: u16,
        /// Payload bytes of each segment.
        segment_size: u16,
        /// Whether the ECN bits of TCP are in use.
        ecn: bool,
    },
}

impl Offload {
    /// Whether the packet can be sent as it is by a port without offloads.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        !matches!(self.checksum, Checksum::Partial { .. })
            && self.segmentation == Segmentation::None
            && self.vlan.is_none()
    }
}

/// What a queue's protocol can tell its peer of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accepts {
    /// [`Checksum::Partial`].
    pub checksum: bool,
    /// [`Segmentation::Tcp4`].
    pub tcp4: bool,
    /// [`Segmentation::Tcp6`].
    pub tcp6: bool,
    /// ECN bits in segments.
    pub ecn: bool,
}

impl Accepts {
    /// Whether a packet with `offload` may be sent.
    #[must_use]
    pub fn allows(&self, offload: &Offload) -> bool {
        let checksum = self.checksum || !matches!(offload.checksum, Checksum::Partial { .. });
        let segmentation = match offload.segmentation {
            Segmentation::None => true,
            Segmentation::Tcp4 { ecn, .. } => self.tcp4 && (self.ecn || !ecn),
            Segmentation::Tcp6 { ecn, .. } => self.tcp6 && (self.ecn || !ecn),
        };
        checksum && segmentation && offload.vlan.is_none()
    }
}
