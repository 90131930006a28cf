//! The targets of the tools: how they read what peers send, and what people type.

mod dump;
mod pktgen;
mod ports;
mod station;

pub(crate) use dump::run as dump;
pub(crate) use pktgen::run as pktgen;
pub(crate) use ports::{TOKENS, run as ports};
pub(crate) use station::run as station;

const ETHERNET: u8 = 1;
