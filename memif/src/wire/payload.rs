//! What follows the type in each message.

use super::field::{Reader, Writer};
use super::{Name, Reason, Secret};
use crate::control::Direction;

/// Bit 0 of the ADD_RING flags: the ring runs from client to server.
///
/// Spec: [ADD_RING](crate::protocol#add_ring).
const FLAG_C2S: u16 = 1;

/// What a server accepts. The `max` fields are inclusive: the largest index, not a count.
///
/// Spec: [HELLO](crate::protocol#hello).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Name of the server's application.
    pub name: Name,
    /// Lowest protocol version spoken.
    pub min_version: u16,
    /// Highest protocol version spoken.
    pub max_version: u16,
    /// Largest region index.
    pub max_region: u16,
    /// Largest index of a ring from server to client.
    #[doc(alias = "max_m2s_ring")]
    pub max_s2c_ring: u16,
    /// Largest index of a ring from client to server.
    #[doc(alias = "max_s2m_ring")]
    pub max_c2s_ring: u16,
    /// Largest base-2 logarithm of a ring size.
    pub max_log2_ring_size: u8,
}

/// A client's request for one interface.
///
/// Spec: [INIT](crate::protocol#init).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Init {
    /// Protocol version chosen by the client.
    pub version: u16,
    /// Interface wanted.
    pub id: u32,
    /// Mode number as on the wire: 0 Ethernet, 1 IP, 2 punt.
    pub mode: u8,
    /// Secret of the interface; empty when there is none.
    pub secret: Secret,
    /// Name of the client's application.
    pub name: Name,
}

/// One piece of shared memory.
///
/// Spec: [ADD_REGION](crate::protocol#add_region).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddRegion {
    /// Number by which descriptors name the region.
    pub index: u16,
    /// Size, in bytes.
    pub size: u64,
}

/// One ring.
///
/// Spec: [ADD_RING](crate::protocol#add_ring).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddRing {
    /// Which way packets travel; bit 0 of the flags.
    pub direction: Direction,
    /// Number of the ring among those of its direction.
    pub index: u16,
    /// Region that holds the ring.
    pub region: u16,
    /// Start of the ring in its region, in bytes.
    pub offset: u32,
    /// Base-2 logarithm of the number of descriptors.
    pub log2_ring_size: u8,
    /// Bytes of private data in front of each packet; must be 0.
    pub private_header_size: u16,
}

/// Why a connection ends.
///
/// Spec: [DISCONNECT](crate::protocol#disconnect).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnect {
    /// Number without a common meaning; 0 from nearly every peer.
    pub code: u32,
    /// Reason, for people.
    pub text: Reason,
}

impl Hello {
    pub(super) fn read(fields: &mut Reader<'_>) -> Self {
        Self {
            name: fields.text(),
            min_version: fields.u16(),
            max_version: fields.u16(),
            max_region: fields.u16(),
            max_s2c_ring: fields.u16(),
            max_c2s_ring: fields.u16(),
            max_log2_ring_size: fields.u8(),
        }
    }

    pub(super) fn write(&self, fields: &mut Writer<'_>) {
        fields.text(&self.name);
        fields.u16(self.min_version);
        fields.u16(self.max_version);
        fields.u16(self.max_region);
        fields.u16(self.max_s2c_ring);
        fields.u16(self.max_c2s_ring);
        fields.u8(self.max_log2_ring_size);
    }
}

impl Init {
    pub(super) fn read(fields: &mut Reader<'_>) -> Self {
        Self {
            version: fields.u16(),
            id: fields.u32(),
            mode: fields.u8(),
            secret: Secret::from_field(fields.take()),
            name: fields.text(),
        }
    }

    pub(super) fn write(&self, fields: &mut Writer<'_>) {
        fields.u16(self.version);
        fields.u32(self.id);
        fields.u8(self.mode);
        fields.put(*self.secret.field());
        fields.text(&self.name);
    }
}

impl AddRegion {
    pub(super) fn read(fields: &mut Reader<'_>) -> Self {
        Self { index: fields.u16(), size: fields.u64() }
    }

    pub(super) fn write(&self, fields: &mut Writer<'_>) {
        fields.u16(self.index);
        fields.u64(self.size);
    }
}

impl AddRing {
    pub(super) fn read(fields: &mut Reader<'_>) -> Self {
        let flags = fields.u16();
        let direction = if flags & FLAG_C2S == 0 { Direction::S2c } else { Direction::C2s };
        Self {
            direction,
            index: fields.u16(),
            region: fields.u16(),
            offset: fields.u32(),
            log2_ring_size: fields.u8(),
            private_header_size: fields.u16(),
        }
    }

    pub(super) fn write(&self, fields: &mut Writer<'_>) {
        fields.u16(if self.direction == Direction::C2s { FLAG_C2S } else { 0 });
        fields.u16(self.index);
        fields.u16(self.region);
        fields.u32(self.offset);
        fields.u8(self.log2_ring_size);
        fields.u16(self.private_header_size);
    }
}

impl Disconnect {
    pub(super) fn read(fields: &mut Reader<'_>) -> Self {
        Self { code: fields.u32(), text: fields.text() }
    }

    pub(super) fn write(&self, fields: &mut Writer<'_>) {
        fields.u32(self.code);
        fields.text(&self.text);
    }
}
