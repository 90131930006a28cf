//! Packed rings against a driver of the tests' own, and against hostile memory.

mod driver;
mod hostile;
mod mutated;
mod notify;
mod receive;
mod transmit;

use crate::virtqueue::split::tests::{DATA, Driver, GUEST, frame, receive, send};
use crate::virtqueue::{KickMode, RingFeatures};
pub(crate) use driver::Packed;
use driver::{FEATURES, INDIRECT, NEXT, WRITE};
