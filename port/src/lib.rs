//! What every Ringport packet port shares.
//!
//! A *port* moves packets through rings in memory that it shares with a peer. This crate holds the
//! parts that do not depend on the protocol spoken with that peer:
//!
//! | module | what it is for |
//! |---|---|
//! | [`burst`] | leased bursts of received packets and of free slots, and the [`PacketRx`](burst::PacketRx) / [`PacketTx`](burst::PacketTx) traits |
//! | [`shm`] | shared memory: creation, checks on a peer's memory, the SIGBUS guard, ring words and tables |
//! | [`offload`], [`software`] | what packets ask for beside being sent, and doing it where a queue cannot pass it on |
//! | [`ring`], [`ring_view`] | free-running indices, credits, publication, doorbell suppression; a ring as people look at it |
//! | [`doorbell`] | eventfds that a hostile peer cannot use to stop our threads |
//! | [`socket`] | UNIX sockets: addresses, connecting, listening, the socket file's life |
//! | [`reactor`], [`retry`] | what control sides wait with, and when they try again |
//! | [`port_string`] | what port strings of all protocols have in common |
//! | [`scm`] | file descriptors over UNIX sockets, none lost, none leaked |
//! | [`copy`] | the copy kernels: the only way payload enters or leaves shared memory |
//! | [`pool`] | packet memory that we own and lend to peers |
//! | [`handover`] | changing a queue while another thread works on it |
//! | [`link`] | the state that a link's control side shares with its queues |
//! | [`tap`] | a Linux TAP as a port: packets to and from the kernel |
//! | [`vfio`] | PCI functions under vfio-pci: their calls, typed, and memory that they may use |
//! | [`vhost_vdpa`] | the kernel's vhost-vdpa devices: their calls, typed, and memory that they may use |
//! | [`virtio_net`] | the packet header of virtio network devices and of a TAP |
//! | `smoltcp` (feature) | a port as the device of a TCP/IP stack |
//!
//! It is the one home of unsafe memory access: the protocol crates forbid unsafe code. `UNSAFE.md` lists
//! all of it, `LOOM.md` what the model checker has seen, `SANDBOX.md` the system calls and privileges that
//! ports need.

pub mod handover;
pub mod ring;
pub mod ring_view;
pub mod sync;

#[cfg(not(loom))]
pub mod burst;
#[cfg(not(loom))]
pub mod copy;
#[cfg(not(loom))]
pub mod doorbell;
#[cfg(not(loom))]
pub mod error;
#[cfg(not(loom))]
pub mod link;
#[cfg(not(loom))]
pub mod offload;
#[cfg(not(loom))]
pub mod pool;
#[cfg(not(loom))]
pub mod port_string;
#[cfg(not(loom))]
pub mod reactor;
#[cfg(not(loom))]
pub mod retry;
#[cfg(not(loom))]
pub mod scm;
#[cfg(not(loom))]
pub mod shm;
#[cfg(all(feature = "smoltcp", not(loom)))]
pub mod smoltcp;
#[cfg(not(loom))]
pub mod socket;
#[cfg(not(loom))]
pub mod software;
#[cfg(not(loom))]
pub mod stats;
#[cfg(not(loom))]
pub mod tap;
#[cfg(not(loom))]
pub mod vfio;
#[cfg(not(loom))]
pub mod vhost_vdpa;
#[cfg(not(loom))]
pub mod virtio_net;
