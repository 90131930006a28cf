//! The targets of vhost-user, from the device's side and (the last two) from the driver's.
//!
//! An input is a header and then operations, each one byte of kind and its arguments.

mod device;
pub(crate) mod driver;
mod frontend;
mod messages;
mod notes;
mod ring;
pub(crate) mod say;
mod state;

pub(crate) use device::run as device;
pub(crate) use frontend::run as frontend;
pub(crate) use messages::run as messages;
pub(crate) use notes::run as notes;
pub(crate) use ring::{EVENT_IDX, IN_ORDER, INDIRECT, MERGEABLE, RX_OFFLOADS, packed, split};
pub(crate) use state::run as state;

/// Most operations of one input.
const OPERATIONS_MAX: usize = 400;
