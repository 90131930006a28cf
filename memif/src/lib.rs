//! memif, the shared-memory packet interface of VPP, DPDK and libmemif, in both roles and in pure
//! Rust: no C, no root, no huge pages needed.
//!
//! Two processes share rings of packet descriptors and the packets themselves. The *client* (slave)
//! connects to the *server's* (master's) socket, owns all the memory, and offers it; the server maps
//! it. After that packets move without a system call, and the socket only says when one side leaves.
//!
//! ```no_run
//! use ringport_memif::Port;
//! use std::time::Duration;
//!
//! let mut port = Port::open("memif:/run/vpp/memif.sock,role=client,id=0,ring-size=1024")?;
//! let mut link = port.wait_link_up(Duration::from_secs(10))?;
//! let (rx, tx) = (&mut link.rx[0], &mut link.tx[0]);
//! # let _ = (rx, tx);
//! # Ok::<(), ringport_memif::ControlError>(())
//! ```
//!
//! | module | what it is for |
//! |---|---|
//! | [`driver`] | [`Port`], [`Listener`], [`Client`]: sockets, handshakes, reconnects, events |
//! | [`queue`] | [`RxQueue`], [`TxQueue`]: packets |
//! | [`port_string`] | ports named by text |
//! | [`config`] | ports described by values |
//! | [`control`] | the handshake without input or output, for other loops, proxies and fuzzers |
//! | [`wire`] | the messages, byte for byte |
//! | [`protocol`] | the specification of all that, on its own (`PROTOCOL.md`) |
//! | [`error`] | what can go wrong, by whose fault it is |
//!
//! What hostile peers can try, and the test for each, is in `HOSTILE.md`.
//!
//! Not supported: the punt mode, which no peer implements either; DPDK's and VPP's secondary
//! processes; sockets in other network namespaces by name (pass a connected descriptor to
//! [`Client::from_socket`] or [`Listener::adopt`]).
#![forbid(unsafe_code)]

pub mod config;
pub mod control;
pub mod driver;
pub mod error;
pub mod port_string;
#[doc = include_str!("../PROTOCOL.md")]
pub mod protocol {}
pub mod queue;
#[cfg(feature = "tokio")]
pub mod tokio;
pub mod wire;

pub use config::{ClientConfig, InterfaceConfig, ListenerConfig, PortConfig};
pub use control::{CacheLine, Direction, Mode, Offer, RegionOffer, RingOffer, Role, RunParameters};
pub use driver::{Client, DownReason, Event, EventKind, Link, Listener, Port};
pub use error::{ConfigError, ControlError};
pub use queue::{
    BufferSpacing, ClientMemoryConfig, DataConfig, LayoutError, Queues, RxMode, RxQueue, TxQueue,
};
pub use ringport::socket::{AddressError, SocketAddress, SocketOptions};

/// The forwarder of the project's README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
