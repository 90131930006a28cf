//! The back-end's half of the conversation, without input or output: bytes and descriptors in,
//! bytes, descriptors and events out.
//!
//! [`BackendMachine`] stands for one connection. Read as many bytes as it
//! [`wants`](BackendMachine::wanted), pass them on, send what
//! [`take_outgoing`](BackendMachine::take_outgoing) returns, and answer each [`Event`]. It owns no
//! socket and no timer, so it runs in any loop, under a fuzzer, or in a proxy.
//!
//! ```text
//! front-end                          machine                     data side
//!   | GET_VRING_BASE 1                  |                             |
//!   |---------------------------------->| Event::RingStopped { 1 }    |
//!   |                                   |---------------------------->|  ends its burst
//!   |   (wants no bytes meanwhile)      |      answer_vring_base(1)   |
//!   |            base                   |<----------------------------|
//!   |<----------------------------------|                             |
//! ```
//!
//! ```
//! use ringport_vhost_user::backend::{BackendConfig, BackendMachine, Event, Incoming, Limits};
//! use ringport_vhost_user::wire::{Message, ProtocolFeatures, Request, feature};
//! use std::time::{Duration, Instant};
//!
//! let mut machine = BackendMachine::new(BackendConfig {
//!     features: feature::VERSION_1,
//!     required_features: feature::VERSION_1,
//!     protocol_features: ProtocolFeatures::REPLY_ACK | ProtocolFeatures::MQ,
//!     queue_pairs: 1,
//!     control_ring: false,
//!     limits: Limits::default(),
//!     answer_timeout: Duration::from_secs(5),
//! });
//! // What a socket delivers, in pieces of the size that the machine wants.
//! let bytes = Message::Number(Request::SetFeatures, feature::VERSION_1).encode(false);
//! let (header, payload) = bytes.split_at(machine.wanted());
//! let incoming = Incoming { bytes: header, ..Incoming::default() };
//! assert!(machine.on_bytes(incoming, Instant::now())?.is_none());
//! let incoming = Incoming { bytes: payload, ..Incoming::default() };
//! let event = machine.on_bytes(incoming, Instant::now())?;
//! assert!(matches!(event, Some(Event::Features { rings_enabled: true, .. })));
//! // The data side takes note; only then is the next request read.
//! machine.answer_ack(Ok(()))?;
//! # Ok::<(), ringport_vhost_user::ControlError>(())
//! ```
//!
//! Every event is answered exactly once, and nothing more is read before: a reply tells the
//! front-end that its change has taken effect, so it can never overtake it. Nothing blocks; an answer
//! that does not come within [`BackendConfig::answer_timeout`] ends the connection.
//!
//! A request that breaks a rule is refused. The front-end is told when it asked
//! to be (or when the request has an answer that can say no); if it did not, and goes on as if all
//! were well, the connection ends, except after requests without which a link works. A request that
//! we do not know, or did not offer, never ends a connection; a stream that cannot be followed any
//! further always does.
//!
//! Requests are served when their protocol feature was offered, whether or not it was acknowledged.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod answer;
mod base;
mod channel;
mod config;
mod event;
mod machine;
mod memory;
mod outbox;
mod pending;
mod ring;
mod serve;
mod serve_device;
mod serve_ring;

pub use base::{PackedIndex, RingBase};
pub use channel::ChannelMachine;
pub use config::{BackendConfig, Limits, RING_SIZE_MAX, RINGS_MAX};
pub use event::{Event, Failed, InflightMemory, RegionOffer, ResetKind, RingAddresses, RingOffer};
pub use machine::BackendMachine;

pub use crate::fault::{PeerIncompatible, PeerMisbehaved};
pub use crate::stream::{Incoming, Outgoing};
