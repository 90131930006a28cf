//! The targets of vhost-user, from the device's side and (the last two) from the driver's.
//!
//! An input is a header and then operations, each one byte of kind and its arguments.

mod device;
pub(crate) mod driver;
mod messages;
mod ring;
pub(crate) mod say;

pub(crate) use device::run as device;
pub(crate) use messages::run as messages;
pub(crate) use ring::{EVENT_IDX, IN_ORDER, INDIRECT, MERGEABLE, RX_OFFLOADS, packed, split};

/// Most operations of one input.
const OPERATIONS_MAX: usize = 400;
