//! The control side with sockets and timers: from a configuration to queues.
//!
//! | type | role | interfaces |
//! |---|---|---|
//! | [`Port`] | either | one, named by a [`PortConfig`](crate::config::PortConfig) or a port string |
//! | [`Listener`] | server | many on one socket |
//! | [`Client`] | client | one |
//!
//! None has a thread of its own: call `poll`, or watch the file descriptor (`AsFd`), which becomes
//! readable when `poll` has work, timers included. A link's queues do not need the driver to run;
//! whoever polls it late learns late that a link went down, nothing else.

mod client;
mod connection;
mod event;
mod listener;
mod port;
mod shared;
mod token;

pub use client::Client;
pub use event::{DownReason, Event, EventKind, Link, LinkParameters, PeerInfo};
pub use listener::Listener;
pub use port::Port;
