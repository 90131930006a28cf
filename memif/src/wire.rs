//! The control messages: 128 bytes each, little-endian, packed.
//!
//! [`Message::decode`] is a total function: any bytes give a message or a [`WireError`], never a
//! panic. Peers leave garbage behind the fields that they set, so only named fields are read and
//! strings end at their first NUL; [`Message::encode`] writes zeros to every byte without a meaning.
//!
//! | type | message | direction | carries a descriptor | fields (offset:size) |
//! |---|---|---|---|---|
//! | 1 | ACK | server to client | | |
//! | 2 | HELLO | server to client | | name 2:32, min version 34:2, max version 36:2, max region 38:2, max S2C ring 40:2, max C2S ring 42:2, max log2 ring size 44:1 |
//! | 3 | INIT | client to server | | version 2:2, id 4:4, mode 8:1, secret 9:24, name 33:32 |
//! | 4 | ADD_REGION | client to server | memory | index 2:2, size 4:8 |
//! | 5 | ADD_RING | client to server | eventfd | flags 2:2, index 4:2, region 6:2, offset 8:4, log2 ring size 12:1, private header size 13:2 |
//! | 6 | CONNECT | client to server | | interface name 2:32 |
//! | 7 | CONNECTED | server to client | | interface name 2:32 |
//! | 8 | DISCONNECT | both | | code 2:4, text 6:96 |
//!
//! Spec: [messages](crate::protocol#messages).
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod field;
mod payload;
#[cfg(test)]
mod tests;
mod text;

pub use payload::{AddRegion, AddRing, Disconnect, Hello, Init};
pub use text::{Name, Reason, SECRET_MAX, Secret, Text};

use crate::error::WireError;
use field::{Reader, Writer};
use std::fmt;

/// Length of every control message, in bytes.
pub const MESSAGE_LEN: usize = 128;

/// Version spoken here, 2.0: major in the high byte, minor in the low one.
///
/// Spec: [constants](crate::protocol#constants), memif.h `MEMIF_VERSION`.
pub const VERSION: u16 = 0x0200;

/// First word of every ring.
///
/// Spec: [rings](crate::protocol#rings), memif.h `MEMIF_COOKIE`.
pub const COOKIE: u32 = 0x03E3_1F20;

/// Largest base-2 logarithm of a ring size that peers accept.
pub const LOG2_RING_SIZE_MAX: u8 = 14;

/// Most rings in one direction; peers count them in eight bits.
pub const RINGS_MAX: u16 = 255;

/// Most regions; peers count them in eight bits.
pub const REGIONS_MAX: u16 = 255;

/// Bytes of one descriptor in a ring.
///
/// Spec: [descriptors](crate::protocol#descriptors).
pub const DESCRIPTOR_LEN: u64 = 16;

/// One control message.
///
/// Spec: [messages](crate::protocol#messages).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The server took the last message; the client may send the next one.
    Ack,
    /// The server's first message: what it accepts.
    Hello(Hello),
    /// The client asks for one interface.
    Init(Init),
    /// The client announces one piece of shared memory.
    AddRegion(AddRegion),
    /// The client announces one ring.
    AddRing(AddRing),
    /// The client has announced everything.
    Connect {
        /// The client's name of the interface.
        if_name: Name,
    },
    /// The server has mapped everything; packets may flow.
    Connected {
        /// The server's name of the interface.
        if_name: Name,
    },
    /// The sender closes the connection.
    Disconnect(Disconnect),
}

/// The kinds of message, numbered as on the wire.
///
/// Spec: [messages](crate::protocol#messages).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum MessageType {
    /// [`Message::Ack`].
    Ack = 1,
    /// [`Message::Hello`].
    Hello = 2,
    /// [`Message::Init`].
    Init = 3,
    /// [`Message::AddRegion`].
    AddRegion = 4,
    /// [`Message::AddRing`].
    AddRing = 5,
    /// [`Message::Connect`].
    Connect = 6,
    /// [`Message::Connected`].
    Connected = 7,
    /// [`Message::Disconnect`].
    Disconnect = 8,
}

impl Message {
    /// Reads one message.
    ///
    /// # Errors
    /// [`WireError::Length`] unless there are exactly [`MESSAGE_LEN`] bytes, and
    /// [`WireError::UnknownType`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let Ok(message) = <&[u8; MESSAGE_LEN]>::try_from(bytes) else {
            return Err(WireError::Length { len: bytes.len() });
        };
        let mut fields = Reader::new(message);
        let number = fields.u16();
        let message_type =
            MessageType::from_wire(number).ok_or(WireError::UnknownType { number })?;
        Ok(match message_type {
            MessageType::Ack => Self::Ack,
            MessageType::Hello => Self::Hello(Hello::read(&mut fields)),
            MessageType::Init => Self::Init(Init::read(&mut fields)),
            MessageType::AddRegion => Self::AddRegion(AddRegion::read(&mut fields)),
            MessageType::AddRing => Self::AddRing(AddRing::read(&mut fields)),
            MessageType::Connect => Self::Connect { if_name: fields.text() },
            MessageType::Connected => Self::Connected { if_name: fields.text() },
            MessageType::Disconnect => Self::Disconnect(Disconnect::read(&mut fields)),
        })
    }

    /// Writes the message; bytes without a meaning are zero.
    #[must_use]
    pub fn encode(&self) -> [u8; MESSAGE_LEN] {
        let mut bytes = [0; MESSAGE_LEN];
        let mut fields = Writer::new(&mut bytes);
        fields.u16(self.message_type() as u16);
        match self {
            Self::Ack => {}
            Self::Hello(hello) => hello.write(&mut fields),
            Self::Init(init) => init.write(&mut fields),
            Self::AddRegion(region) => region.write(&mut fields),
            Self::AddRing(ring) => ring.write(&mut fields),
            Self::Connect { if_name } | Self::Connected { if_name } => fields.text(if_name),
            Self::Disconnect(disconnect) => disconnect.write(&mut fields),
        }
        bytes
    }

    /// The kind of the message.
    #[must_use]
    pub fn message_type(&self) -> MessageType {
        match self {
            Self::Ack => MessageType::Ack,
            Self::Hello(_) => MessageType::Hello,
            Self::Init(_) => MessageType::Init,
            Self::AddRegion(_) => MessageType::AddRegion,
            Self::AddRing(_) => MessageType::AddRing,
            Self::Connect { .. } => MessageType::Connect,
            Self::Connected { .. } => MessageType::Connected,
            Self::Disconnect(_) => MessageType::Disconnect,
        }
    }
}

impl MessageType {
    fn from_wire(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Ack,
            2 => Self::Hello,
            3 => Self::Init,
            4 => Self::AddRegion,
            5 => Self::AddRing,
            6 => Self::Connect,
            7 => Self::Connected,
            8 => Self::Disconnect,
            _ => return None,
        })
    }

    /// How many file descriptors a message of this kind carries.
    #[must_use]
    pub fn fd_count(self) -> usize {
        usize::from(matches!(self, Self::AddRegion | Self::AddRing))
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ack => "ACK",
            Self::Hello => "HELLO",
            Self::Init => "INIT",
            Self::AddRegion => "ADD_REGION",
            Self::AddRing => "ADD_RING",
            Self::Connect => "CONNECT",
            Self::Connected => "CONNECTED",
            Self::Disconnect => "DISCONNECT",
        })
    }
}
