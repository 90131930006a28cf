//! Queues against a driver of the tests' own, against an independent device, and against hostile
//! memory.

mod driver;
mod hostile;
mod mutated;
mod notify;
mod oracle;
mod receive;
mod transmit;

pub(super) use super::*;
pub(super) use crate::virtqueue::tests::{Ends, Ring};
pub(super) use crate::virtqueue::{RxQueue, TxQueue};
pub(crate) use driver::{DATA, Driver, GUEST, INDIRECT, NEXT, Setup, frame, receive, send};
pub(crate) use mutated::AtTheEnd;
