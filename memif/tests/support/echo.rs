//! Echo runs over a memif link.

use super::Outcome;
use ringport_bench::interop::echo as any;
pub use ringport_bench::interop::echo::{EchoPlan, Unwritten};
use ringport_memif::Link;
use std::time::Duration;

pub fn echo(link: &mut Link, plan: &EchoPlan<'_>) -> Outcome {
    any::echo(&mut link.rx, &mut link.tx, plan)
}

pub fn echo_some(link: &mut Link, plan: &EchoPlan<'_>, frames: u64) -> Outcome<u64> {
    any::echo_some(&mut link.rx, &mut link.tx, plan, frames)
}

pub fn pump(link: &mut Link, time: Duration) -> Outcome {
    any::pump(&mut link.rx, &mut link.tx, time)
}
