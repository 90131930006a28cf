//! The handshake, without input or output: bytes and descriptors in, bytes and descriptors out.
//!
//! [`ServerMachine`] and [`ClientMachine`] each stand for one connection. Feed them what a socket
//! delivers ([`Incoming`]), send what [`take_outgoing`](ServerMachine::take_outgoing) returns, and
//! answer their events. They own no socket and no timer, so they run in any loop; one of each,
//! handing on the [`Offer`], makes a proxy.
//!
//! ```text
//! client                                     server
//!   |                       HELLO              |  versions, limits
//!   |<-----------------------------------------|
//!   | INIT -> ACK                              |  id, mode, secret      -> ServerEvent::Init
//!   | ADD_REGION + memory -> ACK, for each     |
//!   | ADD_RING + eventfd -> ACK, for each      |
//!   | CONNECT -> CONNECTED                     |  maps and checks       -> ServerEvent::Offer
//! ```
//!
//! A peer that breaks a rule leaves its machine failed: the outbox holds one DISCONNECT that names
//! the rule, and nothing happens any more.
//!
//! Spec: [connection](crate::protocol#connection).
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod client;
mod fault;
mod handshake;
mod intake;
mod layout;
mod limits;
mod offer;
mod outbox;
mod server;

pub use client::{ClientEvent, ClientIdentity, ClientMachine};
pub use fault::{PeerIncompatible, PeerMisbehaved};
pub use handshake::Awaited;
pub use intake::Incoming;
pub use layout::{CacheLine, RingPlace, detect_cache_line};
pub use limits::{Admission, Limits, Refusal, RunParameters};
pub use offer::{Offer, RegionOffer, RingOffer};
pub use outbox::Outgoing;
pub use server::{InitRequest, ServerEvent, ServerMachine};

use std::fmt;

/// Which side of a link we are.
///
/// Spec: [terms](crate::protocol#terms).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Listens, and maps the client's memory.
    #[doc(alias = "master")]
    Server,
    /// Connects, and owns all shared memory.
    #[doc(alias = "slave")]
    Client,
}

/// Which way packets travel in a ring.
///
/// Spec: [terms](crate::protocol#terms).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From client to server.
    #[doc(alias = "S2M")]
    C2s,
    /// From server to client.
    #[doc(alias = "M2S")]
    S2c,
}

/// What a packet starts with.
///
/// Spec: [modes](crate::protocol#modes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// An Ethernet header, from the destination address on; no frame check sequence.
    #[default]
    Ethernet,
    /// An IPv4 or IPv6 header; the first nibble tells which.
    Ip,
}

impl Mode {
    /// The number on the wire.
    #[must_use]
    pub fn to_wire(self) -> u8 {
        match self {
            Self::Ethernet => 0,
            Self::Ip => 1,
        }
    }

    /// Reads the number on the wire.
    ///
    /// # Errors
    /// [`PeerIncompatible::Mode`]; 2 is punt/inject, which nobody implements.
    pub fn from_wire(number: u8) -> Result<Self, PeerIncompatible> {
        match number {
            0 => Ok(Self::Ethernet),
            1 => Ok(Self::Ip),
            got => Err(PeerIncompatible::Mode { got }),
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::C2s => "client-to-server",
            Self::S2c => "server-to-client",
        })
    }
}

impl Role {
    /// As port strings have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ethernet => "ethernet",
            Self::Ip => "ip",
        })
    }
}
