//! Ringport against real peers, and against the fastest ring that we can write.
//!
//! | module | what it is for |
//! |---|---|
//! | [`peers`] | DPDK's testpmd, Open vSwitch, Linux guests: started, asked, stopped; tests that skip loudly without them |
//! | [`interop`] | what the tests against real peers share: numbered frames, echo runs, tables |
//! | [`raw_ring`] | the bound: the fastest ring between two processes that we can write |
//! | [`frames`] | what is sent, and what a receiver checks |
//! | [`shared`] | memory between the coordinator of a benchmark and its workers |
//! | [`loopback`] | both ends of a memif link in one thread |
//! | [`workload`] | what one packet costs there |
//! | [`virtio`] | a virtio driver that does as little as a driver can |
//! | [`in_thread`] | the same driver and our device in one thread |
//! | [`own_driver`] | our driver and our device in one thread |
//! | [`clock`] | the cycle counter |
//!
//! How the numbers are made is in `bench/NOTES.md`.

pub mod clock;
pub mod frames;
pub mod in_thread;
pub mod interop;
pub mod loopback;
pub mod own_driver;
pub mod peers;
pub mod raw_ring;
pub mod shared;
pub mod virtio;
pub mod workload;
