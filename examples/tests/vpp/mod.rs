//! A real VPP, as the tests of memif start it.
#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]

#[path = "../../../memif/tests/support/optional.rs"]
pub mod optional;
#[path = "../../../memif/tests/support/vpp.rs"]
mod process;

pub use process::Vpp;
use ringport_bench::interop::{Outcome, PATIENCE, wait_until};
