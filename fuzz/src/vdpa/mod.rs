//! The targets of vDPA.

mod capabilities;
mod device;
mod relay;

pub(crate) use capabilities::run as capabilities;
pub(crate) use relay::run as relay;

/// Most operations of one input.
const OPERATIONS_MAX: usize = 400;
