//! memif for C, and for all that calls C: the functions that `include/ringport_memif.h` declares.
//!
//! The README of this crate is written for its users. For its developers:
//!
//! | module | what it is for |
//! |---|---|
//! | [`port`] | ports: open, poll, link up and down, the queues of a link |
//! | [`rx`], [`tx`] | packets: copied out and in, or in place |
//! | [`error`] | codes, and the last error's text |
//! | `handle` | handles: numbers that are looked up, so that a stale one is an error |
//! | `lease` | bursts that stay open from one call to the next |
//! | `raw` | pointers from C, checked as far as that can be done |
//!
//! `UNSAFE.md` lists the unsafe code.
//!
//! No function panics (an unwinding `extern "C"` function would end the process): what can, is denied.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![expect(
    clippy::missing_safety_doc,
    reason = "the documentation is the header's: it says in C's terms what callers keep to"
)]

pub mod error;
mod handle;
mod lease;
pub mod packet;
pub mod port;
mod raw;
pub mod rx;
pub mod tx;

pub use error::*;
pub use packet::*;
pub use port::*;
pub use rx::*;
pub use tx::*;
