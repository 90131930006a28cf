//! The front-end's half of the conversation, without input or output: bytes in, bytes, descriptors
//! and events out.
//!
//! [`FrontendMachine`] stands for one connection. Send what
//! [`take_outgoing`](FrontendMachine::take_outgoing) returns, read as many bytes as the machine
//! [`wants`](FrontendMachine::wanted), pass them on, and do as each [`Event`] says. It owns no socket
//! and no timer, so it runs in any loop, under a fuzzer, or in a proxy.
//!
//! ```text
//! driver                       machine                              back-end
//!   |                             | GET_FEATURES, ..., GET_CONFIG      |
//!   |   Event::Negotiated         |<---------------------------------->|
//!   |<----------------------------|                                    |
//!   |  offer(memory, rings)       | SET_FEATURES, SET_MEM_TABLE,       |
//!   |---------------------------->| each ring, SET_STATUS              |
//!   |   Event::Running            |<---------------------------------->|
//!   |<----------------------------|                                    |
//!   |  read_config()              | GET_CONFIG                         |
//!   |---------------------------->|<---------------------------------->|
//!   |   Event::ConfigRead         |                                    |
//!   |<----------------------------|                                    |
//!   |  stop()                     | GET_VRING_BASE of each ring        |
//!   |---------------------------->|<---------------------------------->|
//!   |   Event::Stopped            |                                    |
//!   |<----------------------------|                                    |
//! ```
//!
//! ```
//! use ringport_vhost_user::frontend::{Event, FrontendConfig, FrontendMachine, Incoming};
//! use ringport_vhost_user::wire::{ProtocolFeatures, Reply, Request, feature};
//! use std::time::{Duration, Instant};
//!
//! let config = FrontendConfig {
//!     features: feature::VERSION_1 | feature::RING_PACKED,
//!     required_features: feature::VERSION_1,
//!     protocol_features: ProtocolFeatures::REPLY_ACK,
//!     queue_pairs: 1,
//!     control_ring: false,
//!     mtu: None,
//!     timeout: Duration::from_secs(5),
//! };
//! let mut machine = FrontendMachine::new(config, Instant::now());
//! let request = machine.take_outgoing().map(|message| message.bytes);
//! assert_eq!(request.as_deref(), Some(&[1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0][..]));
//! // What a socket delivers, in pieces of the size that the machine wants.
//! let bytes = Reply::Number(feature::VERSION_1).encode(Request::GetFeatures as u32);
//! let (header, payload) = bytes.split_at(machine.wanted());
//! assert!(machine.on_bytes(Incoming { bytes: header, ..Incoming::default() })?.is_none());
//! let event = machine.on_bytes(Incoming { bytes: payload, ..Incoming::default() })?;
//! let Some(Event::Negotiated(agreed)) = event else { panic!("{event:?}") };
//! // No packed rings, and nothing from the protocol's second set.
//! assert_eq!(agreed.features, feature::VERSION_1);
//! # Ok::<(), ringport_vhost_user::ControlError>(())
//! ```
//!
//! What was not negotiated is never sent: there are back-ends that end the connection over a request
//! that they do not know. One request waits for its answer at a time. Where
//! [`REPLY_ACK`](crate::wire::ProtocolFeatures::REPLY_ACK) was agreed on, each request that may fail
//! asks for an answer, and a failure names the request; elsewhere a last GET_FEATURES makes sure that
//! all of them were read.
//!
//! While rings run, one thing at a time can be asked besides:
//! [`read_config`](FrontendMachine::read_config), [`enable_pairs`](FrontendMachine::enable_pairs),
//! [`start_log`](FrontendMachine::start_log).
//! That the configuration changed the back-end says on a second socket, of which a
//! [`ChannelMachine`] is this end.
//!
//! A back-end that breaks a rule, refuses a request or does not answer in time ends the conversation.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod channel;
mod config;
mod event;
mod features;
mod hear;
mod logging;
mod machine;
mod script;
mod told;

pub use channel::{ChannelMachine, ConfigChanged};
pub use config::FrontendConfig;
pub use event::{Agreed, ControlOffer, Event, LogOffer, MemoryOffer, Offer, RingSetup};
pub use features::common_features;
pub use machine::FrontendMachine;
pub use told::Told;

pub use crate::fault::{PeerIncompatible, PeerMisbehaved};
pub use crate::stream::{Incoming, Outgoing};
